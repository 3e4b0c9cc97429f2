//! Disks boot: by BIOS and by UEFI, with ext4 and with XFS, from virtio and from NVMe, and their root fills a disk that
//! is larger than the image.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{bakery_lasting as bakery, ok, result, write};

/// The files of an image by format.
fn image(at: &Path, filesystem: &str) -> serde_json::Value {
    let template = format!(
        r#"{{"builders": [{{"type": "disk", "name": "boots-{filesystem}", "base": "debian:bookworm", "image_name": "boots-{filesystem}", "filesystem": "{filesystem}", "size": "2G", "swap": "64M", "partitions": [{{"mount": "/var/log", "size": "200M", "options": "noatime"}}], "formats": ["qcow2", "tar"]}}],
        "provisioners": [{{"type": "shell", "inline": ["echo {filesystem} > /etc/root-file-system", "mkdir -p /var/log/app", "chown 33 /var/log/app"]}}]}}"#
    );
    let name = format!("{filesystem}.json");
    write(at, &name, &template);
    let text = ok(bakery(at, &["bake", &name, "--json"]));
    result(&text)["files"].clone()
}

/// The same inputs and date make the same disk, in another store and at another time.
fn the_same_inputs_and_date_make_the_same_bytes(at: &Path, base: &str) {
    let template = format!(
        r#"{{"builders": [{{"type": "disk", "base": "{base}", "image_name": "same", "size": "2G", "formats": ["raw"]}}],
        "provisioners": [{{"type": "shell", "inline": ["useradd app; date > /etc/not-the-same; rm /etc/not-the-same; echo a > /etc/a"]}}]}}"#
    );
    write(at, "same.json", &template);
    let digests = ["one", "two"].map(|store| {
        let mut command = bakery(at, &["bake", "same.json", "--json"]);
        command.env("BAKERY_HOME", at.join(store)).env("SOURCE_DATE_EPOCH", "1700000000");
        let text = ok(command);
        let raw = result(&text)["files"]["raw"].as_str().expect("a path").to_owned();
        let digest = Command::new("sha256sum").arg(&raw).output().expect("sha256sum runs");
        let checked = Command::new("e2fsck").args(["-fn", &format!("{raw}?offset={}", 68 << 20)]).output();
        let checked = checked.expect("e2fsck runs");
        assert!(checked.status.success(), "{}", super::said(&checked));
        std::fs::remove_dir_all(at.join(store)).expect("removed");
        String::from_utf8_lossy(&digest.stdout)[..64].to_owned()
    });
    assert_eq!(digests[0], digests[1]);
}

/// Killed at every step, and while the disk is written: nothing is published until a bake comes to its end.
fn killed_bakes_publish_nothing(at: &Path, base: &str) {
    let template = format!(
        r#"{{"builders": [{{"type": "disk", "base": "{base}", "image_name": "killed", "size": "2G"}}], "provisioners": [{{"type": "shell", "inline": ["echo a > /etc/a"]}}]}}"#
    );
    write(at, "killed.json", &template);
    let store = at.join("killed");
    let bake = || {
        let mut command = bakery(at, &["bake", "killed.json", "--json"]);
        command.env("BAKERY_HOME", &store);
        command
    };
    let published = || std::fs::read_dir(store.join("images")).map_or(0, Iterator::count);
    // Base, shell, seal and disk begin and end; the last end is that of the bake.
    for count in 1..8 {
        assert!(super::layers::killed_after(bake(), count), "{count}");
        assert_eq!(published(), 0, "after {count} events");
    }
    for wait in [200, 700, 1500, 2500] {
        let mut child = bake()
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("starts");
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().expect("killed");
        child.wait().expect("ended");
        let whole = std::fs::read_dir(store.join("images")).into_iter().flatten().flatten();
        for image in whole {
            assert!(image.path().join("image.json").is_file() && image.path().join("disk.qcow2").is_file());
        }
    }
    let made = result(&ok(bake()))["files"]["qcow2"].as_str().expect("a path").to_owned();
    let checked = Command::new("qemu-img").args(["check", "-q", &made]).status();
    assert!(checked.expect("qemu-img runs").success());
    super::layers::nothing_is_left(at, &store);
    std::fs::remove_dir_all(&store).expect("removed");
}

