//! Processors, memory, the firmware's tables, mounts, volumes (`facts/hardware/linux.py`).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Instant;

use bakery_host::{command::find_program, fs};
use bakery_lang::{Map, Value};

use super::{Scene, content, devices, exists, names_in};

pub(super) fn hardware(scene: &Scene<'_>) -> Map {
    let facts = Map::new();
    processors(&facts);
    memory(&facts);
    firmware(scene, &facts);
    let uptime = content("/proc/uptime").unwrap_or_default();
    let seconds: Option<f64> = uptime.split(' ').next().and_then(|s| s.parse().ok());
    facts.set("uptime_seconds", seconds.map(|seconds| seconds as u64));
    if scene.is_baking() {
        // An image has no disks yet.
        facts.set("lvm", "N/A");
        facts.set("mounts", vec![]);
        facts.set("devices", Map::new());
        return facts;
    }
    facts.extend(&devices::devices(scene));
    facts.set("lvm", volumes(scene));
    facts.set("mounts", mounts(scene));
    facts
}

fn processors(facts: &Map) {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let is_xen = exists("/proc/xen") || content("/sys/hypervisor/type").is_some_and(|kind| kind == "xen");
    let machine = rustix::system::uname().machine().to_string_lossy().into_owned();
    let counted = counted(&text, &machine, is_xen);
    facts.set("processor", Value::strings(&counted.names));
    if !counted.flags.is_empty() {
        facts.set("flags", Value::strings(&counted.flags));
    }
    facts.set("processor_count", counted.sockets);
    facts.set("processor_cores", counted.cores);
    facts.set("processor_threads_per_core", counted.threads);
    facts.set("processor_vcpus", counted.vcpus);
    let allowed = rustix::thread::sched_getaffinity(None).map(|set| set.count()).ok();
    facts.set("processor_nproc", allowed.map_or(counted.listed, |count| count as usize));
}

/// What `/proc/cpuinfo` says.
#[derive(Default)]
struct Counted {
    names: Vec<String>,
    flags: Vec<String>,
    listed: usize,
    sockets: usize,
    cores: usize,
    threads: usize,
    vcpus: usize,
}

fn set<'a>(list: &mut Vec<(&'a str, usize)>, key: &'a str, value: usize) {
    match list.iter_mut().find(|(known, _)| *known == key) {
        Some((_, held)) => *held = value,
        None => list.push((key, value)),
    }
}

/// Counts as ansible-core does, whose numbers roles divide memory by; where it rounds, it rounds to even.
fn counted(text: &str, machine: &str, is_xen: bool) -> Counted {
    let mut counted = Counted::default();
    // Physical ids and core ids, in order of appearance, with what `cpu cores` and `siblings` say.
    let (mut sockets, mut cores): (Vec<(&str, usize)>, Vec<(&str, usize)>) = (vec![], vec![]);
    let (mut socket, mut core) = ("", "");
    let (mut vendors, mut models, mut all) = (0, 0, 0);
    let (mut s390_processors, mut s390_threads) = (0, 1);
    for line in text.lines() {
        let (key, value) = line.split_once(':').map_or((line.trim(), ""), |(k, v)| (k.trim(), v.trim()));
        let number = || value.parse::<usize>().unwrap_or(0);
        match key {
            "flags" => counted.flags = value.split_whitespace().map(str::to_owned).collect(),
            "model name" | "Processor" | "vendor_id" | "cpu" | "Vendor" | "processor" => {
                counted.names.push(value.to_owned());
                vendors += usize::from(key == "vendor_id");
                models += usize::from(key == "model name");
                counted.listed += usize::from(key == "processor");
                all += 1;
            }
            "physical id" => {
                socket = value;
                if !sockets.iter().any(|(known, _)| *known == socket) {
                    sockets.push((socket, 1));
                }
            }
            "core id" => {
                core = value;
                if !sockets.iter().any(|(known, _)| *known == core) {
                    set(&mut cores, core, 1);
                }
            }
            "cpu cores" => set(&mut sockets, socket, number()),
            "siblings" => set(&mut cores, core, number()),
            "# processors" => s390_processors = number(),
            "max thread id" => s390_threads = number() + 1,
            "ncpus active" => all = number(),
            _ => {}
        }
    }
    let is_paravirtual = is_xen && !counted.flags.is_empty() && !counted.flags.iter().any(|f| f == "vme");
    if vendors > 0 && vendors == models {
        all = vendors;
    }
    if ["armv", "aarch", "ppc"].iter().any(|family| machine.starts_with(family)) {
        all = counted.listed;
    }
    let rounded = |a: usize, b: usize| (a as f64 / b.max(1) as f64).round_ties_even() as usize;
    (counted.sockets, counted.cores, counted.threads) = if machine == "s390x" {
        (1, rounded(s390_processors, s390_threads), s390_threads)
    } else if is_paravirtual {
        (all, all, 1)
    } else {
        let in_socket = sockets.first().map_or(1, |(_, cores)| (*cores).max(1));
        let count = if sockets.is_empty() { all } else { sockets.len() };
        (count, in_socket, rounded(cores.first().map_or(1, |(_, siblings)| *siblings), in_socket))
    };
    counted.vcpus = match machine {
        "s390x" => s390_processors,
        _ if is_paravirtual => all,
        _ => counted.threads * counted.sockets * counted.cores,
    };
    counted
}

