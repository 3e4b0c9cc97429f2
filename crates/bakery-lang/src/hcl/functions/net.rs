//! Addresses of networks (`go-cty-funcs/cidr`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::args::Args;
use crate::Value;

/// A network: its address as a number, the bits of its prefix, the bits of an address.
struct Network {
    address: u128,
    prefix: u32,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("invalid CIDR expression: invalid CIDR address: {text}");
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let (address, bits) = match address.parse::<IpAddr>().map_err(|_| bad())? {
            IpAddr::V4(a) => (u128::from(u32::from(a)), 32),
            IpAddr::V6(a) => (u128::from(a), 128),
        };
        let prefix: u32 = prefix.parse().ok().filter(|p| *p <= bits).ok_or_else(bad)?;
        Ok(Self { address: address & mask(prefix, bits), prefix, bits })
    }

    fn shown(&self, address: u128) -> String {
        if self.bits == 32 {
            Ipv4Addr::from(address as u32).to_string()
        } else {
            Ipv6Addr::from(address).to_string()
        }
    }

    fn subnet(&self, more: u32, number: u128) -> Result<Self, String> {
        let prefix = self.prefix + more;
        if prefix > self.bits {
            return Err(format!(
                "not enough remaining address space for a subnet with a prefix of {prefix} bits after {}",
                self.text()
            ));
        }
        if more < 128 && number >> more != 0 {
            return Err(format!(
                "prefix extension of {more} does not accommodate a subnet numbered {number}"
            ));
        }
        let address = self.address | number.checked_shl(self.bits - prefix).unwrap_or(0);
        Ok(Self { address, prefix, bits: self.bits })
    }

    fn text(&self) -> String {
        format!("{}/{}", self.shown(self.address), self.prefix)
    }
}

fn mask(prefix: u32, bits: u32) -> u128 {
    let all = if bits == 128 { u128::MAX } else { (1 << bits) - 1 };
    all & !all.checked_shr(prefix).unwrap_or(0)
}

pub(super) fn call(args: &Args<'_>) -> Option<Result<Value, String>> {
    Some(match args.name {
        "cidrhost" => host(args),
        "cidrnetmask" => args.string(0).and_then(|text| Network::parse(&text)).and_then(|network| {
            if network.bits == 128 {
                return Err("IPv6 addresses cannot have a netmask".into());
            }
            Ok(network.shown(mask(network.prefix, 32)).into())
        }),
        "cidrsubnet" => args
            .string(0)
            .and_then(|text| Network::parse(&text)?.subnet(args.count(1)? as u32, args.count(2)? as u128))
            .map(|network| network.text().into()),
        "cidrsubnets" => subnets(args),
        _ => return None,
    })
}

fn host(args: &Args<'_>) -> Result<Value, String> {
    let network = Network::parse(&args.string(0)?)?;
    let number = args.num(1)?;
    let room = network.bits - network.prefix;
    let within = room >= 127 || number.abs() < (1u128 << room) as f64 + f64::from(u8::from(number < 0.0));
    if !within {
        return Err(format!("prefix of {} does not accommodate a host numbered {number}", network.prefix));
    }
    let address = if number < 0.0 {
        // From the end.
        (network.address | !mask(network.prefix, network.bits) & mask(network.bits, network.bits)) + 1
            - (-number) as u128
    } else {
        network.address + number as u128
    };
    Ok(network.shown(address).into())
}

/// Subnets one after the other, each at the next address that fits its size.
fn subnets(args: &Args<'_>) -> Result<Value, String> {
    let network = Network::parse(&args.string(0)?)?;
    let mut next = network.address;
    let end = network.address + (!mask(network.prefix, network.bits) & mask(network.bits, network.bits));
    let mut out = Vec::new();
    for at in 1..args.values.len() {
        let prefix = network.prefix + args.count(at)? as u32;
        if prefix > network.bits {
            return Err(format!("would extend prefix to {prefix} bits, which is too long for an address"));
        }
        let size = 1u128.checked_shl(network.bits - prefix).unwrap_or(0);
        let start = next.div_ceil(size.max(1)) * size.max(1);
        if start > end || end - start < size.wrapping_sub(1) {
            return Err(format!(
                "not enough remaining address space for a subnet with a prefix of {prefix} bits"
            ));
        }
        out.push(Value::from(Network { address: start, prefix, bits: network.bits }.text()));
        next = start + size;
    }
    Ok(out.into())
}