/// Boots an image on a larger disk until its agent is done, and gives what the console says.
fn boot(at: &Path, image: &str, name: &str, by_uefi: bool, by_nvme: bool) -> String {
    let disk = at.join(format!("{name}.qcow2")).display().to_string();
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, &disk, "4G"])
        .status();
    assert!(made.expect("qemu-img runs").success());
    let console = at.join(format!("{name}.log"));
    let mut command = Command::new("qemu-system-x86_64");
    command.args([
        "-accel",
        "tcg",
        "-cpu",
        "max",
        "-m",
        "1024",
        "-smp",
        "1",
        "-nodefaults",
        "-display",
        "none",
    ]);
    if by_uefi {
        let firmware = ["/usr/share/ovmf/OVMF.fd", "/usr/share/OVMF/OVMF.fd"];
        let firmware = firmware.into_iter().find(|p| Path::new(p).exists()).expect("OVMF is installed");
        command.args(["-bios", firmware]);
    }
    if by_nvme {
        command.args(["-drive", &format!("file={disk},format=qcow2,if=none,id=root")]);
        command.args(["-device", "nvme,drive=root,serial=root"]);
    } else {
        command.args(["-drive", &format!("file={disk},format=qcow2,if=virtio")]);
    }
    command.args(["-serial", &format!("file:{}", console.display())]);
    let mut child = command.spawn().expect("QEMU starts");
    let started = Instant::now();
    let read = || String::from_utf8_lossy(&std::fs::read(&console).unwrap_or_default()).into_owned();
    while started.elapsed() < Duration::from_mins(5)
        && !(read().contains("BAKERY-PHASE boot done") && read().contains("login:"))
    {
        std::thread::sleep(Duration::from_millis(300));
    }
    child.kill().expect("killed");
    child.wait().expect("gone");
    read()
}

/// A machine that is thrown away is checked by a playbook, and what was checked is told.
fn taste(at: &Path) {
    let playbook = "- hosts: all\n  tasks:\n    - name: the right one\n      command: grep -x ext4 /etc/root-file-system\n    - name: the volume & its name\n      stat: {path: /dev/xvdb}\n      register: volume\n      failed_when: not volume.stat.exists\n    - name: told at boot\n      command: grep -x tasted /etc/tasted\n    - name: swap and a partition of its own\n      shell: 'grep -q partition /proc/swaps && findmnt -no OPTIONS /var/log | grep noatime && [ $(stat -c %u /var/log/app) = 33 ]'\n    - name: not as wanted\n      command: \"false\"\n      when: strict is defined\n";
    write(at, "verify.yml", playbook);
    write(at, "user-data", "#!/bin/sh\necho tasted > /etc/tasted\n");
    let taste = |more: &[&str]| {
        let words = [
            "taste",
            "boots-ext4",
            "verify.yml",
            "--user-data",
            "user-data",
            "--volume",
            "1:/dev/xvdb",
            "--junit",
            "taste.xml",
        ];
        bakery(at, &[&words, more].concat())
    };
    let (code, text) = super::fails(taste(&["-e", "strict=true"]));
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("failed: not as wanted") && text.contains("does not taste as it should"), "{text}");
    let xml = std::fs::read_to_string(at.join("taste.xml")).expect("written");
    assert!(xml.contains("failures=\"1\" tests=\"6\""), "{xml}");
    assert!(xml.contains("[taste] the volume &amp; its name"), "{xml}");
    // Nothing of it is left.
    let left = ok(bakery(at, &["ls", "--json"]));
    assert!(!left.contains("aws_instance.taste"), "{left}");
}

#[test]
fn disks_boot_by_bios_and_uefi_from_ext4_and_xfs() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let (ext4, xfs) = (image(at, "ext4"), image(at, "xfs"));
    let file = |image: &serde_json::Value, format: &str| image[format].as_str().expect("a path").to_owned();
    the_same_inputs_and_date_make_the_same_bytes(at, &file(&ext4, "tar"));
    killed_bakes_publish_nothing(at, &file(&ext4, "tar"));
    let (ext4, xfs) = (file(&ext4, "qcow2"), file(&xfs, "qcow2"));
    let boots = [
        (&ext4, "ext4-bios-virtio", false, false),
        (&ext4, "ext4-bios-nvme", false, true),
        (&xfs, "xfs-bios-virtio", false, false),
        (&xfs, "xfs-bios-nvme", false, true),
        (&ext4, "ext4-uefi-virtio", true, false),
        (&ext4, "ext4-uefi-nvme", true, true),
        (&xfs, "xfs-uefi-virtio", true, false),
        (&xfs, "xfs-uefi-nvme", true, true),
    ];
    taste(at);
    for pair in boots.chunks(2) {
        std::thread::scope(|threads| {
            for (image, name, by_uefi, by_nvme) in pair {
                threads.spawn(move || {
                    let said = boot(at, image, name, *by_uefi, *by_nvme);
                    assert!(said.contains("login:"), "{name} did not come to its login\n{said}");
                    assert!(
                        said.contains("root grown: ") && said.contains(" MiB"),
                        "{name} did not grow\n{said}"
                    );
                });
            }
        });
    }
}
