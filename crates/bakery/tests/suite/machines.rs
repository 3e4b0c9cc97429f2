//! The builder `qemu`: machines that are started from a disk or installed from a CD, beside Packer itself, and the same
//! templates baked without a machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{bakery_lasting as bakery, ok, result, said, shell, write};

/// A disk that boots, takes a key from a CD and is reached by ssh; and its tree as an archive.
fn guest(at: &Path) -> (String, String) {
    let template = r#"{"builders": [{"type": "disk", "name": "guest", "image_name": "guest", "base": "debian:bookworm", "size": "2G", "formats": ["qcow2", "tar"]}]}"#;
    write(at, "guest.json", template);
    let files = result(&ok(bakery(at, &["bake", "guest.json", "--json"])))["files"].clone();
    let path = |format: &str| files[format].as_str().expect("a path").to_owned();
    (path("qcow2"), path("tar"))
}

/// The manifest of a build without what is another each time.
fn manifest(at: &Path) -> serde_json::Value {
    let text = std::fs::read(at.join("packer-manifest.json")).expect("a manifest");
    let mut document: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    document["last_run_uuid"] = 0.into();
    for build in document["builds"].as_array_mut().into_iter().flatten() {
        build["build_time"] = 0.into();
        build["packer_run_uuid"] = 0.into();
        for file in build["files"].as_array_mut().into_iter().flatten() {
            file["size"] = 0.into();
        }
    }
    document
}

/// A file of the root file system of a disk that bakery has made, or that was made from one.
fn file_of(disk: &Path, name: &str) -> String {
    let raw = disk.with_extension("looked-at");
    let (disk, raw) = (disk.display(), raw.display());
    shell(
        Path::new("/"),
        &format!(
            "qemu-img convert -O raw '{disk}' '{raw}'; debugfs -R 'cat {name}' '{raw}?offset={}' 2>/dev/null; rm '{raw}'",
            68 << 20
        ),
    )
}

#[test]
fn machines_are_built_and_provisioned_as_packer_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let (disk, _) = guest(at);
    for side in ["theirs", "ours"] {
        let at = at.join(side);
        write(&at, "cd/meta-data", "instance-id: i-1\n");
        shell(
            &at,
            "ssh-keygen -q -t ed25519 -N '' -f key; printf '#cloud-config\\nssh_authorized_keys:\\n  - %s\\n' \"$(cat key.pub)\" > cd/user-data",
        );
        write(
            &at,
            "script.sh",
            "#!/bin/sh\necho \"$PACKER_BUILD_NAME $PACKER_BUILDER_TYPE $A\" > /etc/said\n",
        );
        write(&at, "sent.txt", "sent\n");
        write(
            &at,
            "play.yml",
            "- hosts: all\n  tasks:\n    - copy: {content: \"{{ packer_builder_type }} {{ ansible_facts.distribution }}\\n\", dest: /etc/played}\n",
        );
        // ansible-core on the other side of an emulated processor would take a minute.
        let playbooks = r#"{"type": "ansible", "playbook_file": "play.yml"}, {"type": "ansible-local", "playbook_file": "play.yml"}, "#;
        let template = format!(
            r#"{{"builders": [{{"type": "qemu", "name": "guest", "disk_image": true, "iso_url": "{disk}", "iso_checksum": "none", "disk_size": "3G", "memory": 1024, "accelerator": "tcg", "headless": true, "cpus": 1, "ssh_username": "root", "ssh_timeout": "10m", "ssh_private_key_file": "key", "cd_files": ["cd/meta-data", "cd/user-data"], "cd_label": "cidata", "shutdown_command": "systemctl poweroff", "output_directory": "out-{{{{build_name}}}}", "qemuargs": [["-cpu", "max"]]}}],
            "provisioners": [{}{{"type": "file", "source": "sent.txt", "destination": "/etc/sent"}}, {{"type": "shell", "script": "script.sh", "environment_vars": ["A=b c"]}}],
            "post-processors": [[{{"type": "vagrant", "output": "{{{{.BuildName}}}}-{{{{.Provider}}}}.box", "compression_level": 1, "keep_input_artifact": true}}, "manifest"]]}}"#,
            if side == "ours" { playbooks } else { "" }
        );
        write(&at, "t.json", &template);
    }
    let (theirs, ours) = (at.join("theirs"), at.join("ours"));
    let packer = Command::new("packer")
        .args(["build", "t.json"])
        .current_dir(&theirs)
        .env("CHECKPOINT_DISABLE", "1")
        .env("PACKER_CONFIG_DIR", &theirs)
        .env("PACKER_CACHE_DIR", theirs.join("cache"))
        .output()
        .expect("packer runs");
    assert!(packer.status.success(), "{}", said(&packer));
    ok(bakery(&ours, &["bake", "t.json"]));
    assert_eq!(manifest(&theirs), manifest(&ours));
    let look = "ls out-guest; tar -tzf guest-libvirt.box | sort; tar -xzf guest-libvirt.box metadata.json -O | python3 -m json.tool --sort-keys; tar -xzf guest-libvirt.box Vagrantfile -O | grep -v '^#' | grep .";
    assert_eq!(shell(&theirs, look), shell(&ours, look));
    for (name, content) in [("/etc/said", "guest qemu b c\n"), ("/etc/sent", "sent\n")] {
        for side in [&theirs, &ours] {
            assert_eq!(file_of(&side.join("out-guest/packer-guest"), name), content, "{name}");
        }
    }
    assert_eq!(file_of(&ours.join("out-guest/packer-guest"), "/etc/played"), "qemu Debian\n");
    // What is there is not written over.
    let (_, text) = super::fails(bakery(&ours, &["bake", "t.json"]));
    assert!(text.contains("out-guest is there already"), "{text}");

    // The same template without a machine: the disk is read, changed as a tree, and written.
    let baked = result(&ok(bakery(&ours, &["bake", "--local", "--json", "t.json"])));
    let made = PathBuf::from(baked["files"]["qcow2"].as_str().expect("a path"));
    for (name, content) in
        [("/etc/said", "guest qemu b c\n"), ("/etc/sent", "sent\n"), ("/etc/played", "qemu Debian\n")]
    {
        assert_eq!(file_of(&made, name), content, "{name}");
    }
    let packages = |disk: &Path| file_of(disk, "/var/lib/dpkg/status");
    assert_eq!(packages(Path::new(&disk)), packages(&made));
}

