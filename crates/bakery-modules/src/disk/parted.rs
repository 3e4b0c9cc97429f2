//! parted(8): what it tells of a disk, and sizes as it writes them (community.general `parted.py`).

use bakery_lang::Value;

use crate::{Failure, Host};

const UNITS_SI: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
const UNITS_IEC: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
const OTHER_UNITS: [&str; 5] = ["s", "%", "cyl", "chs", "compact"];

/// A size or place: `51200kiB`, `0,32,33` of cylinders, heads and sectors.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Size {
    Number(f64, String),
    Cylinders([u64; 3]),
}

impl Size {
    /// Reads one; the unit may be missing.
    pub(crate) fn read(text: &str) -> Result<Self, Failure> {
        let bad = || Failure::new(format!("Error interpreting parted size output: '{text}'"));
        let parts: Vec<&str> = text.split(',').collect();
        if let [cylinder, head, sector] = parts[..] {
            let number = |text: &str| text.parse().map_err(|_| bad());
            return Ok(Self::Cylinders([number(cylinder)?, number(head)?, number(sector)?]));
        }
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-')).unwrap_or(text.len());
        let unit = text[end..].trim_start();
        if unit.contains(|c: char| !(c.is_alphanumeric() || c == '_' || c == '%')) {
            return Err(bad());
        }
        Ok(Self::Number(text[..end].parse().map_err(|_| bad())?, unit.to_owned()))
    }

    /// Whether the unit is one that parted knows, in these letters.
    pub(crate) fn has_known_unit(&self) -> bool {
        let Self::Number(_, unit) = self else { return true };
        known_units().any(|known| known == unit)
    }

    fn value(&self) -> Value {
        match self {
            Self::Number(number, _) => Value::Float(*number),
            Self::Cylinders([cylinder, head, sector]) => {
                let places = [("cylinder", cylinder), ("head", head), ("sector", sector)];
                Value::map(places.map(|(name, number)| (name, Value::from(*number))))
            }
        }
    }
}

fn known_units() -> impl Iterator<Item = &'static str> {
    UNITS_SI.into_iter().chain(UNITS_IEC).chain(OTHER_UNITS)
}

/// Bytes of a number in a unit, as the module reckons them: of `s` and `%` the number itself.
pub(crate) fn bytes(number: f64, unit: &str) -> i64 {
    let power = |base: f64, at: usize| base.powi(i32::try_from(at).unwrap_or_default());
    let factor = match unit {
        "" | "compact" | "cyl" | "chs" => 1e6,
        unit => {
            let si = UNITS_SI.iter().position(|known| *known == unit).map(|at| power(1000.0, at));
            let iec = UNITS_IEC.iter().position(|known| *known == unit).map(|at| power(1024.0, at + 1));
            si.or(iec).unwrap_or(1.0)
        }
    };
    #[expect(clippy::cast_possible_truncation, reason = "cut, as there")]
    let bytes = (number * factor) as i64;
    bytes
}

/// The unit as results have it: in small letters, or as parted's options are written.
pub(crate) fn shown_unit(unit: &str, preserve_case: bool) -> String {
    let canonical = known_units().find(|known| known.eq_ignore_ascii_case(unit)).unwrap_or(unit);
    if preserve_case { canonical.to_owned() } else { unit.to_lowercase() }
}

/// A partition as parted shows it.
pub(crate) struct Partition {
    pub(crate) number: i64,
    pub(crate) end: Size,
    pub(crate) name: String,
    pub(crate) flags: Vec<String>,
    pub(crate) shown: Value,
}

/// A disk as parted shows it.
pub(crate) struct Disk {
    /// The kind of its table; `unknown` if it has none, `loop` if a file system has the whole disk.
    pub(crate) table: String,
    pub(crate) size: Size,
    pub(crate) shown: Value,
    pub(crate) partitions: Vec<Partition>,
}

/// The program, for one disk.
pub(crate) struct Parted<'a> {
    pub(crate) host: &'a Host,
    pub(crate) program: String,
    pub(crate) device: String,
    /// The unit that sizes are told in.
    pub(crate) unit: String,
    pub(crate) preserve_case: bool,
}

impl Parted<'_> {
    /// What is there.
    pub(crate) fn disk(&self) -> Result<Disk, Failure> {
        let argv = [&self.program, "-s", "-m", &self.device, "--", "unit", &self.unit, "print"];
        let output = self.host.try_run(&argv)?;
        if !output.success() && !output.error_text().contains("unrecognised disk label") {
            let script = argv.join(" ");
            return Err(Failure::new(format!(
                "Error while getting device information with parted script: '{script}'"
            ))
            .with("rc", output.code)
            .with("out", output.text())
            .with("err", output.error_text()));
        }
        read(&output.text(), self.preserve_case)
    }

    /// Does what a script says.
    pub(crate) fn run(&self, script: &[String], align: &str) -> Result<(), Failure> {
        let mut argv = vec![self.program.as_str(), "-s"];
        // What a disk that grew has at a wrong place is put right; releases before 3.4.64 cannot.
        let version = self.host.run(&[self.program.as_str(), "--version"])?.text();
        let version = version.lines().next().and_then(|line| line.rsplit(' ').next()).unwrap_or_default();
        let numbers: Vec<u32> = version.split(['.', '-']).map_while(|number| number.parse().ok()).collect();
        if numbers >= vec![3, 4, 64] {
            argv.push("-f");
        }
        argv.push("-m");
        if align != "undefined" {
            argv.extend(["-a", align]);
        }
        argv.extend([self.device.as_str(), "--"]);
        argv.extend(script.iter().map(String::as_str));
        let output = self.host.try_run(&argv)?;
        if output.success() {
            return Ok(());
        }
        Err(Failure::new(format!("Error while running parted script: {}", argv.join(" ")))
            .with("rc", output.code)
            .with("out", output.text())
            .with("err", output.error_text()))
    }
}

