//! Names, users, time, environment, service manager, local facts.

use bakery_host::{command::find_program, fs, users};
use bakery_lang::{Map, Value, json};

use crate::{Host, Phase};

pub(super) fn add(host: &Host, facts: &Map, fact_path: &str) {
    let baking = host.phase == Phase::Bake;
    let uname = rustix::system::uname();
    let text = |c: &std::ffi::CStr| c.to_string_lossy().into_owned();
    facts.set("ansible_system", text(uname.sysname()));
    // While baking, the kernel is the image's, not the one that happens to run.
    let own_kernel = fs::read_dir("/lib/modules")
        .ok()
        .and_then(|list| list.last().and_then(|p| p.file_name().map(|n| n.to_string_lossy().into_owned())));
    let kernel =
        if baking { own_kernel.unwrap_or_else(|| text(uname.release())) } else { text(uname.release()) };
    facts.set("ansible_kernel", kernel);
    facts.set("ansible_kernel_version", text(uname.version()));
    let machine = text(uname.machine());
    facts.set("ansible_machine", machine.as_str());
    facts.set("ansible_architecture", machine.as_str());
    facts.set("ansible_userspace_architecture", machine.as_str());
    facts.set("ansible_userspace_bits", "64");
    let node = if baking {
        fs::read_to_string("/etc/hostname")
            .ok()
            .map(|s| s.trim().to_owned())
            .filter(|s| !s.is_empty())
            .unwrap_or_else(|| "localhost".into())
    } else {
        text(uname.nodename())
    };
    let fqdn = fully_qualified(&node);
    facts.set("ansible_nodename", node.as_str());
    facts.set("ansible_hostname", node.split('.').next().unwrap_or_default());
    facts.set("ansible_domain", fqdn.split_once('.').map_or("", |(_, domain)| domain));
    facts.set("ansible_fqdn", fqdn);
    facts.set("ansible_service_mgr", if baking { "systemd".to_owned() } else { service_manager() });
    let uid = rustix::process::geteuid().as_raw();
    if let Some(user) = users::find_user(&uid.to_string()) {
        facts.set("ansible_user_id", user.name);
        facts.set("ansible_user_dir", user.home);
        facts.set("ansible_user_shell", user.shell);
        facts.set("ansible_user_gecos", user.gecos);
        facts.set("ansible_user_gid", user.gid);
    }
    facts.set("ansible_user_uid", uid);
    facts.set("ansible_effective_user_id", uid);
    facts.set("ansible_real_user_id", rustix::process::getuid().as_raw());
    let env: Map = std::env::vars().map(|(k, v)| (k, Value::from(v))).collect();
    for (name, value) in &host.environment {
        env.set(name, value.as_str());
    }
    facts.set("ansible_env", env);
    python(host, facts);
    facts.set(
        "ansible_selinux",
        Value::map([(
            "status",
            if std::path::Path::new("/sys/fs/selinux/enforce").exists() { "enabled" } else { "disabled" }
                .into(),
        )]),
    );
    facts.set("ansible_selinux_python_present", true);
    facts.set(
        "ansible_apparmor",
        Value::map([(
            "status",
            if std::path::Path::new("/sys/kernel/security/apparmor").exists() {
                "enabled"
            } else {
                "disabled"
            }
            .into(),
        )]),
    );
    let (kind, role) = virtualization(baking);
    facts.set("ansible_virtualization_type", kind);
    facts.set("ansible_virtualization_role", role);
    facts.set("ansible_is_chroot", false);
    facts.set("ansible_system_vendor", dmi("sys_vendor"));
    facts.set("ansible_product_name", dmi("product_name"));
    facts.set("ansible_date_time", date_time());
    let dns = Map::new();
    let servers: Vec<String> = fs::read_to_string("/etc/resolv.conf")
        .unwrap_or_default()
        .lines()
        .filter_map(|l| l.strip_prefix("nameserver ").map(|s| s.trim().to_owned()))
        .collect();
    dns.set("nameservers", Value::strings(servers));
    facts.set("ansible_dns", dns);
    facts.set("ansible_lsb", lsb());
    facts.set("ansible_local", local(host, fact_path));
    if let Some(python) = find_program("python3") {
        facts.set("ansible_python", Value::map([("executable", Value::from(python.display().to_string()))]));
    }
    facts.set("ansible_cmdline", cmdline());
}

fn dmi(name: &str) -> String {
    fs::read_to_string(format!("/sys/class/dmi/id/{name}"))
        .map_or_else(|_| "NA".into(), |s| s.trim().to_owned())
}

fn fully_qualified(node: &str) -> String {
    if node.contains('.') {
        return node.to_owned();
    }
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let found = hosts.lines().find_map(|line| {
        let words: Vec<&str> = line.split('#').next().unwrap_or("").split_whitespace().collect();
        words
            .iter()
            .skip(1)
            .any(|w| *w == node)
            .then(|| {
                words.iter().skip(1).find(|w| w.starts_with(&format!("{node}."))).map(|w| (*w).to_owned())
            })
            .flatten()
    });
    found.unwrap_or_else(|| node.to_owned())
}

fn virtualization(baking: bool) -> (&'static str, &'static str) {
    if baking {
        return ("kvm", "guest");
    }
    let vendor = dmi("sys_vendor");
    let product = dmi("product_name");
    if vendor == "QEMU" || vendor == "Amazon EC2" || product == "KVM" {
        ("kvm", "guest")
    } else if product == "VMware Virtual Platform" {
        ("VMware", "guest")
    } else if product == "VirtualBox" {
        ("virtualbox", "guest")
    } else if vendor == "Xen" {
        ("xen", "guest")
    } else {
        ("NA", "NA")
    }
}

