//! QEMU's command line, as Packer's plugin writes it (`step_run.go`): what a template's `qemuargs` name takes the place of
//! what we would say.

use std::path::{Path, PathBuf};

use bakery_host::Cmd;
use bakery_packer::fill_in;
use bakery_qemu::Accelerator;

use super::options::{Firmware, Options};

/// What was made for a machine before it is started.
pub(super) struct Parts<'a> {
    pub(super) disks: &'a [PathBuf],
    /// The installer, if the machine does not start from its disk.
    pub(super) iso: Option<&'a Path>,
    pub(super) cd: Option<&'a Path>,
    pub(super) floppy: Option<&'a Path>,
    /// The machine's own EFI variables.
    pub(super) vars: Option<&'a Path>,
    /// The port of this machine that leads to the guest's ssh.
    pub(super) ssh: Option<u16>,
    /// The port of this machine where the screen is shown.
    pub(super) vnc: Option<u16>,
    pub(super) control: &'a Path,
    /// What templates may name.
    pub(super) fields: &'a [(&'a str, &'a str)],
}

/// The accelerator to use: the one that the template names, unless it is of no use here.
pub(super) fn accelerator<'a>(options: &'a Options, ours: &'a Accelerator) -> (&'a str, Option<String>) {
    match options.accelerator.as_deref() {
        None | Some("") => (ours.name, None),
        Some("none") => ("tcg", None),
        Some("kvm") if ours.name != "kvm" => {
            (ours.name, Some(format!("`accelerator` kvm is replaced by {}: {}", ours.name, ours.reason)))
        }
        Some(other) => (other, None),
    }
}

/// The command that runs the machine.
pub(super) fn command(options: &Options, parts: &Parts<'_>, accelerator: &str) -> Cmd {
    let mut args = usual(options, parts, accelerator);
    let replaced = |name: &str| options.replaced.iter().any(|(other, _)| other == name);
    args.retain(|(name, _)| !replaced(name));
    for (name, value) in &options.replaced {
        // A processor that only hardware has cannot be translated.
        let value = match value.as_deref() {
            Some(cpu) if name == "-cpu" && accelerator == "tcg" => Some(cpu.replacen("host", "max", 1)),
            other => other.map(str::to_owned),
        };
        args.push((name.clone(), value.map(|value| fill_in(&value, parts.fields))));
    }
    let mut cmd = Cmd::new(&options.binary);
    for (name, value) in args {
        cmd = cmd.arg(name).args(value);
    }
    // Ours whatever the template says: it is how the machine is told to stop.
    cmd.arg("-qmp").arg(format!("unix:{},server=on,wait=off", parts.control.display()))
}

fn usual(options: &Options, parts: &Parts<'_>, accelerator: &str) -> Vec<(String, Option<String>)> {
    let mut args: Vec<(String, Option<String>)> = Vec::new();
    let mut add = |name: &str, value: String| args.push((name.to_owned(), Some(value)));
    add("-name", options.vm_name.clone());
    add("-machine", format!("type={},accel={accelerator}", options.machine_type));
    match options.cpu_model.as_deref() {
        Some("host") if accelerator == "tcg" => add("-cpu", "max".into()),
        Some(model) => add("-cpu", model.to_owned()),
        // QEMU's own default lacks what today's distributions are compiled for.
        None => add("-cpu", if accelerator == "kvm" { "host" } else { "max" }.into()),
    }
    add("-smp", options.smp.clone());
    add("-m", format!("{}M", options.memory));
    add("-display", "none".into());
    if let Some(port) = parts.vnc {
        add("-vnc", format!("{}:{}", options.vnc_address, port.saturating_sub(5900)));
    }
    match (&options.bridge, parts.ssh) {
        (Some(bridge), _) => add("-netdev", format!("bridge,id=user.0,br={bridge}")),
        (None, Some(port)) => add("-netdev", format!("user,id=user.0,hostfwd=tcp:127.0.0.1:{port}-:22")),
        (None, None) => add("-netdev", "user,id=user.0".into()),
    }
    add("-device", format!("{},netdev=user.0", options.network));
    let scsi = options.interface == "virtio-scsi";
    if scsi {
        add("-device", "virtio-scsi-pci,id=scsi0".into());
    }
    for (at, disk) in parts.disks.iter().enumerate() {
        let interface =
            if scsi { format!("if=none,id=drive{at}") } else { format!("if={}", options.interface) };
        add(
            "-drive",
            format!("file={},{interface},{},format={}", disk.display(), options.drive, options.format),
        );
        if scsi {
            add("-device", format!("scsi-hd,bus=scsi0.0,drive=drive{at}"));
        }
    }
    for medium in parts.iso.into_iter().chain(parts.cd) {
        add("-drive", format!("file={},media=cdrom,readonly=on", medium.display()));
    }
    if let Some(floppy) = parts.floppy {
        add("-drive", format!("file={},if=floppy,index=0,format=raw", floppy.display()));
    }
    match (&options.firmware, parts.vars) {
        (Firmware::Efi { code, .. }, Some(vars)) => {
            add("-drive", format!("file={},if=pflash,unit=0,format=raw,readonly=on", code.display()));
            add("-drive", format!("file={},if=pflash,unit=1,format=raw", vars.display()));
        }
        (Firmware::File(file), _) => add("-bios", file.display().to_string()),
        _ => {}
    }
    add("-boot", if parts.iso.is_some() { "once=d" } else { "c" }.into());
    // Keys and entropy whatever the machine has else.
    add("-device", "virtio-rng-pci".into());
    args
}
