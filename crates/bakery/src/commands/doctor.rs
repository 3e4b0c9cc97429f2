//! `doctor`: what this host lacks.

use bakery_events::exit;
use bakery_host::command::find_program;
use bakery_store::Store;

use super::Outcome;
use crate::terminal::{self, Terminal};

/// Programs, the Debian packages that have them, and what they are for.
const TOOLS: &[(&str, &str, &str)] = &[
    ("mmdebstrap", "mmdebstrap", "base systems of Debian"),
    ("mke2fs", "e2fsprogs", "root file systems"),
    ("mkfs.vfat", "dosfstools", "EFI system partitions"),
    ("mcopy", "mtools", "EFI system partitions"),
    ("qemu-img", "qemu-utils", "qcow2 images"),
    ("qemu-system-x86_64", "qemu-system-x86", "local machines"),
    ("ssh", "openssh-client", "bakery ssh and exec"),
    ("newuidmap", "uidmap", "bakes without root"),
    ("fuse2fs", "fuse2fs", "disks as bases"),
    ("xorriso", "xorriso", "CDs for the builder qemu"),
    ("skopeo", "skopeo", "registries of containers' images"),
    ("git", "git", "roles from git"),
    ("tar", "tar", "root tarballs and the file provisioner"),
];

pub(crate) fn doctor(terminal: &Terminal) -> Outcome {
    let mut rows = vec![["", "WHAT", "FOR"].map(str::to_owned).to_vec()];
    let mut missing = Vec::new();
    for (program, package, purpose) in TOOLS {
        let there = find_program(program).is_some();
        if !there {
            missing.push(*package);
        }
        rows.push(vec![if there { "ok" } else { "missing" }.into(), (*program).into(), (*purpose).into()]);
    }
    let root = bakery_host::users::effective_uid() == 0;
    rows.push(vec![
        if root { "ok" } else { "missing" }.into(),
        "root".into(),
        "baking (mounts and namespaces)".into(),
    ]);
    let agent = super::bake::agent();
    rows.push(vec![
        if agent.is_ok() { "ok" } else { "missing" }.into(),
        "bakery-agent".into(),
        "goes into images".into(),
    ]);
    let store = Store::open()?;
    if find_program("qemu-system-x86_64").is_some() {
        match bakery_qemu::choose(&store) {
            Ok(found) => rows.push(vec!["ok".into(), format!("accelerator {}", found.name), found.reason]),
            Err(error) => rows.push(vec!["missing".into(), "accelerator".into(), error.message]),
        }
    }
    terminal.settle();
    terminal::table(&rows);
    terminal::say(&format!("\nstore: {}", store.root().display()));
    if missing.is_empty() && root && agent.is_ok() {
        terminal::say("nothing is missing");
        return Ok(exit::OK);
    }
    if !missing.is_empty() {
        missing.dedup();
        terminal::say(&format!(
            "install what is missing:\n  sudo apt-get update && sudo apt-get install -y --no-install-recommends --allow-downgrades {}",
            missing.join(" ")
        ));
    }
    Ok(exit::ERROR)
}
