//! The filters (`ansible_collections/ansible/utils/plugins/filter`, `plugin_utils/base/ipaddr_utils.py`).

use bakery_jinja::{Arguments, Error, Result};
use bakery_lang::Value;
use bakery_lang::whole::BigInt;

use super::hardware::Hardware;
use super::network::{Address, Family, Network, ones};
use super::ranges;

/// Runs a filter; `None` for one that is not known here.
pub(crate) fn call(name: &str, value: &Value, args: &Arguments) -> Option<Result<Value>> {
    let query = |name: &str| args.text(0, name, "");
    let addresses = |version| of_addresses(name, value, &query("query"), version);
    Some(match name {
        "ipaddr" => match args.get(1, "version").filter(Value::is_true) {
            None => addresses(None),
            Some(version) if version.as_int() == Some(4) => addresses(Some(Family::V4)),
            Some(_) => addresses(Some(Family::V6)),
        },
        "ipv4" => addresses(Some(Family::V4)),
        "ipv6" => addresses(Some(Family::V6)),
        "ipwrap" => wrap(value, &query("query")),
        "ipmath" => args.need(0, "amount").and_then(|amount| add(value, &amount)),
        "ipsubnet" => subnet(value, &query("query"), args.get(1, "index").as_ref()),
        "ip4_hex" => hexadecimal(value, &query("delimiter")),
        "ipcut" => args.need(0, "amount").and_then(|amount| cut(value, &amount)),
        "ipv6form" => form(value, &query("format")),
        "cidr_merge" => merge(value, &args.text(0, "action", "merge")),
        "hwaddr" | "macaddr" => hardware(name, value, &query("query")),
        "slaac" => slaac(value, &query("query")),
        "nthhost" => nth_host(value, &query("query")),
        "next_nth_usable" | "previous_nth_usable" => args.need(0, "offset").and_then(|offset| {
            let offset = offset.as_int().ok_or_else(|| Error::new("Must pass in an integer"))?;
            Ok(nth_usable(value, if name == "next_nth_usable" { offset } else { -offset }))
        }),
        "network_in_network" => args
            .need(0, "test")
            .and_then(|test| Ok(within(range(&Value::from(test.to_string()))?, range(value)?).into())),
        "network_in_usable" => args
            .need(0, "test")
            .and_then(|test| Ok(within(range(&Value::from(test.to_string()))?, usable_range(value)?).into())),
        "reduce_on_network" => args.need(0, "network").and_then(|network| {
            let network = range(&network)?;
            let mut kept = Vec::new();
            for item in bakery_jinja::ops::iterate(value)? {
                if within(range(&item)?, network) {
                    kept.push(item);
                }
            }
            Ok(Value::list(kept))
        }),
        _ => return None,
    })
}

fn number(value: u128) -> Value {
    BigInt::from(value).into()
}

fn shown(value: impl std::fmt::Display) -> Value {
    value.to_string().into()
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}

/// The filters that take texts, lists or whole numbers.
fn of_addresses(name: &str, value: &Value, query: &str, version: Option<Family>) -> Result<Value> {
    if !matches!(value, Value::Str(_) | Value::List(_) | Value::Int(_) | Value::Big(_) | Value::Bool(_)) {
        return Err(unrecognized(name, value));
    }
    ask(name, value, query, version)
}

fn unrecognized(name: &str, value: &Value) -> Error {
    Error::new(format!("Unrecognized type <<class '{}'>> for {name} filter <value>", value.type_name()))
}

/// An address or network as somebody wrote it.
struct Written {
    network: Network,
    /// Whether a prefix was written.
    has_prefix: bool,
    /// What a query that keeps the value answers.
    value: Value,
}

