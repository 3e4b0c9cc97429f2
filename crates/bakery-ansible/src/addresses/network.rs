//! An address with a prefix, as `netaddr.IPNetwork` holds it: the address may be any within the network.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The family of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// Bits of an address.
    pub(super) fn width(self) -> u32 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    pub(super) fn version(self) -> i128 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }

    /// The highest address.
    pub(super) fn max(self) -> u128 {
        ones(self.width())
    }
}

/// A number whose last `count` bits are set.
pub(super) fn ones(count: u32) -> u128 {
    1u128.checked_shl(count).map_or(u128::MAX, |n| n - 1)
}

/// An address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) family: Family,
    pub(super) value: u128,
}

impl Address {
    /// An address as `inet_pton` reads it: four decimal numbers without leading zeros, or the forms of version 6.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self { family: Family::V4, value: u32::from(address).into() });
        }
        let address: Ipv6Addr = text.parse().ok()?;
        Some(Self { family: Family::V6, value: address.into() })
    }

    /// The address that a number means: of version 4 when it fits.
    pub(super) fn of_number(value: u128) -> Self {
        let family = if value <= Family::V4.max() { Family::V4 } else { Family::V6 };
        Self { family, value }
    }

    /// The address so many further on; `None` beyond the last or before the first.
    pub(super) fn plus(self, amount: i128) -> Option<Self> {
        let value = self.value.checked_add_signed(amount)?;
        (value <= self.family.max()).then_some(Self { value, ..self })
    }

    /// Whether the address is in one of some networks.
    pub(super) fn is_in(self, networks: &[&str]) -> bool {
        let own = Network { address: self, prefix: self.family.width() };
        networks.iter().filter_map(|text| Network::parse(text)).any(|network| network.contains(&own))
    }

    /// Whether all set bits come before all others.
    pub(super) fn is_netmask(self) -> bool {
        (self.value ^ self.family.max()).wrapping_add(1).count_ones() <= 1
    }

    /// Whether all set bits come after all others.
    pub(super) fn is_hostmask(self) -> bool {
        self.value.wrapping_add(1).count_ones() <= 1
    }

    /// The name under which DNS has the reverse entry.
    pub(super) fn reverse(self) -> String {
        match self.family {
            Family::V4 => {
                let [a, b, c, d] = Ipv4Addr::from(self.value as u32).octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
            }
            Family::V6 => {
                let digits: Vec<String> =
                    format!("{:032x}", self.value).chars().rev().map(String::from).collect();
                format!("{}.ip6.arpa.", digits.join("."))
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.family {
            Family::V4 => Ipv4Addr::from(self.value as u32).fmt(f),
            // `inet_ntop` writes addresses that hold one of version 4, in the deprecated form, with dots.
            Family::V6 if self.value >> 32 == 0 && self.value > 0xffff => {
                write!(f, "::{}", Ipv4Addr::from(self.value as u32))
            }
            Family::V6 => Ipv6Addr::from(self.value).fmt(f),
        }
    }
}

/// An address within a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) address: Address,
    /// Bits of the network, from the left.
    pub(super) prefix: u32,
}

impl Network {
    pub(super) fn of(family: Family, value: u128, prefix: u32) -> Option<Self> {
        let fits = value <= family.max() && prefix <= family.width();
        fits.then_some(Self { address: Address { family, value }, prefix })
    }

    /// `ADDRESS`, `ADDRESS/BITS`, `ADDRESS/NETMASK` or `ADDRESS/HOSTMASK`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, mask) = match text.split_once('/') {
            Some((address, mask)) => (address, Some(mask)),
            None => (text, None),
        };
        let address = Address::parse(address)?;
        let width = address.family.width();
        let prefix = match mask {
            None => width,
            Some(mask) => match mask.trim().parse::<u32>() {
                Ok(bits) => bits,
                Err(_) => {
                    let mask = Address::parse(mask).filter(|mask| mask.family == address.family)?;
                    if mask.is_netmask() {
                        mask.value.count_ones()
                    } else if mask.is_hostmask() {
                        width - mask.value.count_ones()
                    } else {
                        return None;
                    }
                }
            },
        };
        (prefix <= width).then_some(Self { address, prefix })
    }

    pub(super) fn family(&self) -> Family {
        self.address.family
    }

    /// The bits that name a host.
    pub(super) fn host_bits(&self) -> u32 {
        self.family().width() - self.prefix
    }

    fn at(&self, value: u128) -> Address {
        Address { family: self.family(), value }
    }

    pub(super) fn first(&self) -> Address {
        self.at(self.address.value & !ones(self.host_bits()))
    }

    pub(super) fn last(&self) -> Address {
        self.at(self.address.value | ones(self.host_bits()))
    }

    /// The last address, of a network that has room for one.
    pub(super) fn broadcast(&self) -> Option<Address> {
        (self.host_bits() > 1).then(|| self.last())
    }

    pub(super) fn hostmask(&self) -> Address {
        self.at(ones(self.host_bits()))
    }

    pub(super) fn netmask(&self) -> Address {
        self.at(self.family().max() ^ ones(self.host_bits()))
    }

    /// The network itself: its first address with the prefix.
    pub(super) fn cidr(&self) -> Self {
        Self { address: self.first(), ..*self }
    }

    pub(super) fn contains(&self, other: &Self) -> bool {
        self.family() == other.family() && self.first() <= other.first() && other.last() <= self.last()
    }

    /// The address of an index, counted from the end when negative.
    pub(super) fn nth(&self, index: i128) -> Option<Address> {
        let found = if index < 0 { self.last().plus(index + 1) } else { self.first().plus(index) };
        found.filter(|address| (self.first()..=self.last()).contains(address))
    }

    /// The addresses that hosts may have.
    pub(super) fn usable(&self) -> Option<(Address, Address)> {
        match self.host_bits() {
            0 => None,
            1 => Some((self.first(), self.last())),
            _ => Some((self.first().plus(1)?, self.last().plus(-1)?)),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}
