//! The net types of the configuration, and the addresses that go with each.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use framing::{Host, Target, TargetError};

/// Which kind of socket carries the bytes (`server.net`, `client.net`).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Net {
    /// TCP over IPv4 or IPv6, whichever the name resolves to.
    Tcp,
    /// TCP over IPv4 only.
    Tcp4,
    /// TCP over IPv6 only.
    Tcp6,
    /// A Unix stream socket; the address is a path.
    Unix,
}

impl Net {
    /// May a connection of this net go to `address`?
    pub fn takes(self, address: &SocketAddr) -> bool {
        match self {
            Net::Tcp => true,
            Net::Tcp4 => address.is_ipv4(),
            Net::Tcp6 => address.is_ipv6(),
            Net::Unix => false,
        }
    }

    /// The name as the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Net::Tcp => "tcp",
            Net::Tcp4 => "tcp4",
            Net::Tcp6 => "tcp6",
            Net::Unix => "unix",
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Net {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        match text {
            "tcp" => Ok(Net::Tcp),
            "tcp4" => Ok(Net::Tcp4),
            "tcp6" => Ok(Net::Tcp6),
            "unix" => Ok(Net::Unix),
            "udp" | "udp4" | "udp6" | "unixgram" => Err(NetError::Datagram(text.to_owned())),
            "unixpacket" => Err(NetError::Packet),
            _ if text == "ip"
                || text.starts_with("ip4")
                || text.starts_with("ip6")
                || text.starts_with("ip:") =>
            {
                Err(NetError::Raw(text.to_owned()))
            }
            _ => Err(NetError::Unknown(text.escape_debug().take(64).collect())),
        }
    }
}

/// An address in the form its [`Net`] wants.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Address {
    /// `host:port`, for the TCP nets.
    Host(Target),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Where to connect to: the host must be there and the port must not be 0.
    ///
    /// # Errors
    /// [`AddressError`] says what is wrong and how such an address looks.
    pub fn to_dial(net: Net, text: &str) -> Result<Self, AddressError> {
        let address = Self::parse(net, text)?;
        match &address {
            Address::Host(target) if target.port == 0 => Err(AddressError::PortZero),
            Address::Host(target) if is_unspecified(&target.host) => Err(AddressError::NoHost),
            _ => Ok(address),
        }
    }

    /// Where to listen: an empty host (`:8443`) means every address of the machine, port 0 any free port.
    ///
    /// # Errors
    /// [`AddressError`] says what is wrong and how such an address looks.
    pub fn to_listen(net: Net, text: &str) -> Result<Self, AddressError> {
        Self::parse(net, text)
    }

    /// The host of a TCP address, which is also the name a server's certificate must bear.
    pub fn host(&self) -> Option<&Host> {
        match self {
            Address::Host(target) => Some(&target.host),
            Address::Unix(_) => None,
        }
    }

    fn parse(net: Net, text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty { net });
        }
        if net == Net::Unix {
            return Self::parse_unix(text);
        }
        let wildcard = match net {
            Net::Tcp4 => Host::V4(Ipv4Addr::UNSPECIFIED),
            _ => Host::V6(Ipv6Addr::UNSPECIFIED),
        };
        let target = match text.strip_prefix(':') {
            Some(port) => {
                let port = port.parse().map_err(|_| AddressError::Target(TargetError::Port))?;
                Target { host: wildcard, port }
            }
            None => text.parse::<Target>()?,
        };
        match (&target.host, net) {
            (Host::V4(_), Net::Tcp6) | (Host::V6(_), Net::Tcp4) => Err(AddressError::Family { net }),
            _ => Ok(Address::Host(target)),
        }
    }

    fn parse_unix(text: &str) -> Result<Self, AddressError> {
        if text.starts_with('@') {
            return Err(AddressError::Abstract);
        }
        if text.len() > UNIX_PATH_MAX {
            return Err(AddressError::PathTooLong { bytes: text.len() });
        }
        if text.contains('\0') {
            return Err(AddressError::PathNul);
        }
        Ok(Address::Unix(PathBuf::from(text)))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Host(target) => target.fmt(f),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Why a text is not a [`Net`] we serve.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// A datagram socket.
    #[error(
        "{0:?} carries datagrams, which may be lost or reordered; the tunnel needs a byte stream → use tcp or unix"
    )]
    Datagram(String),
    /// A sequenced packet socket.
    #[error(
        "\"unixpacket\" keeps message boundaries and cuts what does not fit; the tunnel needs a byte stream → use unix"
    )]
    Packet,
    /// A raw IP socket.
    #[error("{0:?} is a raw IP socket, which has no connections and needs root → use tcp")]
    Raw(String),
    /// Nothing we know.
    #[error("unknown net \"{0}\" → use tcp, tcp4, tcp6 or unix")]
    Unknown(String),
}