/// Reads a number, an address, a network, or a network whose address is a number.
fn read(value: &Value, version: Option<Family>) -> Option<Written> {
    let text = value.to_string();
    if is_digits(&text) {
        let number: u128 = text.parse().ok()?;
        let v4 = (version != Some(Family::V6)).then(|| Network::of(Family::V4, number, 32)).flatten();
        let network = v4.or_else(|| Network::of(Family::V6, number, 128))?;
        return Some(Written { network, has_prefix: false, value: shown(network) });
    }
    let parts: Vec<&str> = text.split('/').collect();
    if let Some(network) = Network::parse(&text) {
        return Some(Written { network, has_prefix: parts.len() == 2, value: value.clone() });
    }
    let &[address, prefix] = parts.as_slice() else { return None };
    let (address, prefix) = (address.trim().parse().ok()?, prefix.trim().parse().ok()?);
    let network =
        Network::of(Family::V4, address, prefix).or_else(|| Network::of(Family::V6, address, prefix))?;
    Some(Written { network, has_prefix: true, value: shown(network) })
}

/// What `ipaddr` answers: the value or something about it when it is what was asked for, else false or none.
fn ask(name: &str, value: &Value, query: &str, version: Option<Family>) -> Result<Value> {
    if let Value::List(_) | Value::Tuple(_) = value {
        let mut kept = Vec::new();
        for item in value.as_items().unwrap_or_default() {
            kept.push(ask("ipaddr", &item, query, version)?);
        }
        kept.retain(Value::is_true);
        return Ok(Value::list(kept));
    }
    if !value.is_true() || matches!(value, Value::Bool(_)) {
        return Ok(false.into());
    }
    let Some(written) = read(value, version) else { return Ok(false.into()) };
    if version.is_some_and(|family| family != written.network.family()) {
        return Ok(false.into());
    }
    match answer(&written, query) {
        Some(answer) => answer,
        None => other_query(name, &written, query),
    }
}

/// A query that is the number of a host, or a network in which the value shall be.
fn other_query(name: &str, written: &Written, query: &str) -> Result<Value> {
    let network = &written.network;
    if !query.is_empty() && !is_digits(query) && ask("ipaddr", &query.into(), "network", None)?.is_true() {
        let inside = Network::parse(query).is_some_and(|outer| outer.contains(network));
        return Ok(if inside { written.value.clone() } else { Value::None });
    }
    if query.trim().parse::<f64>().is_err() {
        return Err(Error::new(format!("{name}: unknown filter type: {query}")));
    }
    if network.host_bits() == 0 {
        return Ok(if written.has_prefix { shown(network) } else { shown(network.address) });
    }
    let host = query.trim().parse().ok().and_then(|index| network.nth(index));
    Ok(host.map_or_else(|| false.into(), |host| shown(Network { address: host, prefix: network.prefix })))
}

