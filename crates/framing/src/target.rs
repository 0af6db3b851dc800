//! Where a flow wants to go: a host and a port, and their SOCKS form (RFC 1928 section 5).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use bytes::BufMut;

use crate::codec::{Decode, DecodeError, Encode};
use crate::reader::{self, Reader, Stop};

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

    /// Bytes of the wire form: 7, 19, or 4 and the name.
    pub fn encoded_len(&self) -> usize {
        match &self.host {
            Host::V4(_) => 7,
            Host::V6(_) => 19,
            Host::Name(name) => name.as_str().len().saturating_add(4),
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Stop> {
        let host = match reader.u8()? {
            1 => Host::V4(reader.array::<4>()?.into()),
            3 => {
                let length = reader.u8()?;
                Host::from_wire_text(reader.take(length.into())?)?
            }
            4 => Host::V6(reader.array::<16>()?.into()),
            value => return Err(DecodeError::AddressType { value }.into()),
        };
        Ok(Self { host, port: reader.u16()? })
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

impl Host {
    /// The host a peer wrote as text in a field for names. Some applications write IPv6 addresses there.
    pub(crate) fn from_wire_text(text: &[u8]) -> Result<Self, DecodeError> {
        const FIELD: &str = "host name";
        let text = std::str::from_utf8(text).map_err(|_| DecodeError::Name { field: FIELD })?;
        if let Some(name) = Name::new(text) {
            return Ok(Self::Name(name));
        }
        if let Ok(ip) = text.parse() {
            return Ok(Self::V6(ip));
        }
        let without_marks: String = text.chars().filter(|c| !matches!(c, '[' | ']' | ':')).collect();
        if without_marks != text && Name::new(&without_marks).is_some() {
            return Err(DecodeError::Unresolvable { field: FIELD });
        }
        Err(DecodeError::Name { field: FIELD })
    }
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

/// A host name: 1 to 253 bytes of printable ASCII without space and `/ @ % [ ] :`, in labels of at most 63 (RFC 1035
/// section 2.3.4), with or without a final dot. Cheap to clone.
///
/// It is kept as it was written: an odd spelling of an address (`0177.1`) stays a name and is the resolver's to refuse.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Name(Arc<str>);

/// The longest name in bytes, a final dot included.
pub(crate) const MAX_NAME: usize = 254;

impl Name {
    /// Takes a name, or `None` when it is empty, too long or holds a byte no name may hold.
    pub fn new(name: &str) -> Option<Self> {
        let labels = name.strip_suffix('.').unwrap_or(name);
        let usable = (1..MAX_NAME).contains(&labels.len())
            && labels.split('.').all(|label| label.len() <= 63)
            && name
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'@' | b'%' | b'[' | b']' | b':'));
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
        reader::front(input, Self::read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(name: &[u8]) -> Result<Option<(Target, usize)>, DecodeError> {
        let length = u8::try_from(name.len()).unwrap();
        Target::decode(&[&[3, length], name, &[0, 80]].concat())
    }

    #[test]
    fn names_no_resolver_may_see_are_refused() {
        let long_label = [b'a'; 64];
        let long_name = [b"abcdefg.".repeat(31).as_slice(), b"abcdef"].concat();
        assert_eq!(long_name.len(), 254);
        let bad: [&[u8]; 11] = [
            b"",
            b"a\0b",
            b"a b",
            b"a\nb",
            b"a/b",
            b"a@b",
            b"a%b",
            "é".as_bytes(),
            b".",
            &long_label,
            &long_name,
        ];
        for name in bad {
            let error = wire(name).unwrap_err();
            assert_eq!(error, DecodeError::Name { field: "host name" }, "{}", name.escape_ascii());
            assert_eq!(error.code().socks5_reply(), 1);
        }
    }

    #[test]
    fn longest_name_and_label_pass_with_and_without_final_dot() {
        let name = "abcdefg.".repeat(31) + "abcde";
        assert_eq!(name.len(), 253);
        assert!(Name::new(&name).is_some());
        assert!(Name::new(&(name + ".")).is_some());
        assert!(Name::new(&"a".repeat(63)).is_some());
    }

    #[test]
    fn odd_spelling_of_an_address_stays_a_name() {
        for text in ["0177.1", "2130706433", "0x7f.1", "127.1"] {
            let (target, _) = wire(text.as_bytes()).unwrap().unwrap();
            assert_eq!(target.host, Host::Name(Name::new(text).unwrap()));
        }
    }

    #[test]
    fn bracketed_name_is_told_from_a_broken_one() {
        for name in [&b"[::1]"[..], b"[a]", b"a:b"] {
            let error = wire(name).unwrap_err();
            assert_eq!(error, DecodeError::Unresolvable { field: "host name" });
            assert_eq!(error.code().socks5_reply(), 4);
        }
    }

    #[test]
    fn ipv6_address_sent_as_text_becomes_an_address() {
        let (target, _) = wire(b"2001:db8::1").unwrap().unwrap();
        assert_eq!(target, "[2001:db8::1]:80".parse().unwrap());
    }

    #[test]
    fn text_form_refuses_what_it_can_not_show_again() {
        for (text, error) in [
            ("example.net", TargetError::NoPort),
            ("example.net:", TargetError::Port),
            ("example.net:65536", TargetError::Port),
            ("example.net:+1", TargetError::Port),
            ("example.net:http", TargetError::Port),
            ("::1:80", TargetError::Brackets),
            ("[::1:80", TargetError::Brackets),
            ("[fe80::1%lo]:80", TargetError::Brackets),
            ("[1.2.3.4]:80", TargetError::Brackets),
            (":80", TargetError::Name),
            ("a@b:80", TargetError::Name),
        ] {
            assert_eq!(text.parse::<Target>(), Err(error), "{text}");
        }
    }

    #[test]
    fn announced_length_is_the_real_one() {
        for text in ["1.2.3.4:5", "[2001:db8::1]:5", "example.net:5"] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.encoded_len(), target.to_vec().len());
        }
    }
}
