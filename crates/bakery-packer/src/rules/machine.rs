//! Machines and containers, and how a machine is reached (`communicator/config.go` of the plugin SDK).

use super::Rules;

impl Rules<'_> {
    /// How the machine is reached. `at` says that the template must say where it is.
    pub(super) fn communicator(&mut self, at: bool) {
        match self.text("communicator").as_str() {
            "" | "ssh" => self.ssh(at),
            "winrm" => self.needs("winrm_username"),
            "none" => {}
            other => {
                let sentence = format!("`communicator` is `{other}` (known: ssh, winrm, none)");
                self.complain(sentence);
            }
        }
    }

    fn ssh(&mut self, at: bool) {
        self.needs("ssh_username");
        self.exists("ssh_private_key_file");
        self.one_of("ssh_file_transfer_method", &["scp", "sftp"]);
        if self.has("ssh_bastion_host") {
            let ways = ["ssh_bastion_password", "ssh_bastion_private_key_file", "ssh_bastion_agent_auth"];
            if !ways.iter().any(|way| self.has(way)) && !self.flag("ssh_bastion_interactive") {
                self.complain("`ssh_bastion_password` or `ssh_bastion_private_key_file` must be specified");
            }
        }
        self.not_both("ssh_bastion_host", "ssh_proxy_host");
        if at {
            self.needs("ssh_host");
            let ways = ["ssh_agent_auth", "ssh_password", "ssh_private_key_file"];
            if ways.iter().filter(|way| self.has(way)).count() != 1 {
                self.complain(format!(
                    "one of {} must be specified",
                    ways.map(|way| format!("`{way}`")).join(", ")
                ));
            }
        }
    }

    pub(super) fn null(&mut self) {
        self.communicator(true);
    }

    pub(super) fn docker(&mut self) {
        self.needs("image");
        let outcomes = ["commit", "discard", "export_path"];
        match outcomes.iter().filter(|key| self.has(key)).count() {
            0 => self.complain("one of `commit`, `discard` and `export_path` must be specified"),
            1 => {}
            _ => self.complain("only one of `commit`, `discard` and `export_path` may be specified"),
        }
        if self.flag("ecr_login") {
            self.needs("login_server");
        }
    }

    pub(super) fn qemu(&mut self) {
        self.communicator(false);
        if self.has("iso_url") || self.has("iso_urls") {
            self.not_both("iso_url", "iso_urls");
        } else {
            self.complain("one of `iso_url` and `iso_urls` must be specified");
        }
        let sum = self.text("iso_checksum");
        match sum.as_str() {
            "" => self.complain("`iso_checksum` must be specified; `none` takes whatever comes"),
            known if known == "none" || known.starts_with("file:") || known.contains("{{") => {}
            other => {
                let digits = other.rsplit(':').next().unwrap_or_default();
                let right = [32, 40, 56, 64, 96, 128].contains(&digits.len());
                if !right || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    self.complain(format!("`iso_checksum` is `{other}`, which is no checksum"));
                }
            }
        }
        self.one_of("format", &["qcow2", "raw"]);
        self.one_of("accelerator", &["kvm", "tcg", "xen", "hax", "hvf", "whpx", "none"]);
        self.one_of("disk_interface", &["ide", "sata", "scsi", "virtio", "virtio-scsi"]);
        self.one_of("disk_cache", &["writethrough", "writeback", "none", "unsafe", "directsync"]);
        self.one_of("disk_discard", &["unmap", "ignore"]);
        self.one_of("disk_detect_zeroes", &["unmap", "on", "off"]);
        for range in ["vnc_port", "host_port", "http_port"] {
            let end = |end: &str| self.text(&format!("{range}_{end}")).parse::<u32>().ok();
            if let (Some(least), Some(most)) = (end("min"), end("max"))
                && least > most
            {
                self.complain(format!("`{range}_min` must be less than `{range}_max`"));
            }
        }
        let is_raw = self.text("format") == "raw";
        if self.flag("use_backing_file") && (is_raw || !self.flag("disk_image")) {
            self.complain("`use_backing_file` needs `disk_image` and the format qcow2");
        }
        for size in
            self.builder.list("disk_size").into_iter().chain(self.builder.list("disk_additional_size"))
        {
            let number =
                size.trim_end_matches(['b', 'k', 'K', 'm', 'M', 'g', 'G', 't', 'T', 'p', 'P', 'e', 'E']);
            if number.is_empty()
                || !number.bytes().all(|digit| digit.is_ascii_digit())
                || size.len() > number.len() + 1
            {
                self.complain(format!("`{size}` is no size of a disk (such as 10G)"));
            }
        }
        self.exists("cd_files");
        self.exists("floppy_files");
        let output = self.text("output_directory");
        if !output.is_empty() && self.folder.join(&output).exists() {
            self.complain(format!("the folder `{output}` (`output_directory`) is there already"));
        }
    }
}