/// The answer to a query; `None` for a query that is not known.
fn answer(written: &Written, query: &str) -> Option<Result<Value>> {
    let network = &written.network;
    let address = network.address;
    let bits = network.host_bits();
    let prefix = network.prefix;
    let is_first = address == network.first();
    let when = |holds: bool, value: Value| if holds { value } else { Value::None };
    let kept = |holds: bool| when(holds, written.value.clone());
    let usable = |choose: &dyn Fn(Address, Address) -> Value| -> Result<Value> {
        if !written.has_prefix {
            return Err(Error::new("Not a network address"));
        }
        Ok(network.usable().map_or(Value::None, |(first, last)| choose(first, last)))
    };
    // Numbers become addresses again: small ones are of version 4, whatever they were.
    let again = |address: Address| shown(Address::of_number(address.value));
    let neighbour = |amount: i128| {
        usable(&|first, last| {
            let next = address.plus(amount).filter(|next| (first..=last).contains(next));
            next.map_or(Value::None, again)
        })
    };
    let is_global = !address.is_in(ranges::NOT_GLOBAL) || address.is_in(ranges::GLOBAL_NEVERTHELESS);
    let is_multicast = || {
        let networks = ranges::MULTICAST.iter().filter_map(|text| Network::parse(text));
        networks.into_iter().any(|multicast| multicast.contains(network))
    };
    let is_public = is_global
        && !address.is_in(ranges::MULTICAST)
        && !address.is_in(ranges::LOOPBACK)
        && !address.is_netmask()
        && !address.is_hostmask();
    Some(Ok(match query {
        "" => shown(if written.has_prefix { network.to_string() } else { address.to_string() }),
        "6to4" => six_to_four(written, is_public || !is_global),
        "address" | "ip" => {
            let host =
                bits == 0 || !is_first || network.broadcast().is_none() || network.family() == Family::V6;
            when(host, shown(address))
        }
        "address/prefix" | "gateway" | "gw" | "host/prefix" | "hostnet" | "router" => {
            if bits > 1 && (is_first || Some(address) == network.broadcast()) {
                false.into()
            } else {
                shown(network)
            }
        }
        "bool" => true.into(),
        "broadcast" => when(bits > 1, shown(network.last())),
        "cidr" => shown(network),
        "first_usable" => return Some(usable(&|first, _| again(first))),
        "last_usable" => return Some(usable(&|_, last| again(last))),
        "range_usable" => {
            return Some(usable(&|first, last| {
                let (first, last) = (Address::of_number(first.value), Address::of_number(last.value));
                shown(format!("{first}-{last}"))
            }));
        }
        "next_usable" => return Some(neighbour(1)),
        "previous_usable" => return Some(neighbour(-1)),
        "host" => when(bits == 0 || !is_first || network.broadcast().is_none(), shown(network)),
        "hostmask" | "wildcard" => shown(network.hostmask()),
        "int" if written.has_prefix => shown(format!("{}/{prefix}", address.value)),
        "int" => number(address.value),
        "ip/prefix" => when(bits == 1 || (bits > 1 && !is_first), shown(network)),
        "ip_netmask" => {
            when(bits == 1 || (bits > 1 && !is_first), shown(format!("{address} {}", network.netmask())))
        }
        "ipv4" | "v4" if network.family() == Family::V4 => written.value.clone(),
        "ipv4" | "v4" => as_v4(network).map_or_else(|| false.into(), shown),
        "ipv6" | "v6" if network.family() == Family::V6 => written.value.clone(),
        "ipv6" | "v6" => {
            let mapped = Address { family: Family::V6, value: 0xffff_0000_0000 + address.value };
            shown(Network { address: mapped, prefix: prefix + 96 })
        }
        "link-local" => kept(address.is_in(ranges::LINK_LOCAL)),
        "lo" | "loopback" => kept(address.is_in(ranges::LOOPBACK)),
        "multicast" => kept(is_multicast()),
        "unicast" => kept(!is_multicast()),
        "private" => kept(!is_global),
        "public" => kept(is_public),
        "net" => when(bits > 0 && is_first, shown(network)),
        "netmask" => shown(network.netmask()),
        "network" | "network_id" => shown(network.first()),
        "network/prefix" | "subnet" => shown(network.cidr()),
        "network_netmask" => shown(format!("{} {}", network.first(), network.netmask())),
        "network_wildcard" => shown(format!("{} {}", network.first(), network.hostmask())),
        "peer" => return Some(peer(written)),
        "prefix" => Value::Int(prefix.into()),
        "revdns" => address.reverse().into(),
        "size" => size(network),
        "size_usable" if bits > 1 => size_usable(network),
        "size_usable" => Value::Int(i128::from(bits) * 2),
        "type" => if bits == 0 || !is_first { "address" } else { "network" }.into(),
        "version" => Value::Int(network.family().version()),
        "wrap" if network.family() == Family::V4 => written.value.clone(),
        "wrap" if written.has_prefix => shown(format!("[{address}]/{prefix}")),
        "wrap" => shown(format!("[{address}]")),
        _ => return None,
    }))
}

