//! Destinations that the policy must keep closed, in every form they can be written in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use framing::remux2::{Code, Command, Kind, flags};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use tokio_rustls::TlsConnector;

use crate::ground::Ground;
use crate::peer::{Peer, lock};
use crate::pki::EVIL;
use crate::tls;

/// Asks for every form on one connection, `rounds` times, and says what was answered to each: `form: code`.
///
/// Names are those of `names`, which the server's resolver must send to closed addresses.
pub(crate) async fn run(
    ground: &Ground,
    own: IpAddr,
    port: u16,
    names: &[String],
    rounds: u32,
) -> Result<serde_json::Value, String> {
    let mut forms = forms(own);
    forms.extend(names.iter().map(|name| (format!("name {name}"), text(name))));
    let config = tls::client(&ground.pki, Some(EVIL), b"remux/2")?;
    let tcp = tls::dial(ground.to, ground.source(0)).await.map_err(|error| error.to_string())?;
    let wire =
        TlsConnector::from(config).connect(tls::name(), tcp).await.map_err(|error| error.to_string())?;
    let mut peer = Peer::new(ground, wire.into(), 1, true);
    peer.say(Kind::Settings, 0, 0, &[]);
    let mut asked = Vec::new();
    let mut dice = rand::rngs::StdRng::seed_from_u64(ground.seed);
    for _ in 0..rounds {
        forms.shuffle(&mut dice);
        for (form, address) in &forms {
            // The port of the server itself for its own addresses, another one for the rest.
            let ports = if form.starts_with("own") { vec![80, port] } else { vec![80] };
            for port in ports {
                let mut meta = address.clone();
                meta.extend_from_slice(&port.to_be_bytes());
                let length = u16::try_from(meta.len()).unwrap_or(u16::MAX).to_be_bytes();
                let payload =
                    [&[Command::Connect as u8, 3], &length[..], &meta, b"GET / HTTP/1.0\r\n\r\n"].concat();
                let id = peer.take_id();
                peer.say(Kind::Open, flags::WANT_OPENED, id, &payload);
                asked.push((id, format!("{form} port {port}")));
                // Malformed ones count as resets, ten of which a second are borne.
                let beats = if form.starts_with("malformed") { 11 } else { 1 };
                for _ in 0..beats {
                    peer.beat().await.map_err(|error| format!("after {} streams: {error}", asked.len()))?;
                }
            }
        }
    }
    // The last answers; a name may take the resolver a while.
    for _ in 0..600 {
        if lock(&peer.seen.codes).len() >= asked.len() {
            break;
        }
        peer.beat().await.map_err(|error| error.to_string())?;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (codes, served) = (lock(&peer.seen.codes).clone(), lock(&peer.seen.served).clone());
    let mut by_code = std::collections::BTreeMap::<String, u64>::new();
    let mut reached = Vec::new();
    for (id, form) in &asked {
        let code = codes.iter().find(|(stream, _)| stream == id).map(|(_, code)| *code);
        let is_served = served.contains(id);
        let answer = code.map_or_else(|| "no answer".to_owned(), |code| code.to_string());
        if is_served || !matches!(code, Some(code) if closed(code)) {
            reached.push(format!("{form} (stream {id}): {}", if is_served { "SERVED" } else { &answer }));
        }
        *by_code.entry(answer).or_default() += 1;
    }
    Ok(
        serde_json::json!({ "forms": forms.len(), "streams": asked.len(), "answers": by_code, "not_denied": reached }),
    )
}

/// The codes that say that nothing was dialled.
fn closed(code: Code) -> bool {
    // A rule; a name that is none; a name the resolver does not know.
    [
        Code::RULE_REFUSED,
        Code::SERVER_ERROR,
        Code::PROTOCOL,
        Code::HOST_UNREACHABLE,
        Code::DNS_NXDOMAIN,
        Code::DNS_FAIL,
    ]
    .contains(&code)
}

/// `ATYP ADDR` of every form, with its name.
fn forms(own: IpAddr) -> Vec<(String, Vec<u8>)> {
    let mut forms = Vec::new();
    for inner in V4 {
        let inner: Ipv4Addr = inner.parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
        carried(&mut forms, "", inner);
    }
    if let IpAddr::V4(own) = own {
        carried(&mut forms, "own ", own);
        carried(&mut forms, "own ", Ipv4Addr::LOCALHOST);
    }
    for address in V6 {
        let ip: Ipv6Addr = address.parse().unwrap_or(Ipv6Addr::UNSPECIFIED);
        forms.push((address.to_string(), v6(ip)));
        forms.push((format!("text {address}"), text(address)));
        forms.push((format!("text [{address}]"), text(&format!("[{address}]"))));
    }
    for spelling in SPELLINGS {
        forms.push((format!("text {spelling}"), text(spelling)));
    }
    for spelling in MALFORMED {
        forms.push((format!("malformed {spelling}"), text(spelling)));
    }
    forms
}

/// An IPv4 address by itself, as text, and in each IPv6 form that carries one.
fn carried(forms: &mut Vec<(String, Vec<u8>)>, what: &str, inner: Ipv4Addr) {
    let [a, b, c, d] = inner.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    forms.push((format!("{what}{inner}"), vec![1, a, b, c, d]));
    forms.push((format!("{what}text {inner}"), text(&inner.to_string())));
    forms.push((format!("{what}text {inner}."), text(&format!("{inner}."))));
    forms.push((format!("{what}text {}", inner.to_bits()), text(&inner.to_bits().to_string())));
    forms.push((format!("{what}text {:#x}", inner.to_bits()), text(&format!("{:#x}", inner.to_bits()))));
    forms.push((
        format!("{what}text octal of {inner}"),
        text(&format!("{a:#05o}.{b:#05o}.{c:#05o}.{d:#05o}").replace("0o", "0")),
    ));
    for (name, segments) in [
        ("mapped", [0, 0, 0, 0, 0, 0xffff, high, low]),
        ("compatible", [0, 0, 0, 0, 0, 0, high, low]),
        ("translated", [0, 0, 0, 0, 0xffff, 0, high, low]),
        ("nat64", [0x64, 0xff9b, 0, 0, 0, 0, high, low]),
        ("local nat64", [0x64, 0xff9b, 1, 0, 0, 0, high, low]),
        ("6to4", [0x2002, high, low, 0, 0, 0, 0, 1]),
        ("isatap", [0x2a00, 0, 0, 0, 0, 0x5efe, high, low]),
        ("isatap 200", [0x2a00, 0, 0, 0, 0x200, 0x5efe, high, low]),
        ("teredo", [0x2001, 0, 0, 0, 0, 0, !high, !low]),
    ] {
        let ip = Ipv6Addr::from(segments);
        forms.push((format!("{what}{name} {inner}"), v6(ip)));
        forms.push((format!("{what}{name} text {inner}"), text(&ip.to_string())));
    }
}

fn v6(ip: Ipv6Addr) -> Vec<u8> {
    [&[4], &ip.octets()[..]].concat()
}

fn text(name: &str) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
    [&[3, length], name.as_bytes()].concat()
}

