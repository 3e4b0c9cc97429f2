//! `lvol`: logical volumes of LVM, snapshots and thin pools. Nothing is removed or made smaller without `force`.

use bakery_macros::ModuleArgs;

use super::command::split_line;
use crate::lvm::{change, field, is_active, report};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Makes, resizes, activates and removes logical volumes of LVM.
#[derive(ModuleArgs)]
#[args(one_of = "lv,thinpool")]
struct Args {
    /// The volume group.
    #[arg(required)]
    vg: String,
    /// The logical volume.
    lv: Option<String>,
    /// Its size: `512`, in megabytes, or with a unit of `bskmgtpe`; `80%VG`, `50%FREE`, `20%PVS`, `30%ORIGIN`; with `+` or
    /// `-` before it relative to what it has.
    size: Option<String>,
    /// Further options for lvcreate.
    opts: Option<String>,
    /// Whether it shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// Whether it may be removed or made smaller.
    force: bool,
    /// Whether it is made smaller where it is larger than the size.
    #[arg(default = "true")]
    shrink: bool,
    /// Whether it is active.
    #[arg(default = "true")]
    active: bool,
    /// A snapshot of `lv` to make.
    snapshot: Option<String>,
    /// Devices that it is put on.
    pvs: Option<Vec<String>>,
    /// Whether its file system grows and shrinks with it.
    resizefs: bool,
    /// The thin pool to make, or that `lv` is in.
    thinpool: Option<String>,
}

/// What `size` says.
#[derive(Debug, PartialEq)]
struct Size {
    /// `+` or `-`, if it is relative to what there is.
    operator: Option<char>,
    /// The number, as it was written.
    number: String,
    /// What it is a percentage of.
    whole: Option<String>,
    /// The unit, one letter.
    unit: char,
}

impl Size {
    fn read(text: &str, is_snapshot: bool) -> Result<Self, Failure> {
        let operator = text.chars().next().filter(|c| matches!(c, '+' | '-'));
        let text = &text[operator.map_or(0, char::len_utf8)..];
        let bad = || Failure::new(format!("Bad size specification of '{text}'"));
        if let Some((number, whole)) = text.split_once('%') {
            let percent: i64 = number.trim().parse().map_err(|_| bad())?;
            if percent > 100 {
                return Err("Size percentage cannot be larger than 100%".into());
            }
            if whole == "ORIGIN" && !is_snapshot {
                return Err("Percentage of ORIGIN supported only for snapshot volumes".into());
            }
            if !["VG", "PVS", "FREE", "ORIGIN"].contains(&whole) {
                return Err("Specify extents as a percentage of VG|PVS|FREE|ORIGIN".into());
            }
            return Ok(Self {
                operator,
                number: percent.to_string(),
                whole: Some(whole.to_owned()),
                unit: 'm',
            });
        }
        let unit = text.chars().next_back().filter(|c| "bskmgtpe".contains(c.to_ascii_lowercase()));
        let number = text.strip_suffix(|c| Some(c) == unit).unwrap_or(text);
        if !number.starts_with(|c: char| c.is_ascii_digit()) || number.parse::<f64>().is_err() {
            return Err(bad());
        }
        Ok(Self { operator, number: number.to_owned(), whole: None, unit: unit.unwrap_or('m') })
    }

    fn number(&self) -> f64 {
        self.number.parse().unwrap_or_default()
    }

    /// As commands are told it: the option, and its value without the operator.
    fn words(&self) -> (&'static str, String) {
        match &self.whole {
            Some(whole) => ("-l", format!("{}%{whole}", self.number)),
            None => ("-L", format!("{}{}", self.number, self.unit)),
        }
    }
}

/// A logical volume as lvs shows it.
#[derive(Debug, Clone)]
struct Volume {
    name: String,
    size: f64,
    attributes: String,
}

