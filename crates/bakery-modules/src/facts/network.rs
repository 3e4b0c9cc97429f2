//! Interfaces, addresses and names of storage networks (`facts/network/{linux,fc_wwn,iscsi,nvme}.py`,
//! `facts/system/dns.py`). Addresses and routes come from the kernel, where Ansible asks ip(8).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bakery_host::routes::{self, Address};
use bakery_host::{command::find_program, fs};
use bakery_lang::{Map, Value};

use super::{Scene, content, exists, listed, names_in};

/// Addresses that no machine has in its own networks; nothing is sent to them.
const FAR4: IpAddr = IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8));
const FAR6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2404, 0x6800, 0x400a, 0x800, 0, 0, 0, 0x1012));

pub(super) fn dns(_: &Scene<'_>) -> Map {
    let dns = Map::new();
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((keyword, rest)) = words.split_first() else { continue };
        match *keyword {
            "nameserver" => {
                let mut known = dns.get("nameservers").and_then(|v| v.as_items()).unwrap_or_default();
                known.extend(rest.iter().map(|word| Value::from(*word)));
                dns.set("nameservers", known);
            }
            "domain" => {
                if let Some(domain) = rest.first() {
                    dns.set("domain", *domain);
                }
            }
            "search" | "sortlist" => dns.set(keyword, Value::strings(rest)),
            "options" => {
                let options = rest.iter().map(|word| match word.split_once(':') {
                    Some((name, value)) if !value.is_empty() => (name, Value::from(value)),
                    Some((name, _)) => (name, true.into()),
                    None => (*word, true.into()),
                });
                dns.set("options", Value::map(options));
            }
            _ => {}
        }
    }
    Map::from_iter([("dns", Value::from(dns))])
}

pub(super) fn fibre_channel(_: &Scene<'_>) -> Map {
    let ports = names_in("/sys/class/fc_host").into_iter();
    let names = ports.filter_map(|port| content(format!("/sys/class/fc_host/{port}/port_name")));
    let names = names.map(|name| name.trim_start_matches("0x").to_owned());
    Map::from_iter([("fibre_channel_wwn", Value::strings(names))])
}

pub(super) fn iscsi(_: &Scene<'_>) -> Map {
    let text = fs::read_to_string("/etc/iscsi/initiatorname.iscsi").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("InitiatorName="));
    Map::from_iter([("iscsi_iqn", Value::from(name.unwrap_or_default()))])
}

pub(super) fn nvme(_: &Scene<'_>) -> Map {
    let text = fs::read_to_string("/etc/nvme/hostnqn").unwrap_or_default();
    let name = text.lines().find(|line| line.starts_with("nqn."));
    Map::from_iter([("hostnqn", Value::from(name.unwrap_or_default()))])
}

pub(super) fn network(scene: &Scene<'_>) -> Map {
    // The network of the machine that bakes says nothing about the image's. Without ip(8) Ansible has no such facts.
    if scene.is_baking() || find_program("ip").is_none() {
        return Map::new();
    }
    let numbers = routes::interfaces().unwrap_or_default();
    let mut found = Found {
        default4: default_route(&numbers, FAR4),
        default6: default_route(&numbers, FAR6),
        ..Found::default()
    };
    let addresses = routes::addresses().unwrap_or_default();
    // In the order that the kernel lists the interfaces in, as Ansible has them.
    for name in listed("/sys/class/net") {
        if !exists(&format!("/sys/class/net/{name}/")) {
            continue;
        }
        let facts = found.interface(&name);
        facts.extend(&described(&name));
        let own = |address: &&Address| numbers.get(&address.interface) == Some(&name);
        let own: Vec<&Address> = addresses.iter().filter(own).collect();
        // First the main addresses, then those that are there beside them.
        for secondary in [false, true] {
            for address in own.iter().filter(|address| address.is_secondary == secondary) {
                match address.address {
                    IpAddr::V4(number) => found.ipv4(&name, number, address),
                    IpAddr::V6(_) => found.ipv6(&name, address),
                }
            }
        }
    }
    let facts = Map::new();
    let names: Vec<String> =
        found.interfaces.keys().iter().map(|name| name.to_string().replace(':', "_")).collect();
    facts.set("interfaces", Value::strings(&names));
    for ((device, interface), name) in found.interfaces.pairs().into_iter().zip(&names) {
        if let Some(interface) = interface.as_map() {
            ethtool(scene, &device.to_string(), interface);
        }
        facts.set(name, interface);
    }
    facts.set("default_ipv4", found.default4);
    facts.set("default_ipv6", found.default6);
    facts.set("all_ipv4_addresses", Value::strings(found.all4));
    facts.set("all_ipv6_addresses", Value::strings(found.all6));
    let own = Value::map([("ipv4", reachable(false)), ("ipv6", reachable(true))]);
    facts.set("locally_reachable_ips", own);
    facts
}

