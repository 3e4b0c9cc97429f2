//! The tests (`ansible_collections/ansible/utils/plugins/test`), which ask Python's `ipaddress`.

use bakery_jinja::{Arguments, Error, Result};
use bakery_lang::Value;
use bakery_lang::regex::{Flags, compile};

use super::network::{Address, Family, Network};
use super::ranges;

/// Runs a test; `None` for one that is not known here.
pub(crate) fn call(name: &str, value: &Value, args: &Arguments) -> Option<Result<bool>> {
    let text = value.to_string();
    let is_in = |networks| Ok(address(value).is_some_and(|a| a.is_in(networks)));
    // An address that holds one of version 4 is what that is.
    let held = |a: Address| {
        if a.is_in(ranges::MAPPED) { Address::of_number(a.value & Family::V4.max()) } else { a }
    };
    let is_private = |a: Address| a.is_in(ranges::NOT_GLOBAL) && !a.is_in(ranges::GLOBAL_NEVERTHELESS);
    let of_family = |family, found: Option<Family>| Ok(found == Some(family));
    Some(match name {
        "ip" => Ok(network(value).is_some()),
        "ip_address" => Ok(address(value).is_some()),
        "ipv4" => of_family(Family::V4, network(value).map(|n| n.family())),
        "ipv6" => of_family(Family::V6, network(value).map(|n| n.family())),
        "ipv4_address" => of_family(Family::V4, address(value).map(|a| a.family)),
        "ipv6_address" => of_family(Family::V6, address(value).map(|a| a.family)),
        "ipv4_netmask" => Ok(in_tens(&text).is_some_and(|n| n.netmask().to_string() == text)),
        "ipv4_hostmask" => Ok(in_tens(&text).is_some_and(|n| n.hostmask().to_string() == text)),
        "ipv6_ipv4_mapped" => is_in(ranges::MAPPED),
        "ipv6_sixtofour" => is_in(ranges::SIX_TO_FOUR),
        "ipv6_teredo" => is_in(ranges::TEREDO),
        "loopback" => is_in(ranges::LOOPBACK),
        "multicast" => is_in(ranges::MULTICAST),
        "unspecified" => is_in(ranges::UNSPECIFIED),
        "reserved" => is_in(ranges::RESERVED),
        "private" => Ok(address(value).map(held).is_some_and(|a| is_private(a) && !a.is_in(ranges::SHARED))),
        "public" => Ok(address(value).map(held).is_some_and(|a| !is_private(a))),
        "mac" => {
            let pattern =
                r"^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$|^([0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4})$|^[0-9a-f]{12}$";
            compile(pattern, Flags { ignore_case: true, ..Flags::default() })
                .map_err(Error::new)
                .and_then(|regex| regex.is_match(&text).map_err(|e| Error::new(e.to_string())))
        }
        "in_network" => args.need(0, "network").map(|outer| is_within(value, &outer)),
        "subnet_of" => args.need(0, "network_b").map(|outer| is_within(value, &outer)),
        "supernet_of" => args.need(0, "network_b").map(|inner| is_within(&inner, value)),
        "in_any_network" => count(value, args).map(|count| count > 0),
        "in_one_network" => count(value, args).map(|count| count == 1),
        _ => return None,
    })
}

/// In how many of the networks it is.
fn count(value: &Value, args: &Arguments) -> Result<usize> {
    let networks = bakery_jinja::ops::iterate(&args.need(0, "networks")?)?;
    Ok(networks.iter().filter(|outer| is_within(value, outer)).count())
}

fn is_within(inner: &Value, outer: &Value) -> bool {
    matches!((network(inner), network(outer)), (Some(inner), Some(outer)) if outer.contains(&inner))
}

/// A text that is an address; one of version 6 may name an interface.
fn address(value: &Value) -> Option<Address> {
    let text = value.as_str()?;
    match text.split_once('%') {
        Some((address, zone)) if !zone.is_empty() => {
            Address::parse(address).filter(|a| a.family == Family::V6)
        }
        _ => Address::parse(text),
    }
}

/// A text that is a network: no bit of a host is set. Masks are written for version 4 only.
fn network(value: &Value) -> Option<Network> {
    let text = value.as_str()?;
    let network = Network::parse(text)?;
    let mask = text.split_once('/').map_or("0", |(_, mask)| mask);
    let is_written = mask.chars().all(|c| c.is_ascii_digit()) || network.family() == Family::V4;
    (is_written && network.address == network.first()).then_some(network)
}

fn in_tens(mask: &str) -> Option<Network> {
    network(&Value::from(format!("10.0.0.0/{mask}")))
}
