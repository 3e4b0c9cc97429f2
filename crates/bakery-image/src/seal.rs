//! Sealing: what must not be in an image is removed, what it needs to boot is put in. Runs inside the sandbox, where
//! no link of the image can lead outside.

use std::path::{Path, PathBuf};

use bakery_host::{command::find_program, fs};

use crate::boot_files;
use crate::{Error, Result};

/// Changes when sealing does, so that sealed layers are made anew.
pub const VERSION: &str = "6";

/// What marks lines of `fstab` for partitions that a disk was made with: the next image may have others.
pub(crate) const OWN_PARTITION: &str = "x-bakery.partition";

/// In place of a file system where nothing will boot.
pub(crate) const NO_DISK: &str = "none";

/// The hidden verb under which a program calls [`run`] inside.
pub const VERB: &str = "internal-seal";

/// Removed with everything below.
const REMOVED: &[&str] = &[
    "/var/lib/dbus/machine-id",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/var/lib/cloud",
    "/etc/cloud/cloud-init.disabled",
    "/etc/netplan/50-cloud-init.yaml",
    "/etc/udev/rules.d/70-persistent-net.rules",
    "/etc/sudoers.d/90-cloud-init-users",
    "/usr/sbin/policy-rc.d",
    "/root/.ssh",
    "/root/.ansible",
    "/root/.aws",
    "/root/.bash_history",
    "/root/.python_history",
    "/root/.lesshst",
    "/root/.viminfo",
    "/root/.wget-hsts",
    "/root/.netrc",
    "/root/.docker/config.json",
    "/root/.cache",
    "/var/lib/apt/lists/auxfiles",
    "/var/cache/apt/pkgcache.bin",
    "/var/cache/apt/srcpkgcache.bin",
    "/var/cache/ldconfig/aux-cache",
    "/var/lib/dpkg/status-old",
    "/var/lib/dpkg/diversions-old",
    "/var/lib/dpkg/statoverride-old",
    "/etc/passwd-",
    "/etc/shadow-",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/subuid-",
    "/etc/subgid-",
    "/etc/apt/apt.conf.d/90proxy",
    "/swapfile",
    "/.dockerenv",
    "/etc/.pwd.lock",
];

/// Emptied, the folders themselves kept.
const EMPTIED: &[&str] = &[
    "/tmp",
    "/run",
    "/var/lib/apt/lists",
    "/var/cache/apt/archives",
    "/var/cache/dnf",
    "/var/cache/yum",
    "/var/cache/zypp",
    "/var/cache/debconf",
    "/var/lib/dhcp",
    "/var/lib/dhclient",
    "/var/lib/NetworkManager",
    "/var/crash",
    "/var/spool/mail",
    "/var/tmp",
    "/var/lib/amazon/ssm",
    "/var/log/journal",
];

/// Seals the tree at `/`: `ROOT_UUID FILE_SYSTEM FSTAB_LINES KERNEL_ARGS…` are the arguments.
///
/// # Errors
/// What could not be removed or written.
pub fn run(args: &[String]) -> Result<()> {
    let [root_uuid, filesystem, mounts, kernel_args @ ..] = args else {
        return Err(Error::new("internal-seal needs a UUID, a file system, and lines of fstab"));
    };
    clean()?;
    if filesystem == NO_DISK {
        return Ok(());
    }
    boot(root_uuid, filesystem, mounts, &kernel_args.join(" "))
}

fn clean() -> Result<()> {
    for path in REMOVED {
        fs::remove_all(path)?;
    }
    for folder in EMPTIED {
        for path in fs::read_dir(folder).unwrap_or_default() {
            fs::remove_all(path)?;
        }
    }
    // Folders that package managers expect.
    for (folder, mode) in [("/var/lib/apt/lists/partial", 0o700), ("/var/cache/apt/archives/partial", 0o700)]
    {
        if Path::new(folder).parent().is_some_and(Path::is_dir) {
            fs::create_dir_all(folder)?;
            fs::chmod(folder, mode)?;
        }
    }
    for path in fs::read_dir("/etc/ssh").unwrap_or_default() {
        if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("ssh_host_")) {
            fs::remove_all(path)?;
        }
    }
    for home in fs::read_dir("/home").unwrap_or_default() {
        for name in [".ssh/authorized_keys", ".bash_history", ".ansible", ".aws", ".cache"] {
            fs::remove_all(home.join(name))?;
        }
    }
    for path in fs::walk("/var/log").unwrap_or_default() {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_symlink() || !path.is_file() {
            continue;
        }
        // Logs are emptied, rotated ones and the builder's own removed; owner and mode stay.
        let rotated = name.ends_with(".gz")
            || name.ends_with(".old")
            || name.rsplit('.').next().is_some_and(|e| e.parse::<u32>().is_ok());
        let builders = path.starts_with("/var/log/apt")
            || ["dpkg.log", "alternatives.log", "bootstrap.log", "fontconfig.log"].contains(&name.as_str())
            || name.starts_with("cloud-init");
        if rotated || builders {
            fs::remove_all(&path)?;
        } else if fs::metadata(&path)?.len() > 0 {
            drop(fs::create(&path)?);
        }
    }
    // An empty id is filled at boot and, unlike `uninitialized`, does not make the boot a systemd-firstboot.
    fs::write_atomic_mode("/etc/machine-id", "", 0o444)?;
    fs::write_atomic("/etc/hostname", "localhost\n")?;
    fs::write_atomic("/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")?;
    Ok(())
}