fn size(network: &Network) -> Value {
    // The size of all of version 6 is one more than the highest number.
    ones(network.host_bits())
        .checked_add(1)
        .map_or_else(|| "340282366920938463463374607431768211456".into(), number)
}

fn size_usable(network: &Network) -> Value {
    number(ones(network.host_bits()) - 1)
}

/// The address of version 4 that one of version 6 holds.
fn as_v4(network: &Network) -> Option<Network> {
    let prefix = network.prefix.checked_sub(96)?;
    let value = match network.address.value {
        value if value <= Family::V4.max() => value,
        value if value >> 32 == 0xffff => value & Family::V4.max(),
        _ => return None,
    };
    Network::of(Family::V4, value, prefix)
}

/// The network of version 6 that belongs to an address of version 4, or a value that is of such a network.
fn six_to_four(written: &Written, is_known: bool) -> Value {
    let network = &written.network;
    let is_host = network.host_bits() == 0 || network.address != network.first();
    match network.family() {
        Family::V4 if is_host && is_known => {
            let value = network.address.value;
            format!("2002:{:04x}:{:04x}::1/48", value >> 16, value & 0xffff).into()
        }
        Family::V6 => {
            let asked = if written.has_prefix { network.address != network.first() } else { true };
            let inside = asked && network.address.is_in(ranges::SIX_TO_FOUR);
            if inside { written.value.clone() } else { false.into() }
        }
        Family::V4 => false.into(),
    }
}

/// The other end of a point-to-point network.
fn peer(written: &Written) -> Result<Value> {
    let network = &written.network;
    let value = network.address.value;
    if !written.has_prefix {
        return Err(Error::new("Not a network address"));
    }
    let other = match (network.host_bits(), value % 4) {
        (1, _) => value ^ 1,
        (2, 0) => return Err(Error::new("Network address of /30 has no peer")),
        (2, 3) => return Err(Error::new("Broadcast address of /30 has no peer")),
        (2, _) => value ^ 3,
        _ => return Err(Error::new("Not a point-to-point network")),
    };
    Ok(shown(Address::of_number(other)))
}

fn wrap(value: &Value, query: &str) -> Result<Value> {
    let one = |value: &Value| -> Result<Value> {
        let found = ask("ipwrap", value, query, None)?;
        if found.is_true() { ask("ipaddr", &found, "wrap", None) } else { Ok(value.clone()) }
    };
    match value {
        Value::List(_) => {
            let each = |value: &Value| {
                let found = ask("ipwrap", value, query, None)?;
                if found.is_true() { ask("ipaddr", value, "wrap", None) } else { Ok(value.clone()) }
            };
            let all: Result<Vec<Value>> = value.as_items().unwrap_or_default().iter().map(each).collect();
            // Whatever goes wrong leaves the value as it was.
            Ok(all.map_or_else(|_| value.clone(), Value::list))
        }
        Value::Str(_) | Value::Bool(_) => Ok(one(value).unwrap_or_else(|_| value.clone())),
        _ => Err(unrecognized("ipwrap", value)),
    }
}

fn add(value: &Value, amount: &Value) -> Result<Value> {
    let text = value.to_string();
    let address = if text.contains('/') {
        Network::parse(&text).map(|network| network.address)
    } else {
        Address::parse(&text)
    };
    let address =
        address.ok_or_else(|| Error::new(format!("You must pass a valid IP address; {text} is invalid")))?;
    let amount = whole_number(amount)?;
    address.plus(amount).map(shown).ok_or_else(|| Error::new("result outside valid IP address boundary!"))
}

/// A whole number, or a text that is one.
fn whole_number(value: &Value) -> Result<i128> {
    let number = value.as_int().or_else(|| value.as_str()?.trim().parse().ok());
    number.ok_or_else(|| {
        Error::new(format!("You must pass an integer for arithmetic; {value} is not a valid integer"))
    })
}

