//! The networks that are closed by default, and the IPv6 forms that carry an IPv4 address inside.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Networks no stranger has business in, and the word for each; from the special-purpose registries of IANA
/// (RFC 6890) and the metadata services of the clouds.
pub(crate) const CLOSED: &[(IpNet, &str)] = &[
    (v4([0, 0, 0, 0], 8), "this-network range"),
    (v4([10, 0, 0, 0], 8), "private range"),
    (v4([100, 64, 0, 0], 10), "carrier NAT range"),
    (v4([127, 0, 0, 0], 8), "loopback range"),
    (v4([168, 63, 129, 16], 32), "cloud platform address"),
    (v4([169, 254, 0, 0], 16), "link-local range"),
    (v4([172, 16, 0, 0], 12), "private range"),
    (v4([192, 0, 0, 0], 24), "protocol assignment range"),
    (v4([192, 0, 2, 0], 24), "documentation range"),
    (v4([192, 168, 0, 0], 16), "private range"),
    (v4([198, 18, 0, 0], 15), "benchmark range"),
    (v4([198, 51, 100, 0], 24), "documentation range"),
    (v4([203, 0, 113, 0], 24), "documentation range"),
    (v4([224, 0, 0, 0], 4), "multicast range"),
    (v4([240, 0, 0, 0], 4), "reserved range"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified address"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback address"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "local translation range"),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "discard range"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "Teredo range"),
    (v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), "benchmark range"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "documentation range"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "documentation range"),
    (v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), "segment routing range"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "private range"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local range"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local range"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast range"),
];

/// The IPv4 address a translator or relay would find inside: `::a.b.c.d` (RFC 4291 section 2.5.5.1), `::ffff:0:a.b.c.d`
/// (RFC 2765 section 2.1), `64:ff9b::/96` (RFC 6052), `2002::/16` (RFC 3056) and, behind any prefix, `0:5efe:a.b.c.d` or
/// `200:5efe:a.b.c.d` (RFC 5214 section 6.1).
///
/// The mapped form `::ffff:a.b.c.d` is not among them: it *is* the IPv4 address, [`std::net::IpAddr::to_canonical`].
pub(crate) fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0] if ip.is_unspecified() || ip.is_loopback() => None,
        [0, 0, 0, 0, 0, 0] | [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, 0, 0, 0, 0] => Some(join(g, h)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        [_, _, _, _, 0 | 0x200, 0x5efe] => Some(join(g, h)),
        _ => None,
    }
}

fn join(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix))
}
