//! The options of the builder `qemu`, with Packer's defaults (`builder/qemu/config.go` of its plugin).

use std::path::PathBuf;
use std::time::Duration;

use bakery_host::fs;
use bakery_lang::{Map, Value};
use bakery_packer::Component;

use crate::plan::bytes;
use crate::provision::duration;
use crate::{Error, Result};

/// What a machine is made of, and what is done to it.
pub(super) struct Options {
    pub(super) vm_name: String,
    /// As it is written, for people; and where it is.
    pub(super) output: (String, PathBuf),
    pub(super) binary: String,
    pub(super) accelerator: Option<String>,
    pub(super) machine_type: String,
    pub(super) cpu_model: Option<String>,
    pub(super) smp: String,
    /// MiB.
    pub(super) memory: u64,
    pub(super) format: String,
    /// Bytes; of the first disk and of those after it.
    pub(super) disk_sizes: Vec<u64>,
    pub(super) interface: String,
    /// Options of every disk's `-drive`.
    pub(super) drive: String,
    pub(super) disk_image: bool,
    pub(super) backing_file: bool,
    pub(super) resize: bool,
    pub(super) compact: bool,
    pub(super) compress: bool,
    pub(super) network: String,
    pub(super) bridge: Option<String>,
    pub(super) firmware: Firmware,
    pub(super) boot_wait: Duration,
    /// What is typed, piece by piece.
    pub(super) boot_command: Vec<String>,
    pub(super) key_interval: Duration,
    pub(super) group_interval: Option<Duration>,
    pub(super) http_address: String,
    pub(super) http_ports: (u16, u16),
    pub(super) vnc_address: String,
    pub(super) vnc_ports: (u16, u16),
    pub(super) vnc: bool,
    pub(super) ssh_ports: (u16, u16),
    pub(super) has_ssh: bool,
    pub(super) shutdown_command: Option<String>,
    pub(super) shutdown_timeout: Duration,
    /// Options of QEMU that take the place of ours of the same names, with their values.
    pub(super) replaced: Vec<(String, Option<String>)>,
    pub(super) floppy: Medium,
    pub(super) cd: Medium,
}

/// How a machine starts before its disk does.
pub(super) enum Firmware {
    /// QEMU's own.
    Bios,
    /// A file for `-bios`.
    File(PathBuf),
    /// EFI: its code, the file that its variables begin as, and whether what they became is left out of the artifact.
    Efi { code: PathBuf, vars: PathBuf, drop: bool },
}

/// What is put on a floppy or CD.
pub(super) struct Medium {
    pub(super) files: Vec<String>,
    pub(super) content: Vec<(String, String)>,
    pub(super) label: String,
}

impl Medium {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.content.is_empty()
    }
}

/// Where distributions have the firmware; the first that is there.
const CODE: &[&str] = &[
    "/usr/share/OVMF/OVMF_CODE.fd",
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/edk2/ovmf/OVMF_CODE.fd",
    "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
];

/// Their variables, in the same order.
const VARS: &[&str] = &[
    "/usr/share/OVMF/OVMF_VARS.fd",
    "/usr/share/OVMF/OVMF_VARS_4M.fd",
    "/usr/share/edk2/ovmf/OVMF_VARS.fd",
    "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
];

/// The entries of an option that is a map, or a block of HCL.
pub(super) fn entries(value: Option<Value>) -> Vec<(String, String)> {
    let map: Option<Map> = value.and_then(|value| {
        let block = value.as_items().and_then(|items| items.first().cloned());
        block.unwrap_or(value).as_map().cloned()
    });
    map.map(|map| map.pairs())
        .unwrap_or_default()
        .into_iter()
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .collect()
}

/// A disk's size in bytes; numbers without a unit are MiB.
pub(crate) fn disk_size(text: &str) -> Result<u64> {
    bytes(&if text.ends_with(char::is_numeric) { format!("{text}M") } else { text.to_owned() })
}

