//! Networks that are set aside.

/// What cannot be reached from everywhere (the registries of special-purpose addresses of IANA), but for the exceptions.
pub(super) const NOT_GLOBAL: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.0.170/31",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "::1/128",
    "::/128",
    "::ffff:0:0/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
];

pub(super) const GLOBAL_NEVERTHELESS: &[&str] = &[
    "192.0.0.9/32",
    "192.0.0.10/32",
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:20::/28",
    "2001:30::/28",
];

/// Addresses that providers share among customers; Python's `ipaddress` says of them that they are neither private nor
/// global.
pub(super) const SHARED: &[&str] = &["100.64.0.0/10"];

pub(super) const LOOPBACK: &[&str] = &["127.0.0.0/8", "::1/128"];
pub(super) const MULTICAST: &[&str] = &["224.0.0.0/4", "ff00::/8"];
pub(super) const LINK_LOCAL: &[&str] = &["169.254.0.0/16", "fe80::/10"];
pub(super) const UNSPECIFIED: &[&str] = &["0.0.0.0/32", "::/128"];
pub(super) const MAPPED: &[&str] = &["::ffff:0:0/96"];
pub(super) const TEREDO: &[&str] = &["2001::/32"];
pub(super) const SIX_TO_FOUR: &[&str] = &["2002::/16"];

/// What Python's `ipaddress` calls reserved.
pub(super) const RESERVED: &[&str] = &[
    "240.0.0.0/4",
    "::/8",
    "100::/8",
    "200::/7",
    "400::/6",
    "800::/5",
    "1000::/4",
    "4000::/3",
    "6000::/3",
    "8000::/3",
    "a000::/3",
    "c000::/3",
    "e000::/4",
    "f000::/5",
    "f800::/6",
    "fe00::/9",
];
