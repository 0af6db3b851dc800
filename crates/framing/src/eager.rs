//! The eager request: a SOCKS5 request (RFC 1928 section 4) without greeting, never answered.
//!
//! ```text
//! 05 | command u8 | 00 | ATYP ADDR PORT | the application's bytes, with no gap
//! ```
//!
//! It stands in front of the first data of a `classic` session or of a plain connection. As nothing comes back, a
//! request that fails can only be shown by ending the session.

use bytes::BufMut;

use crate::codec::{Decode, DecodeError, Encode};
use crate::reader;
use crate::socks::Command;
use crate::target::Target;

/// The longest eager request in bytes: a name of 254 bytes with its length, the port, and four bytes before them.
pub const MAX_LEN: usize = 261;

/// What the far end is asked to reach.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Request {
    /// Only [`Command::Connect`] was ever served; the others are named by the format and refused by the server.
    pub command: Command,
    /// Where to.
    pub target: Target,
}

impl Request {
    /// A request to dial `target`.
    pub fn connect(target: Target) -> Self {
        Self { command: Command::Connect, target }
    }
}

impl Encode for Request {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&[5, self.command as u8, 0]);
        self.target.encode(out);
    }
}

/// Stricter than SOCKS5 itself: the reserved byte must be 0, as the first TunneLS demands.
impl Decode for Request {
    fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        reader::front(input, |reader| {
            reader.exactly(5, "version")?;
            let command = Command::try_from(reader.u8()?)?;
            reader.exactly(0, "reserved byte")?;
            Ok(Self { command, target: Target::read(reader)? })
        })
    }
}
