//! What must not be in an image, and what it must have: looked for without booting it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

use serde::Serialize;

use super::Tree;
use crate::Result;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Probably not meant.
    Warning,
    /// The image must not be used so.
    Error,
}

/// Something that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which check found it.
    pub check: &'static str,
    /// Where.
    pub path: String,
    /// What, and what to do.
    pub text: String,
}

struct Lint<'a> {
    tree: &'a Tree,
    findings: Vec<Finding>,
}

/// Checks a tree; `boots` says whether it is meant to boot by itself.
///
/// # Errors
/// When the tree cannot be read.
pub fn lint(tree: &Tree, boots: bool) -> Result<Vec<Finding>> {
    let mut lint = Lint { tree, findings: vec![] };
    lint.identity();
    lint.logins();
    lint.secrets()?;
    lint.permissions()?;
    lint.remains();
    if boots {
        lint.boot();
    }
    lint.findings.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.path.cmp(&b.path)));
    Ok(lint.findings)
}

/// Files larger than this are not searched for secrets.
const MOST_SEARCHED: u64 = 1 << 20;

impl Lint<'_> {
    fn found(&mut self, severity: Severity, check: &'static str, path: &str, text: &str) {
        self.findings.push(Finding { severity, check, path: path.to_owned(), text: text.to_owned() });
    }

    /// What every instance must have of its own.
    fn identity(&mut self) {
        let id = self.tree.files.text("etc/machine-id").unwrap_or_default();
        if !matches!(id.trim(), "" | "uninitialized") {
            self.found(
                Severity::Error,
                "machine-id",
                "/etc/machine-id",
                "every instance would have this identity; it must be empty",
            );
        }
        for name in self.tree.files.names("etc/ssh") {
            if name.starts_with("ssh_host_") {
                let path = format!("/etc/ssh/{name}");
                self.found(
                    Severity::Error,
                    "host-key",
                    &path,
                    "every instance would have this host key; it is made at the first boot",
                );
            }
        }
        for path in
            ["/var/lib/systemd/random-seed", "/var/lib/systemd/credential.secret", "/var/lib/dbus/machine-id"]
        {
            let own = self.tree.files.text(path).is_some_and(|text| !text.trim().is_empty());
            if own && path != "/var/lib/dbus/machine-id" || own && !id.trim().is_empty() {
                self.found(Severity::Warning, "identity", path, "instances would share it");
            }
        }
    }

    /// Who can log in.
    fn logins(&mut self) {
        for line in self.tree.files.text("etc/shadow").unwrap_or_default().lines() {
            let mut fields = line.split(':');
            let (user, hash) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            if hash.starts_with('$') {
                let text = format!("`{user}` has a password; lock it with `!`, or give it at boot");
                self.found(Severity::Error, "password", "/etc/shadow", &text);
            } else if hash.is_empty() && !user.is_empty() {
                self.found(
                    Severity::Error,
                    "password",
                    "/etc/shadow",
                    &format!("`{user}` needs no password"),
                );
            }
        }
        let homes = self.tree.files.names("home").into_iter().map(|name| format!("home/{name}"));
        for home in ["root".to_owned()].into_iter().chain(homes) {
            for name in ["authorized_keys", "authorized_keys2"] {
                let path = format!("{home}/.ssh/{name}");
                if self.tree.files.text(&path).is_some_and(|text| !text.trim().is_empty()) {
                    self.found(
                        Severity::Error,
                        "authorized-keys",
                        &format!("/{path}"),
                        "somebody could log in to every instance",
                    );
                }
            }
        }
        let mut files = vec!["etc/ssh/sshd_config".to_owned()];
        files.extend(
            self.tree
                .files
                .names("etc/ssh/sshd_config.d")
                .iter()
                .map(|n| format!("etc/ssh/sshd_config.d/{n}")),
        );
        for file in files {
            for line in self.tree.files.text(&file).unwrap_or_default().lines() {
                let line = line.trim().to_lowercase();
                let words: Vec<&str> = line.split_whitespace().collect();
                if matches!(words.as_slice(), ["permitrootlogin" | "permitemptypasswords", "yes"]) {
                    self.found(Severity::Warning, "sshd", &format!("/{file}"), &format!("`{line}`"));
                }
            }
        }
        for name in self.tree.files.names("etc/sudoers.d") {
            let path = format!("etc/sudoers.d/{name}");
            if self.tree.files.text(&path).is_some_and(|t| {
                t.lines().any(|l| !l.trim_start().starts_with('#') && l.contains("NOPASSWD"))
            }) {
                self.found(
                    Severity::Note,
                    "sudo",
                    &format!("/{path}"),
                    "somebody becomes root without a password",
                );
            }
        }
    }

    /// Keys and credentials.
    fn secrets(&mut self) -> Result<()> {
        for folder in ["root", "home", "etc", "opt", "srv", "var/lib/cloud", "usr/local/etc", "var/www"] {
            for (path, meta) in self.tree.files.walk(folder)? {
                if !meta.is_file() || meta.len() > MOST_SEARCHED || meta.len() == 0 {
                    continue;
                }
                let name = path.rsplit('/').next().unwrap_or_default();
                let by_name = match name {
                    ".netrc" | ".git-credentials" | ".pgpass" | ".my.cnf" | ".pypirc" | ".vault_pass" => true,
                    "credentials" => path.contains("/.aws/"),
                    "config.json" => path.contains("/.docker/"),
                    _ => false,
                };
                if by_name {
                    self.found(Severity::Error, "credentials", &path, "it holds credentials");
                    continue;
                }
                if matches!(
                    name,
                    ".bash_history"
                        | ".zsh_history"
                        | ".python_history"
                        | ".lesshst"
                        | ".viminfo"
                        | ".mysql_history"
                ) {
                    self.found(
                        Severity::Warning,
                        "history",
                        &path,
                        "it says what was typed while the image was made",
                    );
                    continue;
                }
                let Some(text) = self.tree.files.text(&path) else { continue };
                if let Some(what) = secret_in(&text) {
                    self.found(Severity::Error, "secret", &path, &format!("it holds {what}"));
                }
            }
        }
        Ok(())
    }

    /// What everybody can change, and what runs as somebody else without being a package's.
    fn permissions(&mut self) -> Result<()> {
        let mut owned = BTreeSet::new();
        for name in self.tree.files.names("var/lib/dpkg/info").into_iter().filter(|n| n.ends_with(".list")) {
            let text = self.tree.files.text(&format!("var/lib/dpkg/info/{name}")).unwrap_or_default();
            owned.extend(text.lines().map(str::to_owned));
        }
        // The folders of old names may be links to those below `/usr`.
        let is_owned = |path: &str| {
            owned.contains(path) || path.strip_prefix("/usr").is_some_and(|short| owned.contains(short))
        };
        for folder in ["etc", "usr", "bin", "sbin", "lib", "opt", "root"] {
            for (path, meta) in self.tree.files.walk(folder)? {
                let mode = meta.permissions().mode();
                if meta.is_symlink() {
                    continue;
                }
                if mode & 0o002 != 0 && mode & 0o1000 == 0 && (meta.is_file() || meta.is_dir()) {
                    self.found(Severity::Error, "world-writable", &path, "everybody can change it");
                }
                if meta.is_file() && mode & 0o6000 != 0 && !owned.is_empty() && !is_owned(&path) {
                    self.found(
                        Severity::Warning,
                        "setuid",
                        &path,
                        "it runs as its owner, and no package owns it",
                    );
                }
            }
        }
        for (path, modes) in [("/etc/shadow", 0o137u32), ("/etc/gshadow", 0o137), ("/etc/sudoers", 0o337)] {
            let mode = bakery_host::fs::symlink_metadata(self.tree.root.join(&path[1..]));
            if mode.is_ok_and(|m| m.permissions().mode() & modes & 0o077 & !0o040 != 0) {
                self.found(Severity::Error, "mode", path, "others can read or change it");
            }
        }
        Ok(())
    }

    /// What the build left.
    fn remains(&mut self) {
        if self.tree.files.exists("usr/sbin/policy-rc.d") {
            self.found(
                Severity::Error,
                "policy",
                "/usr/sbin/policy-rc.d",
                "services will not start; it belongs to the build",
            );
        }
        for (folder, kept) in [
            ("var/lib/apt/lists", "partial"),
            ("var/cache/apt/archives", "partial"),
            ("tmp", ""),
            ("var/tmp", ""),
            ("var/crash", ""),
        ] {
            let names = self.tree.files.names(folder);
            if names.iter().any(|n| n != kept && n != "lock") {
                self.found(Severity::Note, "remains", &format!("/{folder}"), "nobody needs what is in it");
            }
        }
        if let Some(text) = self.tree.files.text("etc/apt/apt.conf.d/90proxy") {
            self.found(
                Severity::Warning,
                "proxy",
                "/etc/apt/apt.conf.d/90proxy",
                &format!("instances will look for the build's proxy: {}", text.trim()),
            );
        }
    }

    /// What it takes to boot on EC2 and elsewhere.
    fn boot(&mut self) {
        let kernels: Vec<String> = self
            .tree
            .files
            .names("boot")
            .into_iter()
            .filter_map(|n| n.strip_prefix("vmlinuz-").map(str::to_owned))
            .collect();
        if kernels.is_empty() {
            self.found(Severity::Error, "kernel", "/boot", "there is no kernel");
        }
        for version in &kernels {
            let initrd = [format!("boot/initrd.img-{version}"), format!("boot/initramfs-{version}.img")];
            if !initrd.iter().any(|path| self.tree.files.exists(path)) {
                self.found(
                    Severity::Error,
                    "initrd",
                    "/boot",
                    &format!("the kernel {version} has no initrd"),
                );
            }
            let folder = ["lib/modules", "usr/lib/modules"].map(|f| format!("{f}/{version}"));
            let folder = folder.iter().find(|f| self.tree.files.exists(f)).cloned().unwrap_or_default();
            let known = ["modules.builtin", "modules.dep"]
                .map(|n| self.tree.files.text(&format!("{folder}/{n}")).unwrap_or_default())
                .concat();
            let known = known.replace('_', "-");
            for (driver, why) in [
                ("nvme", "EC2's disks"),
                ("ena", "EC2's network"),
                ("xen-blkfront", "EC2's older disks"),
                ("virtio-blk", "disks of QEMU and KVM"),
                ("virtio-net", "network of QEMU and KVM"),
            ] {
                if !known.contains(&format!("/{driver}.ko")) {
                    self.found(
                        Severity::Warning,
                        "driver",
                        &format!("/{folder}"),
                        &format!("the kernel has no `{driver}`, for {why}"),
                    );
                }
            }
        }
        let line = ["etc/kernel/cmdline", "boot/grub/grub.cfg", "etc/default/grub"]
            .iter()
            .any(|path| self.tree.files.text(path).is_some_and(|text| text.contains("console=ttyS0")));
        if !line {
            self.found(
                Severity::Warning,
                "console",
                "/etc/kernel/cmdline",
                "nothing is said on the serial console, which is all that EC2 shows",
            );
        }
        let agent = self.tree.files.exists("usr/bin/bakery-agent");
        if !agent && !self.tree.files.exists("usr/bin/cloud-init") {
            self.found(
                Severity::Error,
                "user-data",
                "/",
                "nobody carries out user-data: neither bakery's agent nor cloud-init is there",
            );
        }
        if !agent && !self.tree.files.exists("usr/bin/growpart") {
            self.found(Severity::Warning, "growth", "/", "the root will not fill a larger disk");
        }
        for line in self.tree.files.text("etc/fstab").unwrap_or_default().lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [device, at, _, options, ..] = words.as_slice()
                && !device.starts_with('#')
            {
                if *at == "/" && device.starts_with("/dev/") {
                    self.found(
                        Severity::Error,
                        "fstab",
                        "/etc/fstab",
                        &format!("the root is named `{device}`, which is another disk elsewhere"),
                    );
                } else if !matches!(*at, "/" | "none" | "swap")
                    && !at.starts_with("/boot")
                    && !options.contains("nofail")
                    && device.starts_with("/dev/")
                {
                    self.found(
                        Severity::Warning,
                        "fstab",
                        "/etc/fstab",
                        &format!("without `nofail`, a boot without `{device}` does not end"),
                    );
                }
            }
        }
    }
}

