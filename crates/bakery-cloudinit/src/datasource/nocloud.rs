//! NoCloud: files `user-data` and `meta-data` in a seed folder, or on a disk labelled `cidata`.

use std::path::{Path, PathBuf};

use bakery_host::{block, fs, namespace};
use bakery_lang::yaml;

use super::Instance;
use crate::Result;

/// Reads the seed folder.
pub(super) fn seed(root: &Path) -> Result<Option<Instance>> {
    for name in ["nocloud", "nocloud-net"] {
        let folder = root.join(name);
        if folder.join("user-data").exists() && folder.join("meta-data").exists() {
            return read(&folder).map(Some);
        }
    }
    Ok(None)
}

fn read(folder: &Path) -> Result<Instance> {
    let meta = yaml::parse_data("meta-data", &fs::read_to_string(folder.join("meta-data"))?)?;
    let text = |name: &str| meta.get(name).map(|v| v.to_string());
    let keys = meta.get("public-keys").or_else(|| meta.get("public_keys"));
    Ok(Instance {
        datasource: "NoCloud",
        id: text("instance-id").unwrap_or_else(|| "nocloud".into()),
        is_local: false,
        hostname: text("local-hostname").or_else(|| text("hostname")),
        public_keys: keys
            .map(|k| k.as_items().unwrap_or_else(|| vec![k]))
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect(),
        volumes: std::collections::BTreeMap::new(),
        user_data: fs::read(folder.join("user-data"))?,
    })
}

/// Reads a disk or partition labelled `cidata`; removable disks included, the root disk not.
pub(super) fn disk() -> Result<Option<Instance>> {
    let Some(device) = find_label() else { return Ok(None) };
    let target = PathBuf::from("/run/bakery/cidata");
    fs::create_dir_all(&target)?;
    let fstype = block::signature(&device)?.unwrap_or("iso9660");
    block::mount(&device, &target, fstype, "", true)?;
    let instance = read(&target);
    namespace::detach(&target)?;
    instance.map(Some)
}

fn find_label() -> Option<PathBuf> {
    let mut names = Vec::new();
    for disk in fs::read_dir("/sys/block").ok()? {
        let name = disk.file_name()?.to_string_lossy().into_owned();
        if name.starts_with("loop") || name.starts_with("ram") || name.starts_with("fd") {
            continue;
        }
        for part in fs::read_dir(&disk).unwrap_or_default() {
            if part.join("partition").exists() {
                names.extend(part.file_name().map(|n| n.to_string_lossy().into_owned()));
            }
        }
        names.push(name);
    }
    names
        .into_iter()
        .map(|name| PathBuf::from("/dev").join(name))
        .find(|device| block::label(device).is_some_and(|l| l.eq_ignore_ascii_case("cidata")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_folder_is_read_and_an_incomplete_one_ignored() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("nocloud");
        fs::create_dir_all(&folder).expect("made");
        fs::write_atomic(folder.join("user-data"), "#cloud-config\n").expect("written");
        assert_eq!(seed(root.path()).expect("reads"), None);
        fs::write_atomic(folder.join("meta-data"), "instance-id: i-1\nlocal-hostname: h\n").expect("written");
        let instance = seed(root.path()).expect("reads").expect("is there");
        assert_eq!((instance.id.as_str(), instance.hostname.as_deref()), ("i-1", Some("h")));
    }
}