/// Reads what `parted -m` prints: a line about the unit, one about the disk, with cylinders one about those, and one for
/// each partition; fields end at colons, lines at semicolons.
fn read(text: &str, preserve_case: bool) -> Result<Disk, Failure> {
    let lines: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.trim_end_matches(';').split(':').collect())
        .collect();
    let told = || Failure::new(format!("parted tells of the disk what cannot be read: {}", text.trim()));
    let field = |line: &[&str], at: usize| line.get(at).map(|field| (*field).to_owned()).ok_or_else(told);
    let disk = lines.get(1).ok_or_else(told)?;
    let size = Size::read(&field(disk, 1)?)?;
    let unit = match &size {
        Size::Number(_, unit) => unit.clone(),
        Size::Cylinders(_) => "chs".to_owned(),
    };
    let shown_unit_of = |unit: &str| Value::from(shown_unit(unit, preserve_case));
    let number = |text: String| text.parse::<i64>().map_err(|_| told());
    let shown = bakery_lang::Map::from_iter([
        ("dev", Value::from(field(disk, 0)?)),
        ("size", size.value()),
        ("unit", shown_unit_of(&unit)),
        ("table", field(disk, 5)?.into()),
        ("model", field(disk, 6)?.into()),
        ("logical_block", number(field(disk, 3)?)?.into()),
        ("physical_block", number(field(disk, 4)?)?.into()),
    ]);
    let has_cylinders = matches!(unit.as_str(), "cyl" | "chs");
    if has_cylinders {
        let line = lines.get(2).ok_or_else(told)?;
        let Size::Number(size, unit) = Size::read(&field(line, 3)?)? else { return Err(told()) };
        let info = Value::map([
            ("cylinders", Value::from(number(field(line, 0)?)?)),
            ("heads", number(field(line, 1)?)?.into()),
            ("sectors", number(field(line, 2)?)?.into()),
            ("cyl_size", Value::Float(size)),
            ("cyl_size_unit", shown_unit_of(&unit)),
        ]);
        shown.set("chs_info", info);
    }
    let mut partitions = Vec::new();
    for line in lines.iter().skip(2 + usize::from(has_cylinders)) {
        // In cylinders, heads and sectors a partition has no size.
        let rest = if unit == "chs" { 3 } else { 4 };
        let (begin, end) = (Size::read(&field(line, 1)?)?, Size::read(&field(line, 2)?)?);
        let size = if unit == "chs" { Value::from("") } else { Size::read(&field(line, 3)?)?.value() };
        let flags = field(line, rest + 2)?;
        let flags: Vec<String> =
            flags.split(", ").filter(|flag| !flag.is_empty()).map(|flag| flag.trim().to_owned()).collect();
        let name = field(line, rest + 1)?;
        let number = number(field(line, 0)?)?;
        let shown = Value::map([
            ("num", Value::from(number)),
            ("begin", begin.value()),
            ("end", end.value()),
            ("size", size),
            ("fstype", field(line, rest)?.into()),
            ("name", name.as_str().into()),
            ("flags", Value::strings(&flags)),
            ("unit", shown_unit_of(&unit)),
        ]);
        partitions.push(Partition { number, end, name, flags, shown });
    }
    Ok(Disk { table: field(disk, 5)?, size, shown: shown.into(), partitions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_as_parted_prints_them() {
        let text = "BYT;\n/dev/vdb:102400kiB:virtblk:512:512:gpt:Virtio Block Device:;\n1:1024kiB:51200kiB:50176kiB:ext4:data:boot, esp;\n";
        let disk = read(text, false).expect("a disk");
        assert_eq!((disk.table.as_str(), disk.size), ("gpt", Size::Number(102_400.0, "kiB".into())));
        assert_eq!(disk.partitions[0].flags, ["boot", "esp"]);
        assert_eq!(disk.partitions[0].end, Size::Number(51_200.0, "kiB".into()));
        let text =
            "CHS;\n/dev/sda:13,12,12:scsi:512:512:msdos:X:;\n13:255:63:8225kB;\n1:0,32,33:6,95,25:ext2:::;\n";
        let disk = read(text, false).expect("a disk");
        assert_eq!(disk.size, Size::Cylinders([13, 12, 12]));
        assert_eq!(disk.partitions[0].end, Size::Cylinders([6, 95, 25]));
    }

    #[test]
    fn sizes_and_units() {
        assert!(Size::read("10MiB").is_ok_and(|size| size.has_known_unit()));
        assert!(Size::read("10mib").is_ok_and(|size| !size.has_known_unit()));
        assert!(Size::read("10").is_ok_and(|size| !size.has_known_unit()));
        assert!(Size::read("ten").is_err());
        assert_eq!(bytes(2.0, "KiB"), 2048);
        assert_eq!(bytes(2.5, "MB"), 2_500_000);
        assert_eq!(bytes(50.0, "%"), 50);
        assert_eq!((shown_unit("kiB", false), shown_unit("kiB", true)), ("kib".into(), "KiB".into()));
    }
}
