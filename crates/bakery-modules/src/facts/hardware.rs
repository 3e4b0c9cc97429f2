//! Processor, memory, mounts and block devices.

use bakery_host::fs;
use bakery_lang::{Map, Value};

use crate::{Host, Phase};

pub(super) fn add(host: &Host, facts: &Map) {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let count = cpuinfo.lines().filter(|l| l.starts_with("processor")).count().max(1);
    let mut processor = Vec::new();
    for line in cpuinfo.lines() {
        if let Some((key, value)) = line.split_once(':')
            && matches!(key.trim(), "processor" | "vendor_id" | "model name")
        {
            processor.push(Value::from(value.trim()));
        }
    }
    facts.set("ansible_processor", processor);
    facts.set("ansible_processor_count", 1);
    facts.set("ansible_processor_cores", count);
    facts.set("ansible_processor_threads_per_core", 1);
    facts.set("ansible_processor_vcpus", count);
    facts.set("ansible_processor_nproc", count);
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mb = |name: &str| {
        meminfo
            .lines()
            .find_map(|l| l.strip_prefix(&format!("{name}:"))?.split_whitespace().next()?.parse::<u64>().ok())
            .map_or(0, |kb| kb / 1024)
    };
    facts.set("ansible_memtotal_mb", mb("MemTotal"));
    facts.set("ansible_memfree_mb", mb("MemFree"));
    facts.set("ansible_swaptotal_mb", mb("SwapTotal"));
    facts.set("ansible_swapfree_mb", mb("SwapFree"));
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds: f64 = uptime.split_whitespace().next().and_then(|s| s.parse().ok()).unwrap_or(0.0);
    facts.set("ansible_uptime_seconds", seconds as u64);
    if host.phase == Phase::Bake {
        facts.set("ansible_mounts", vec![]);
        facts.set("ansible_devices", Map::new());
        return;
    }
    facts.set("ansible_mounts", mounts());
    facts.set("ansible_devices", devices());
}

fn mounts() -> Vec<Value> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let [device, mount, fstype, options, ..] = fields.as_slice() else { return None };
            if !device.starts_with('/') && !device.contains(":/") {
                return None;
            }
            let map = Map::new();
            map.set("device", *device);
            map.set("mount", mount.replace("\\040", " "));
            map.set("fstype", *fstype);
            map.set("options", *options);
            if let Ok(stat) = rustix::fs::statvfs(*mount) {
                map.set("size_total", stat.f_blocks * stat.f_frsize);
                map.set("size_available", stat.f_bavail * stat.f_frsize);
                map.set("block_size", stat.f_bsize);
                map.set("block_total", stat.f_blocks);
                map.set("block_available", stat.f_bavail);
                map.set("inode_total", stat.f_files);
                map.set("inode_available", stat.f_favail);
            }
            Some(map.into())
        })
        .collect()
}

fn devices() -> Map {
    let devices = Map::new();
    for path in fs::read_dir("/sys/block").unwrap_or_default() {
        let Some(name) = path.file_name().map(|n| n.to_string_lossy().into_owned()) else { continue };
        if name.starts_with("ram") {
            continue;
        }
        let read =
            |file: &str| fs::read_to_string(path.join(file)).map(|s| s.trim().to_owned()).unwrap_or_default();
        let partitions = Map::new();
        for part in fs::read_dir(&path).unwrap_or_default() {
            let Some(part_name) = part.file_name().map(|n| n.to_string_lossy().into_owned()) else {
                continue;
            };
            if part_name.starts_with(&name) && part.join("partition").exists() {
                let read = |file: &str| {
                    fs::read_to_string(part.join(file)).map(|s| s.trim().to_owned()).unwrap_or_default()
                };
                partitions.set(
                    &part_name,
                    Value::map([("sectors", Value::from(read("size"))), ("start", read("start").into())]),
                );
            }
        }
        devices.set(
            &name,
            Value::map([
                ("sectors", Value::from(read("size"))),
                ("removable", read("removable").into()),
                ("rotational", read("queue/rotational").into()),
                ("serial", read("serial").into()),
                ("partitions", partitions.into()),
            ]),
        );
    }
    devices
}