#[derive(Default)]
struct Found {
    interfaces: Map,
    default4: Map,
    default6: Map,
    all4: Vec<String>,
    all6: Vec<String>,
}

impl Found {
    fn interface(&self, name: &str) -> Map {
        if let Some(Value::Map(known)) = self.interfaces.get(name) {
            return known;
        }
        let new = Map::new();
        self.interfaces.set(name, new.clone());
        new
    }

    fn ipv4(&mut self, device: &str, own: Ipv4Addr, given: &Address) {
        let secondary = given.is_secondary;
        // Of an address with another one at its other end Ansible knows neither network nor broadcast.
        let length = if given.peer.is_some() { 32 } else { u32::from(given.prefix).min(32) };
        let broadcast = given.broadcast.filter(|_| given.peer.is_none());
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        let address = own.to_string();
        let address = address.as_str();
        let entry = || {
            Map::from_iter([
                ("address", Value::from(address)),
                ("broadcast", broadcast.map(|address| address.to_string()).unwrap_or_default().into()),
                ("netmask", Ipv4Addr::from(mask).to_string().into()),
                ("network", Ipv4Addr::from(u32::from(own) & mask).to_string().into()),
                ("prefix", length.to_string().into()),
            ])
        };
        let label = given.label.as_deref().unwrap_or(device);
        let push = |interface: &Map| {
            let mut known = interface.get("ipv4_secondaries").and_then(|v| v.as_items()).unwrap_or_default();
            known.push(entry().into());
            interface.set("ipv4_secondaries", known);
        };
        let interface = self.interface(label);
        if !secondary && !interface.contains("ipv4") {
            interface.set("ipv4", entry());
        } else {
            push(&interface);
        }
        if secondary && label != device {
            push(&self.interface(device));
        }
        if self.default4.get("address").is_some_and(|known| known.as_str() == Some(address)) {
            let default = entry();
            default.extend(&self.link(device));
            default.set("alias", label);
            self.default4.extend(&default);
        }
        if !address.starts_with("127.") {
            self.all4.push(address.to_owned());
        }
    }

    fn ipv6(&mut self, device: &str, given: &Address) {
        let address = given.address.to_string();
        let entry = Map::from_iter([
            ("address", Value::from(address.as_str())),
            ("prefix", given.prefix.to_string().into()),
            ("scope", given.scope.as_str().into()),
        ]);
        let interface = self.interface(device);
        let mut known = interface.get("ipv6").and_then(|v| v.as_items()).unwrap_or_default();
        known.push(entry.copied().into());
        interface.set("ipv6", known);
        if self.default6.get("address").is_some_and(|known| known.as_str() == Some(&address)) {
            self.default6.extend(&entry);
            self.default6.extend(&self.link(device));
        }
        if address != "::1" {
            self.all6.push(address);
        }
    }

    /// What the facts of a default route say of its interface.
    fn link(&self, device: &str) -> Map {
        let interface = self.interface(device);
        Map::from_iter([
            ("macaddress", content(format!("/sys/class/net/{device}/address")).unwrap_or_default().into()),
            ("mtu", interface.get("mtu").unwrap_or_default()),
            ("type", interface.get("type").unwrap_or_else(|| "unknown".into())),
        ])
    }
}

