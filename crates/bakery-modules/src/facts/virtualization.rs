//! What this runs on, and what runs on this (`facts/virtual/linux.py`).

use std::collections::BTreeSet;

use bakery_host::fs;
use bakery_lang::{Map, Value};

use super::{Scene, content, exists};

/// The techniques that were found; the first one is the type.
#[derive(Default)]
struct Found {
    first: Option<(String, &'static str)>,
    guest: BTreeSet<String>,
    host: BTreeSet<String>,
}

impl Found {
    fn guest(&mut self, name: &str) {
        self.guest.insert(name.to_owned());
        self.first.get_or_insert_with(|| (name.to_owned(), "guest"));
    }

    fn host(&mut self, name: &str) {
        self.host.insert(name.to_owned());
        self.first.get_or_insert_with(|| (name.to_owned(), "host"));
    }
}

pub(super) fn virtualization(scene: &Scene<'_>) -> Map {
    let mut found = Found::default();
    if scene.is_baking() {
        // What an image will run on.
        found.guest("kvm");
    } else {
        containers(&mut found);
        machines(&mut found);
        processors(&mut found);
        modules(&mut found, scene);
    }
    let (kind, role) = found.first.unwrap_or_else(|| ("NA".into(), "NA"));
    Map::from_iter([
        ("virtualization_type", Value::from(kind)),
        ("virtualization_role", role.into()),
        ("virtualization_tech_guest", Value::strings(found.guest)),
        ("virtualization_tech_host", Value::strings(found.host)),
    ])
}

fn containers(found: &mut Found) {
    for line in fs::read_to_string("/proc/1/cgroup").unwrap_or_default().lines() {
        let scope = line.split_once("/docker-").is_some_and(|(_, rest)| rest.contains(".scope"));
        if line.contains("/docker/") || scope {
            found.guest("docker");
        }
        if line.contains("/lxc/") || line.contains("/machine.slice/machine-lxc") {
            found.guest("lxc");
        }
        if line.contains("/system.slice/containerd.service") {
            found.guest("containerd");
        }
    }
    let environment = fs::read("/proc/1/environ").unwrap_or_default();
    for variable in String::from_utf8_lossy(&environment).split('\0') {
        for name in ["lxc", "podman"] {
            if variable.contains(&format!("container={name}")) {
                found.guest(name);
            }
        }
        if variable.strip_prefix("container=").is_some_and(|value| !value.is_empty()) {
            found.guest("container");
        }
    }
    if exists("/proc/vz") && !exists("/proc/lve") {
        if exists("/proc/bc") { found.host("openvz") } else { found.guest("openvz") }
    }
    let of_systemd = content("/run/systemd/container");
    if let Some(name) = &of_systemd {
        found.guest(name);
    }
    if exists("/.dockerenv") || exists("/.dockerinit") {
        found.guest("docker");
    }
    let known = ["docker", "lxc", "podman", "openvz", "containerd"];
    if of_systemd.is_some() || known.iter().any(|name| found.guest.contains(*name)) {
        found.guest.insert("container".into());
    }
    if exists("/proc/xen") {
        if content("/proc/xen/capabilities").is_some_and(|text| text.contains("control_d")) {
            found.host("xen");
        } else {
            found.first.get_or_insert_with(|| ("xen".into(), "guest"));
        }
    }
}

/// What the firmware's tables say.
fn machines(found: &mut Found) {
    let dmi = |name: &str| content(format!("/sys/devices/virtual/dmi/id/{name}")).unwrap_or_default();
    let (product, vendor, bios) = (dmi("product_name"), dmi("sys_vendor"), dmi("bios_vendor"));
    if ["KVM", "KVM Server", "Bochs", "AHV", "CloudStack KVM Hypervisor"].contains(&product.as_str()) {
        found.guest("kvm");
    }
    if vendor == "oVirt" {
        found.guest("oVirt");
    }
    if vendor == "Red Hat" && dmi("product_family") == "RHV" {
        found.guest("RHV");
    } else if vendor == "Red Hat" && product == "RHEV Hypervisor" {
        found.guest("RHEV");
    }
    if product.starts_with("VMware") {
        found.guest("VMware");
    }
    if ["OpenStack Compute", "OpenStack Nova"].contains(&product.as_str()) {
        found.guest("openstack");
    }
    match bios.as_str() {
        "Xen" => found.guest("xen"),
        "innotek GmbH" => found.guest("virtualbox"),
        "Amazon EC2" | "DigitalOcean" | "Hetzner" | "Linode" => found.guest("kvm"),
        _ => {}
    }
    match vendor.as_str() {
        "QEMU" | "Amazon EC2" | "DigitalOcean" | "Google" | "Scaleway" | "Nutanix" => found.guest("kvm"),
        "KubeVirt" => found.guest("KubeVirt"),
        "Microsoft Corporation" => found.guest("VirtualPC"),
        "Parallels Software International Inc." => found.guest("parallels"),
        "OpenStack Foundation" => found.guest("openstack"),
        _ => {}
    }
}

fn processors(found: &mut Found) {
    let vserver = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(id) = vserver.lines().find_map(|line| line.strip_prefix("VxID:")) {
        if id.trim().starts_with('0') { found.host("linux_vserver") } else { found.guest("linux_vserver") }
    }
    for line in fs::read_to_string("/proc/cpuinfo").unwrap_or_default().lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.trim() {
            "model name" if value.contains("QEMU Virtual CPU") => found.guest("kvm"),
            "model name" if value.contains("UML") => found.guest("uml"),
            "vendor_id" if value.contains("User Mode Linux") => found.guest("uml"),
            "vendor_id" if value.contains("PowerVM Lx86") => found.guest("powervm_lx86"),
            "machine" if value.contains("CHRP IBM pSeries (emulated by qemu)") => found.guest("kvm"),
            "vendor_id" if value.contains("IBM/S390") => {
                found.guest.insert("PR/SM".into());
                found.first.get_or_insert_with(|| ("PR/SM".into(), "LPAR"));
            }
            _ => {}
        }
    }
}

fn modules(found: &mut Found, scene: &Scene<'_>) {
    let loaded = fs::read_to_string("/proc/modules").unwrap_or_default();
    let is_loaded = |name: &str| loaded.lines().any(|line| line.split(' ').next() == Some(name));
    if is_loaded("kvm") {
        found.host("kvm");
    }
    if is_loaded("vboxdrv") {
        found.host("virtualbox");
    }
    if is_loaded("virtio") {
        found.host.insert("kvm".into());
        found.first.get_or_insert_with(|| ("kvm".into(), "guest"));
    }
    // Where the kernel shows no tables of the firmware.
    if !exists("/sys/devices/virtual/dmi/id/product_name")
        && let Some(text) = scene.output("dmidecode", &["-s", "system-product-name"])
    {
        let product: String = text.lines().filter(|line| !line.starts_with('#')).map(str::trim).collect();
        if product.starts_with("VMware") {
            found.guest("VMware");
        }
        if text.contains("BHYVE") {
            found.guest("bhyve");
        }
    }
    if exists("/dev/kvm") {
        found.host("kvm");
    }
}