fn memory(facts: &Map) {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let megabytes: HashMap<&str, i64> = text
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            Some((name, rest.split_whitespace().next()?.parse::<i64>().ok()? / 1024))
        })
        .collect();
    let of = |name: &str| megabytes.get(name).copied();
    let difference = |a: Option<i64>, b: Option<i64>| a.zip(b).map(|(a, b)| a - b);
    for (fact, name) in [
        ("memtotal_mb", "MemTotal"),
        ("memfree_mb", "MemFree"),
        ("swaptotal_mb", "SwapTotal"),
        ("swapfree_mb", "SwapFree"),
    ] {
        if let Some(value) = of(name) {
            facts.set(fact, value);
        }
    }
    let unused = of("Cached").zip(of("MemFree")).zip(of("Buffers")).map(|((a, b), c)| a + b + c);
    let group = |pairs: &[(&str, Option<i64>)]| {
        Value::map(pairs.iter().map(|(name, value)| (*name, Value::from(*value))))
    };
    let memory = Value::map([
        (
            "real",
            group(&[
                ("total", of("MemTotal")),
                ("used", difference(of("MemTotal"), of("MemFree"))),
                ("free", of("MemFree")),
            ]),
        ),
        ("nocache", group(&[("free", unused), ("used", difference(of("MemTotal"), unused))])),
        (
            "swap",
            group(&[
                ("total", of("SwapTotal")),
                ("free", of("SwapFree")),
                ("used", difference(of("SwapTotal"), of("SwapFree"))),
                ("cached", of("SwapCached")),
            ]),
        ),
    ]);
    facts.set("memory_mb", memory);
}

/// Facts, where the kernel shows them, and what dmidecode calls them.
const FIRMWARE: &[(&str, &str, &str)] = &[
    ("bios_date", "bios_date", "bios-release-date"),
    ("bios_vendor", "bios_vendor", "bios-vendor"),
    ("bios_version", "bios_version", "bios-version"),
    ("board_asset_tag", "board_asset_tag", "baseboard-asset-tag"),
    ("board_name", "board_name", "baseboard-product-name"),
    ("board_serial", "board_serial", "baseboard-serial-number"),
    ("board_vendor", "board_vendor", "baseboard-manufacturer"),
    ("board_version", "board_version", "baseboard-version"),
    ("chassis_asset_tag", "chassis_asset_tag", "chassis-asset-tag"),
    ("chassis_serial", "chassis_serial", "chassis-serial-number"),
    ("chassis_vendor", "chassis_vendor", "chassis-manufacturer"),
    ("chassis_version", "chassis_version", "chassis-version"),
    ("form_factor", "chassis_type", "chassis-type"),
    ("product_name", "product_name", "system-product-name"),
    ("product_serial", "product_serial", "system-serial-number"),
    ("product_uuid", "product_uuid", "system-uuid"),
    ("product_version", "product_version", "system-version"),
    ("system_vendor", "sys_vendor", "system-manufacturer"),
];

/// Types of chassis by their number (DMTF's System Management BIOS, 7.4.1).
const CHASSIS: &[&str] = &[
    "Unknown",
    "Other",
    "Unknown",
    "Desktop",
    "Low Profile Desktop",
    "Pizza Box",
    "Mini Tower",
    "Tower",
    "Portable",
    "Laptop",
    "Notebook",
    "Hand Held",
    "Docking Station",
    "All In One",
    "Sub Notebook",
    "Space-saving",
    "Lunch Box",
    "Main Server Chassis",
    "Expansion Chassis",
    "Sub Chassis",
    "Bus Expansion Chassis",
    "Peripheral Chassis",
    "RAID Chassis",
    "Rack Mount Chassis",
    "Sealed-case PC",
    "Multi-system",
    "CompactPCI",
    "AdvancedTCA",
    "Blade",
    "Blade Enclosure",
    "Tablet",
    "Convertible",
    "Detachable",
    "IoT Gateway",
    "Embedded PC",
    "Mini PC",
    "Stick PC",
];

