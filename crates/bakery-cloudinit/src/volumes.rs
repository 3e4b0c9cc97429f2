//! The device names that people wrote (`/dev/xvdb`) for volumes that the kernel names otherwise (`/dev/vdb`,
//! `/dev/nvme1n1`).
//!
//! A volume's disk carries its id as serial number: `vol` and 17 hexadecimal digits. Where the platform does not say
//! which volume a name means, names and disks are matched in order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bakery_host::fs;

use crate::Result;

/// A disk that is a volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Disk {
    name: String,
    serial: String,
}

fn is_volume(serial: &str) -> bool {
    let id = serial.strip_prefix("vol").map(|s| s.trim_start_matches('-'));
    id.is_some_and(|id| id.len() == 17 && id.chars().all(|c| c.is_ascii_hexdigit()))
}

fn disks() -> Vec<Disk> {
    let mut out = Vec::new();
    for path in fs::read_dir("/sys/block").unwrap_or_default() {
        let Some(name) = path.file_name().map(|n| n.to_string_lossy().into_owned()) else { continue };
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default().trim().to_owned();
        let serial = Some(read("serial")).filter(|s| !s.is_empty()).unwrap_or_else(|| read("device/serial"));
        if is_volume(&serial) {
            out.push(Disk { name, serial });
        }
    }
    out.sort();
    out
}

/// Which disk each name means; the root disk is none of them.
fn assign(
    wanted: &BTreeMap<String, Option<String>>,
    disks: &[Disk],
    root: Option<&str>,
) -> Vec<(String, String)> {
    let mut free: Vec<&Disk> = disks.iter().filter(|d| Some(d.name.as_str()) != root).collect();
    let mut out = Vec::new();
    let bare = |id: &str| id.replace('-', "");
    for (device, volume) in wanted {
        let at = match volume {
            Some(volume) => free.iter().position(|d| bare(&d.serial) == bare(volume)),
            None => (!free.is_empty()).then_some(0),
        };
        if let Some(at) = at {
            out.push((device.clone(), free.remove(at).name.clone()));
        }
    }
    out
}

fn root_disk() -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let device = fs::metadata("/").ok()?.dev();
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    let link = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let disk = if link.join("partition").exists() { link.parent()?.to_path_buf() } else { link };
    Some(disk.file_name()?.to_string_lossy().into_owned())
}

/// Waits for the volumes and links their names; what was linked. Volumes that do not come in time are left out.
pub(crate) fn link(wanted: &BTreeMap<String, Option<String>>, limit: Duration) -> Result<Vec<String>> {
    if wanted.is_empty() {
        return Ok(vec![]);
    }
    let root = root_disk();
    let started = Instant::now();
    let found = loop {
        let found = assign(wanted, &disks(), root.as_deref());
        if found.len() == wanted.len() || started.elapsed() > limit {
            break found;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let mut said = Vec::new();
    for (device, disk) in found {
        link_one(Path::new(&device), &disk)?;
        said.push(format!("{device} is /dev/{disk}"));
    }
    Ok(said)
}

fn link_one(device: &Path, disk: &str) -> Result<()> {
    let put = |link: PathBuf, target: &str| -> Result<()> {
        if link == Path::new("/dev").join(target) || link.exists() && !link.is_symlink() {
            return Ok(());
        }
        fs::remove_all(&link)?;
        Ok(fs::symlink(target, link)?)
    };
    put(device.to_path_buf(), disk)?;
    for part in fs::read_dir(format!("/sys/block/{disk}")).unwrap_or_default() {
        let number = fs::read_to_string(part.join("partition")).unwrap_or_default();
        if let (Ok(number), Some(name)) = (number.trim().parse::<u32>(), part.file_name()) {
            put(bakery_host::block::partition_path(device, number), &name.to_string_lossy())?;
        }
    }
    Ok(())
}

/// Gives `/dev/xvd*` names to volumes on platforms that say nothing: `xvdb`, `xvdc` … in order of their disks.
pub(crate) fn default_names() -> BTreeMap<String, Option<String>> {
    let root = root_disk();
    disks()
        .iter()
        .filter(|d| Some(&d.name) != root.as_ref())
        .zip('b'..='z')
        .map(|(disk, letter)| (format!("/dev/xvd{letter}"), Some(disk.serial.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_to_volumes_by_id_or_in_order_and_never_to_the_root() {
        let disk = |name: &str, serial: &str| Disk { name: name.into(), serial: serial.into() };
        let disks = [
            disk("vda", "vol00000000000000001"),
            disk("vdb", "vol00000000000000002"),
            disk("vdc", "vol00000000000000003"),
        ];
        let by_id = BTreeMap::from([("/dev/xvdb".to_owned(), Some("vol-00000000000000003".to_owned()))]);
        assert_eq!(assign(&by_id, &disks, Some("vda")), [("/dev/xvdb".to_owned(), "vdc".to_owned())]);
        let in_order = BTreeMap::from([("/dev/xvdb".to_owned(), None), ("/dev/xvdc".to_owned(), None)]);
        let found = assign(&in_order, &disks, Some("vda"));
        assert_eq!(found[0].1, "vdb");
        assert_eq!(found[1].1, "vdc");
        assert!(is_volume("vol0123456789abcdef0") && !is_volume("volume") && !is_volume(""));
    }
}
