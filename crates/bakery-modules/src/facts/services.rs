//! What starts services (`facts/system/{service_mgr,systemd}.py`).

use bakery_host::{command::find_program, fs};
use bakery_lang::{Map, Value};

use super::{Scene, content, exists};

pub(super) fn service_manager(scene: &Scene<'_>) -> Map {
    let name = if scene.is_baking() { "systemd".to_owned() } else { manager(scene) };
    Map::from_iter([("service_mgr", Value::from(name))])
}

/// Whether systemd runs here: what its own `sd_booted` looks at.
fn runs_systemd() -> bool {
    find_program("systemctl").is_some()
        && ["/run/systemd/system", "/dev/.run/systemd", "/dev/.systemd"].into_iter().any(exists)
}

/// The first process if its name says it, else what is installed.
fn manager(scene: &Scene<'_>) -> String {
    let init = fs::read_link("/sbin/init").ok();
    let init = init.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let first = content("/proc/1/comm").or_else(|| init.clone());
    if let Some(name) = first.filter(|name| name != "init" && !name.ends_with("sh")) {
        return match name.as_str() {
            "procd" => "openwrt_init".into(),
            "runit-init" => "runit".into(),
            "svscan" => "svc".into(),
            "openrc-init" => "openrc".into(),
            _ => name,
        };
    }
    let distribution = scene.distribution().get("distribution").map(|name| name.to_string());
    match distribution.as_deref() {
        Some("OpenWrt") => return "openwrt_init".into(),
        Some("SMGL") => return "simpleinit_msb".into(),
        _ => {}
    }
    let known = if runs_systemd() {
        "systemd"
    } else if find_program("initctl").is_some() && exists("/etc/init") {
        "upstart"
    } else if exists("/sbin/openrc") {
        "openrc"
    } else if find_program("systemctl").is_some() && init.as_deref() == Some("systemd") {
        "systemd"
    } else if exists("/etc/init.d") {
        "sysvinit"
    } else if exists("/etc/dinit.d") {
        "dinit"
    } else {
        "service"
    };
    known.to_owned()
}

pub(super) fn systemd(scene: &Scene<'_>) -> Map {
    if !scene.is_baking() && !runs_systemd() {
        return Map::new();
    }
    let Some(text) = scene.output("systemctl", &["--version"]) else { return Map::new() };
    let version = text.split(' ').nth(1).and_then(|word| word.parse::<u32>().ok());
    let features = text.lines().nth(1).unwrap_or_default();
    let known = Value::map([("features", Value::from(features)), ("version", version.into())]);
    Map::from_iter([("systemd", known)])
}
