//! Disks and their partitions, out of `/sys/block` (`facts/hardware/linux.py`, `get_device_facts`).

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use bakery_host::{command::find_program, fs};
use bakery_lang::{Map, Value, units};

use super::{Scene, content, exists, names_in};

/// Devices and the names of links that lead to them.
type Links = BTreeMap<String, BTreeSet<String>>;

pub(super) fn devices(scene: &Scene<'_>) -> Map {
    let links = [
        ("ids", links_in("/dev/disk/by-id")),
        ("uuids", links_in("/dev/disk/by-uuid")),
        ("labels", links_in("/dev/disk/by-label")),
        ("masters", masters()),
    ];
    let pci = OnceCell::new();
    let devices = Map::new();
    for name in names_in("/sys/block") {
        devices.set(&name, device(scene, &name, &links, &pci));
    }
    let shown = Value::map(links.iter().map(|(kind, links)| {
        (*kind, Value::map(links.iter().map(|(name, values)| (name, Value::strings(values)))))
    }));
    Map::from_iter([("devices", Value::from(devices)), ("device_links", shown)])
}

fn links_in(folder: &str) -> Links {
    let mut links = Links::new();
    for name in names_in(folder) {
        let target = fs::read_link(format!("{folder}/{name}")).ok();
        if let Some(target) = target.as_deref().and_then(|target| target.file_name()) {
            links.entry(target.to_string_lossy().into_owned()).or_default().insert(name);
        }
    }
    links
}

/// Devices and those that are made of them.
fn masters() -> Links {
    let mut links = Links::new();
    for master in names_in("/sys/block") {
        for part in names_in(format!("/sys/block/{master}/slaves")) {
            links.entry(part).or_default().insert(master.clone());
        }
    }
    links
}

fn links_of(name: &str, links: &[(&'static str, Links)]) -> Value {
    Value::map(
        links
            .iter()
            .map(|(kind, links)| (*kind, links.get(name).map_or_else(|| vec![].into(), Value::strings))),
    )
}

/// Mapped devices on top of a device.
fn holders(folder: &str) -> Value {
    let names = names_in(format!("{folder}/holders")).into_iter().filter(|name| name.starts_with("dm-"));
    Value::strings(names.map(|name| content(format!("{folder}/holders/{name}/dm/name")).unwrap_or(name)))
}

/// Sets `sectors`, `sectorsize` and `size`. The kernel counts in 512 bytes whatever the sector is.
fn set_size(facts: &Map, folder: &str, unknown: impl Into<Value>) {
    let sector = content(format!("{folder}/queue/logical_block_size"))
        .or_else(|| content(format!("{folder}/queue/hw_sector_size")));
    let bytes = sector.as_deref().and_then(|text| text.parse::<u64>().ok()).filter(|n| *n > 0).unwrap_or(512);
    let units = content(format!("{folder}/size")).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let sectors = units * 512 / bytes;
    facts.set("sectorsize", sector.map_or_else(|| unknown.into(), Value::from));
    facts.set("sectors", sectors);
    facts.set("size", units::human((sectors * bytes) as f64, false, None));
}

fn device(scene: &Scene<'_>, name: &str, links: &[(&'static str, Links)], pci: &OnceCell<String>) -> Map {
    let folder = format!("/sys/block/{name}");
    let read = |file: &str| content(format!("{folder}/{file}"));
    let facts = Map::new();
    facts.set("virtual", 1);
    facts.set("links", links_of(name, links));
    for key in ["vendor", "model", "sas_address", "sas_device_handle"] {
        facts.set(key, read(&format!("device/{key}")));
    }
    if let Some(serial) = serial(scene, name, &folder) {
        facts.set("serial", serial);
    }
    facts.set("removable", read("removable"));
    let discards = read("queue/discard_max_hw_bytes").is_none_or(|bytes| bytes != "0");
    facts.set(
        "support_discard",
        if discards { read("queue/discard_granularity") } else { Some("0".to_owned()) },
    );
    let ids = links.first().and_then(|(_, ids)| ids.get(name));
    if let Some(wwn) = ids.and_then(|ids| ids.iter().find_map(|id| id.strip_prefix("wwn-"))) {
        facts.set("wwn", wwn);
    }
    let partitions = Map::new();
    for part in names_in(&folder) {
        let number = part.strip_prefix(name).map(|rest| rest.strip_prefix('p').unwrap_or(rest));
        if number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())) {
            partitions.set(&part, partition(&part, &format!("{folder}/{part}"), links));
        }
    }
    facts.set("partitions", partitions);
    facts.set("rotational", read("queue/rotational"));
    let scheduler = read("queue/scheduler").unwrap_or_default();
    let chosen = scheduler.split_once('[').and_then(|(_, rest)| Some(rest.split_once(']')?.0));
    facts.set("scheduler_mode", chosen.unwrap_or_default());
    set_size(&facts, &folder, "512");
    facts.set("host", controller(scene, &folder, pci));
    facts.set("holders", holders(&folder));
    facts
}

fn partition(name: &str, folder: &str, links: &[(&'static str, Links)]) -> Map {
    let facts = Map::new();
    facts.set("links", links_of(name, links));
    facts.set("start", content(format!("{folder}/start")).map_or_else(|| 0.into(), Value::from));
    set_size(&facts, folder, 512);
    let uuids = links.iter().find(|(kind, _)| *kind == "uuids").and_then(|(_, uuids)| uuids.get(name));
    facts.set("uuid", uuids.and_then(|uuids| uuids.first()).cloned());
    facts.set("holders", holders(folder));
    facts
}

/// A disk's serial number: sg_inq's where that is installed, else the kernel's.
fn serial(scene: &Scene<'_>, name: &str, folder: &str) -> Option<String> {
    if find_program("sg_inq").is_none() {
        return content(format!("{folder}/device/serial"));
    }
    let text = scene.output("sg_inq", &[&format!("/dev/{name}")])?;
    let (_, rest) = text.split_once("erial number:")?;
    let word: String = rest.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    Some(word).filter(|word| !word.is_empty())
}

/// What lspci calls the controller that a disk hangs on.
fn controller(scene: &Scene<'_>, folder: &str, pci: &OnceCell<String>) -> String {
    let path = fs::read_link(folder).map(|path| path.display().to_string()).unwrap_or_default();
    let is_address = |word: &&str| {
        let parts: Vec<&str> = word.split([':', '.']).collect();
        matches!(parts.as_slice(), [domain, bus, slot, function]
            if domain.len() == 4 && bus.len() == 2 && slot.len() == 2 && function.len() == 1)
            && word.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.')
    };
    let Some(address) = path.split('/').rfind(is_address) else { return String::new() };
    if !exists("/proc/bus/pci") {
        return String::new();
    }
    let listed = pci.get_or_init(|| scene.output("lspci", &["-D"]).unwrap_or_default());
    let line = listed.lines().find_map(|line| line.strip_prefix(address)?.strip_prefix(' '));
    line.unwrap_or_default().to_owned()
}
