//! Kinds of socket and where they are.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A kind of stream socket, under the name it has in Go's `net` package.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Net {
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// TCP over IPv4 only.
    Tcp4,
    /// TCP over IPv6 only.
    Tcp6,
    /// A Unix stream socket.
    Unix,
}

impl Net {
    /// Every one of them.
    pub const ALL: [Net; 4] = [Net::Tcp, Net::Tcp4, Net::Tcp6, Net::Unix];

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Net::Tcp => "tcp",
            Net::Tcp4 => "tcp4",
            Net::Tcp6 => "tcp6",
            Net::Unix => "unix",
        }
    }

    /// Whether a literal address of this family can be used; names are judged when resolved.
    pub fn accepts(self, address: IpAddr) -> bool {
        match self {
            Net::Tcp => true,
            Net::Tcp4 => address.is_ipv4(),
            Net::Tcp6 => address.is_ipv6(),
            Net::Unix => false,
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Net {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        Net::ALL.into_iter().find(|net| net.name() == text).ok_or_else(|| match text {
            "udp" | "udp4" | "udp6" | "unixgram" => NetError::Datagrams,
            "unixpacket" => NetError::Packets,
            "ip" | "ip4" | "ip6" => NetError::Raw,
            _ if text.starts_with("ip:") || text.starts_with("ip4:") || text.starts_with("ip6:") => {
                NetError::Raw
            }
            _ => NetError::Unknown,
        })
    }
}

/// Where a socket listens or is found.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Endpoint {
    /// `host:port`; an empty host is every address of this machine.
    Tcp {
        /// A name or a literal address, without brackets.
        host: String,
        /// Never 0 in a configuration; 0 = any free port for programs that build an endpoint themselves.
        port: u16,
    },
    /// The path of a socket; a leading `@` is Linux's abstract name space.
    Unix(PathBuf),
}

impl Endpoint {
    /// Reads what `server.addr` or `client.addr` holds.
    ///
    /// # Errors
    /// Why it is no address of this kind of socket.
    pub fn parse(net: Net, text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if net == Net::Unix {
            return parse_unix(text);
        }
        let (host, port) = split_host_port(text)?;
        if let Ok(address) = host.parse::<IpAddr>() {
            if !net.accepts(address) {
                return Err(AddressError::Family(net));
            }
        } else if !host.is_empty() && !is_host_name(&host) {
            return Err(AddressError::Host);
        }
        Ok(Endpoint::Tcp { host, port })
    }

    /// Whether only programs of this machine can reach it: loopback, `localhost`, or a Unix socket.
    pub fn is_local(&self) -> bool {
        match self {
            Endpoint::Unix(_) => true,
            Endpoint::Tcp { host, .. } => match host.parse::<IpAddr>() {
                Ok(IpAddr::V6(v6)) => v6.to_canonical().is_loopback(),
                Ok(address) => address.is_loopback(),
                Err(_) => host.eq_ignore_ascii_case("localhost"),
            },
        }
    }

    /// Whether it names a host to connect to; a listener may leave it out.
    pub fn has_host(&self) -> bool {
        match self {
            Endpoint::Unix(_) => true,
            Endpoint::Tcp { host, .. } => {
                !host.is_empty() && !host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified())
            }
        }
    }

    /// Whether listening on both would fail: the same port, and one address within the other.
    pub fn overlaps(&self, other: &Endpoint) -> bool {
        match (self, other) {
            (Endpoint::Unix(one), Endpoint::Unix(two)) => one == two,
            (Endpoint::Tcp { host: one, port }, Endpoint::Tcp { host: two, port: other_port }) => {
                port == other_port && (one == two || covers(one, two) || covers(two, one))
            }
            _ => false,
        }
    }

    /// The same endpoint with a relative socket path taken from `base`.
    pub(crate) fn resolved(self, base: &Path) -> Self {
        match self {
            Endpoint::Unix(path) if !path.to_string_lossy().starts_with('@') => {
                Endpoint::Unix(base.join(path))
            }
            other => other,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Endpoint::Tcp { host, port } => write!(f, "{host}:{port}"),
            Endpoint::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Splits `host:port`, `[v6]:port` and `:port`.
pub(crate) fn split_host_port(text: &str) -> Result<(String, u16), AddressError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(AddressError::Brackets)?;
            host.parse::<Ipv6Addr>().map_err(|_| AddressError::Brackets)?;
            (host, after.strip_prefix(':').ok_or(AddressError::NoPort)?)
        }
        None => {
            let (host, port) = text.rsplit_once(':').ok_or(AddressError::NoPort)?;
            if host.contains(':') {
                return Err(AddressError::Brackets);
            }
            (host, port)
        }
    };
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(AddressError::Port);
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok((host.to_owned(), port)),
        _ => Err(AddressError::Port),
    }
}

/// Why a kind of socket is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// udp and its kin.
    #[error("carries datagrams, which may be lost or swapped; a tunnel needs a byte stream")]
    Datagrams,
    /// unixpacket.
    #[error("keeps message borders and is unknown to TLS; a tunnel needs a byte stream")]
    Packets,
    /// ip.
    #[error("is raw IP without ports; a tunnel needs a byte stream")]
    Raw,
    /// Nothing Go knows either.
    #[error("is no kind of socket")]
    Unknown,
}