/// Why a text is not an [`Address`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// A Linux abstract socket (`@name`).
    #[error("abstract sockets have no file permissions, so anyone on the machine could connect → use a path")]
    Abstract,
    /// Nothing given.
    #[error("the address is empty → give {}", if *net == Net::Unix { "a path, for example /run/tunnels/server.sock" } else { "host:port, for example 127.0.0.1:1080" })]
    Empty {
        /// The net it was meant for.
        net: Net,
    },
    /// IPv4 literal for tcp6, or the other way round.
    #[error("the address is of the other IP version than {net} → use tcp, or an address of that version")]
    Family {
        /// The net it was meant for.
        net: Net,
    },
    /// No host to connect to.
    #[error(
        "the host is missing or unspecified → name the machine to connect to, for example example.net:8443"
    )]
    NoHost,
    /// A NUL byte in a path.
    #[error("a path cannot hold a NUL byte")]
    PathNul,
    /// Longer than the kernel's `sun_path`.
    #[error("the path has {bytes} bytes, a socket's path may have {UNIX_PATH_MAX} → use a shorter one")]
    PathTooLong {
        /// How long it is.
        bytes: usize,
    },
    /// Port 0 names no service.
    #[error("port 0 cannot be connected to → name the server's port")]
    PortZero,
    /// Not `host:port`.
    #[error("{0} → write host:port, for example example.net:8443 or [2001:db8::1]:8443")]
    Target(#[from] TargetError),
}

/// `sun_path` is 108 bytes with its final NUL (unix(7)).
const UNIX_PATH_MAX: usize = 107;

fn is_unspecified(host: &Host) -> bool {
    match host {
        Host::V4(ip) => ip.is_unspecified(),
        Host::V6(ip) => ip.is_unspecified(),
        Host::Name(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nets_read_back_as_written() {
        for net in [Net::Tcp, Net::Tcp4, Net::Tcp6, Net::Unix] {
            assert_eq!(net.as_str().parse(), Ok(net));
        }
    }

    #[test]
    fn other_nets_of_go_are_refused_each_with_its_reason() {
        for (text, reason) in [
            ("udp", "datagrams"),
            ("udp4", "datagrams"),
            ("udp6", "datagrams"),
            ("unixgram", "datagrams"),
            ("unixpacket", "message boundaries"),
            ("ip", "raw IP"),
            ("ip4:icmp", "raw IP"),
            ("ip6", "raw IP"),
            ("TCP", "unknown net"),
            ("", "unknown net"),
        ] {
            let error = text.parse::<Net>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn empty_address_is_refused_with_an_example_of_the_right_form() {
        let error = Address::to_listen(Net::Tcp, "").expect_err("empty").to_string();
        assert!(error.contains("127.0.0.1:1080"), "{error}");
        let error = Address::to_dial(Net::Unix, "").expect_err("empty").to_string();
        assert!(error.contains(".sock"), "{error}");
    }

    #[test]
    fn empty_host_means_every_address_when_listening_and_nothing_when_dialling() {
        let all = |net| Address::to_listen(net, ":8443").expect("listen").to_string();
        assert_eq!(all(Net::Tcp), "[::]:8443");
        assert_eq!(all(Net::Tcp4), "0.0.0.0:8443");
        assert_eq!(Address::to_dial(Net::Tcp, ":8443"), Err(AddressError::NoHost));
        assert_eq!(Address::to_dial(Net::Tcp, "0.0.0.0:8443"), Err(AddressError::NoHost));
        assert_eq!(Address::to_dial(Net::Tcp, "a.example:0"), Err(AddressError::PortZero));
    }

    #[test]
    fn literal_of_the_other_family_is_refused() {
        assert_eq!(Address::to_dial(Net::Tcp6, "1.2.3.4:5"), Err(AddressError::Family { net: Net::Tcp6 }));
        assert_eq!(Address::to_dial(Net::Tcp4, "[::1]:5"), Err(AddressError::Family { net: Net::Tcp4 }));
        assert!(Address::to_dial(Net::Tcp4, "a.example:5").is_ok());
    }

    #[test]
    fn unix_paths_have_the_kernels_bounds() {
        assert!(Address::to_listen(Net::Unix, "/tmp/s").is_ok());
        assert!(Address::to_listen(Net::Unix, &"a".repeat(107)).is_ok());
        assert_eq!(
            Address::to_listen(Net::Unix, &"a".repeat(108)),
            Err(AddressError::PathTooLong { bytes: 108 })
        );
        assert_eq!(Address::to_listen(Net::Unix, "@x"), Err(AddressError::Abstract));
        assert_eq!(Address::to_listen(Net::Unix, "a\0b"), Err(AddressError::PathNul));
    }
}
