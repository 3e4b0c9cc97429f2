//! Interfaces, addresses and names of storage networks (`facts/network/{linux,fc_wwn,iscsi,nvme}.py`,
//! `facts/system/dns.py`). Addresses come from ip(8), as in Ansible.

use std::net::Ipv4Addr;

use bakery_host::{command::find_program, fs};
use bakery_lang::{Map, Value};

use super::{Scene, content, exists, names_in};

/// Addresses that no machine has in its own networks; nothing is sent to them.
const FAR4: &str = "8.8.8.8";
const FAR6: &str = "2404:6800:400a:800::1012";

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
    // The network of the machine that bakes says nothing about the image's.
    if scene.is_baking() || find_program("ip").is_none() {
        return Map::new();
    }
    let [way4, way6, shown, own4, own6] = scene.outputs(
        "ip",
        [
            &["-4", "route", "get", FAR4],
            &["-6", "route", "get", FAR6],
            &["addr", "show"],
            &["-4", "route", "show", "table", "local"],
            &["-6", "route", "show", "table", "local"],
        ],
    );
    let mut found = Found {
        default4: default_route(&way4, FAR4),
        default6: default_route(&way6, FAR6),
        ..Found::default()
    };
    for name in names_in("/sys/class/net") {
        if exists(&format!("/sys/class/net/{name}/")) {
            found.interfaces.set(&name, described(&name));
        }
    }
    // First the main addresses of all, then those that are there beside them.
    for secondary in [false, true] {
        let mut device = String::new();
        for line in shown.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if line.starts_with(|c: char| c.is_ascii_digit()) {
                let name = words.get(1).copied().unwrap_or_default().trim_end_matches(':');
                device = name.split('@').next().unwrap_or_default().to_owned();
            } else if words.iter().any(|word| matches!(*word, "secondary" | "temporary")) == secondary {
                match words.first() {
                    Some(&"inet") => found.ipv4(&device, &words, secondary),
                    Some(&"inet6") => found.ipv6(&device, &words),
                    _ => {}
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
    let own = Value::map([("ipv4", reachable(&own4)), ("ipv6", reachable(&own6))]);
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

    /// Takes a line `inet 10.0.0.2/24 brd 10.0.0.255 scope global eth0:1`, whose last word is the address's label.
    fn ipv4(&mut self, device: &str, words: &[&str], secondary: bool) {
        let Some(place) = words.get(1) else { return };
        let (address, prefix) = place.split_once('/').unwrap_or((place, "32"));
        let has_broadcast = place.contains('/') && words.len() > 3 && words[2] == "brd";
        let length = prefix.parse::<u32>().unwrap_or(32).min(32);
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        let number = address.parse::<Ipv4Addr>().map_or(0, u32::from);
        let entry = || {
            Map::from_iter([
                ("address", Value::from(address)),
                ("broadcast", if has_broadcast { words[3] } else { "" }.into()),
                ("netmask", Ipv4Addr::from(mask).to_string().into()),
                ("network", Ipv4Addr::from(number & mask).to_string().into()),
                ("prefix", prefix.into()),
            ])
        };
        let label = words.last().copied().unwrap_or_default();
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

    /// Takes a line `inet6 fe80::1/64 scope link`, or `inet6 A peer B/64 scope global`.
    fn ipv6(&mut self, device: &str, words: &[&str]) {
        let (address, prefix, scope) = match words {
            [_, address, "peer", other, _, scope, ..] => {
                (*address, other.split_once('/').map_or("", |(_, prefix)| prefix), *scope)
            }
            [_, place, _, scope, ..] => {
                let (address, prefix) = place.split_once('/').unwrap_or((place, ""));
                (address, prefix, *scope)
            }
            _ => return,
        };
        let entry = Map::from_iter([
            ("address", Value::from(address)),
            ("prefix", prefix.into()),
            ("scope", scope.into()),
        ]);
        let interface = self.interface(device);
        let mut known = interface.get("ipv6").and_then(|v| v.as_items()).unwrap_or_default();
        known.push(entry.copied().into());
        interface.set("ipv6", known);
        if self.default6.get("address").is_some_and(|known| known.as_str() == Some(address)) {
            self.default6.extend(&entry);
            self.default6.extend(&self.link(device));
        }
        if address != "::1" {
            self.all6.push(address.to_owned());
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
fn default_route(shown: &str, far: &str) -> Map {
    let route = Map::new();
    let words: Vec<&str> = shown.lines().next().unwrap_or_default().split_whitespace().collect();
    if words.first() == Some(&far) {
        for pair in words.windows(2) {
            match pair[0] {
                "dev" => route.set("interface", pair[1]),
                "src" => route.set("address", pair[1]),
                "via" if pair[1] != far => route.set("gateway", pair[1]),
                _ => {}
            }
        }
    }
    route
}

/// Addresses and networks that the machine takes for its own.
fn reachable(shown: &str) -> Value {
    let mut addresses: Vec<&str> = Vec::new();
    for line in shown.lines() {
        if let Some(address) = line.strip_prefix("local ").and_then(|rest| rest.split_whitespace().next())
            && !addresses.contains(&address)
        {
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