fn firmware(scene: &Scene<'_>, facts: &Map) {
    let is_shown = exists("/sys/devices/virtual/dmi/id/product_name");
    // Where the firmware has no table, what cannot be said of one fact cannot be said of any, at a process each.
    let is_told =
        !is_shown && !scene.is_baking() && scene.output("dmidecode", &["-s", FIRMWARE[0].2]).is_some();
    for (fact, file, keyword) in FIRMWARE {
        let value = if scene.is_baking() {
            None
        } else if is_shown {
            let text = content(format!("/sys/devices/virtual/dmi/id/{file}"));
            text.map(|text| match (*fact, text.parse::<usize>()) {
                ("form_factor", Ok(number)) => {
                    CHASSIS.get(number).map_or_else(|| format!("unknown ({text})"), |name| (*name).to_owned())
                }
                _ => text,
            })
        } else if is_told {
            let text = scene.output("dmidecode", &["-s", keyword]);
            text.map(|text| text.lines().filter(|line| !line.starts_with('#')).collect())
        } else {
            None
        };
        facts.set(fact, value.unwrap_or_else(|| "NA".into()));
    }
}

/// LVM's groups, volumes and their devices, in GB.
fn volumes(scene: &Scene<'_>) -> Value {
    const OPTIONS: &[&str] = &["--noheadings", "--nosuffix", "--units", "g", "--separator", ","];
    if find_program("vgs").is_none() || !rustix::process::getuid().is_root() {
        return "N/A".into();
    }
    // Each of the programs looks at every device, and takes its time for that.
    let said = |program: &'static str| move || scene.output(program, OPTIONS).unwrap_or_default();
    let [groups, logical, physical] = if has_lvm_labels() {
        std::thread::scope(|threads| {
            let begun = ["vgs", "lvs", "pvs"].map(|program| threads.spawn(said(program)));
            begun.map(|thread| thread.join().unwrap_or_default())
        })
    } else {
        Default::default()
    };
    let table = |text: &str, columns: &[(&str, usize)]| {
        let rows = text.lines().map(|line| line.trim().split(',').collect::<Vec<_>>());
        let rows = rows.filter(|cells| cells.len() > 1).map(|cells| {
            let cell = |at: usize| Value::from(cells.get(at).copied().unwrap_or_default());
            let name = match cells[0].strip_prefix("/dev/dm-") {
                Some(_) => mapped(cells[0]),
                None => cells[0].to_owned(),
            };
            (name, Value::map(columns.iter().map(|(name, at)| (*name, cell(*at)))))
        });
        Value::map(rows)
    };
    Value::map([
        ("vgs", table(&groups, &[("size_g", 5), ("free_g", 6), ("num_lvs", 2), ("num_pvs", 1)])),
        ("lvs", table(&logical, &[("size_g", 3), ("vg", 1)])),
        ("pvs", table(&physical, &[("size_g", 4), ("free_g", 5), ("vg", 1)])),
    ])
}

/// Whether any device here may be one of LVM's: those have a label in one of their first four sectors.
fn has_lvm_labels() -> bool {
    use std::io::Read as _;
    let is_labelled = |device: &PathBuf| {
        if content(device.join("size")).is_none_or(|sectors| sectors.trim() == "0") {
            return false;
        }
        let name = device.file_name().unwrap_or_default();
        let mut start = [0; 4 * 512];
        let file = fs::open(PathBuf::from("/dev").join(name)).ok();
        // What cannot be read here, LVM's programs cannot read either.
        let is_read = file.is_some_and(|mut file| file.read(&mut start).is_ok());
        is_read && start.chunks(512).any(|sector| sector.starts_with(b"LABELONE"))
    };
    fs::read_dir("/sys/class/block").is_ok_and(|devices| devices.iter().any(is_labelled))
}

/// The name under `/dev/mapper` of a device `/dev/dm-N`.
fn mapped(device: &str) -> String {
    let name = content(format!("/sys/block/{}/dm/name", device.trim_start_matches("/dev/")));
    name.map_or_else(|| device.to_owned(), |name| format!("/dev/mapper/{name}"))
}

