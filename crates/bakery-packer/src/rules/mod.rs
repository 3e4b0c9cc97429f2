//! What options of a builder must be, besides having names that are known: Packer's verdicts, from the `Prepare` of its
//! builders, and compared with its program. Every complaint is told, not the first alone.

mod ec2;
mod machine;

use std::path::Path;

use bakery_lang::Value;
use bakery_lang::hcl::go_duration;

use crate::Component;
use crate::options::Keys;

/// Complaints about a builder.
pub(crate) struct Rules<'a> {
    builder: &'a Component,
    /// The folder that paths are relative to.
    folder: &'a Path,
    complaints: Vec<String>,
}

/// What is wrong with a builder's options, each in a sentence.
pub(crate) fn broken(builder: &Component, folder: &Path) -> Vec<String> {
    let mut rules = Rules { builder, folder, complaints: vec![] };
    rules.kinds();
    match builder.kind.as_str() {
        kind if kind.starts_with("amazon-") => rules.ec2(),
        "qemu" => rules.qemu(),
        "docker" => rules.docker(),
        "null" => rules.null(),
        "file" => {
            rules.needs("target");
            rules.not_both("content", "source");
        }
        _ => {}
    }
    rules.complaints
}

/// Options that are times.
const TIMES: Keys = &[
    "boot_wait",
    "boot_key_interval",
    "boot_keygroup_interval",
    "pause_before_connecting",
    "shutdown_timeout",
    "ssh_keep_alive_interval",
    "ssh_read_write_timeout",
    "ssh_timeout",
    "winrm_timeout",
    "windows_password_timeout",
];

/// Options that are whole numbers.
const NUMBERS: Keys = &[
    "cpus",
    "memory",
    "cores",
    "sockets",
    "threads",
    "ssh_port",
    "ssh_handshake_attempts",
    "ssh_bastion_port",
    "ssh_proxy_port",
    "winrm_port",
    "http_port_min",
    "http_port_max",
    "host_port_min",
    "host_port_max",
    "vnc_port_min",
    "vnc_port_max",
    "block_duration_minutes",
    "snapshot_copy_duration_minutes",
    "temporary_key_pair_bits",
    "session_manager_port",
    "max_retries",
];

/// Options that are true or false.
const FLAGS: Keys = &[
    "associate_public_ip_address",
    "commit",
    "decode_authorization_messages",
    "disable_stop_instance",
    "disable_vnc",
    "discard",
    "disk_compression",
    "disk_image",
    "ebs_optimized",
    "ecr_login",
    "efi_boot",
    "ena_support",
    "enable_nitro_enclave",
    "enable_t2_unlimited",
    "enable_unlimited_credits",
    "encrypt_boot",
    "force_delete_snapshot",
    "force_deregister",
    "from_scratch",
    "headless",
    "insecure_skip_tls_verify",
    "login",
    "privileged",
    "pull",
    "skip_compaction",
    "skip_create_ami",
    "skip_credential_validation",
    "skip_metadata_api_check",
    "skip_nat_mapping",
    "skip_profile_validation",
    "skip_region_validation",
    "skip_resize_disk",
    "skip_save_build_region",
    "sriov_support",
    "ssh_agent_auth",
    "ssh_bastion_agent_auth",
    "ssh_clear_authorized_keys",
    "ssh_disable_agent_forwarding",
    "ssh_pty",
    "temporary_security_group_source_public_ip",
    "use_backing_file",
    "use_default_display",
    "vnc_use_password",
    "winrm_insecure",
    "winrm_use_ntlm",
    "winrm_use_ssl",
];

impl Rules<'_> {
    fn complain(&mut self, sentence: impl Into<String>) {
        self.complaints.push(sentence.into());
    }

    fn has(&self, key: &str) -> bool {
        self.builder.config.get(key).is_some_and(|value| value.is_true())
    }

    fn text(&self, key: &str) -> String {
        self.builder.text(key).unwrap_or_default()
    }

    fn flag(&self, key: &str) -> bool {
        self.builder.flag(key, false)
    }

    /// The maps of an option that is a list of them, or one, or blocks.
    fn maps(&self, key: &str) -> Vec<bakery_lang::Map> {
        let value = self.builder.config.get(key);
        let items = value.map(|value| value.as_items().unwrap_or_else(|| vec![value.clone()]));
        items.unwrap_or_default().iter().filter_map(|item| item.as_map().cloned()).collect()
    }

    fn needs(&mut self, key: &str) {
        if !self.has(key) {
            self.complain(format!("`{key}` must be specified"));
        }
    }

    fn not_both(&mut self, one: &str, other: &str) {
        if self.has(one) && self.has(other) {
            self.complain(format!("only one of `{one}` and `{other}` may be specified"));
        }
    }

    fn one_of(&mut self, key: &str, known: Keys) {
        let value = self.text(key);
        if !value.is_empty() && !known.contains(&value.as_str()) {
            self.complain(format!("`{key}` is `{value}` (known: {})", known.join(", ")));
        }
    }

    fn exists(&mut self, key: &str) {
        for path in self.builder.list(key) {
            let full = self.folder.join(&path);
            let pattern = glob::glob(&full.display().to_string());
            if !full.exists() && !pattern.is_ok_and(|mut found| found.next().is_some()) {
                self.complain(format!("`{key}`: there is no file `{path}`"));
            }
        }
    }

    /// Whether options are times, numbers, true or false.
    fn kinds(&mut self) {
        let open = |text: &str| text.is_empty() || text.contains("{{");
        for key in TIMES {
            let text = self.text(key);
            if !open(&text)
                && let Err(why) = go_duration(&text)
            {
                self.complain(format!("`{key}`: {why}"));
            }
        }
        for key in NUMBERS {
            let text = self.text(key);
            if !open(&text) && text.parse::<i64>().is_err() {
                self.complain(format!("`{key}` is `{text}`, which is no number"));
            }
        }
        for key in FLAGS {
            let text = self.text(key);
            let known = ["1", "t", "true", "0", "f", "false"];
            if !open(&text) && !known.contains(&text.to_lowercase().as_str()) {
                self.complain(format!("`{key}` is `{text}`, which is neither true nor false"));
            }
        }
    }

    /// The keys of maps in an option.
    fn keys_within(&mut self, key: &str, known: Keys) {
        for map in self.maps(key) {
            for name in map.keys() {
                let name = name.to_string();
                if !known.contains(&name.as_str()) {
                    let hint = bakery_lang::suggest(&name, known.iter().copied()).unwrap_or_default();
                    self.complain(format!("`{key}` has the unknown option `{name}` {hint}").trim_end());
                }
            }
        }
    }

    /// An option that maps names to values.
    fn is_map(&mut self, key: &str) {
        let Some(value) = self.builder.config.get(key).filter(Value::is_true) else { return };
        let items = value.as_items().unwrap_or_else(|| vec![value]);
        if items.iter().any(|item| item.as_map().is_none()) {
            self.complain(format!("`{key}` must map names to values"));
        }
    }
}
