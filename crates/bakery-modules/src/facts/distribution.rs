//! Which distribution this is (`facts/system/{distribution,lsb,pkg_mgr}.py` and what `distro` reads for them).

use bakery_host::{command::find_program, fs};
use bakery_lang::{Map, Value};

use super::{Scene, content, exists};

/// Files that tell, in the order in which they are asked, and the family of files that they are of.
const FILES: &[(&str, &str)] = &[
    ("/etc/altlinux-release", "Altlinux"),
    ("/etc/oracle-release", "OracleLinux"),
    ("/etc/slackware-version", "Slackware"),
    ("/etc/centos-release", "CentOS"),
    ("/etc/redhat-release", "RedHat"),
    ("/etc/vmware-release", "VMwareESX"),
    ("/etc/openwrt_release", "OpenWrt"),
    ("/etc/os-release", "Amazon"),
    ("/etc/system-release", "Amazon"),
    ("/etc/alpine-release", "Alpine"),
    ("/etc/arch-release", "Archlinux"),
    ("/etc/os-release", "Archlinux"),
    ("/etc/os-release", "SUSE"),
    ("/etc/SuSE-release", "SUSE"),
    ("/etc/gentoo-release", "Gentoo"),
    ("/etc/os-release", "Debian"),
    ("/etc/lsb-release", "Debian"),
    ("/etc/lsb-release", "Mandriva"),
    ("/etc/sourcemage-release", "SMGL"),
    ("/usr/lib/os-release", "ClearLinux"),
    ("/etc/coreos/update.conf", "Coreos"),
    ("/etc/os-release", "Flatcar"),
    ("/etc/os-release", "NA"),
];

/// Files that say it by being there.
const MAY_BE_EMPTY: &[&str] = &["VMwareESX", "Archlinux"];

/// What a release file holds where it is of the distribution that its name says.
const SEARCHED: &[(&str, &str)] = &[
    ("OracleLinux", "Oracle Linux"),
    ("RedHat", "Red Hat"),
    ("Altlinux", "ALT"),
    ("SMGL", "Source Mage GNU/Linux"),
];

/// Families and their distributions; any other is a family of its own.
const FAMILIES: &[(&str, &[&str])] = &[
    (
        "RedHat",
        &[
            "RedHat",
            "RHEL",
            "Fedora",
            "CentOS",
            "Scientific",
            "SLC",
            "Ascendos",
            "CloudLinux",
            "PSBM",
            "OracleLinux",
            "OVS",
            "OEL",
            "Amazon",
            "Amzn",
            "Virtuozzo",
            "XenServer",
            "Alibaba",
            "EulerOS",
            "openEuler",
            "AlmaLinux",
            "Rocky",
            "TencentOS",
            "EuroLinux",
            "Kylin Linux Advanced Server",
            "MIRACLE",
        ],
    ),
    (
        "Debian",
        &[
            "Debian",
            "Ubuntu",
            "Raspbian",
            "Neon",
            "KDE neon",
            "Linux Mint",
            "SteamOS",
            "Devuan",
            "Kali",
            "Cumulus Linux",
            "Pop!_OS",
            "Parrot",
            "Pardus GNU/Linux",
            "Uos",
            "Deepin",
            "OSMC",
            "Linux Mint Debian Edition",
        ],
    ),
    (
        "Suse",
        &[
            "SuSE",
            "SLES",
            "SLED",
            "openSUSE",
            "openSUSE Tumbleweed",
            "SLES_SAP",
            "SUSE_LINUX",
            "openSUSE Leap",
            "ALP-Dolomite",
            "SL-Micro",
            "openSUSE MicroOS",
        ],
    ),
    ("Archlinux", &["Archlinux", "Antergos", "Manjaro"]),
    ("Mandrake", &["Mandrake", "Mandriva"]),
    ("Gentoo", &["Gentoo", "Funtoo"]),
    ("ClearLinux", &["Clear Linux OS", "Clear Linux Mix"]),
];

/// The value of a `NAME=value` line, without quotes.
fn field(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim().trim_matches(['"', '\'']).to_owned())
}

/// What stands between `(` and `)`.
fn in_parentheses(text: &str) -> Option<&str> {
    Some(text.split_once('(')?.1.split_once(')')?.0)
}

