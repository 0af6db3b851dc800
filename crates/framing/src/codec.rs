//! The two traits every wire format implements.

use bytes::BufMut;

use crate::remux2::Code;

/// A value that has one form on a wire.
///
/// What can be built can be encoded: there is no error.
pub trait Encode {
    /// Appends the wire form to `out`.
    fn encode(&self, out: &mut impl BufMut);

    /// The wire form as a fresh vector, for tests and rare messages.
    fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

/// A value that can be read from the front of a byte string.
pub trait Decode: Sized {
    /// Reads one value from the front of `input`.
    ///
    /// `Ok(Some((value, n)))`: the first `n` bytes were the value. `Ok(None)`: not yet, every byte so far is
    /// fine but more are needed. `Err`: never, whatever follows. Nothing is allocated before the announced
    /// lengths were compared with their limits.
    ///
    /// # Errors
    /// A [`DecodeError`] that says which field is wrong.
    fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, DecodeError>;
}

/// Bytes that can never become the value asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// An address of a kind this wire does not know.
    #[error("the address type is {value:#04x}, which this wire does not define")]
    AddressType {
        /// What the field held.
        value: u8,
    },
    /// A command this wire does not know.
    #[error("the command is {value:#04x}, which this wire does not define")]
    Command {
        /// What the field held.
        value: u8,
    },
    /// A field holds a value this wire does not know.
    #[error("{field} is {value:#x}, which this wire does not define")]
    Invalid {
        /// The field, in the words of the format's specification.
        field: &'static str,
        /// What it held.
        value: u64,
    },
    /// A name is empty, too long or holds a byte no host name may hold.
    #[error("{field} is not a usable name")]
    Name {
        /// The field, in the words of the format's specification.
        field: &'static str,
    },
    /// A message ends before its announced fields do.
    #[error("{field} is cut short")]
    Short {
        /// The field, in the words of the format's specification.
        field: &'static str,
    },
    /// A length or count is over its limit.
    #[error("{field} has {value}, over the limit of {limit}")]
    TooLong {
        /// The field, in the words of the format's specification.
        field: &'static str,
        /// The announced length.
        value: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// A message goes on after its last field.
    #[error("{field} is longer than its fields")]
    Trailing {
        /// The field, in the words of the format's specification.
        field: &'static str,
    },
    /// A name with brackets or colons: printable, but no resolver can know it.
    #[error("{field} is an address or port where a name belongs")]
    Unresolvable {
        /// The field, in the words of the format's specification.
        field: &'static str,
    },
}

impl DecodeError {
    /// What to tell the peer: [`Code::PROTOCOL`] for a broken message, else what is wrong with this one request.
    /// Its [`Code::socks5_reply`] is the right answer to a SOCKS5 request.
    pub fn code(self) -> Code {
        match self {
            Self::AddressType { .. } => Code::ADDRESS_TYPE,
            Self::Command { .. } => Code::COMMAND_UNKNOWN,
            Self::Name { .. } => Code::SERVER_ERROR,
            Self::Unresolvable { .. } => Code::DNS_NXDOMAIN,
            Self::Invalid { .. } | Self::Short { .. } | Self::TooLong { .. } | Self::Trailing { .. } => {
                Code::PROTOCOL
            }
        }
    }
}
