//! What a configuration asks about the addresses of `transport`.

use std::net::IpAddr;

use framing::Host;
use transport::Address;

/// Whether only programs of this machine can reach it: loopback, `localhost`, or a Unix socket.
pub(super) fn is_local(address: &Address) -> bool {
    match address.host() {
        None => true,
        Some(Host::V4(ip)) => ip.is_loopback(),
        Some(Host::V6(ip)) => IpAddr::from(*ip).to_canonical().is_loopback(),
        Some(Host::Name(name)) => name.as_str().eq_ignore_ascii_case("localhost"),
    }
}

/// Whether two listeners can't both be bound: the same port, and one address within the other.
pub(super) fn overlap(one: &Address, two: &Address) -> bool {
    match (one, two) {
        (Address::Host(one), Address::Host(two)) => {
            one.port == two.port
                && one.port != 0
                && (one.host == two.host || covers(&one.host, &two.host) || covers(&two.host, &one.host))
        }
        _ => one == two,
    }
}

/// Why nobody can find a host of that name, and behind an arrow what to do: what no DNS name can be, and what
/// resolvers would take for a number.
pub(crate) fn bad_host(host: &Host) -> Option<&'static str> {
    let Host::Name(name) = host else { return None };
    let name = name.as_str();
    if name.contains('*') {
        return Some("a wildcard stands for many hosts, one is needed → write the name of the one machine");
    }
    let labels: Vec<&str> = name.strip_suffix('.').unwrap_or(name).split('.').collect();
    if labels.contains(&"") {
        return Some("the name has an empty part between its dots → write a host name or an address");
    }
    // What ends in a number is an address to every resolver, if an odd one: 127.1 is 127.0.0.1.
    let last = labels.last().copied().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    if last.bytes().all(|b| b.is_ascii_digit())
        || hex.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        return Some(
            "this ends in a number, so it is no name, and it is no IPv4 address → write four numbers from 0 to 255, or a name",
        );
    }
    let good = |label: &&str| {
        !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if labels.iter().all(good) {
        return None;
    }
    Some("a host name has letters, digits and inner hyphens only → write a host name or an address")
}

/// Whether a path was more probably meant as `host:port`.
pub(super) fn looks_like_host_and_port(path: &str) -> bool {
    !path.contains('/') && path.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

fn covers(outer: &Host, inner: &Host) -> bool {
    match outer {
        Host::V4(ip) => ip.is_unspecified() && matches!(inner, Host::V4(_)),
        // A socket on :: takes IPv4 as well, as Linux and Go have it.
        Host::V6(ip) => ip.is_unspecified(),
        Host::Name(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use transport::{AddressError, Net};

    fn listen(text: &str) -> Result<Address, AddressError> {
        Address::to_listen(Net::Tcp, text)
    }

    #[test]
    fn only_loopback_and_unix_sockets_are_local() {
        for (text, local) in [
            ("127.0.0.1:1", true),
            ("127.8.8.8:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("localhost:1", true),
            (":1", false),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("192.168.1.1:1", false),
            ("localhost.example:1", false),
        ] {
            assert_eq!(listen(text).map(|address| is_local(&address)), Ok(local), "{text}");
        }
        assert_eq!(Address::to_listen(Net::Unix, "x").map(|address| is_local(&address)), Ok(true));
    }

    #[test]
    fn name_that_no_resolver_finds_is_refused_with_its_reason() {
        let reason = |name: &str| {
            let address = Address::to_dial(Net::Tcp, &format!("{name}:443")).expect(name);
            address.host().and_then(bad_host)
        };
        for (name, words) in [
            ("*.example.net", "wildcard"),
            ("a..b", "empty part"),
            (".a", "empty part"),
            ("300.1.1.1", "ends in a number"),
            ("127.1", "ends in a number"),
            ("2130706433", "ends in a number"),
            ("0177.1.", "ends in a number"),
            ("0x7f.0x1", "ends in a number"),
            ("a!b", "letters"),
            ("-a.b", "letters"),
            ("a-", "letters"),
        ] {
            assert!(reason(name).is_some_and(|reason| reason.contains(words)), "{name}: {:?}", reason(name));
        }
        for good in [
            "localhost",
            "tunnel.example.net.",
            "xn--bcher-kva.example",
            "db_1",
            "3com.com",
            "a-1.b",
            "127.0.0.1",
            "[::1]",
        ] {
            assert_eq!(reason(good), None, "{good}");
        }
    }

    #[test]
    fn host_and_port_are_told_from_paths() {
        for (path, looks) in [
            ("127.0.0.1:33", true),
            (":443", true),
            ("host:1", true),
            ("./host:1", false),
            ("/run/a:1", false),
            ("a:b", false),
            ("tunnels.sock", false),
            ("a:99999", false),
        ] {
            assert_eq!(looks_like_host_and_port(path), looks, "{path}");
        }
    }

    #[test]
    fn overlapping_listeners_are_seen() {
        let overlap = |one, two| listen(one).and_then(|one| Ok(overlap(&one, &listen(two)?)));
        assert_eq!(overlap(":443", "127.0.0.1:443"), Ok(true));
        assert_eq!(overlap("127.0.0.1:443", "0.0.0.0:443"), Ok(true));
        assert_eq!(overlap("[::1]:443", "0.0.0.0:443"), Ok(false));
        assert_eq!(overlap("[::]:443", "0.0.0.0:443"), Ok(true));
        assert_eq!(overlap(":443", ":444"), Ok(false));
        assert_eq!(overlap(":0", ":0"), Ok(false));
        assert_eq!(overlap("a:443", "a:443"), Ok(true));
    }
}