/// What secret a text holds, in words.
fn secret_in(text: &str) -> Option<&'static str> {
    if text.contains("-----BEGIN")
        && ["PRIVATE KEY-----", "PGP PRIVATE KEY BLOCK"].iter().any(|end| text.contains(end))
    {
        return Some("a private key");
    }
    // A key's id of AWS: a word of twenty capital letters and digits.
    let is_word = |c: char| c.is_ascii_alphanumeric();
    let is_id = |word: &str| {
        word.len() == 20
            && (word.starts_with("AKIA") || word.starts_with("ASIA"))
            && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
    };
    if text.split(|c| !is_word(c)).any(is_id) && !text.contains("EXAMPLE") {
        return Some("an access key of AWS");
    }
    if ["ghp_", "gho_", "github_pat_", "glpat-", "xoxb-", "xoxp-"].iter().any(|start| {
        text.match_indices(start).any(|(at, _)| {
            text[at + start.len()..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').count()
                >= 20
        })
    }) {
        return Some("a token");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_shape() {
        assert_eq!(secret_in("x\n-----BEGIN OPENSSH PRIVATE KEY-----\nabc"), Some("a private key"));
        assert_eq!(secret_in("-----BEGIN CERTIFICATE-----"), None);
        assert_eq!(
            secret_in(&format!("id = {}{}", "AKIA", "Z7Q4W2E9R5T1Y8U3")),
            Some("an access key of AWS")
        );
        assert_eq!(secret_in("AKIAIOSFODNN7EXAMPLE"), None);
        assert_eq!(secret_in(&format!("token: {}{}", "ghp_", "a".repeat(36))), Some("a token"));
    }
}