/// The first number with dots in a text.
fn first_version(text: &str) -> Option<String> {
    let from = text.find(|c: char| c.is_ascii_digit())?;
    let rest = &text[from..];
    let to = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    Some(rest[..to].trim_end_matches('.').to_owned())
}

pub(super) fn distribution() -> Map {
    let read = |path: &str| fs::read_to_string(path).ok();
    described(&read)
}

/// The facts of the files that `read` gives.
pub(super) fn described(read: &dyn Fn(&str) -> Option<String>) -> Map {
    let facts = guessed(read);
    for (path, variety) in FILES {
        let Some(text) = read(path) else { continue };
        let by_presence = MAY_BE_EMPTY.contains(variety) && *path != "/etc/os-release";
        if text.trim().is_empty() && !by_presence {
            continue;
        }
        let found =
            if by_presence { Some(Map::new()) } else { parsed(path, variety, text.trim(), &facts, read) };
        let Some(found) = found else { continue };
        facts.set("distribution", *variety);
        facts.set("distribution_file_path", *path);
        facts.set("distribution_file_variety", *variety);
        if !by_presence {
            facts.set("distribution_file_parsed", true);
        }
        facts.extend(&found);
        break;
    }
    let name = facts.get("distribution").map(|name| name.to_string()).unwrap_or_default();
    let family = FAMILIES.iter().find(|(_, names)| names.contains(&name.as_str()));
    facts.set("os_family", family.map_or(name.as_str(), |(family, _)| family));
    facts
}

/// Name, version and release as the Python library `distro` finds them.
fn guessed(read: &dyn Fn(&str) -> Option<String>) -> Map {
    let release = read("/etc/os-release").or_else(|| read("/usr/lib/os-release")).unwrap_or_default();
    let old = ["centos", "redhat", "system", "fedora"];
    let old = old.iter().find_map(|name| Some((*name, read(&format!("/etc/{name}-release"))?)));
    let id = field(&release, "ID").or_else(|| old.as_ref().map(|(name, _)| (*name).to_owned()));
    let id = id.unwrap_or_default();
    let of_old = old.as_ref().and_then(|(_, text)| first_version(text));
    let stated = field(&release, "VERSION_ID");
    let version = match id.as_str() {
        // The minor version is in another file.
        "debian" => read("/etc/debian_version")
            .map(|text| text.trim().to_owned())
            .filter(|full| full.starts_with(|c: char| c.is_ascii_digit()))
            .or(stated),
        "centos" => {
            let best = of_old.or(stated);
            best.map(|best| best.split('.').take(2).collect::<Vec<_>>().join("."))
        }
        _ => stated.or(of_old),
    };
    // What the program lsb_release would say, on Debian's relatives and where nothing else says anything.
    let is_relative =
        id == "ubuntu" || field(&release, "ID_LIKE").is_some_and(|like| like.contains("debian"));
    let lsb = read("/etc/lsb-release").filter(|_| is_relative || release.is_empty()).unwrap_or_default();
    let version = version.filter(|version| !version.is_empty());
    let version = version.or_else(|| field(&lsb, "DISTRIB_RELEASE")).unwrap_or_else(|| "NA".into());
    let codename = field(&release, "VERSION_CODENAME")
        .or_else(|| field(&release, "UBUNTU_CODENAME"))
        .or_else(|| field(&lsb, "DISTRIB_CODENAME"))
        .or_else(|| in_parentheses(&field(&release, "VERSION")?).map(str::to_owned))
        .or_else(|| in_parentheses(&old.as_ref()?.1).map(str::to_owned));
    let name = match id.as_str() {
        "amzn" => "Amazon".to_owned(),
        "rhel" => "Redhat".to_owned(),
        "" => "OtherLinux".to_owned(),
        id => id[..1].to_uppercase() + &id[1..].to_lowercase(),
    };
    let facts = Map::new();
    facts.set("distribution", name);
    facts.set("distribution_major_version", version.split('.').next().unwrap_or("NA"));
    facts.set("distribution_version", version);
    facts.set("distribution_release", codename.unwrap_or_else(|| "NA".into()));
    facts
}