fn date_time() -> Map {
    let now = jiff::Zoned::now();
    let utc = now.with_time_zone(jiff::tz::TimeZone::UTC);
    let map = Map::new();
    for (name, format) in [
        ("year", "%Y"),
        ("month", "%m"),
        ("weekday", "%A"),
        ("weekday_number", "%w"),
        ("weeknumber", "%W"),
        ("day", "%d"),
        ("hour", "%H"),
        ("minute", "%M"),
        ("second", "%S"),
        ("date", "%Y-%m-%d"),
        ("time", "%H:%M:%S"),
        ("tz", "%Z"),
        ("tz_offset", "%z"),
        ("iso8601_basic", "%Y%m%dT%H%M%S%6f"),
        ("iso8601_basic_short", "%Y%m%dT%H%M%S"),
    ] {
        map.set(name, now.strftime(format).to_string());
    }
    map.set("epoch", now.timestamp().as_second().to_string());
    map.set("epoch_int", now.timestamp().as_second().to_string());
    map.set("iso8601", utc.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    map.set("iso8601_micro", utc.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
    map
}

fn lsb() -> Map {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        text.lines()
            .find_map(|l| l.strip_prefix(&format!("{name}=")).map(|v| v.trim_matches('"').to_owned()))
            .unwrap_or_default()
    };
    let map = Map::new();
    if find_program("lsb_release").is_some() {
        map.set("id", field("NAME").split_whitespace().next().unwrap_or_default());
        map.set("release", field("VERSION_ID"));
        map.set("major_release", field("VERSION_ID").split('.').next().unwrap_or_default());
        map.set("codename", field("VERSION_CODENAME"));
        map.set("description", field("PRETTY_NAME"));
    }
    map
}

fn cmdline() -> Map {
    let text = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    text.split_whitespace()
        .map(|word| match word.split_once('=') {
            Some((k, v)) => (k.to_owned(), Value::from(v)),
            None => (word.to_owned(), Value::Bool(true)),
        })
        .collect()
}

/// Facts from `*.fact` files: JSON or INI text, or what a program prints.
fn local(host: &Host, folder: &str) -> Map {
    let facts = Map::new();
    for path in fs::read_dir(host.path(folder)).unwrap_or_default() {
        if path.extension().is_none_or(|e| e != "fact") {
            continue;
        }
        let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let runs = rustix::fs::access(&path, rustix::fs::Access::EXEC_OK).is_ok();
        let text = if runs {
            host.cmd(&path.display().to_string()).output().map(|o| o.text()).unwrap_or_default()
        } else {
            fs::read_to_string(&path).unwrap_or_default()
        };
        let value = json::parse(&text).unwrap_or_else(|_| ini(&text));
        facts.set(&name, value);
    }
    facts
}

fn ini(text: &str) -> Value {
    let sections = Map::new();
    let mut current = Map::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            current = Map::new();
            sections.set(name, current.clone());
        } else if let Some((key, value)) = line.split_once(['=', ':']) {
            current.set(&key.trim().to_lowercase(), value.trim());
        }
    }
    sections.into()
}

/// `ansible_python` and `ansible_python_version`, where there is an interpreter
/// (`ansible/module_utils/facts/system/python.py`).
fn python(host: &Host, facts: &Map) {
    const ASK: &str = "import sys; v = sys.version_info; print(sys.executable, sys.implementation.name, *v)";
    let Some(program) = find_program("python3") else { return };
    let output = host.cmd(&program.display().to_string()).args(["-I", "-S", "-c", ASK]).output();
    let Some(text) = output.ok().filter(bakery_host::Output::success).map(|o| o.text()) else { return };
    let words: Vec<&str> = text.split_whitespace().collect();
    let [executable, kind, major, minor, micro, level, serial] = words.as_slice() else { return };
    let number = |text: &str| Value::from(text.parse::<i64>().unwrap_or(0));
    let version = Value::map([
        ("major", number(major)),
        ("minor", number(minor)),
        ("micro", number(micro)),
        ("releaselevel", (*level).into()),
        ("serial", number(serial)),
    ]);
    let info = [number(major), number(minor), number(micro), (*level).into(), number(serial)];
    let python = Value::map([
        ("version", version),
        ("version_info", Value::list(info.to_vec())),
        ("executable", (*executable).into()),
        ("type", (*kind).into()),
        ("has_sslcontext", true.into()),
    ]);
    facts.set("ansible_python", python);
    facts.set("ansible_python_version", format!("{major}.{minor}.{micro}"));
}

/// What starts services (`module_utils/facts/system/service_mgr.py`): the first process if its name says it, else
/// what is installed.
fn service_manager() -> String {
    let there = |path: &str| std::path::Path::new(path).exists();
    let init = bakery_host::fs::read_link("/sbin/init").ok();
    let init = init.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let first = bakery_host::fs::read_to_string("/proc/1/comm").ok().map(|name| name.trim().to_owned());
    let first = first.or_else(|| init.clone()).filter(|name| name != "init" && !name.ends_with("sh"));
    if let Some(name) = first {
        return match name.as_str() {
            "procd" => "openwrt_init".into(),
            "runit-init" => "runit".into(),
            "svscan" => "svc".into(),
            "openrc-init" => "openrc".into(),
            _ => name,
        };
    }
    let systemctl = find_program("systemctl").is_some();
    let known = if systemctl && there("/run/systemd/system") {
        "systemd"
    } else if find_program("initctl").is_some() && there("/etc/init") {
        "upstart"
    } else if there("/sbin/openrc") {
        "openrc"
    } else if systemctl && init.as_deref() == Some("systemd") {
        "systemd"
    } else if there("/etc/init.d") {
        "sysvinit"
    } else if there("/etc/dinit.d") {
        "dinit"
    } else {
        "service"
    };
    known.to_owned()
}