/// The network of a value, or the address with all its bits.
fn network_of(value: &Value) -> Result<Option<Network>> {
    let text = Value::from(value.to_string());
    let kind = ask("ipaddr", &text, "type", None)?;
    let query = match kind.as_str() {
        Some("address") => "cidr",
        Some("network") => "subnet",
        _ => return Ok(None),
    };
    Ok(Network::parse(&ask("ipaddr", &text, query, None)?.to_string()))
}

fn subnet(value: &Value, query: &str, index: Option<&Value>) -> Result<Value> {
    let Some(network) = network_of(value)?.map(|n| n.cidr()) else { return Ok(false.into()) };
    if query.is_empty() {
        return Ok(shown(network));
    }
    let width = network.family().width();
    if !is_digits(query) {
        return position(&network, query);
    }
    let Some(prefix) = query.parse::<u32>().ok().filter(|prefix| *prefix <= width) else {
        return Ok(false.into());
    };
    let index = index.filter(|i| !i.is_none()).map(whole_number).transpose()?;
    if network.host_bits() == 0 {
        let at = index.unwrap_or(0);
        let most = i128::from(width);
        if index.is_some() && (at > most + 1 - at || at < i128::from(prefix) - most) {
            return Ok(false.into());
        }
        // The networks around an address, from the widest.
        let around = i128::from(network.prefix.saturating_sub(prefix));
        let at = if at < 0 { at + around } else { at };
        if !(0..around).contains(&at) {
            return Err(Error::new("list index out of range"));
        }
        let found = Network { prefix: prefix + at as u32, ..network };
        return Ok(shown(found.cidr()));
    }
    if prefix < network.prefix {
        return match index {
            None => Err(Error::new(format!("Requested subnet size of {prefix} is invalid"))),
            Some(_) => Ok(false.into()),
        };
    }
    let count = ones(prefix - network.prefix).checked_add(1);
    let Some(index) = index else {
        return Ok(count.map_or_else(|| "340282366920938463463374607431768211456".into(), shown));
    };
    let index = if index < 0 {
        count.unwrap_or(u128::MAX).checked_add_signed(index)
    } else {
        u128::try_from(index).ok()
    };
    Ok(match index.filter(|index| count.is_none_or(|count| *index < count)) {
        None => false.into(),
        Some(index) => {
            let step = index.checked_shl(width - prefix).unwrap_or(0);
            let address = Address { family: network.family(), value: network.first().value + step };
            shown(Network { address, prefix })
        }
    })
}

/// Which one of a network's parts something is, from one on.
fn position(network: &Network, query: &str) -> Result<Value> {
    let invalid = || Error::new(format!("You must pass a valid subnet or IP address; {query} is invalid"));
    let outer = network_of(&query.into())?.ok_or_else(invalid)?;
    let bits = network.family().width().saturating_sub(outer.prefix);
    let cut = |value: u128| value.checked_shr(bits).unwrap_or(0);
    if cut(network.address.value) != cut(outer.address.value) {
        return Err(Error::new(format!("{} is not in the subnet {}", network.cidr(), outer.cidr())));
    }
    let depth = network.prefix.checked_sub(outer.prefix);
    let depth = depth.ok_or_else(|| Error::new("unsupported operand type(s) for <<: 'float' and 'int'"))?;
    let among = network.address.value.checked_shr(network.host_bits()).unwrap_or(0) & ones(depth);
    Ok(shown(among + 1))
}

fn hexadecimal(value: &Value, delimiter: &str) -> Result<Value> {
    let text = value.to_string();
    match Address::parse(&text) {
        Some(Address { family: Family::V4, value }) => {
            let bytes = (value as u32).to_be_bytes().map(|byte| format!("{byte:02x}"));
            Ok(bytes.join(delimiter).into())
        }
        _ => Err(Error::new(format!("You must pass a valid IP address; {text} is invalid"))),
    }
}

