//! Which distribution this is (`ansible/module_utils/facts/system/distribution.py`), from os-release.

use bakery_host::fs::read_to_string;
use bakery_lang::Map;

/// `ID` of os-release → the names that Ansible uses.
const NAMES: &[(&str, &str, &str)] = &[
    ("debian", "Debian", "Debian"),
    ("ubuntu", "Ubuntu", "Debian"),
    ("raspbian", "Debian", "Debian"),
    ("linuxmint", "Linux Mint", "Debian"),
    ("kali", "Kali", "Debian"),
    ("devuan", "Devuan", "Debian"),
    ("rhel", "RedHat", "RedHat"),
    ("centos", "CentOS", "RedHat"),
    ("rocky", "Rocky", "RedHat"),
    ("almalinux", "AlmaLinux", "RedHat"),
    ("ol", "OracleLinux", "RedHat"),
    ("fedora", "Fedora", "RedHat"),
    ("amzn", "Amazon", "RedHat"),
    ("sles", "SLES", "Suse"),
    ("opensuse-leap", "openSUSE Leap", "Suse"),
    ("opensuse-tumbleweed", "openSUSE Tumbleweed", "Suse"),
    ("alpine", "Alpine", "Alpine"),
    ("arch", "Archlinux", "Archlinux"),
    ("gentoo", "Gentoo", "Gentoo"),
];

pub(super) fn add(facts: &Map) {
    let text = read_to_string("/etc/os-release")
        .or_else(|_| read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    let field = |name: &str| {
        text.lines().find_map(|line| {
            line.strip_prefix(&format!("{name}=")).map(|v| v.trim_matches(['"', '\'']).to_owned())
        })
    };
    let id = field("ID").unwrap_or_default();
    let (name, family) = NAMES.iter().find(|(known, _, _)| *known == id).map_or_else(
        || (field("NAME").unwrap_or_else(|| "NA".into()), "NA".to_owned()),
        |(_, n, f)| ((*n).to_owned(), (*f).to_owned()),
    );
    let mut version = field("VERSION_ID").unwrap_or_else(|| "NA".into());
    let major = version.split('.').next().unwrap_or_default().to_owned();
    if family == "Debian" && id == "debian" {
        let full = read_to_string("/etc/debian_version").unwrap_or_default();
        let full = full.trim();
        let minor = full.split_once('.').map(|(_, m)| m.to_owned());
        facts.set("ansible_distribution_minor_version", minor.unwrap_or_else(|| "NA".into()));
        if full.starts_with(&major) {
            version = full.to_owned();
        }
        facts.set("ansible_distribution_file_path", "/etc/os-release");
        facts.set("ansible_distribution_file_variety", "Debian");
        facts.set("ansible_distribution_file_parsed", true);
    }
    facts.set("ansible_distribution", name);
    facts.set("ansible_distribution_version", version);
    facts.set("ansible_distribution_major_version", major);
    facts.set("ansible_distribution_release", field("VERSION_CODENAME").unwrap_or_else(|| "NA".into()));
    facts.set("ansible_os_family", family.as_str());
    let manager = match family.as_str() {
        "Debian" => "apt",
        "RedHat" if std::path::Path::new("/usr/bin/dnf").exists() => "dnf",
        "RedHat" => "yum",
        "Suse" => "zypper",
        "Alpine" => "apk",
        "Archlinux" => "pacman",
        _ => "unknown",
    };
    facts.set("ansible_pkg_mgr", manager);
}
