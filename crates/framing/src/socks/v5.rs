//! SOCKS 5: RFC 1928, and user name and password by RFC 1929.

use std::fmt;
use std::net::Ipv4Addr;

use bytes::BufMut;

use super::Command;
use crate::codec::{Decode, DecodeError, Encode};
use crate::credential::Credential;
use crate::reader;
use crate::remux2::Code;
use crate::target::Target;

/// The version byte that begins a greeting, a request and their replies.
pub const VERSION: u8 = 5;
/// The version byte of RFC 1929.
pub const AUTH_VERSION: u8 = 1;

/// The first message: `05 n methods` (RFC 1928 section 3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Greeting {
    /// The ways to authenticate that the application offers; may be empty.
    pub methods: Methods,
}

impl Encode for Greeting {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_u8(VERSION);
        out.put_u8(u8::try_from(self.methods.iter().count()).unwrap_or(u8::MAX));
        for method in self.methods.iter() {
            out.put_u8(method.0);
        }
    }
}

impl Decode for Greeting {
    fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        reader::front(input, |reader| {
            reader.exactly(VERSION, "version")?;
            let count = reader.u8()?;
            let methods = reader.take(count.into())?;
            Ok(Self { methods: methods.iter().copied().map(Method).collect() })
        })
    }
}

/// The answer to a greeting: `05 method` (RFC 1928 section 3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MethodReply {
    /// The chosen method, or [`Method::UNACCEPTABLE`], after which the connection ends.
    pub method: Method,
}

impl Encode for MethodReply {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&[VERSION, self.method.0]);
    }
}

impl Decode for MethodReply {
    fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        reader::front(input, |reader| {
            reader.exactly(VERSION, "version")?;
            Ok(Self { method: Method(reader.u8()?) })
        })
    }
}

/// User name and password: `01 ulen user plen password` (RFC 1929 section 2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Auth {
    /// Both of them. An empty user name is an error on the wire.
    pub credential: Credential,
}

impl Encode for Auth {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_u8(AUTH_VERSION);
        for part in [self.credential.user(), self.credential.password()] {
            out.put_u8(u8::try_from(part.len()).unwrap_or(u8::MAX));
            out.put_slice(part);
        }
    }
}

impl Decode for Auth {
    fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        const NO_NAME: DecodeError = DecodeError::Name { field: "user name" };
        reader::front(input, |reader| {
            reader.exactly(AUTH_VERSION, "authentication version")?;
            let user_len = reader.u8()?;
            if user_len == 0 {
                return Err(NO_NAME.into());
            }
            let user = reader.take(user_len.into())?;
            let password_len = reader.u8()?;
            let password = reader.take(password_len.into())?;
            Ok(Self { credential: Credential::new(user, password).ok_or(NO_NAME)? })
        })
    }
}

/// The answer to [`Auth`]: `01 status` (RFC 1929 section 2). After a refusal the connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AuthReply {
    /// Whether the credential is good; any status but 0 says no.
    pub accepted: bool,
}

impl Encode for AuthReply {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&[AUTH_VERSION, u8::from(!self.accepted)]);
    }
}

impl Decode for AuthReply {
    fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        reader::front(input, |reader| {
            reader.exactly(AUTH_VERSION, "authentication version")?;
            Ok(Self { accepted: reader.u8()? == 0 })
        })
    }
}

/// What is asked for: `05 command 00 ATYP ADDR PORT` (RFC 1928 section 4).
///
/// Reading it accepts any reserved byte, as applications in use send others than 0. For the reply that a decode
/// error deserves see [`DecodeError::code`].
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Request {
    /// What to do.
    pub command: Command,
    /// With whom.
    pub target: Target,
}

impl Encode for Request {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&[VERSION, self.command as u8, 0]);
        self.target.encode(out);
    }
}

impl Decode for Request {
    fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        reader::front(input, |reader| {
            reader.exactly(VERSION, "version")?;
            let command = Command::try_from(reader.u8()?)?;
            reader.u8()?;
            Ok(Self { command, target: Target::read(reader)? })
        })
    }
}

/// The answer to a request: `05 reply 00 ATYP ADDR PORT` (RFC 1928 section 6).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Reply {
    /// 0 for success, else why not.
    pub reply: u8,
    /// The proxy's own end of the new connection, or the asked target where that isn't known.
    pub bound: Target,
}

impl Reply {
    /// It worked.
    pub fn success(bound: Target) -> Self {
        Self { reply: 0, bound }
    }

    /// It did not, for this reason; the address is `0.0.0.0:0`.
    pub fn failure(code: Code) -> Self {
        let bound = Target { host: crate::Host::V4(Ipv4Addr::UNSPECIFIED), port: 0 };
        Self { reply: code.socks5_reply(), bound }
    }
}

impl Encode for Reply {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&[VERSION, self.reply, 0]);
        self.bound.encode(out);
    }
}

impl Decode for Reply {
    fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        reader::front(input, |reader| {
            reader.exactly(VERSION, "version")?;
            let reply = reader.u8()?;
            reader.u8()?;
            Ok(Self { reply, bound: Target::read(reader)? })
        })
    }
}

/// A way to authenticate (RFC 1928 section 3).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Method(pub u8);

impl Method {
    /// No authentication.
    pub const NONE: Self = Self(0);
    /// User name and password, RFC 1929.
    pub const PASSWORD: Self = Self(2);
    /// In a reply only: none of the offered ones will do.
    pub const UNACCEPTABLE: Self = Self(0xFF);
}

/// A set of methods, without order or repetition. [`Method::UNACCEPTABLE`] is no method and never in it.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct Methods([u64; 4]);

impl Methods {
    /// Whether a method is offered.
    pub fn contains(&self, method: Method) -> bool {
        self.0.get(word(method)).is_some_and(|word| word & bit(method) != 0)
    }

    /// The methods in rising order.
    pub fn iter(&self) -> impl Iterator<Item = Method> + '_ {
        (0..u8::MAX).map(Method).filter(|&method| self.contains(method))
    }
}

impl FromIterator<Method> for Methods {
    fn from_iter<I: IntoIterator<Item = Method>>(methods: I) -> Self {
        let mut set = Self::default();
        for method in methods.into_iter().filter(|&method| method != Method::UNACCEPTABLE) {
            if let Some(word) = set.0.get_mut(word(method)) {
                *word |= bit(method);
            }
        }
        set
    }
}

impl fmt::Debug for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|method| method.0)).finish()
    }
}

fn word(method: Method) -> usize {
    usize::from(method.0 >> 6)
}

fn bit(method: Method) -> u64 {
    1_u64.rotate_left(u32::from(method.0 & 63))
}
