//! Interfaces and addresses, through ip(8) where it is there.

use bakery_host::{Cmd, command::find_program, fs};
use bakery_lang::{Map, Value, json};

pub(super) fn add(facts: &Map) {
    let mut names = Vec::new();
    for path in fs::read_dir("/sys/class/net").unwrap_or_default() {
        names.extend(path.file_name().map(|n| n.to_string_lossy().into_owned()));
    }
    facts.set("ansible_interfaces", Value::strings(&names));
    let (mut all4, mut all6) = (Vec::new(), Vec::new());
    let ask = |args: &[&str]| -> Vec<Value> {
        if find_program("ip").is_none() {
            return vec![];
        }
        let output = Cmd::new("ip").arg("-j").args(args).output().map(|o| o.text()).unwrap_or_default();
        json::parse(&output).ok().and_then(|v| v.as_items()).unwrap_or_default()
    };
    let text = |v: &Value, key: &str| v.get(key).map(|v| v.to_string()).unwrap_or_default();
    let routes = ask(&["route", "show", "default"]);
    let routes6 = ask(&["-6", "route", "show", "default"]);
    let (default4, default6) = (Map::new(), Map::new());
    for link in ask(&["addr"]) {
        let name = text(&link, "ifname");
        let interface = Map::new();
        interface.set("device", name.as_str());
        interface.set("macaddress", text(&link, "address"));
        interface.set("mtu", link.get("mtu").unwrap_or_default());
        interface.set(
            "active",
            link.get("flags").and_then(|f| f.as_items()).is_some_and(|f| f.contains(&"UP".into())),
        );
        interface.set("type", if name == "lo" { "loopback" } else { "ether" });
        let mut ipv6 = Vec::new();
        for address in link.get("addr_info").and_then(|a| a.as_items()).unwrap_or_default() {
            let local = text(&address, "local");
            let prefix = address.get("prefixlen").and_then(|p| p.as_int()).unwrap_or(0);
            if text(&address, "family") == "inet" {
                let mask = if prefix == 0 { 0 } else { u32::MAX << (32 - prefix) };
                let number = local.parse::<std::net::Ipv4Addr>().map_or(0, u32::from);
                let dotted = |n: u32| std::net::Ipv4Addr::from(n).to_string();
                let entry = Map::new();
                entry.set("address", local.as_str());
                entry.set("netmask", dotted(mask));
                entry.set("network", dotted(number & mask));
                entry.set("prefix", prefix.to_string());
                entry.set("broadcast", text(&address, "broadcast"));
                if name != "lo" {
                    all4.push(Value::from(local.as_str()));
                }
                if let Some(route) = routes.first().filter(|r| text(r, "dev") == name) {
                    default4.extend(&entry);
                    default4.set("interface", name.as_str());
                    default4.set("gateway", text(route, "gateway"));
                    default4.set("macaddress", text(&link, "address"));
                    default4.set("mtu", link.get("mtu").unwrap_or_default());
                    default4.set("type", "ether");
                    default4.set("alias", name.as_str());
                }
                if !interface.contains("ipv4") {
                    interface.set("ipv4", entry);
                }
            } else {
                if name != "lo" {
                    all6.push(Value::from(local.as_str()));
                }
                if let Some(route) =
                    routes6.first().filter(|r| text(r, "dev") == name && text(&address, "scope") == "global")
                {
                    default6.set("address", local.as_str());
                    default6.set("interface", name.as_str());
                    default6.set("gateway", text(route, "gateway"));
                }
                ipv6.push(Value::map([
                    ("address", Value::from(local)),
                    ("prefix", prefix.to_string().into()),
                    ("scope", text(&address, "scope").into()),
                ]));
            }
        }
        interface.set("ipv6", ipv6);
        facts.set(&format!("ansible_{}", name.replace(['-', '.', ':'], "_")), interface);
    }
    facts.set("ansible_all_ipv4_addresses", all4);
    facts.set("ansible_all_ipv6_addresses", all6);
    facts.set("ansible_default_ipv4", default4);
    facts.set("ansible_default_ipv6", default6);
}