/// Why a text is no address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// An IPv6 address needs them, and nothing else may have them.
    #[error("the IPv6 address is not written as [address]:port")]
    Brackets,
    /// Nothing there.
    #[error("the address is empty")]
    Empty,
    /// IPv6 on tcp4, IPv4 on tcp6.
    #[error("an address of the other family cannot be used on {0}")]
    Family(Net),
    /// Spaces, slashes and the like.
    #[error("the host is neither a name nor an address")]
    Host,
    /// No colon.
    #[error("the port is missing")]
    NoPort,
    /// Longer than the kernel takes.
    #[error("the path of a Unix socket may have {MAX_UNIX_PATH} bytes at most")]
    PathLength,
    /// 0, above 65535, or a service name.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

impl AddressError {
    /// What to write instead.
    pub(crate) fn fix(self) -> &'static str {
        match self {
            AddressError::Brackets => "write for example [2001:db8::1]:443",
            AddressError::Empty | AddressError::NoPort => "write host:port, for example 127.0.0.1:1080",
            AddressError::Family(_) => "use net tcp, or an address of that family",
            AddressError::Host => "write a name like server.example or an address like 192.0.2.7, then :port",
            AddressError::PathLength => "choose a shorter path",
            AddressError::Port => "write the port as a number, for example :443",
        }
    }
}

/// `sun_path` holds 108 bytes with the final NUL.
const MAX_UNIX_PATH: usize = 107;

fn parse_unix(text: &str) -> Result<Endpoint, AddressError> {
    if text.len() > MAX_UNIX_PATH { Err(AddressError::PathLength) } else { Ok(Endpoint::Unix(text.into())) }
}

/// Letters, digits, hyphens and underscores in labels of 1 to 63, 253 in all; a last dot is fine.
fn is_host_name(host: &str) -> bool {
    let bare = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
    };
    bare.len() <= 253 && bare.split('.').all(label) && !looks_like_bad_ipv4(bare)
}

/// `1.2.3`, `300.1.1.1`, `010.0.0.1`: spellings that other software reads as an address.
fn looks_like_bad_ipv4(host: &str) -> bool {
    host.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

fn covers(outer: &str, inner: &str) -> bool {
    if outer.is_empty() {
        return true;
    }
    match outer.parse::<IpAddr>() {
        Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => inner.parse::<IpAddr>().is_ok_and(|inner| inner.is_ipv4()),
        // A socket on :: takes IPv4 as well, as Linux and Go have it.
        Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(text: &str) -> Result<String, AddressError> {
        Endpoint::parse(Net::Tcp, text).map(|endpoint| endpoint.to_string())
    }

    #[test]
    fn address_is_host_and_port() {
        for good in ["127.0.0.1:1080", "[::1]:443", ":443", "server.example:1", "a_b.example.:65535"] {
            assert_eq!(tcp(good).as_deref(), Ok(good));
        }
        for (bad, why) in [
            ("", AddressError::Empty),
            ("server.example", AddressError::NoPort),
            ("[::1]", AddressError::NoPort),
            ("::1:443", AddressError::Brackets),
            ("[server]:443", AddressError::Brackets),
            ("[::1:443", AddressError::Brackets),
            ("h:0", AddressError::Port),
            ("h:65536", AddressError::Port),
            ("h:https", AddressError::Port),
            ("h:", AddressError::Port),
            ("h:+443", AddressError::Port),
            ("a b:443", AddressError::Host),
            ("300.1.1.1:443", AddressError::Host),
            ("https://h:443", AddressError::Brackets),
        ] {
            assert_eq!(tcp(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn family_must_fit_the_net() {
        assert_eq!(Endpoint::parse(Net::Tcp4, "[::1]:1"), Err(AddressError::Family(Net::Tcp4)));
        assert_eq!(Endpoint::parse(Net::Tcp6, "127.0.0.1:1"), Err(AddressError::Family(Net::Tcp6)));
        assert!(Endpoint::parse(Net::Tcp6, "[::1]:1").is_ok());
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
            assert_eq!(Endpoint::parse(Net::Tcp, text).map(|e| e.is_local()), Ok(local), "{text}");
        }
        assert!(Endpoint::parse(Net::Unix, "/run/x").is_ok_and(|e| e.is_local()));
    }

    #[test]
    fn overlapping_listeners_are_seen() {
        let overlaps = |one, two| {
            let parse = |text| Endpoint::parse(Net::Tcp, text);
            parse(one).and_then(|one| Ok(one.overlaps(&parse(two)?)))
        };
        assert_eq!(overlaps(":443", "127.0.0.1:443"), Ok(true));
        assert_eq!(overlaps("127.0.0.1:443", "0.0.0.0:443"), Ok(true));
        assert_eq!(overlaps("[::1]:443", "0.0.0.0:443"), Ok(false));
        assert_eq!(overlaps("[::]:443", "0.0.0.0:443"), Ok(true));
        assert_eq!(overlaps(":443", ":444"), Ok(false));
        assert_eq!(overlaps("a:443", "a:443"), Ok(true));
    }

    #[test]
    fn net_types_of_go_that_carry_no_byte_stream_are_refused_with_the_reason() {
        assert_eq!("udp".parse::<Net>(), Err(NetError::Datagrams));
        assert_eq!("unixgram".parse::<Net>(), Err(NetError::Datagrams));
        assert_eq!("unixpacket".parse::<Net>(), Err(NetError::Packets));
        assert_eq!("ip4:1".parse::<Net>(), Err(NetError::Raw));
        assert_eq!("TCP".parse::<Net>(), Err(NetError::Unknown));
        for net in Net::ALL {
            assert_eq!(net.name().parse::<Net>(), Ok(net));
        }
    }
}