/// Disks of several kinds are read to the trees that were put into them.
#[test]
fn disks_are_read_to_the_trees_that_they_hold() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let script = "mkdir -p tree/etc tree/usr/bin tree/var tree/boot boot; echo a > tree/etc/a; ln tree/etc/a tree/etc/hard; ln -s a tree/etc/soft; chown 12:34 tree/etc/a; chmod 4755 tree/etc/a
        cp /bin/busybox tree/usr/bin/tool; setfattr -n user.note -v kept tree/usr/bin/tool; setcap cap_net_raw+ep tree/usr/bin/tool; mknod tree/var/null c 1 3; mkfifo tree/var/fifo
        echo kernel > boot/vmlinuz-1
        truncate -s 300M ext.raw; printf 'label: gpt\\n,32M\\n,240M\\n' | sfdisk -q ext.raw
        truncate -s 32M part1; mkfs.ext4 -q -d boot part1; truncate -s 240M part2; mkfs.ext4 -q -d tree part2
        dd if=part1 of=ext.raw bs=1M seek=1 conv=notrunc,sparse status=none; dd if=part2 of=ext.raw bs=1M seek=33 conv=notrunc,sparse status=none
        qemu-img convert -O qcow2 ext.raw ext.qcow2
        truncate -s 320M xfs.img; mkfs.xfs -q xfs.img; mkdir mnt; mount -o loop xfs.img mnt; cp -a tree/. mnt; umount mnt";
    shell(at, &format!("unshare -m sh -ec \"{}\"", script.replace('"', "\\\"")));
    let look = |archive: &str| {
        let line = format!(
            "mkdir -p x; tar --numeric-owner --xattrs --xattrs-include='*' -xpf {archive} -C x; cd x; stat -c '%n %A %u %g %s %h %t' etc/a etc/hard etc/soft usr/bin/tool var/null var/fifo; readlink etc/soft; getfattr -dm - usr/bin/tool; cat boot/vmlinuz-1 2>/dev/null || true; cd ..; rm -r x"
        );
        shell(at, &line)
    };
    shell(
        at,
        "tar --xattrs --xattrs-include='*' -C tree -cf tree.tar .; tar -C boot -cf boot.tar --transform s,^./,./boot/, ./vmlinuz-1; tar -Af tree.tar boot.tar",
    );
    let expected = look("tree.tar");
    let sum = shell(at, "sha256sum ext.qcow2 | cut -c1-64");
    for (disk, checksum) in [("ext.qcow2", format!("sha256:{}", sum.trim())), ("xfs.img", "none".into())] {
        let template = format!(
            r#"{{"builders": [{{"type": "disk", "base": "{disk}", "base_checksum": "{checksum}", "image_name": "{disk}", "formats": ["tar"]}}]}}"#
        );
        write(at, "t.json", &template);
        let files = result(&ok(super::bakery(at, &["bake", "t.json", "--json"])))["files"].clone();
        let found = look(files["tar"].as_str().expect("a path"));
        let expected = if disk == "xfs.img" { expected.replace("kernel\n", "") } else { expected.clone() };
        let found = if disk == "xfs.img" { found.replace("kernel\n", "") } else { found };
        assert_eq!(found, expected, "{disk}");
    }
    let wrong = r#"{"builders": [{"type": "disk", "base": "ext.qcow2", "base_checksum": "md5:00000000000000000000000000000000", "image_name": "wrong", "formats": ["tar"]}]}"#;
    write(at, "t.json", wrong);
    let (_, text) = super::fails(super::bakery(at, &["bake", "--no-cache", "t.json"]));
    assert!(text.contains("is not what it should be: its md5 is"), "{text}");
    // The checksum is that of the machine's own disk: another base is taken for what it is, as far as it goes.
    let guest = r#"{"builders": [{"type": "qemu", "disk_image": true, "iso_url": "ext.qcow2", "iso_checksum": "md5:00000000000000000000000000000000", "ssh_username": "root"}]}"#;
    write(at, "t.json", guest);
    let (_, text) = super::fails(super::bakery(at, &["bake", "--local", "--base", "xfs.img", "t.json"]));
    assert!(text.contains("iso_url ext.qcow2 is replaced by the base xfs.img"), "{text}");
    assert!(text.contains("no kernel in /boot"), "{text}");
}

