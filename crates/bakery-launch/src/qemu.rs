//! Machines in QEMU: started as processes of their own, spoken to by QMP.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bakery_host::{Cmd, fs, signal};
use bakery_qemu::{Accelerator, Control};
use bakery_store::Store;

use crate::instance::Instance;
use crate::volume::Volume;
use crate::{Error, Result, imds};

/// Processors and MiB of memory of an instance type.
fn shape(instance_type: &str) -> (u32, u32) {
    let size = instance_type.rsplit('.').next().unwrap_or_default();
    match size {
        "nano" => (1, 512),
        "micro" => (1, 1024),
        "small" => (1, 2048),
        "medium" => (2, 4096),
        _ => (2, 8192),
    }
}

/// Starts a machine.
pub(crate) fn start(store: &Store, instance: &Instance, accelerator: &Accelerator) -> Result<()> {
    let folder = Instance::folder(store, &instance.id);
    let path = |name: &str| folder.join(name).display().to_string();
    let (processors, memory) = shape(&instance.instance_type);
    let console = fs::metadata(instance.console(store)).map_or(0, |m| m.len());
    fs::write_atomic(folder.join("console-start"), console.to_string())?;
    let exe = std::env::current_exe().map_err(|e| Error::new(e.to_string()))?;
    let forwards: String = instance
        .ports
        .iter()
        .map(|(guest, host)| format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"))
        .collect();
    let tcg = if accelerator.name == "tcg" { "tcg,thread=multi" } else { "kvm" };
    let mut cmd = Cmd::new("qemu-system-x86_64")
        .args([
            "-name",
            &instance.id,
            "-accel",
            tcg,
            "-cpu",
            "max",
            "-smp",
            &processors.to_string(),
            "-m",
            &memory.to_string(),
        ])
        .args(["-nodefaults", "-display", "none", "-rtc", "base=utc", "-device", "virtio-rng-pci"])
        .args(["-uuid", &instance.uuid, "-smbios"])
        .arg(format!(
            "type=1,manufacturer=Amazon EC2,product={},uuid={},serial={}",
            instance.instance_type, instance.uuid, instance.uuid
        ))
        .args([
            "-chardev",
            &format!(
                "socket,id=console,path={},server=on,wait=off,logfile={},logappend=on",
                path("console.sock"),
                path("console.log")
            ),
            "-serial",
            "chardev:console",
        ])
        .args(["-qmp", &format!("unix:{},server=on,wait=off", path("qmp.sock"))])
        .args([
            "-drive",
            &format!("if=none,id=root,format=qcow2,file={}", path("root.qcow2")),
            "-device",
            "virtio-blk-pci,drive=root,bootindex=0",
        ])
        .arg("-netdev")
        .arg(format!(
            "user,id=net,net=169.254.0.0/16,guestfwd=tcp:169.254.169.254:80-cmd:{} {} {}{forwards}",
            exe.display(),
            imds::VERB,
            folder.display()
        ))
        .args(["-device", "virtio-net-pci,netdev=net,romfile="]);
    for (at, attached) in instance.volumes.iter().enumerate() {
        let volume = Volume::read(store, &attached.volume)?;
        cmd = cmd
            .args([
                "-drive",
                &format!("if=none,id=data{at},format=raw,file={}", volume.disk(store).display()),
            ])
            .args(["-device", &format!("virtio-blk-pci,drive=data{at},serial={}", volume.serial())]);
    }
    let log = fs::create(folder.join("qemu.log"))?;
    cmd.raw().stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).stderr(log);
    let child = cmd.detached().spawn().map_err(|e| {
        Error::new(e.to_string())
            .hint("is qemu-system-x86_64 installed? `bakery doctor` says what is missing")
    })?;
    fs::write_atomic(folder.join("pid"), format!("{}\n", child.id()))?;
    // A machine that cannot start says so at once.
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        if !signal::is_alive(child.id() as i32)
            || fs::read_to_string(format!("/proc/{}/stat", child.id())).is_ok_and(|s| s.contains(") Z "))
        {
            let said = fs::read_to_string(folder.join("qemu.log")).unwrap_or_default();
            return Err(Error::new(format!("the machine could not start: {}", said.trim())));
        }
        if UnixStream::connect(folder.join("qmp.sock")).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(Error::new("the machine did not start within 10 seconds"))
}

/// Carries out one command.
fn tell(store: &Store, instance: &Instance, command: &str) -> Result<()> {
    let socket = Instance::folder(store, &instance.id).join("qmp.sock");
    Control::connect(&socket)?.execute(command, serde_json::json!({}))?;
    Ok(())
}

/// Stops a machine: by its power button, so that it flushes and unmounts; by force only when it does not hear.
/// Whether it heard.
pub(crate) fn stop(store: &Store, instance: &Instance, limit: Duration) -> Result<bool> {
    let Some(pid) = instance.pid(store) else { return Ok(true) };
    let started = Instant::now();
    let mut last = None;
    while started.elapsed() < limit {
        // A system that is still booting misses the first press.
        if last.is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(10)) {
            let _ = tell(store, instance, "system_powerdown");
            last = Some(Instant::now());
        }
        if instance.pid(store).is_none() {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = tell(store, instance, "quit");
    for _ in 0..50 {
        if instance.pid(store).is_none() {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    signal::kill(pid, 9);
    std::thread::sleep(Duration::from_millis(200));
    Ok(false)
}