/// What `/sys/class/net` says of an interface.
fn described(name: &str) -> Map {
    let folder = format!("/sys/class/net/{name}");
    let read = |file: &str| content(format!("{folder}/{file}"));
    let there = |file: &str| exists(&format!("{folder}/{file}"));
    let facts = Map::from_iter([("device", Value::from(name))]);
    let first = |file: &str| {
        let text = read(file).unwrap_or_default();
        text.split_whitespace().next().unwrap_or_default().to_owned()
    };
    if let Some(address) = read("address").filter(|address| address != "00:00:00:00:00:00") {
        facts.set("macaddress", address);
    }
    if let Some(mtu) = read("mtu").and_then(|text| text.parse::<i64>().ok()) {
        facts.set("mtu", mtu);
    }
    if there("operstate") {
        facts.set("active", read("operstate").as_deref() != Some("down"));
    }
    if let Ok(module) = fs::canonicalize(format!("{folder}/device/driver/module")) {
        facts.set("module", module.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    if let Some(kind) = read("type") {
        let kind = match kind.as_str() {
            "1" => "ether",
            "32" => "infiniband",
            "512" => "ppp",
            "772" => "loopback",
            "65534" => "tunnel",
            _ => "unknown",
        };
        facts.set("type", kind);
    }
    if there("bridge") {
        facts.set("type", "bridge");
        facts.set("interfaces", Value::strings(names_in(format!("{folder}/brif"))));
        facts.set("id", read("bridge/bridge_id").unwrap_or_default());
        facts.set("stp", read("bridge/stp_state").as_deref() == Some("1"));
    }
    if there("bonding") {
        facts.set("type", "bonding");
        let slaves = read("bonding/slaves").unwrap_or_default();
        facts.set("slaves", Value::strings(slaves.split_whitespace()));
        for key in ["mode", "miimon", "lacp_rate"] {
            facts.set(key, first(&format!("bonding/{key}")));
        }
        if let Some(primary) = read("bonding/primary") {
            facts.set("primary", primary);
            if let Some(all) = read("bonding/all_slaves_active") {
                facts.set("all_slaves_active", all == "1");
            }
        }
    }
    if there("bonding_slave") {
        facts.set("perm_macaddress", read("bonding_slave/perm_hwaddr").unwrap_or_default());
    }
    if let Ok(device) = fs::read_link(format!("{folder}/device")) {
        facts.set("pciid", device.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    if let Some(speed) = read("speed").and_then(|text| text.parse::<i64>().ok()) {
        facts.set("speed", speed);
    }
    if let Some(flags) = read("flags") {
        let bits = u32::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap_or(0);
        facts.set("promisc", bits & 0x100 != 0);
    }
    facts
}

/// The way out: interface, own address and gateway of the route to an address far away.
fn default_route(names: &HashMap<u32, String>, far: IpAddr) -> Map {
    let Some(way) = routes::way(far) else { return Map::new() };
    let interface = way.interface.and_then(|number| names.get(&number));
    let gateway = way.gateway.filter(|gateway| *gateway != far);
    let parts = [
        ("gateway", gateway.map(|address| address.to_string())),
        ("interface", interface.cloned()),
        ("address", way.source.map(|address| address.to_string())),
    ];
    parts.into_iter().filter_map(|(name, value)| value.map(|value| (name, Value::from(value)))).collect()
}

/// Addresses and networks that the machine takes for its own.
fn reachable(is_ipv6: bool) -> Value {
    let mut addresses: Vec<String> = Vec::new();
    for address in routes::own(is_ipv6).unwrap_or_default() {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Value::strings(addresses)
}

/// What ethtool(8) says, where it is installed.
fn ethtool(scene: &Scene<'_>, device: &str, facts: &Map) {
    if let Some(text) = scene.output("ethtool", &["-k", device]) {
        let features =
            text.lines().filter(|line| !line.ends_with(':')).filter_map(|line| line.split_once(": "));
        let features = features.map(|(name, value)| (name.trim().replace('-', "_"), value.trim().into()));
        facts.set("features", Value::map(features));
    }
    if let Some(text) = scene.output("ethtool", &["-T", device]) {
        let words = |prefix: &str| {
            let all = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            Value::strings(all.filter_map(|word| word.strip_prefix(prefix)).map(str::to_lowercase))
        };
        facts.set("timestamping", words("SOF_TIMESTAMPING_"));
        facts.set("hw_timestamp_filters", words("HWTSTAMP_FILTER_"));
        let clock = text.split_once("PTP Hardware Clock: ").map(|(_, rest)| rest);
        let clock = clock.and_then(|rest| rest.split_whitespace().next()?.parse::<i64>().ok());
        if let Some(clock) = clock {
            facts.set("phc_index", clock);
        }
    }
}