impl Volume {
    fn is_a(&self, kind: char) -> bool {
        self.attributes.starts_with(kind)
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    let size = args.size.as_deref().filter(|size| !size.is_empty());
    let size = size.map(|text| Size::read(text, args.snapshot.is_some())).transpose()?;
    let unit = size.as_ref().map_or('m', |size| size.unit).to_ascii_lowercase().to_string();
    let words = ["--nosuffix", "--units", &unit, &args.vg];
    let found = report(host, "vgs", "vg_name,size,free,vg_extent_size", &words)?;
    let volumes = report(host, "lvs", "lv_name,size,lv_attr", &[&["-a"][..], &words].concat())?;
    let (Some(group), Some(volumes)) = (found.rows(), volumes.rows()) else {
        let message = format!("Volume group {} does not exist.", args.vg);
        return match args.state.as_str() {
            "absent" => Ok(Outcome::unchanged().with("stdout", message)),
            _ => Err(found.failure(message)),
        };
    };
    let group = group.first().cloned().unwrap_or_default();
    let volumes: Vec<Volume> = volumes
        .iter()
        .map(|row| Volume {
            name: field(row, 0).replace(['[', ']'], ""),
            size: field(row, 1).parse().unwrap_or_default(),
            attributes: field(row, 2).to_owned(),
        })
        .collect();
    let wanted = which(&args, &volumes)?;
    let found = volumes.iter().find(|v| v.name == wanted || wanted.rsplit('/').next() == Some(&v.name));
    match (found, args.state.as_str()) {
        (None, "absent") => Ok(Outcome::unchanged().msg("")),
        (None, _) => {
            create(&args, host, &volumes, size.as_ref())?;
            Ok(Outcome::changed(true).msg(""))
        }
        (Some(volume), "absent") => remove(&args, host, volume),
        (Some(volume), _) => {
            let resized = match &size {
                None => Resized::No,
                Some(size) => resize(&args, host, volume, size, &group)?,
            };
            if let Resized::Already(message) = resized {
                let outcome = of(&args, volume, false);
                return Ok(message.into_iter().fold(outcome, Outcome::msg));
            }
            let is_on = is_active(&volume.attributes);
            let flag = if args.active { "-ay" } else { "-an" };
            let argv = ["lvchange", flag, &format!("{}/{}", args.vg, volume.name)].map(str::to_owned);
            let verb = if args.active { "activate" } else { "deactivate" };
            // In check mode nothing is activated; ansible-core's module does it nevertheless. Of a snapshot that is as it
            // shall be, lvchange(8) would ask.
            if !host.check && is_on != args.active {
                let name = args.lv.as_deref().unwrap_or("None");
                change(host, &argv, || format!("Failed to {verb} logical volume {name}"))?;
            }
            Ok(of(&args, volume, is_on != args.active || matches!(resized, Resized::Yes)))
        }
    }
}

fn of(args: &Args, volume: &Volume, changed: bool) -> Outcome {
    let size = bakery_lang::Value::from(volume.size);
    Outcome::changed(changed).with("vg", args.vg.as_str()).with("lv", volume.name.as_str()).with("size", size)
}

/// The name of the volume that is meant: the snapshot, the volume, or the pool.
fn which<'a>(args: &'a Args, volumes: &[Volume]) -> Result<&'a str, Failure> {
    let (lv, pool) = (args.lv.as_deref(), args.thinpool.as_deref());
    let is_there = |name: Option<&str>| volumes.iter().find(|v| Some(v.name.as_str()) == name);
    if let Some(snapshot) = args.snapshot.as_deref() {
        let Some(origin) = is_there(lv).or_else(|| is_there(pool)) else {
            let (lv, vg) = (lv.unwrap_or("None"), &args.vg);
            let message = format!("Snapshot origin LV {lv} does not exist in volume group {vg}.");
            return Err(Failure::new(message));
        };
        if origin.is_a('t') || pool.is_some() {
            return Err("Snapshots of thin pool LVs are not supported.".into());
        }
        return Ok(snapshot);
    }
    if let (Some(pool), Some(_)) = (pool, lv)
        && is_there(Some(pool)).is_none()
    {
        let message = format!("Thin pool LV {pool} does not exist in volume group {}.", args.vg);
        return Err(Failure::new(message));
    }
    Ok(lv.or(pool).unwrap_or_default())
}

fn create(args: &Args, host: &Host, volumes: &[Volume], size: Option<&Size>) -> Result<(), Failure> {
    let lv = args.lv.as_deref();
    if let Some(size) = size.filter(|size| size.operator == Some('-')) {
        let told = size.words().1;
        return Err(Failure::new(format!("Bad size specification of '-{told}' for creating LV")));
    }
    // The snapshot of a thin volume has room in the pool.
    let is_thin = |v: &Volume| Some(v.name.as_str()) == lv && v.is_a('V');
    if size.is_none() && !(args.snapshot.is_some() && volumes.iter().any(is_thin)) {
        return Err("No size given.".into());
    }
    let mut argv = vec!["lvcreate".to_owned()];
    argv.extend(host.check.then(|| "--test".to_owned()));
    argv.push("--yes".to_owned());
    let opts = split_line(args.opts.as_deref().unwrap_or_default())?;
    let mut told = size.map(Size::words);
    let vg = &args.vg;
    let name = |name: &str| ["-n".to_owned(), name.to_owned()];
    let (front, back) = match (&args.snapshot, &args.thinpool) {
        (Some(snapshot), _) => {
            let front = [vec!["-s".to_owned()], name(snapshot).to_vec()].concat();
            (front, vec![format!("{vg}/{}", lv.unwrap_or_default())])
        }
        (None, Some(pool)) => {
            if let (Some(_), Some((option, _))) = (lv, &mut told) {
                if *option == "-l" {
                    return Err("Thin volume sizing with percentage not supported.".into());
                }
                *option = "-V";
            }
            let mut back = vec!["-T".to_owned(), format!("{vg}/{pool}")];
            back.extend(args.pvs.iter().flatten().filter(|_| lv.is_none()).cloned());
            (lv.map(name).into_iter().flatten().collect(), back)
        }
        (None, None) => {
            let places = args.pvs.clone().unwrap_or_default();
            (lv.map(name).into_iter().flatten().collect(), [vec![vg.clone()], places].concat())
        }
    };
    argv.extend(front);
    argv.extend(told.into_iter().flat_map(|(option, value)| [option.to_owned(), value]));
    argv.extend(opts.into_iter().chain(back));
    change(host, &argv, || format!("Creating logical volume '{}' failed", lv.unwrap_or("None")))
}

