//! Files that make a sealed image boot: network, file systems, boot loader, and the agent's units.

/// The agent at boot. It runs as early as its disks are there, beside the services of the system, so that what it
/// configures need not wait for the rest; it never waits for a unit that is ordered after it.
pub(crate) const BOOT_UNIT: &str = "\
[Unit]
Description=Finish this machine's boot from its user-data
Documentation=man:bakery(1)
DefaultDependencies=no
After=local-fs.target systemd-tmpfiles-setup.service systemd-udev-trigger.service
Before=multi-user.target cloud-init.target
Conflicts=shutdown.target
Before=shutdown.target
ConditionPathExists=!/etc/cloud/cloud-init.disabled

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/bakery-agent boot
StandardOutput=journal
StandardError=journal+console
TimeoutStartSec=3600
KillMode=process

[Install]
WantedBy=multi-user.target
";

/// Where the distribution's cloud-init carries the user-data out, the agent says when it has ended.
pub(crate) const CLOUD_INIT_UNIT: &str = "\
[Unit]
Description=Tell how cloud-init finished this machine's boot
After=cloud-final.service
ConditionPathExists=!/etc/cloud/cloud-init.disabled

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/bakery-agent boot --after-cloud-init
StandardOutput=journal
StandardError=journal+console

[Install]
WantedBy=cloud-init.target
";

/// One key of the modern kind; RSA keys are a lottery on prime numbers that a boot should not wait for.
pub(crate) const HOST_KEY_UNIT: &str = "\
[Unit]
Description=Make the host key of this machine
DefaultDependencies=no
After=local-fs.target
Before=ssh.service sshd.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N \"\" -C \"\" -f /etc/ssh/ssh_host_ed25519_key

[Install]
WantedBy=ssh.service
";

/// The address by DHCP on every Ethernet interface.
pub(crate) const NETWORK: &str = "\
[Match]
Type=ether

[Network]
DHCP=yes
IPv6AcceptRA=yes

[DHCPv4]
UseHostname=no
UseDomains=yes
";

/// The boot loader's menu: one entry, no waiting, the serial console too.
pub(crate) fn grub_cfg(root_uuid: &str, kernel: &str, initrd: &str, kernel_args: &str) -> String {
    format!(
        "set timeout=0\nset default=0\nserial --unit=0 --speed=115200\nterminal_output console serial\n\
         menuentry 'Linux' {{\n  search --no-floppy --fs-uuid --set=root {root_uuid}\n  \
         linux {kernel} {}\n  initrd {initrd}\n}}\n",
        command_line(root_uuid, kernel_args)
    )
}

/// The kernel's command line.
pub(crate) fn command_line(root_uuid: &str, kernel_args: &str) -> String {
    let line = format!(
        "root=UUID={root_uuid} rw console=tty0 console=ttyS0,115200 nvme_core.io_timeout=4294967295 no_timer_check quiet {kernel_args}"
    );
    line.trim_end().to_owned()
}

/// What the boot loader's image does first: find the root file system and read its menu.
pub(crate) fn grub_early(root_uuid: &str) -> String {
    format!(
        "search --no-floppy --fs-uuid --set=root {root_uuid}\nset prefix=($root)/boot/grub\nconfigfile ($root)/boot/grub/grub.cfg\n"
    )
}

/// Modules in the boot loader's image; none is read from the disk.
pub(crate) const GRUB_MODULES: &[&str] = &[
    "part_gpt",
    "part_msdos",
    "ext2",
    "xfs",
    "normal",
    "linux",
    "search",
    "search_fs_uuid",
    "search_label",
    "configfile",
    "echo",
    "test",
    "serial",
    "terminal",
    "minicmd",
    "ls",
    "cat",
    "gzio",
    "boot",
    "halt",
    "reboot",
];
