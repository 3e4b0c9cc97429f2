//! `doctor`: what this host lacks.

use bakery_events::exit;
use bakery_host::command::find_program;
use bakery_host::namespace;
use bakery_store::Store;

use super::Outcome;
use crate::terminal::{self, Terminal};

/// Programs, the Debian packages that have them, what they are for, and whether every bake needs them.
const TOOLS: &[(&str, &str, &str, bool)] = &[
    ("mmdebstrap", "mmdebstrap", "base systems of Debian", true),
    ("mke2fs", "e2fsprogs", "root file systems", true),
    ("mkfs.vfat", "dosfstools", "EFI system partitions", true),
    ("mcopy", "mtools", "EFI system partitions", true),
    ("qemu-img", "qemu-utils", "qcow2 images", true),
    ("qemu-system-x86_64", "qemu-system-x86", "local machines", true),
    ("ssh", "openssh-client", "bakery ssh and exec", true),
    ("git", "git", "roles from git", true),
    ("tar", "tar", "root tarballs and the file provisioner", true),
    ("fuse2fs", "fuse2fs", "disks as bases", false),
    ("xorriso", "xorriso", "CDs for the builder qemu", false),
    ("skopeo", "skopeo", "registries of containers' images", false),
    ("newuidmap", "uidmap", "baking without root", false),
];

pub(crate) fn doctor(terminal: &Terminal) -> Outcome {
    let mut rows = vec![["", "WHAT", "FOR"].map(str::to_owned).to_vec()];
    let (mut missing, mut wanted) = (Vec::new(), Vec::new());
    for (program, package, purpose, needed) in TOOLS {
        let there = find_program(program).is_some();
        let state = match (there, needed) {
            (true, _) => "ok",
            (false, true) => "missing",
            (false, false) => "not there",
        };
        if !there {
            if *needed { &mut missing } else { &mut wanted }.push(*package);
        }
        rows.push(vec![state.into(), (*program).into(), (*purpose).into()]);
    }
    let without =
        if bakery_host::users::effective_uid() == 0 { Ok(()) } else { namespace::can_become_own_root() };
    let root = without.is_ok();
    rows.push(vec![
        if root { "ok" } else { "missing" }.into(),
        "root".into(),
        match &without {
            Ok(()) => "baking, also as root of a user namespace".into(),
            Err(error) => error.to_string(),
        },
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
        missing.extend(wanted);
        terminal::say(&format!(
            "install what is missing:\n  sudo apt-get update && sudo apt-get install -y --no-install-recommends --allow-downgrades {}",
            missing.join(" ")
        ));
    }
    Ok(exit::ERROR)
}