/// What a file adds, if it is one of its family.
fn parsed(
    path: &str,
    variety: &str,
    text: &str,
    guess: &Map,
    read: &dyn Fn(&str) -> Option<String>,
) -> Option<Map> {
    let facts = Map::new();
    let known = guess.get("distribution").map(|name| name.to_string().to_lowercase()).unwrap_or_default();
    let version = |version: &str| {
        facts.set("distribution_version", version);
        facts.set("distribution_major_version", version.split('.').next().unwrap_or_default());
    };
    if let Some((_, searched)) = SEARCHED.iter().find(|(name, _)| *name == variety) {
        if text.contains(searched) {
            facts.set("distribution_file_search_string", *searched);
        } else {
            facts.set("distribution", text.split_whitespace().next()?);
        }
        return Some(facts);
    }
    let wanted = |word: &str| text.contains(word).then_some(());
    match variety {
        "Archlinux" => wanted("Arch Linux")?,
        "Slackware" => {
            wanted("Slackware")?;
            facts.set("distribution_version", first_version(text));
        }
        "CentOS" => {
            if text.contains("CentOS Stream") {
                facts.set("distribution_release", "Stream");
            } else {
                wanted("TencentOS Server")?;
                facts.set("distribution", "TencentOS");
            }
        }
        "Amazon" => {
            wanted("Amazon")?;
            if path == "/etc/os-release" {
                let full = field(text, "VERSION_ID").unwrap_or_default();
                facts
                    .set("distribution_minor_version", full.split_once('.').map_or("NA", |(_, minor)| minor));
                version(&full);
            } else {
                let number = text.split_whitespace().find(|word| word.bytes().all(|b| b.is_ascii_digit()));
                facts.set("distribution_version", number.unwrap_or("NA"));
            }
        }
        "OpenWrt" | "Mandriva" => {
            wanted(variety)?;
            for (fact, name) in
                [("distribution_version", "DISTRIB_RELEASE"), ("distribution_release", "DISTRIB_CODENAME")]
            {
                if let Some(value) = field(text, name) {
                    facts.set(fact, value);
                }
            }
        }
        "Alpine" => facts.set("distribution_version", text),
        "SUSE" => suse(path, text, &facts)?,
        "Gentoo" => {}
        "Debian" => debian(text, &facts, read)?,
        "ClearLinux" => {
            let name = field(text, "NAME").filter(|name| name.contains("Clear Linux"))?;
            facts.set("distribution", name);
            version(&field(text, "VERSION_ID").unwrap_or_default());
            facts.set("distribution_release", field(text, "ID"));
        }
        "Coreos" => {
            (known == "coreos").then_some(())?;
            facts.set("distribution_release", field(text, "GROUP"));
        }
        "Flatcar" => {
            (known == "flatcar").then_some(())?;
            version(&field(text, "VERSION").unwrap_or_default());
        }
        _ => {
            facts.set("distribution", field(text, "NAME"));
            if guess.get("distribution_version").is_some_and(|v| v.as_str() == Some("NA"))
                && let Some(full) = field(text, "VERSION")
            {
                facts.set("distribution_version", full);
            }
        }
    }
    Some(facts)
}

fn suse(path: &str, text: &str, facts: &Map) -> Option<()> {
    let lower = text.to_lowercase();
    lower.contains("suse").then_some(())?;
    let is_open = lower.contains("open");
    if path == "/etc/os-release" {
        facts.set("distribution", field(text, "NAME"));
        let version = field(text, "VERSION_ID").and_then(|v| first_version(&v)).unwrap_or_default();
        let (major, minor) = version.split_once('.').unwrap_or((&version, ""));
        facts.set("distribution_version", version.as_str());
        facts.set("distribution_major_version", major);
        if is_open {
            facts.set("distribution_release", minor);
        } else if lower.contains("enterprise") {
            facts.set("distribution_release", if minor.is_empty() { "0" } else { minor });
        }
    } else {
        let first = text.split_whitespace().next().unwrap_or_default();
        let server = if text.contains("Server") { "SLES" } else { "SLED" };
        facts.set("distribution", if is_open { first } else { server });
        let value = |name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix('='));
            found.map(str::trim)
        };
        facts.set(
            "distribution_release",
            value(if is_open { "CODENAME" } else { "PATCHLEVEL" }).unwrap_or("NA"),
        );
        if let Some(major) = value("VERSION") {
            let patches = value("PATCHLEVEL").map(|level| format!(".{level}")).unwrap_or_default();
            facts.set("distribution_major_version", major.split('.').next().unwrap_or_default());
            facts.set("distribution_version", format!("{major}{patches}"));
        }
    }
    match field(text, "VARIANT_ID").as_deref() {
        Some("server-sap" | "sles-sap") => facts.set("distribution", "SLES_SAP"),
        Some("transactional") => facts.set("distribution", "SL-Micro"),
        Some(_) => {}
        None => {
            let product = fs::canonicalize("/etc/products.d/baseproduct").unwrap_or_default();
            if product.ends_with("SLES_SAP.prod") {
                facts.set("distribution", "SLES_SAP");
            } else if product.ends_with("SL-Micro.prod") {
                facts.set("distribution", "SL-Micro");
            }
        }
    }
    Some(())
}

