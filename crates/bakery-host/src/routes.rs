//! Addresses and routes, as the kernel has them (rtnetlink(7)).

use std::collections::HashMap;
use std::io::{Error, Result};
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// The table of what the machine takes for its own.
const LOCAL_TABLE: u32 = 255;

/// An address of an interface.
#[derive(Debug, Clone)]
pub struct Address {
    /// The number of the interface.
    pub interface: u32,
    /// The address.
    pub address: IpAddr,
    /// The address at the other end, of one that has two ends.
    pub peer: Option<IpAddr>,
    /// How many bits of the address are the network's; of one with two ends, those of the other.
    pub prefix: u8,
    /// Where broadcasts go.
    pub broadcast: Option<IpAddr>,
    /// What ip(8) calls the place that the address is valid in: `global`, `site`, `link`, `host`, `nowhere`, or a number.
    pub scope: String,
    /// The name that the address was given, which is mostly the interface's.
    pub label: Option<String>,
    /// Whether it is one beside the main one, or a temporary one.
    pub is_secondary: bool,
}

/// The way to an address.
#[derive(Debug, Clone, Default)]
pub struct Way {
    /// The number of the interface.
    pub interface: Option<u32>,
    /// The address that is sent from.
    pub source: Option<IpAddr>,
    /// Who is asked to pass it on.
    pub gateway: Option<IpAddr>,
}

/// Every address, interface by interface.
///
/// # Errors
/// What the kernel says.
pub fn addresses() -> Result<Vec<Address>> {
    let answers = ask(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP)?;
    let mut all: Vec<Address> = answers
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message) => address(&message),
            _ => None,
        })
        .collect();
    all.sort_by_key(|address| address.interface);
    Ok(all)
}

fn address(message: &AddressMessage) -> Option<Address> {
    let (mut here, mut there, mut broadcast, mut label) = (None, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(local) => here = Some(*local),
            AddressAttribute::Address(address) => there = Some(*address),
            AddressAttribute::Broadcast(address) => broadcast = Some(IpAddr::V4(*address)),
            AddressAttribute::Label(name) => label = Some(name.clone()),
            _ => {}
        }
    }
    Some(Address {
        interface: message.header.index,
        address: here.or(there)?,
        peer: there.filter(|there| here.is_some_and(|here| here != *there)),
        prefix: message.header.prefix_len,
        broadcast,
        scope: match message.header.scope {
            AddressScope::Universe => "global".into(),
            AddressScope::Site => "site".into(),
            AddressScope::Link => "link".into(),
            AddressScope::Host => "host".into(),
            AddressScope::Nowhere => "nowhere".into(),
            other => u8::from(other).to_string(),
        },
        label,
        is_secondary: message.header.flags.contains(AddressHeaderFlags::Secondary),
    })
}

/// The names of the interfaces by their numbers.
///
/// # Errors
/// What the kernel says.
pub fn interfaces() -> Result<HashMap<u32, String>> {
    let answers = ask(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
    let named = answers.into_iter().filter_map(|answer| {
        let RouteNetlinkMessage::NewLink(message) = answer else { return None };
        let name = message.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        });
        Some((message.header.index, name?))
    });
    Ok(named.collect())
}

/// The way to an address; `None` where there is none.
pub fn way(to: IpAddr) -> Option<Way> {
    let mut message = RouteMessage::default();
    (message.header.address_family, message.header.destination_prefix_length) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.attributes.push(RouteAttribute::Destination(to.into()));
    let answer = ask(RouteNetlinkMessage::GetRoute(message), 0).ok()?.into_iter().next()?;
    let RouteNetlinkMessage::NewRoute(message) = answer else { return None };
    if message.header.kind != RouteType::Unicast && message.header.kind != RouteType::Local {
        return None;
    }
    let mut way = Way::default();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => way.interface = Some(*index),
            RouteAttribute::Gateway(address) => way.gateway = plain(address),
            RouteAttribute::PrefSource(address) => way.source = plain(address),
            _ => {}
        }
    }
    Some(way)
}

/// The addresses and networks that the machine takes for its own, with the bits of those that are networks.
///
/// # Errors
/// What the kernel says.
pub fn own(is_ipv6: bool) -> Result<Vec<String>> {
    let mut message = RouteMessage::default();
    message.header.address_family = if is_ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let whole = if is_ipv6 { 128 } else { 32 };
    let mut all = Vec::new();
    for answer in ask(RouteNetlinkMessage::GetRoute(message), NLM_F_DUMP)? {
        let RouteNetlinkMessage::NewRoute(message) = answer else { continue };
        let table = message.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Table(table) => Some(*table),
            _ => None,
        });
        if table.unwrap_or(u32::from(message.header.table)) != LOCAL_TABLE
            || message.header.kind != RouteType::Local
        {
            continue;
        }
        let address = message.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Destination(address) => plain(address),
            _ => None,
        });
        let length = message.header.destination_prefix_length;
        all.extend(address.map(|address| {
            if length == whole { address.to_string() } else { format!("{address}/{length}") }
        }));
    }
    Ok(all)
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

/// What the kernel answers.
fn ask(question: RouteNetlinkMessage, flags: u16) -> Result<Vec<RouteNetlinkMessage>> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let mut all = Vec::new();
    loop {
        let (received, _) = socket.recv_from_full()?;
        let mut rest = received.as_slice();
        while !rest.is_empty() {
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| Error::other(error.to_string()))?;
            let length = (answer.header.length as usize).next_multiple_of(4).clamp(4, rest.len().max(4));
            rest = rest.get(length..).unwrap_or_default();
            match answer.payload {
                NetlinkPayload::InnerMessage(message) => {
                    all.push(message);
                    if flags & NLM_F_DUMP == 0 {
                        return Ok(all);
                    }
                }
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::Done(_) => return Ok(all),
                _ => {}
            }
        }
    }
}