/// The first bits of an address, or its last ones for a negative number, in the words of its family.
fn cut(value: &Value, amount: &Value) -> Result<Value> {
    let text = value.to_string();
    let address = Address::parse(&text)
        .ok_or_else(|| Error::new(format!("You must pass a valid IP address; {text} is invalid")))?;
    let amount = whole_number(amount)?;
    let (word, separator) = match address.family {
        Family::V4 => (8, "."),
        Family::V6 => (16, ":"),
    };
    let bits = match address.family {
        Family::V4 => format!("{:032b}", address.value),
        Family::V6 => format!("{:0128b}", address.value),
    };
    let count = usize::try_from(amount.unsigned_abs()).unwrap_or(usize::MAX).min(bits.len());
    let kept = if amount < 0 { &bits[bits.len() - count..] } else { &bits[..count] };
    let words: Vec<String> = kept
        .as_bytes()
        .chunks(word)
        .map(|bits| {
            let number = bits.iter().fold(0u32, |number, bit| number * 2 + u32::from(bit - b'0'));
            if word == 8 { number.to_string() } else { format!("{number:x}") }
        })
        .collect();
    Ok(words.join(separator).into())
}

fn form(value: &Value, format: &str) -> Result<Value> {
    let text = value.to_string();
    let address = Address::parse(&text)
        .ok_or_else(|| Error::new(format!("You must pass a valid IP address; {text} is invalid")))?;
    if address.family == Family::V4 {
        return Ok(shown(address));
    }
    let words: Vec<u16> = (0..8).rev().map(|at| (address.value >> (16 * at)) as u16).collect();
    Ok(match format {
        "expand" => words.iter().map(|w| format!("{w:04x}")).collect::<Vec<_>>().join(":").into(),
        "x509" => words.iter().map(|w| format!("{w:x}")).collect::<Vec<_>>().join(":").into(),
        "compress" => compressed(&words).into(),
        _ => Value::None,
    })
}

/// The short form, without an address of version 4 in it; the longest run of zeros, two at least, is left out.
fn compressed(words: &[u16]) -> String {
    let mut longest = 0..0;
    let mut start = 0;
    for at in 0..=words.len() {
        if words.get(at) == Some(&0) {
            continue;
        }
        if at - start > longest.len().max(1) {
            longest = start..at;
        }
        start = at + 1;
    }
    let part = |words: &[u16]| words.iter().map(|w| format!("{w:x}")).collect::<Vec<_>>().join(":");
    if longest.is_empty() {
        return part(words);
    }
    format!("{}::{}", part(&words[..longest.start]), part(&words[longest.end..]))
}

fn merge(value: &Value, action: &str) -> Result<Value> {
    let items = bakery_jinja::ops::iterate(value).map_err(|_| {
        Error::new(format!("cidr_merge: expected iterable, got {}", bakery_lang::repr::repr(value)))
    })?;
    let mut networks = Vec::new();
    for item in &items {
        let text = item.to_string();
        networks.push(
            Network::parse(&text).ok_or_else(|| {
                Error::new(format!("cidr_merge: error in netaddr:\ninvalid IPNetwork {text}"))
            })?,
        );
    }
    networks.sort_by_key(|n| (n.first(), n.prefix, n.address));
    match action {
        "merge" => Ok(Value::list(merged(&networks).iter().map(shown).collect())),
        "span" => Ok(match networks.as_slice() {
            [] => Value::None,
            [one] => shown(one),
            [first, .., last] => {
                if first.family() != last.family() {
                    return Err(Error::new(
                        "cidr_merge: error in netaddr:\nIP sequence cannot contain both IPv4 and IPv6!",
                    ));
                }
                let mut around = *last;
                while around.prefix > 0 && around.first() > first.first() {
                    around.prefix -= 1;
                }
                shown(around.cidr())
            }
        }),
        other => Err(Error::new(format!("cidr_merge: invalid action '{other}'"))),
    }
}