impl Options {
    /// Reads a builder's options.
    pub(super) fn of(builder: &Component, folder: &std::path::Path) -> Result<Self> {
        let text = |key: &str, default: &str| builder.text(key).unwrap_or_else(|| default.to_owned());
        let number = |key: &str, default: u16| -> Result<u16> {
            builder.text(key).map_or(Ok(default), |value| {
                value.parse().map_err(|_| Error::new(format!("`{key}` must be a number, not `{value}`")))
            })
        };
        let time = |key: &str, default: &str| duration(&text(key, default));
        let range = |name: &str, default: (u16, u16)| -> Result<(u16, u16)> {
            let (least, most) =
                (number(&format!("{name}_min"), default.0)?, number(&format!("{name}_max"), default.1)?);
            if least > most {
                return Err(Error::new(format!("`{name}_min` must be less than `{name}_max`")));
            }
            Ok((least, most))
        };
        for (key, known) in [("format", &["qcow2", "raw"] as &[_]), ("communicator", &["ssh", "none"])] {
            if let Some(value) = builder.text(key)
                && !known.contains(&value.as_str())
            {
                let message =
                    format!("`{key}` is `{value}`, which does not run here (known: {})", known.join(", "));
                return Err(Error::new(message));
            }
        }
        for key in ["vtpm", "vnc_use_password"] {
            if builder.flag(key, false) {
                return Err(Error::new(format!("`{key}` does not run here"))
                    .hint("`qemuargs` hands any option to QEMU"));
            }
        }
        let named = text("output_directory", &format!("output-{}", builder.name));
        let mut disk_sizes = vec![disk_size(&text("disk_size", "40960M"))?];
        for more in builder.list("disk_additional_size") {
            disk_sizes.push(disk_size(&more)?);
        }
        let (cpus, sockets, cores, threads) =
            (number("cpus", 1)?.max(1), number("sockets", 0)?, number("cores", 0)?, number("threads", 0)?);
        let mut smp = cpus.to_string();
        for (name, count) in [("sockets", sockets), ("cores", cores), ("threads", threads)] {
            if count > 0 {
                smp.push_str(&format!(",{name}={count}"));
            }
        }
        let steps = builder.config.get("boot_steps").and_then(|steps| steps.as_items()).unwrap_or_default();
        let steps = steps.iter().filter_map(|step| step.as_items()?.first().map(ToString::to_string));
        let medium = |name: &str, label: &str| Medium {
            files: builder
                .list(&format!("{name}_files"))
                .into_iter()
                .chain(builder.list(&format!("{name}_dirs")))
                .collect(),
            content: entries(builder.config.get(&format!("{name}_content"))),
            label: text(&format!("{name}_label"), label),
        };
        Ok(Self {
            vm_name: text("vm_name", &format!("packer-{}", builder.name)),
            output: (named.clone(), folder.join(named)),
            binary: text("qemu_binary", "qemu-system-x86_64"),
            accelerator: builder.text("accelerator"),
            machine_type: text("machine_type", "pc"),
            cpu_model: builder.text("cpu_model"),
            smp,
            memory: builder.text("memory").map_or(Ok(512), |text| {
                text.parse()
                    .map_err(|_| Error::new(format!("`memory` must be a number of MiB, not `{text}`")))
            })?,
            format: text("format", "qcow2"),
            disk_sizes,
            interface: text("disk_interface", "virtio"),
            drive: format!(
                "cache={},discard={},detect-zeroes={}",
                text("disk_cache", "writeback"),
                text("disk_discard", "ignore"),
                match text("disk_detect_zeroes", "off").as_str() {
                    "" => "off".to_owned(),
                    other => other.to_owned(),
                }
            ),
            disk_image: builder.flag("disk_image", false),
            backing_file: builder.flag("use_backing_file", false),
            resize: !builder.flag("skip_resize_disk", false),
            compact: !builder.flag("skip_compaction", false),
            compress: builder.flag("disk_compression", false),
            network: text("net_device", "virtio-net"),
            bridge: builder.text("net_bridge"),
            firmware: firmware(builder, folder)?,
            boot_wait: time("boot_wait", "10s")?,
            boot_command: builder.list("boot_command").into_iter().chain(steps).collect(),
            key_interval: time("boot_key_interval", "100ms")?,
            group_interval: builder.text("boot_keygroup_interval").map(|t| duration(&t)).transpose()?,
            http_address: text("http_bind_address", "0.0.0.0"),
            http_ports: range("http_port", (8000, 9000))?,
            vnc_address: text("vnc_bind_address", "127.0.0.1"),
            vnc_ports: range("vnc_port", (5900, 6000))?,
            vnc: !builder.flag("disable_vnc", false),
            ssh_ports: range("host_port", (2222, 4444))?,
            has_ssh: builder.text("communicator").is_none_or(|kind| kind == "ssh"),
            shutdown_command: builder.text("shutdown_command"),
            shutdown_timeout: time("shutdown_timeout", "5m")?,
            replaced: replaced(builder),
            floppy: medium("floppy", ""),
            cd: medium("cd", "packer"),
        })
    }
}

fn firmware(builder: &Component, folder: &std::path::Path) -> Result<Firmware> {
    let is_efi = builder.flag("efi_boot", false)
        || ["efi_firmware_code", "efi_firmware_vars"].iter().any(|key| builder.text(key).is_some());
    if !is_efi {
        let file = builder.text("firmware").map(|file| folder.join(file));
        return Ok(match file {
            Some(code) if builder.flag("use_pflash", false) => {
                Firmware::Efi { vars: code.clone(), code, drop: true }
            }
            Some(file) => Firmware::File(file),
            None => Firmware::Bios,
        });
    }
    let found = |key: &str, usual: &[&str]| -> Result<PathBuf> {
        let given = builder.text(key).map(|file| folder.join(file));
        let path = given.or_else(|| usual.iter().map(PathBuf::from).find(|path| path.is_file()));
        path.filter(|path| fs::metadata(path).is_ok()).ok_or_else(|| {
            Error::new(format!("the EFI firmware is not there (`{key}`)")).hint("install the package ovmf")
        })
    };
    Ok(Firmware::Efi {
        code: found("efi_firmware_code", CODE)?,
        vars: found("efi_firmware_vars", VARS)?,
        drop: builder.flag("efi_drop_efivars", false),
    })
}

/// `qemuargs`: a list of lists, or of strings with the option and its value.
fn replaced(builder: &Component) -> Vec<(String, Option<String>)> {
    let items = builder.config.get("qemuargs").and_then(|args| args.as_items()).unwrap_or_default();
    let one = |item: &Value| {
        let words: Vec<String> = match item.as_items() {
            Some(words) => words.iter().map(ToString::to_string).collect(),
            None => item.to_string().splitn(2, ' ').map(str::to_owned).collect(),
        };
        let value = words.get(1..).filter(|rest| !rest.is_empty()).map(|rest| rest.join(" "));
        words.first().map(|name| (name.clone(), value))
    };
    items.iter().filter_map(one).collect()
}
