//! SOCKS 4 (Ying-Da Lee's memo) and its extension 4a, in which the proxy resolves the name.
//!
//! ```text
//! 04 | command u8 | port u16 BE | IPv4 | user id | 00                  4
//! 04 | command u8 | port u16 BE | 0.0.0.x, x > 0 | user id | 00 | name | 00    4a
//! ```

use std::net::{Ipv4Addr, SocketAddrV4};

use bytes::BufMut;

use super::Command;
use crate::codec::{Decode, DecodeError, Encode};
use crate::reader;
use crate::target::{Host, MAX_NAME, Target};

/// The version byte that begins a request.
pub const VERSION: u8 = 4;
/// The longest user id that is accepted; the memo names no limit.
pub const MAX_USER: usize = 255;

/// What is asked for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Request {
    command: Command,
    target: Target,
    user: Box<[u8]>,
}

impl Request {
    /// A request, or `None` where the format has no words for it: datagrams, an IPv4 address from 0.0.0.1 to
    /// 0.0.0.255, a user id with a NUL or of more than [`MAX_USER`] bytes.
    pub fn new(command: Command, target: Target, user: &[u8]) -> Option<Self> {
        let sayable = command != Command::UdpAssociate
            && !matches!(target.host, Host::V4(ip) if announces_name(ip))
            && user.len() <= MAX_USER
            && !user.contains(&0);
        sayable.then(|| Self { command, target, user: user.into() })
    }

    /// What to do: never [`Command::UdpAssociate`].
    pub fn command(&self) -> Command {
        self.command
    }

    /// With whom.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Who the application says it is; proves nothing.
    pub fn user(&self) -> &[u8] {
        &self.user
    }

    /// Whether this takes the extension 4a.
    pub fn is_4a(&self) -> bool {
        !matches!(self.target.host, Host::V4(_))
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut impl BufMut) {
        let (ip, name) = match &self.target.host {
            Host::V4(ip) => (*ip, None),
            // 4a has no IPv6 of its own: the address travels as text.
            host => (Ipv4Addr::new(0, 0, 0, 1), Some(host.to_string())),
        };
        out.put_slice(&[VERSION, self.command as u8]);
        out.put_u16(self.target.port);
        out.put_slice(&ip.octets());
        out.put_slice(&self.user);
        out.put_u8(0);
        if let Some(name) = name {
            out.put_slice(name.as_bytes());
            out.put_u8(0);
        }
    }
}

impl Decode for Request {
    fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        reader::front(input, |reader| {
            reader.exactly(VERSION, "version")?;
            let command = match Command::try_from(reader.u8()?)? {
                Command::UdpAssociate => return Err(DecodeError::Command { value: 3 }.into()),
                command => command,
            };
            let port = reader.u16()?;
            let ip = Ipv4Addr::from(reader.array::<4>()?);
            let user = reader.until_nul(MAX_USER, "user id")?;
            let host = match ip {
                ip if announces_name(ip) => Host::from_wire_text(reader.until_nul(MAX_NAME, "host name")?)?,
                ip => Host::V4(ip),
            };
            Ok(Self { command, target: Target { host, port }, user: user.into() })
        })
    }
}

/// The answer: `00 | code | port u16 BE | IPv4`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Reply {
    /// 0x5A granted; 0x5B to 0x5D not.
    pub code: u8,
    /// Meant for BIND; applications ignore it after CONNECT.
    pub bound: SocketAddrV4,
}

impl Reply {
    /// It worked.
    pub const fn granted(bound: SocketAddrV4) -> Self {
        Self { code: 0x5A, bound }
    }

    /// It did not; the format can't say why.
    pub const fn refused() -> Self {
        Self { code: 0x5B, bound: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0) }
    }

    /// Whether it worked.
    pub const fn is_granted(self) -> bool {
        self.code == 0x5A
    }
}

impl Encode for Reply {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&[0, self.code]);
        out.put_u16(self.bound.port());
        out.put_slice(&self.bound.ip().octets());
    }
}

impl Decode for Reply {
    fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        reader::front(input, |reader| {
            reader.exactly(0, "reply version")?;
            let code = reader.u8()?;
            let port = reader.u16()?;
            Ok(Self { code, bound: SocketAddrV4::new(reader.array::<4>()?.into(), port) })
        })
    }
}

/// 0.0.0.x with x > 0 stands for "a name follows".
fn announces_name(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [0, 0, 0, last] if last != 0)
}