/// The fewest networks that cover the same addresses.
fn merged(networks: &[Network]) -> Vec<Network> {
    let mut out = Vec::new();
    let mut rest = networks.iter().map(|n| (n.first(), n.last()));
    let Some((mut first, mut last)) = rest.next() else { return out };
    for (next_first, next_last) in rest {
        let joins = first.family == next_first.family
            && (next_first <= last || last.plus(1).is_some_and(|after| after == next_first));
        if joins {
            last = last.max(next_last);
        } else {
            cover(first, last, &mut out);
            (first, last) = (next_first, next_last);
        }
    }
    cover(first, last, &mut out);
    out
}

/// The networks from one address to another.
fn cover(mut first: Address, last: Address, out: &mut Vec<Network>) {
    loop {
        let mut network = Network { address: first, prefix: first.family.width() };
        while network.prefix > 0 {
            let wider = Network { prefix: network.prefix - 1, ..network };
            if wider.first() != first || wider.last() > last {
                break;
            }
            network = wider;
        }
        out.push(network);
        match network.last().plus(1) {
            Some(next) if next <= last => first = next,
            _ => return,
        }
    }
}

fn hardware(name: &str, value: &Value, query: &str) -> Result<Value> {
    let found = Hardware::parse(&value.to_string());
    if found.is_none() && !query.is_empty() && query != "bool" {
        return Err(Error::new(format!("{name}: not a hardware address: {value}")));
    }
    let Some(found) = found else { return Ok(Value::None) };
    match query {
        "" => Ok(value.clone()),
        "bool" => Ok(true.into()),
        "int" => Ok(Value::Int(found.value.into())),
        dialect => match found.written(dialect) {
            Some(text) => Ok(text.into()),
            None => Err(Error::new(format!("{name}: unknown filter type: {dialect}"))),
        },
    }
}

/// The address that a machine of a hardware address gives itself in a network.
fn slaac(value: &Value, query: &str) -> Result<Value> {
    let network = network_of(value)?.filter(|n| n.family() == Family::V6);
    let (Some(network), Some(hardware)) = (network, Hardware::parse(query)) else { return Ok(false.into()) };
    let address = network.first().plus(hardware.interface().into());
    address.map(shown).ok_or_else(|| Error::new("address value is out of range"))
}

fn nth_host(value: &Value, query: &str) -> Result<Value> {
    let (Some(network), Ok(index)) = (network_of(value)?, query.trim().parse::<i128>()) else {
        return Ok(false.into());
    };
    match network.nth(index) {
        Some(address) => Ok(shown(address)),
        None if index < 0 => Err(Error::new("index out range for address range size!")),
        None => Ok(false.into()),
    }
}

fn nth_usable(value: &Value, offset: i128) -> Value {
    let Ok(Some(network)) = network_of(value) else { return false.into() };
    let Some((first, last)) = network.usable() else { return Value::None };
    let found = network.address.plus(offset).filter(|address| (first..=last).contains(address));
    found.map_or(Value::None, |address| shown(Address::of_number(address.value)))
}

/// The first and last address that something covers; nothing covers the number 0 alone.
type Range = (u128, u128);

fn range(value: &Value) -> Result<Range> {
    let network = network_of(value)?.map(|n| n.cidr());
    Ok(network.map_or((0, 0), |n| {
        let last = n.broadcast().unwrap_or(n.address);
        (n.first().value, last.value)
    }))
}

fn usable_range(value: &Value) -> Result<Range> {
    let network = network_of(value)?.map(|n| n.cidr());
    Ok(network.map_or((0, 0), |n| {
        n.usable().map_or((n.address.value, n.address.value), |(first, last)| (first.value, last.value))
    }))
}

fn within(inner: Range, outer: Range) -> bool {
    (outer.0..=outer.1).contains(&inner.0) && (outer.0..=outer.1).contains(&inner.1)
}