fn debian(text: &str, facts: &Map, read: &dyn Fn(&str) -> Option<String>) -> Option<()> {
    let pretty = field(text, "PRETTY_NAME").unwrap_or_default();
    let version = || {
        if let Some(version) = field(text, "VERSION_ID") {
            facts.set("distribution_major_version", version.split('.').next().unwrap_or_default());
            facts.set("distribution_version", version);
        }
    };
    let name = if text.contains("Debian") || text.contains("Raspbian") {
        if let Some(release) = in_parentheses(&pretty) {
            facts.set("distribution_release", release);
        }
        let full = read("/etc/debian_version").unwrap_or_default();
        let minor = full.trim().split_once('.').map(|(_, minor)| minor.to_owned());
        if let Some(minor) = minor.filter(|minor| minor.starts_with(|c: char| c.is_ascii_digit())) {
            facts.set("distribution_minor_version", minor);
        }
        "Debian"
    } else if text.contains("Ubuntu") {
        "Ubuntu"
    } else if text.contains("SteamOS") {
        "SteamOS"
    } else if text.contains("Kali") || text.contains("Parrot") {
        if let Some(release) = field(text, "DISTRIB_RELEASE") {
            facts.set("distribution_release", release);
        }
        if text.contains("Kali") { "Kali" } else { "Parrot" }
    } else if text.contains("Devuan") {
        let words = pretty.split_whitespace().nth(2).or_else(|| pretty.split_whitespace().last());
        if let Some(release) = in_parentheses(&pretty).or(words) {
            facts.set("distribution_release", release);
        }
        version();
        "Devuan"
    } else if text.contains("Cumulus") {
        version();
        facts.set("distribution_release", field(text, "VERSION"));
        "Cumulus Linux"
    } else if text.contains("Mint") {
        version();
        "Linux Mint"
    } else if ["UOS", "Uos", "uos"].iter().any(|name| text.contains(name)) {
        version();
        "Uos"
    } else if text.contains("Deepin") || text.contains("deepin") {
        version();
        "Deepin"
    } else if text.contains("LMDE") {
        "Linux Mint Debian Edition"
    } else {
        return None;
    };
    facts.set("distribution", name);
    Some(())
}

/// What Debian's `lsb_release` would say, which is a script that reads `os-release` and calls seven programs for it.
fn without_program() -> Option<String> {
    let script = content(find_program("lsb_release")?)?;
    if !script.contains("Mimic the output of Debian's Python-based lsb_release")
        || std::env::var_os("LSB_OS_RELEASE").is_some()
    {
        return None;
    }
    let release = content("/etc/os-release").or_else(|| content("/usr/lib/os-release"))?;
    let of = |name: &str| field(&release, name);
    let id = of("ID").unwrap_or_default();
    let capital =
        id.chars().next().map(|first| first.to_ascii_uppercase()).into_iter().chain(id.chars().skip(1));
    let id = of("NAME")
        .filter(|name| name.to_lowercase() == id.to_lowercase())
        .unwrap_or_else(|| capital.collect());
    let line = |label: &str, value: Option<String>| {
        format!("{label}:\t{}\n", value.filter(|value| !value.is_empty()).unwrap_or_else(|| "n/a".into()))
    };
    Some(
        line("Distributor ID", Some(id))
            + &line("Description", of("PRETTY_NAME"))
            + &line("Release", of("VERSION_ID"))
            + &line("Codename", of("VERSION_CODENAME")),
    )
}

