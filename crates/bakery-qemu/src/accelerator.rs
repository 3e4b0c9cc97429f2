//! How machines are run: by the processor itself (KVM) where that is quick, else by QEMU's translator (TCG).
//!
//! On some hosts `/dev/kvm` opens and answers although every instruction is emulated, a hundred times slower than TCG.
//! Only a timed run tells: a boot sector counts to two million and leaves.

use std::time::{Duration, Instant};

use bakery_host::{Cmd, fs};
use bakery_store::Store;

use crate::{Error, Result};

/// The choice, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accelerator {
    /// QEMU's name of it: `kvm` or `tcg`.
    pub name: &'static str,
    /// A sentence.
    pub reason: String,
}

/// The most time that counting may take; hardware needs a few milliseconds.
const BUDGET: Duration = Duration::from_millis(1500);

/// Counts to two million in real mode, then leaves through QEMU's exit device.
fn boot_sector() -> Vec<u8> {
    let mut code = vec![
        0x66, 0xb9, 0x80, 0x84, 0x1e, 0x00, // mov ecx, 2000000
        0x66, 0x49, // dec ecx
        0x75, 0xfc, // jnz back
        0xb0, 0x10, // mov al, 0x10
        0xe6, 0xf4, // out 0xf4, al
        0xf4, // hlt
    ];
    code.resize(510, 0);
    code.extend([0x55, 0xaa]);
    code
}

fn probe(store: &Store) -> Result<std::result::Result<Duration, String>> {
    let work = store.work()?;
    let disk = work.path().join("probe.img");
    fs::write_atomic(&disk, boot_sector())?;
    let started = Instant::now();
    let output = Cmd::new("qemu-system-x86_64")
        .args([
            "-accel",
            "kvm",
            "-m",
            "16",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=1",
        ])
        .arg("-drive")
        .arg(format!("file={},format=raw,if=ide", disk.display()))
        .timeout(BUDGET)
        .output()?;
    Ok(if output.timed_out {
        Err(format!("it did not count to two million within {} ms", BUDGET.as_millis()))
    } else if output.code == 33 {
        Ok(started.elapsed())
    } else {
        Err(format!(
            "QEMU could not use it: {}",
            output.error_text().lines().next().unwrap_or("no reason given")
        ))
    })
}

/// Chooses; `BAKERY_ACCEL` (`kvm`, `tcg`, `auto`) overrides. The answer is kept until the host restarts.
///
/// # Errors
/// When `BAKERY_ACCEL` is something else, or the probe cannot be run.
pub fn choose(store: &Store) -> Result<Accelerator> {
    let wanted = std::env::var("BAKERY_ACCEL").unwrap_or_else(|_| "auto".into());
    match wanted.as_str() {
        "kvm" => return Ok(Accelerator { name: "kvm", reason: "BAKERY_ACCEL says so".into() }),
        "tcg" => return Ok(Accelerator { name: "tcg", reason: "BAKERY_ACCEL says so".into() }),
        "auto" | "" => {}
        other => return Err(Error::new(format!("BAKERY_ACCEL is `{other}` (known: kvm, tcg, auto)"))),
    }
    if fs::open_rw("/dev/kvm").is_err() {
        return Ok(Accelerator { name: "tcg", reason: "there is no /dev/kvm that can be opened".into() });
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let kept = store.root().join("accelerator");
    if let Ok(text) = fs::read_to_string(&kept)
        && let Some((known, rest)) = text.split_once('\n')
        && known == boot.trim()
        && let Some((name, reason)) = rest.split_once('\n')
    {
        let name = if name == "kvm" { "kvm" } else { "tcg" };
        return Ok(Accelerator { name, reason: reason.trim().to_owned() });
    }
    let found = match probe(store)? {
        Ok(took) => Accelerator {
            name: "kvm",
            reason: format!("/dev/kvm counted to two million in {} ms", took.as_millis()),
        },
        Err(why) => Accelerator { name: "tcg", reason: format!("/dev/kvm opens but is of no use: {why}") },
    };
    fs::write_atomic(&kept, format!("{}\n{}\n{}\n", boot.trim(), found.name, found.reason))?;
    Ok(found)
}