/// File systems on devices and servers. Servers that do not answer cost the patience of all together once.
fn mounts(scene: &Scene<'_>) -> Vec<Value> {
    let text = fs::read_to_string("/etc/mtab").or_else(|_| fs::read_to_string("/proc/mounts"));
    let bound = bind_mounts();
    let uuids = uuids(scene);
    let mut asked = Vec::new();
    for line in text.unwrap_or_default().lines() {
        let fields: Vec<String> = line.split_whitespace().map(unescaped).collect();
        let [device, mount, fstype, options, rest @ ..] = fields.as_slice() else { continue };
        if !device.starts_with(['/', '\\']) && !device.contains(":/") || fstype == "none" {
            continue;
        }
        let number = |at: usize| rest.get(at).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        let bind = if bound.contains(mount) { ",bind" } else { "" };
        let info = Map::from_iter([
            ("mount", Value::from(mount)),
            ("device", device.into()),
            ("fstype", fstype.into()),
            ("options", format!("{options}{bind}").into()),
            ("dump", number(0).into()),
            ("passno", number(1).into()),
        ]);
        let resolved = fs::canonicalize(device).unwrap_or_else(|_| PathBuf::from(device));
        let uuid = uuids.get(&resolved).cloned();
        let (sender, receiver) = mpsc::channel();
        let place = mount.clone();
        // A thread that hangs is left behind: nothing can end it.
        let began = std::thread::Builder::new().stack_size(64 * 1024).spawn(move || {
            let _ = sender.send(rustix::fs::statvfs(place.as_str()));
        });
        asked.push((info, uuid, began.is_ok().then_some(receiver)));
    }
    let until = Instant::now() + scene.patience;
    let mut mounts = Vec::new();
    for (info, uuid, receiver) in asked {
        let left = until.saturating_duration_since(Instant::now());
        match receiver.map(|receiver| receiver.recv_timeout(left)) {
            Some(Ok(size)) => {
                if let Ok(size) = size {
                    add_size(&info, &size);
                }
                info.set("uuid", uuid.unwrap_or_else(|| "N/A".into()));
            }
            _ => {
                let mount = info.get("mount").unwrap_or_default();
                scene.warn(format!("Timeout exceeded when getting mount info for {mount}"));
                info.set("note", "Could not get extra information due to timeout");
            }
        }
        mounts.push(info.into());
    }
    mounts
}

/// What a file system has of room.
pub(crate) fn add_size(info: &Map, size: &rustix::fs::StatVfs) {
    info.set("size_total", size.f_frsize * size.f_blocks);
    info.set("size_available", size.f_frsize * size.f_bavail);
    info.set("block_size", size.f_bsize);
    info.set("block_total", size.f_blocks);
    info.set("block_available", size.f_bavail);
    info.set("block_used", size.f_blocks.saturating_sub(size.f_bavail));
    info.set("inode_total", size.f_files);
    info.set("inode_available", size.f_favail);
    info.set("inode_used", size.f_files.saturating_sub(size.f_favail));
}

/// `\040` and the like, as the kernel writes white space in names.
pub(crate) fn unescaped(field: &str) -> String {
    let mut out = String::new();
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        let (c, length) = code.map_or(('\\', 1), |code| (char::from(code), 4));
        out.push(c);
        rest = &rest[at + length..];
    }
    out + rest
}

/// Places where not the root of a file system is mounted: what findmnt(8) shows with `[folder]`.
fn bind_mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            (fields.get(3).is_some_and(|root| *root != "/")).then(|| unescaped(fields[4]))
        })
        .collect()
}

/// Devices and the ids of their file systems: udev's links, or what lsblk(8) finds where no udev runs.
fn uuids(scene: &Scene<'_>) -> HashMap<PathBuf, String> {
    let folder = "/dev/disk/by-uuid";
    let linked: HashMap<PathBuf, String> = names_in(folder)
        .into_iter()
        .filter_map(|uuid| Some((fs::canonicalize(format!("{folder}/{uuid}")).ok()?, uuid)))
        .collect();
    if !linked.is_empty() {
        return linked;
    }
    let options = ["--list", "--noheadings", "--paths", "--output", "NAME,UUID", "--exclude", "2"];
    let text = scene.output("lsblk", &options).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (device, uuid) = line.trim().rsplit_once(char::is_whitespace)?;
            let device = device.trim();
            Some((fs::canonicalize(device).unwrap_or_else(|_| device.into()), uuid.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{counted, unescaped};

    #[test]
    fn processors_are_counted_as_ansible_counts_them() {
        let one = |id: usize, socket: usize, core: usize| {
            format!(
                "processor\t: {id}\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon\nphysical id\t: {socket}\nsiblings\t: 4\ncore id\t\t: {core}\ncpu cores\t: 2\nflags\t\t: fpu vme\n\n"
            )
        };
        let text: String = (0..8).map(|id| one(id, id / 4, id % 2)).collect();
        let found = counted(&text, "x86_64", false);
        assert_eq!((found.sockets, found.cores, found.threads, found.vcpus), (2, 2, 2, 8));
        assert_eq!(found.names[..3], ["0", "GenuineIntel", "Xeon"]);
        let arm: String = (0..4).map(|id| format!("processor\t: {id}\nBogoMIPS\t: 50\n\n")).collect();
        let found = counted(&arm, "aarch64", false);
        assert_eq!((found.sockets, found.cores, found.threads, found.vcpus), (4, 1, 1, 4));
    }

    #[test]
    fn names_of_mounts_are_read() {
        assert_eq!(unescaped("/mnt/a\\040b\\134c"), "/mnt/a b\\c");
        assert_eq!(unescaped("plain"), "plain");
    }
}
