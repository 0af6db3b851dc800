//! Where a flow wants to go: a host and a port, and their SOCKS form (RFC 1928 section 5).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use bytes::BufMut;

use crate::codec::{Decode, DecodeError, Encode};

/// A destination: host and port.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Target {
    /// The host part.
    pub host: Host,
    /// The port, 0-65535; 0 is for the user of the value to judge.
    pub port: u16,
}

impl Target {
    /// A destination from its parts.
    pub fn new(host: impl Into<Host>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().into(), port: address.port() }
    }
}

/// `1.2.3.4:80`, `[2001:db8::1]:80`, `example.net:80`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::V6(ip) => write!(f, "[{ip}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

/// `host:port` with an IPv6 address in brackets, as in a URL's authority.
impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (host, port) = text.rsplit_once(':').ok_or(TargetError::NoPort)?;
        let port_is_digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = if port_is_digits { port.parse().ok() } else { None }.ok_or(TargetError::Port)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let ip = rest.strip_suffix(']').ok_or(TargetError::Brackets)?;
                Host::V6(ip.parse().map_err(|_| TargetError::Brackets)?)
            }
            None if host.contains(':') => return Err(TargetError::Brackets),
            None => match host.parse::<Ipv4Addr>() {
                Ok(ip) => Host::V4(ip),
                Err(_) => Host::Name(Name::new(host).ok_or(TargetError::Name)?),
            },
        };
        Ok(Self { host, port })
    }
}

/// Why a text is not a [`Target`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// An IPv6 address without brackets, or brackets around something else.
    #[error("an IPv6 address must stand in brackets, and nothing else may")]
    Brackets,
    /// The host is empty, too long or holds a byte no name may hold.
    #[error("the host is not a usable name")]
    Name,
    /// There is no `:port`.
    #[error("the port is missing")]
    NoPort,
    /// The port is not a number from 0 to 65535.
    #[error("the port is not a number from 0 to 65535")]
    Port,
}

/// The host part of a [`Target`].
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Host {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6(Ipv6Addr),
    /// A name, to be resolved by whoever dials.
    Name(Name),
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => Self::V6(ip),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(ip) => ip.fmt(f),
            Self::V6(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name.as_str()),
        }
    }
}

/// A host name: 1 to 255 bytes of printable ASCII without space, `/`, `@` and `%`. Cheap to clone.
///
/// It is kept as it was written: an odd spelling of an address (`0177.1`) stays a name and fails to resolve.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Name(Arc<str>);

impl Name {
    /// Takes a name, or `None` when it is empty, longer than 255 bytes or holds a byte no name may hold.
    pub fn new(name: &str) -> Option<Self> {
        let usable = (1..=255).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'@' | b'%' | b'[' | b']' | b':'));
        usable.then(|| Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `ATYP ADDR PORT` of RFC 1928 section 5: 1 = IPv4, 3 = name with a length byte, 4 = IPv6.
impl Encode for Target {
    fn encode(&self, out: &mut impl BufMut) {
        match &self.host {
            Host::V4(ip) => {
                out.put_u8(1);
                out.put_slice(&ip.octets());
            }
            Host::Name(name) => {
                out.put_u8(3);
                out.put_u8(u8::try_from(name.as_str().len()).unwrap_or(u8::MAX));
                out.put_slice(name.as_str().as_bytes());
            }
            Host::V6(ip) => {
                out.put_u8(4);
                out.put_slice(&ip.octets());
            }
        }
        out.put_u16(self.port);
    }
}

impl Decode for Target {
    fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        let Some((&kind, rest)) = input.split_first() else { return Ok(None) };
        let (host, used, rest) = match kind {
            1 => match rest.split_first_chunk::<4>() {
                Some((ip, rest)) => (Host::V4((*ip).into()), 5, rest),
                None => return Ok(None),
            },
            3 => {
                let Some((&len, rest)) = rest.split_first() else { return Ok(None) };
                if len == 0 {
                    return Err(DecodeError::Name { field: "host name" });
                }
                let Some((name, rest)) = rest.split_at_checked(usize::from(len)) else { return Ok(None) };
                let name = std::str::from_utf8(name).ok().and_then(Name::new);
                (Host::Name(name.ok_or(DecodeError::Name { field: "host name" })?), 2 + usize::from(len), rest)
            }
            4 => match rest.split_first_chunk::<16>() {
                Some((ip, rest)) => (Host::V6((*ip).into()), 17, rest),
                None => return Ok(None),
            },
            other => return Err(DecodeError::Invalid { field: "address type", value: other.into() }),
        };
        let Some((port, _)) = rest.split_first_chunk::<2>() else { return Ok(None) };
        Ok(Some((Self { host, port: u16::from_be_bytes(*port) }, used + 2)))
    }
}