/// A CD that boots GRUB, whose kernel runs a script that it is told to fetch: an installer in a nutshell.
fn installer(at: &Path) {
    let (_, tree) = guest(at);
    write(at, "iso/boot/grub/grub.cfg", "set timeout=-1\nmenuentry wait { true }\n");
    let init = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox mount -t proc none /proc; /bin/busybox mount -t sysfs none /sys; /bin/busybox mount -t devtmpfs none /dev
for module in $(/bin/busybox cat /modules/order); do /bin/busybox insmod /modules/$module; done
/bin/busybox ip addr add 10.0.2.15/24 dev eth0; /bin/busybox ip link set eth0 up
url=$(/bin/busybox sed 's/.*install=\([^ ]*\).*/\1/' /proc/cmdline)
/bin/busybox wget -O /script "$url" && /bin/busybox sh /script
/bin/busybox poweroff -f
"#;
    write(at, "initrd/init", init);
    let script = format!(
        "mkdir -p kernel initrd/bin initrd/modules; tar -xf '{tree}' -C kernel boot usr/lib/modules
        cp /bin/busybox initrd/bin; chmod 755 initrd/init
        cd kernel/usr/lib/modules/*
        for name in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net virtio_blk; do
            find . -name $name.ko | while read path; do cp $path {at}/initrd/modules; echo $name.ko >> {at}/initrd/modules/order; done
        done
        cd {at}; cp kernel/boot/vmlinuz-* iso/kernel; (cd initrd; find . | busybox cpio -o -H newc | gzip -1) > iso/initrd
        grub-mkrescue -d /usr/lib/grub/i386-pc -o installer.iso iso 2>/dev/null; rm -r kernel",
        at = at.display()
    );
    shell(at, &script);
}

#[test]
fn an_installer_is_told_by_keys_and_by_http_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    installer(at);
    write(
        at,
        "http/install.sh",
        "echo 'it is installed: A_b?' | /bin/busybox dd of=/dev/vda conv=sync; /bin/busybox sync\n",
    );
    let sum = shell(at, "sha256sum installer.iso > SUMS; cut -c1-64 SUMS");
    let template = |wait: &str| {
        format!(
            r#"source "qemu" "box" {{
  iso_url          = "installer.iso"
  iso_checksum     = "file:SUMS"
  disk_size        = "20M"
  format           = "raw"
  memory           = 512
  accelerator      = "tcg"
  headless         = true
  communicator     = "none"
  http_directory   = "http"
  boot_wait        = "{wait}"
  boot_key_interval = "20ms"
  boot_command     = [
    "c<wait>",
    "linux /kernel console=ttyS0 quiet install=http://{{{{ .HTTPIP }}}}:{{{{ .HTTPPort }}}}/install.sh<enter><wait4>",
    "initrd /initrd<enter><wait4>",
    "boot<enter>",
  ]
  shutdown_timeout = "4m"
  vm_name          = "installed"
}}
build {{ sources = ["source.qemu.box"] }}
"#
        )
    };
    // Killed while it waits: the machine ends with it, and what it has begun is no artifact.
    write(at, "box.pkr.hcl", &template("300s"));
    let mut killed = super::bakery(at, &["bake", "box.pkr.hcl"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    let disk = at.join("output-box/installed");
    let machines =
        || shell(at, &format!("pgrep -fc '[q]emu-system.*{}' || true", disk.display())).trim().to_owned();
    let started = Instant::now();
    while machines() != "1" {
        assert!(started.elapsed() < Duration::from_mins(2), "no machine was started");
        std::thread::sleep(Duration::from_millis(100));
    }
    killed.kill().expect("killed");
    killed.wait().expect("gone");
    let started = Instant::now();
    while machines() != "0" {
        assert!(started.elapsed() < Duration::from_secs(20), "the machine is still there");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(at.join("output-box/.bakery-unfinished").is_file());

    write(at, "box.pkr.hcl", &template("6s"));
    ok(super::bakery(at, &["bake", "box.pkr.hcl"]));
    let disk = std::fs::read(disk).expect("a disk");
    assert_eq!(disk.len(), 20 << 20);
    assert!(disk.starts_with(b"it is installed: A_b?\n"), "{:?}", String::from_utf8_lossy(&disk[..40]));
    assert_eq!(shell(at, "ls -A output-box"), "installed\n");

    // Another CD than the one whose sum is known.
    shell(at, "echo x >> installer.iso; rm -r output-box");
    let (_, text) = super::fails(super::bakery(at, &["bake", "box.pkr.hcl"]));
    assert!(text.contains("its sha256 is") && text.contains(sum.trim()), "{text}");
    assert!(!at.join("output-box").exists());
}