fn remove(args: &Args, host: &Host, volume: &Volume) -> Run {
    let name = &volume.name;
    if !args.force {
        return Err(Failure::new(format!("Sorry, no removal of logical volume {name} without force=true.")));
    }
    let mut argv = vec!["lvremove".to_owned()];
    argv.extend(host.check.then(|| "--test".to_owned()));
    argv.extend(["--force".to_owned(), format!("{}/{name}", args.vg)]);
    change(host, &argv, || format!("Failed to remove logical volume {name}"))?;
    Ok(Outcome::changed(true))
}

/// What became of a volume's size.
enum Resized {
    Yes,
    No,
    /// The command says that there was nothing to do, and perhaps why.
    Already(Option<String>),
}

/// The command that brings a volume to its size, if one must.
fn tool(
    args: &Args,
    volume: &Volume,
    size: &Size,
    group: &[String],
) -> Result<Option<&'static str>, Failure> {
    let name = &volume.name;
    let number = |at: usize| field(group, at).parse::<f64>().unwrap_or_default();
    let (grows, shrinks, dot) = match &size.whole {
        None => {
            let (wanted, operator) = (size.number(), size.operator);
            let shrinks = args.shrink && wanted < volume.size || operator == Some('-');
            if operator != Some('+') && wanted <= volume.size && shrinks && wanted == 0.0 {
                return Err(Failure::new(format!("Sorry, no shrinking of {name} to 0 permitted.")));
            }
            (wanted > volume.size || operator == Some('+'), shrinks, ".")
        }
        Some(whole) => {
            let (of_group, free, extent) = (number(1), number(2), number(3));
            let whole = if matches!(whole.as_str(), "VG" | "PVS") { of_group } else { free };
            let share = size.number() * whole / 100.0;
            let wanted = match size.operator {
                Some('+') => share + volume.size,
                Some(_) => volume.size - share,
                None => share,
            };
            // All tools round down.
            let wanted = wanted - wanted.rem_euclid(extent);
            let grows = volume.size < wanted;
            if grows && !(free > 0.0 && free >= wanted - volume.size) {
                let more = wanted - volume.size;
                return Err(Failure::new(format!(
                    "Logical Volume {name} could not be extended. Not enough free space left ({more}m required / {free}m available)"
                )));
            }
            // More than an extent too large.
            let shrinks = args.shrink && volume.size > wanted + extent;
            if !grows && shrinks && wanted < 1.0 {
                return Err(Failure::new(format!("Sorry, no shrinking of {name} to 0 permitted.")));
            }
            (grows, shrinks, "")
        }
    };
    match (grows, shrinks) {
        (true, _) => Ok(Some("lvextend")),
        (false, true) if args.force => Ok(Some("lvreduce")),
        (false, true) => Err(Failure::new(format!("Sorry, no shrinking of {name} without force=true{dot}"))),
        (false, false) => Ok(None),
    }
}

fn resize(
    args: &Args,
    host: &Host,
    volume: &Volume,
    size: &Size,
    group: &[String],
) -> Result<Resized, Failure> {
    let Some(tool) = tool(args, volume, size, group)? else { return Ok(Resized::No) };
    let (option, told) = size.words();
    let mut argv = vec![tool.to_owned()];
    argv.extend((tool == "lvreduce").then(|| "--force".to_owned()));
    argv.extend(args.resizefs.then(|| "--resizefs".to_owned()));
    argv.extend(host.check.then(|| "--test".to_owned()));
    let operator = size.operator.map(String::from).unwrap_or_default();
    argv.extend([option.to_owned(), format!("{operator}{told}"), format!("{}/{}", args.vg, volume.name)]);
    argv.extend(args.pvs.iter().flatten().cloned());
    let output = host.try_run(&argv)?;
    let said = output.text() + &output.error_text();
    if output.success() && !said.contains("Reached maximum COW size") {
        return Ok(Resized::Yes);
    }
    if said.contains("matches existing size") {
        return Ok(Resized::Already(None));
    }
    if said.contains("not larger than existing size") {
        return Ok(Resized::Already(Some("Original size is larger than requested size".into())));
    }
    let name = args.lv.as_deref().unwrap_or("None");
    Err(Failure::new(format!("Unable to resize {name} to {told}"))
        .with("rc", output.code)
        .with("err", output.error_text()))
}

module!("lvol", "community.general", Args, run);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_the_community_module_reads_them() {
        let read =
            |text: &str| Size::read(text, false).map(|size| (size.operator, size.words().1, size.unit));
        let is = |text: &str, operator, told: &str, unit| {
            assert_eq!(read(text).expect(text), (operator, told.to_owned(), unit));
        };
        is("512", None, "512m", 'm');
        is("1.5G", None, "1.5G", 'G');
        is("+10%FREE", Some('+'), "10%FREE", 'm');
        is("-2g", Some('-'), "2g", 'g');
        for bad in ["", "x", "1x", "120%VG", "10%", "10%ORIGIN", "g"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