/// What `lsb_release` says, else its file.
pub(super) fn lsb(scene: &Scene<'_>) -> Map {
    let names = |line: &str, pairs: &[(&'static str, &'static str)]| {
        pairs.iter().find(|(name, _)| line.contains(name)).map(|(_, fact)| *fact)
    };
    const SAID: &[(&str, &str)] = &[
        ("LSB Version:", "release"),
        ("Distributor ID:", "id"),
        ("Description:", "description"),
        ("Release:", "release"),
        ("Codename:", "codename"),
    ];
    const WRITTEN: &[(&str, &str)] = &[
        ("DISTRIB_ID", "id"),
        ("DISTRIB_RELEASE", "release"),
        ("DISTRIB_DESCRIPTION", "description"),
        ("DISTRIB_CODENAME", "codename"),
    ];
    let said = without_program().or_else(|| scene.output("lsb_release", &["-a"]));
    let (text, separator, pairs) = match said {
        Some(text) => (text, ':', SAID),
        None => (content("/etc/lsb-release").unwrap_or_default(), '=', WRITTEN),
    };
    let lsb = Map::new();
    for line in text.lines() {
        if let Some((_, value)) = line.split_once(separator)
            && let Some(fact) = names(line, pairs)
        {
            lsb.set(fact, value.trim().trim_matches(['\'', '"', '\\']));
        }
    }
    if let Some(release) = lsb.get("release") {
        lsb.set("major_release", release.to_string().split('.').next().unwrap_or_default());
    }
    Map::from_iter([("lsb", Value::from(lsb))])
}

/// Programs of package managers, and the names that they have; the last one that is there counts.
const MANAGERS: &[(&str, &str)] = &[
    ("/usr/bin/rpm-ostree", "atomic_container"),
    ("/usr/bin/yum", "dnf"),
    ("/usr/bin/dnf-3", "dnf"),
    ("/usr/bin/dnf5", "dnf5"),
    ("/usr/bin/apt-get", "apt"),
    ("/usr/bin/zypper", "zypper"),
    ("/usr/sbin/urpmi", "urpmi"),
    ("/usr/bin/pacman", "pacman"),
    ("/bin/opkg", "opkg"),
    ("/usr/pkg/bin/pkgin", "pkgin"),
    ("/usr/local/bin/brew", "homebrew"),
    ("/sbin/apk", "apk"),
    ("/usr/bin/emerge", "portage"),
    ("/usr/bin/pkg", "pkg5"),
    ("/usr/bin/xbps-install", "xbps"),
    ("/usr/bin/swupd", "swupd"),
    ("/usr/sbin/sorcery", "sorcery"),
];

pub(super) fn package_manager(scene: &Scene<'_>) -> Map {
    let family = scene.distribution().get("os_family").map(|family| family.to_string()).unwrap_or_default();
    let installed = MANAGERS
        .iter()
        .filter(|(path, _)| family != "Altlinux" || *path != "/usr/bin/pkg")
        .rfind(|(path, _)| exists(path));
    let installed = installed.map_or("unknown", |(_, name)| *name);
    let name = match family.as_str() {
        "RedHat" => red_hat(),
        "Debian" => "apt",
        "Altlinux" if installed == "apt" => "apt_rpm",
        _ => installed,
    };
    // Where rpm owns apt-get, it is another apt; asking rpm takes its time where dpkg owns it.
    let is_rpm = name == "apt"
        && !exists("/var/lib/dpkg/info/apt.list")
        && find_program("rpm").is_some()
        && scene.output("rpm", &["-q", "--whatprovides", "/usr/bin/apt-get"]).is_some();
    Map::from_iter([("pkg_mgr", Value::from(if is_rpm { "apt_rpm" } else { name }))])
}

/// What dnf is, is said by what its link leads to. Releases before dnf have yum, which ansible-core knows no more.
fn red_hat() -> &'static str {
    if exists("/run/ostree-booted") {
        return "atomic_container";
    }
    for program in ["/usr/bin/dnf", "/usr/bin/microdnf"] {
        if exists(program) {
            let is_five = fs::canonicalize(program).is_ok_and(|path| path.ends_with("dnf5"));
            return if is_five { "dnf5" } else { "dnf" };
        }
    }
    if exists("/usr/bin/yum") { "yum" } else { "unknown" }
}
