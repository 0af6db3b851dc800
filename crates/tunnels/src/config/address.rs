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
