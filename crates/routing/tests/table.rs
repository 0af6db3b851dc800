//! The policy against a slow and obvious reading of the same table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;
use routing::Acl;

/// First and last address of each range that is closed by default, written out by hand.
const CLOSED: &[(&str, &str)] = &[
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("168.63.129.16", "168.63.129.16"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("224.0.0.0", "239.255.255.255"),
    ("240.0.0.0", "255.255.255.255"),
    ("::", "::"),
    ("::1", "::1"),
    ("2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff"),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"),
    ("100::", "100::ffff:ffff:ffff:ffff"),
    ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
];

/// First address of each /96 that carries IPv4 in its last 32 bits.
const CARRIERS: &[&str] = &["::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::"];

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn closed_v4(ip: Ipv4Addr) -> bool {
    CLOSED.iter().any(|(first, last)| match (first.parse::<IpAddr>(), last.parse::<IpAddr>()) {
        (Ok(IpAddr::V4(first)), Ok(IpAddr::V4(last))) => first <= ip && ip <= last,
        _ => false,
    })
}

fn closed(ip: IpAddr) -> bool {
    let IpAddr::V6(ip) = ip else { return closed_v4(ip.to_string().parse().unwrap()) };
    let value = u128::from(ip);
    let in_table =
        CLOSED.iter().any(|(first, last)| match (first.parse::<IpAddr>(), last.parse::<IpAddr>()) {
            (Ok(first @ IpAddr::V6(_)), Ok(last)) => number(first) <= value && value <= number(last),
            _ => false,
        });
    let carried = CARRIERS.iter().any(|carrier| {
        let base = u128::from(carrier.parse::<Ipv6Addr>().unwrap());
        base <= value && value - base <= 0xffff_ffff && closed_v4(((value - base) as u32).into())
    });
    let six_to_four = value >> 112 == 0x2002 && closed_v4(((value >> 80) as u32).into());
    let isatap = matches!((value >> 32) as u32, 0x5efe | 0x0200_5efe) && closed_v4((value as u32).into());
    in_table || carried || six_to_four || isatap
}

fn agrees(ip: IpAddr) {
    let verdict = Acl::default().check(SocketAddr::new(ip, 443));
    assert_eq!(verdict.is_err(), closed(ip), "{ip}: {verdict:?}");
}

/// The IPv4 address itself and every IPv6 form that carries it.
fn forms(ip: Ipv4Addr) -> Vec<IpAddr> {
    let low = u128::from(u32::from(ip));
    let mut all = vec![ip.into()];
    for carrier in CARRIERS {
        let base = u128::from(carrier.parse::<Ipv6Addr>().unwrap());
        all.push(Ipv6Addr::from(base + low).into());
    }
    all.push(Ipv6Addr::from((0x2002_u128 << 112) | (low << 80) | 1).into());
    for interface in [0x5efe_u128, 0x0200_5efe] {
        all.push(Ipv6Addr::from((0x2a00_u128 << 112) | (interface << 32) | low).into());
    }
    all
}

#[test]
fn each_range_ends_exactly_where_the_table_says() {
    for (first, last) in CLOSED {
        for edge in [first, last] {
            let ip: IpAddr = edge.parse().unwrap();
            assert!(closed(ip) && Acl::default().check(SocketAddr::new(ip, 1)).is_err(), "{ip} is closed");
            for step in [-1i128, 0, 1] {
                match ip {
                    IpAddr::V4(ip) => {
                        let near = (i128::from(u32::from(ip)) + step).rem_euclid(1 << 32) as u32;
                        forms(near.into()).into_iter().for_each(agrees);
                    }
                    IpAddr::V6(ip) => agrees(Ipv6Addr::from(u128::from(ip).wrapping_add_signed(step)).into()),
                }
            }
        }
    }
}

#[test]
fn each_carrier_ends_exactly_where_the_table_says() {
    for carrier in CARRIERS.iter().copied().chain(["2002::", "2003::"]) {
        let base = u128::from(carrier.parse::<Ipv6Addr>().unwrap());
        for offset in [-1i128, 0, 1, 0x7f00_0001, 0x0808_0808, 0xffff_ffff, 0x1_0000_0000] {
            agrees(Ipv6Addr::from(base.wrapping_add_signed(offset)).into());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_ipv4_address_in_any_form_is_judged_as_the_table_says(ip: u32) {
        forms(ip.into()).into_iter().for_each(agrees);
    }

    #[test]
    fn any_ipv6_address_near_any_range_is_judged_as_the_table_says(
        start in proptest::sample::select(CLOSED).prop_map(|(first, _)| number(first.parse().unwrap())),
        noise: u128,
        shift in 0u32..128,
    ) {
        agrees(Ipv6Addr::from(start ^ (noise >> shift)).into());
    }
}
