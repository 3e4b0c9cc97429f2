//! Access control, capabilities, keys (`facts/system/{selinux,apparmor,caps,chroot,fips,ssh_pub_keys}.py`).

use std::os::unix::fs::MetadataExt as _;

use bakery_host::fs;
use bakery_lang::{Map, Value};

use super::{Scene, content, exists};

/// SELinux as the kernel and `/etc/selinux/config` say; no library is needed for that.
pub(super) fn selinux(_: &Scene<'_>) -> Map {
    let selinux = Map::new();
    if exists("/sys/fs/selinux/enforce") {
        let config = fs::read_to_string("/etc/selinux/config").unwrap_or_default();
        let configured = |name: &str| {
            let found = config.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
            found.map_or_else(|| "unknown".to_owned(), |value| value.trim().to_lowercase())
        };
        let version = content("/sys/fs/selinux/policyvers").and_then(|text| text.parse::<u32>().ok());
        selinux.set("status", "enabled");
        selinux.set("policyvers", version.map_or_else(|| "unknown".into(), Value::from));
        selinux.set("config_mode", configured("SELINUX"));
        let enforcing = content("/sys/fs/selinux/enforce").is_some_and(|text| text == "1");
        selinux.set("mode", if enforcing { "enforcing" } else { "permissive" });
        selinux.set("type", configured("SELINUXTYPE"));
    } else {
        selinux.set("status", "disabled");
    }
    Map::from_iter([("selinux_python_present", true.into()), ("selinux", Value::from(selinux))])
}

pub(super) fn apparmor(_: &Scene<'_>) -> Map {
    let status = if exists("/sys/kernel/security/apparmor") { "enabled" } else { "disabled" };
    Map::from_iter([("apparmor", Value::map([("status", status.into())]))])
}

/// What `capsh --print` says of the current process.
pub(super) fn capabilities(scene: &Scene<'_>) -> Map {
    let Some(text) = scene.output("capsh", &["--print"]) else {
        return Map::from_iter([
            ("system_capabilities_enforced", "N/A".into()),
            ("system_capabilities", Value::from("N/A")),
        ]);
    };
    let (mut enforced, mut capabilities) = ("NA", vec![]);
    if let Some(current) = text.lines().find_map(|line| line.strip_prefix("Current:")) {
        enforced = "False";
        if current.trim() != "=ep" {
            enforced = "True";
            let listed = current.split('=').nth(1).unwrap_or_default();
            capabilities = listed.split(',').map(|name| Value::from(name.trim())).collect();
        }
    }
    Map::from_iter([
        ("system_capabilities_enforced", enforced.into()),
        ("system_capabilities", Value::from(capabilities)),
    ])
}

pub(super) fn chroot(scene: &Scene<'_>) -> Map {
    let place = |path: &str| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let is_chroot = if scene.is_baking() {
        false
    } else if std::env::var_os("debian_chroot").is_some_and(|name| !name.is_empty()) {
        true
    } else if let Some(root) = place("/proc/1/root/.") {
        place("/") != Some(root)
    } else {
        // Without access to the first process: the inode that the root of a file system has.
        let usual = match rustix::fs::statfs("/").map(|found| found.f_type as u32) {
            Ok(0x9123_683e) => 256,
            Ok(0x5846_5342) => 128,
            _ => 2,
        };
        place("/").is_some_and(|(_, inode)| inode != usual)
    };
    Map::from_iter([("is_chroot", is_chroot.into())])
}

pub(super) fn fips(_: &Scene<'_>) -> Map {
    let is_on = content("/proc/sys/crypto/fips_enabled").is_some_and(|text| text == "1");
    Map::from_iter([("fips", is_on.into())])
}

/// The public keys of the machine's ssh server, out of the first folder that has any.
pub(super) fn ssh_keys(_: &Scene<'_>) -> Map {
    let facts = Map::new();
    for folder in ["/etc/ssh", "/etc/openssh", "/etc"] {
        for algorithm in ["dsa", "rsa", "ecdsa", "ed25519"] {
            let text = content(format!("{folder}/ssh_host_{algorithm}_key.pub")).unwrap_or_default();
            if let [kind, key, ..] = text.split_whitespace().collect::<Vec<_>>().as_slice() {
                facts.set(&format!("ssh_host_key_{algorithm}_public"), *key);
                facts.set(&format!("ssh_host_key_{algorithm}_public_keytype"), *kind);
            }
        }
        if !facts.is_empty() {
            break;
        }
    }
    facts
}
