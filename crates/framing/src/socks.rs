//! SOCKS 4, 4a and 5, as an application speaks them to a proxy.
//!
//! ```text
//! version 5:  Greeting ─▶  ◀─ MethodReply   [ Auth ─▶  ◀─ AuthReply ]   Request ─▶  ◀─ Reply   then bytes
//! version 4:  Request ─▶  ◀─ Reply                                                             then bytes
//! ```
//!
//! Which message comes next is for the user of these codecs to know. The first byte of a connection is the version.

pub mod v4;
pub mod v5;

use crate::codec::DecodeError;

/// What an application asks for; the numbers are the wire's, the same in both versions.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Command {
    /// Dial the target.
    Connect = 1,
    /// Listen for one connection from the target.
    Bind = 2,
    /// Relay datagrams; version 5 only.
    UdpAssociate = 3,
}

impl TryFrom<u8> for Command {
    type Error = DecodeError;

    fn try_from(value: u8) -> Result<Self, DecodeError> {
        match value {
            1 => Ok(Self::Connect),
            2 => Ok(Self::Bind),
            3 => Ok(Self::UdpAssociate),
            value => Err(DecodeError::Command { value }),
        }
    }
}