fn put(path: &str, content: &str) -> Result<()> {
    let path = Path::new(path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::write_atomic_mode(path, content, 0o644)?)
}

fn link(target: &str, path: &str) -> Result<()> {
    let path = Path::new(path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::remove_all(path)?;
    Ok(fs::symlink(target, path)?)
}

/// The newest kernel and its initrd, as paths of the image.
fn kernel() -> Result<(String, String)> {
    let mut found: Vec<PathBuf> = fs::read_dir("/boot")?
        .into_iter()
        .filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz-")))
        .collect();
    found.sort();
    let kernel = found.pop().ok_or_else(|| {
        Error::new("the image has no kernel in /boot, so it cannot boot")
            .hint("install one, such as linux-image-cloud-amd64, in the base's `include` or in the playbook")
    })?;
    let version =
        kernel.file_name().map(|n| n.to_string_lossy().replacen("vmlinuz-", "", 1)).unwrap_or_default();
    let initrd = [format!("/boot/initrd.img-{version}"), format!("/boot/initramfs-{version}.img")]
        .into_iter()
        .find(|p| Path::new(p).is_file());
    let initrd = initrd.ok_or_else(|| Error::new(format!("the kernel {version} has no initrd in /boot")))?;
    Ok((kernel.display().to_string(), initrd))
}

/// Whether a line of `fstab` mounts what our disk has elsewhere or not at all: the root, a `/boot` or EFI partition of its
/// own, swap by an identifier of the disk that the tree came from, partitions of the image before.
fn is_of_another_disk(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let (source, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let by_identifier =
        ["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="].iter().any(|id| source.starts_with(id));
    let is_own = line.contains(OWN_PARTITION);
    target == "/"
        || is_own
        || by_identifier && matches!(target, "/boot" | "/boot/efi" | "/efi" | "none" | "swap")
}

fn boot(root_uuid: &str, filesystem: &str, mounts: &str, kernel_args: &str) -> Result<()> {
    // The agent, and the names that people's user-data calls it by.
    fs::remove_all("/usr/bin/bakery-agent")?;
    fs::copy(crate::rootfs::AGENT_INSIDE, "/usr/bin/bakery-agent")?;
    fs::chmod("/usr/bin/bakery-agent", 0o755)?;
    if find_program("ansible-playbook").is_none() {
        link("bakery-agent", "/usr/bin/ansible-playbook")?;
    }
    put("/lib/systemd/system/bakery-boot.service", boot_files::BOOT_UNIT)?;
    link(
        "/lib/systemd/system/bakery-boot.service",
        "/etc/systemd/system/multi-user.target.wants/bakery-boot.service",
    )?;
    if find_program("cloud-init").is_some() {
        put("/lib/systemd/system/bakery-cloud-init.service", boot_files::CLOUD_INIT_UNIT)?;
        link(
            "/lib/systemd/system/bakery-cloud-init.service",
            "/etc/systemd/system/cloud-init.target.wants/bakery-cloud-init.service",
        )?;
    }
    if find_program("sshd").is_some() {
        put("/lib/systemd/system/bakery-host-key.service", boot_files::HOST_KEY_UNIT)?;
        link(
            "/lib/systemd/system/bakery-host-key.service",
            "/etc/systemd/system/ssh.service.wants/bakery-host-key.service",
        )?;
    }
    if !Path::new("/etc/systemd/network").read_dir().is_ok_and(|mut d| d.next().is_some()) {
        put("/etc/systemd/network/80-ether-dhcp.network", boot_files::NETWORK)?;
    }
    for (unit, target) in [
        ("systemd-networkd.service", "multi-user.target"),
        ("systemd-resolved.service", "multi-user.target"),
        ("serial-getty@ttyS0.service", "getty.target"),
    ] {
        let file = unit.replace("@ttyS0", "@");
        if Path::new("/lib/systemd/system").join(&file).exists() {
            link(
                &format!("/lib/systemd/system/{file}"),
                &format!("/etc/systemd/system/{target}.wants/{unit}"),
            )?;
        }
    }
    // Looks for remains of checks on LVM at every boot; the root is none.
    fs::remove_all("/etc/systemd/system/default.target.wants/e2scrub_reap.service")?;
    // Nothing in the boot needs to wait for every interface.
    link("/dev/null", "/etc/systemd/system/systemd-networkd-wait-online.service")?;
    if Path::new("/lib/systemd/system/systemd-resolved.service").exists() {
        link("../run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf")?;
    }
    let fstab = fs::read_to_string("/etc/fstab").unwrap_or_default();
    let kept: String = fstab
        .lines()
        .filter(|line| !is_of_another_disk(line) && !line.starts_with("# UNCONFIGURED"))
        .map(|l| format!("{l}\n"))
        .collect();
    let options = if filesystem == "ext4" { "errors=remount-ro 0 1" } else { "defaults 0 0" };
    put("/etc/fstab", &format!("UUID={root_uuid} / {filesystem} {options}\n{mounts}{kept}"))?;
    for mount in
        mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|mount| mount.starts_with('/'))
    {
        fs::create_dir_all(mount)?;
    }
    let (kernel, initrd) = kernel()?;
    put("/boot/grub/grub.cfg", &boot_files::grub_cfg(root_uuid, &kernel, &initrd, kernel_args))?;
    put("/etc/kernel/cmdline", &(boot_files::command_line(root_uuid, kernel_args) + "\n"))
}