/// First, last and well-known addresses of every closed IPv4 range.
const V4: &[&str] = &[
    "0.0.0.0",
    "0.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.0",
    "127.0.0.1",
    "127.255.255.255",
    "168.63.129.16",
    "169.254.0.0",
    "169.254.169.254",
    "169.254.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.0",
    "192.0.0.255",
    "192.0.2.0",
    "192.0.2.255",
    "192.168.0.0",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.0",
    "198.51.100.255",
    "203.0.113.0",
    "203.0.113.255",
    "224.0.0.0",
    "239.255.255.255",
    "240.0.0.0",
    "255.255.255.255",
];

/// The same for IPv6.
const V6: &[&str] = &[
    "::",
    "::1",
    "64:ff9b:1::",
    "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
    "100::",
    "100::ffff:ffff:ffff:ffff",
    "2001::",
    "2001:0:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:db8::",
    "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    "fc00::",
    "2001:2::",
    "3fff::",
    "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
    "5f00::",
    "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fd00:ec2::254",
    "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fe80::",
    "fe80::1",
    "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fec0::",
    "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "ff00::",
    "ff02::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];

/// Spellings that some resolvers take for an address.
const SPELLINGS: &[&str] = &[
    "localhost",
    "LOCALHOST",
    "localhost.",
    "127.1",
    "127.0.1",
    "0",
    "0x7f.1",
    "0x7F000001",
    "0177.1",
    "017700000001",
    "127.0.0.1.",
    "10.1",
    "0xa.1",
    "192.168.257",
    "169.254.43518",
    "0xA9FEA9FE",
    "2852039166",
    "1.0.0.127.in-addr.arpa",
    "ip6-localhost",
];

/// Texts that are no name at all.
const MALFORMED: &[&str] = &[
    "",
    "fe80::1%lo",
    "[::1",
    "::1]",
    "127.0.0.1/8",
    "user@127.0.0.1",
    "127.0.0.1\n",
    "127.0.0.1\0",
    "127.0.0.1:80",
    "localhost ",
];
