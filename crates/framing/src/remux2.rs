//! `remux2`, our own wire: an 8-byte header, then at most 16376 bytes (see `docs/protocol.md`).
//!
//! ```text
//!  0        1        2                 4                                  8
//!  | type u8| flags u8| length u16 BE  | stream id u32 BE                 | payload[length]
//! ```

mod code;
mod payload;

pub use code::Code;
pub use payload::{MAX_OPTIONS, OpenPayloadError};

use crate::codec::DecodeError;
use crate::target::Target;

/// Bytes of a frame's header.
pub const HEADER: usize = 8;
/// The longest payload until the peer's settings allow more: header and payload fill one TLS record.
pub const MAX_PAYLOAD: usize = 16_376;
/// The longest target and options of an OPEN.
pub const MAX_META: usize = 512;
/// The longest text of a RST or GOAWAY.
pub const MAX_TEXT: usize = 256;

/// What a frame is; the numbers are the wire's.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is described in the protocol page and on its payload type")]
pub enum Kind {
    Data = 0x00,
    Open = 0x01,
    Opened = 0x02,
    Credit = 0x03,
    Rst = 0x04,
    Ping = 0x05,
    GoAway = 0x06,
    Settings = 0x07,
    Dgram = 0x08,
    Pad = 0x09,
    Priority = 0x0A,
}

/// What a type byte means to a receiver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TypeByte {
    /// A type this version defines.
    Known(Kind),
    /// 0x40-0x7F: an extension that may be skipped.
    Ignorable,
    /// 0x80-0xFF: an extension without which the connection can't go on.
    Critical,
    /// 0x0B-0x3F: reserved; a peer that sends it breaks the protocol.
    Reserved,
}

/// The flag bits of a frame; unknown ones are ignored.
pub mod flags {
    /// DATA, OPEN: the sender has no more bytes on this stream.
    pub const FIN: u8 = 0x01;
    /// DATA: more is queued, the credit is gone.
    pub const BLOCKED: u8 = 0x02;
    /// OPEN: answer with OPENED when the dial is done.
    pub const WANT_OPENED: u8 = 0x02;
    /// RST: nothing was done, a retry elsewhere is safe.
    pub const REFUSED_SAFE: u8 = 0x01;
    /// PING: this is the answer.
    pub const ACK: u8 = 0x01;
}

/// The fixed front of each frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The type byte, see [`Header::type_byte`].
    pub kind: u8,
    /// Flag bits, see [`flags`].
    pub flags: u8,
    /// Bytes of payload behind the header.
    pub length: u16,
    /// The stream, 0 for the connection itself.
    pub stream: u32,
}

impl Header {
    /// A header of a known type.
    pub const fn new(kind: Kind, flags: u8, stream: u32, length: u16) -> Self {
        Self { kind: kind as u8, flags, length, stream }
    }

    /// The wire form.
    pub const fn to_bytes(self) -> [u8; HEADER] {
        let [l0, l1] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [self.kind, self.flags, l0, l1, s0, s1, s2, s3]
    }

    /// Reads a header; every 8 bytes are one.
    pub const fn from_bytes(bytes: [u8; HEADER]) -> Self {
        let [kind, flags, l0, l1, s0, s1, s2, s3] = bytes;
        Self {
            kind,
            flags,
            length: u16::from_be_bytes([l0, l1]),
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
        }
    }

    /// What the type byte means.
    pub const fn type_byte(self) -> TypeByte {
        TypeByte::Known(match self.kind {
            0x00 => Kind::Data,
            0x01 => Kind::Open,
            0x02 => Kind::Opened,
            0x03 => Kind::Credit,
            0x04 => Kind::Rst,
            0x05 => Kind::Ping,
            0x06 => Kind::GoAway,
            0x07 => Kind::Settings,
            0x08 => Kind::Dgram,
            0x09 => Kind::Pad,
            0x0A => Kind::Priority,
            0x0B..=0x3F => return TypeByte::Reserved,
            0x40..=0x7F => return TypeByte::Ignorable,
            0x80..=0xFF => return TypeByte::Critical,
        })
    }
}

/// What an OPEN asks for; the numbers are the wire's.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Command {
    /// A byte stream between the two ends of the connection; the target may be absent. Ours, not SOCKS's.
    #[default]
    Stream = 0,
    /// Dial the target.
    Connect = 1,
    /// Listen for one connection.
    Bind = 2,
    /// Relay datagrams.
    Udp = 3,
    /// Resolve a name.
    Resolve = 4,
}

impl TryFrom<u8> for Command {
    type Error = DecodeError;

    fn try_from(value: u8) -> Result<Self, DecodeError> {
        match value {
            0 => Ok(Self::Stream),
            1 => Ok(Self::Connect),
            2 => Ok(Self::Bind),
            3 => Ok(Self::Udp),
            4 => Ok(Self::Resolve),
            value => Err(DecodeError::Command { value }),
        }
    }
}

/// OPEN, up to its first data: command, priority, target and options.
///
/// ```text
/// cmd u8 | prio u8 | meta_len u16 | meta = [ATYP ADDR PORT] then TLVs | first data
/// ```
/// Options are skipped unless critical (type bit 7), which refuses the stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Open {
    /// What is asked for.
    pub command: Command,
    /// Bits 0-2 urgency (0 first, default 3), bit 3 incremental.
    pub priority: u8,
    /// Where to; absent only for [`Command::Stream`].
    pub target: Option<Target>,
}

/// OPENED: the dial is done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opened {
    /// Microseconds the dial took, at most `u32::MAX`.
    pub dial_us: u32,
    /// The local address of the dialled socket.
    pub bound: Option<Target>,
}

/// CREDIT: the peer may have sent `consumed + window` bytes on this stream (mod 2^32).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Credit {
    /// Bytes the application has consumed so far, mod 2^32.
    pub consumed: u32,
    /// Bytes that may come beyond them.
    pub window: u32,
}

/// RST: the stream is over, for both directions, at once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rst {
    /// Why.
    pub code: Code,
    /// More about why, at most [`MAX_TEXT`] bytes; not trusted, not yet escaped.
    pub text: String,
}

/// GOAWAY: no stream above `last_id` was or will be served here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GoAway {
    /// The last of the receiver's streams that the sender takes care of.
    pub last_id: u32,
    /// Why.
    pub code: Code,
    /// How long the sender will wait for running streams, in milliseconds.
    pub drain_ms: u32,
    /// More about why, at most [`MAX_TEXT`] bytes; not trusted, not yet escaped.
    pub text: String,
}

/// PING: the peer echoes the bytes with [`flags::ACK`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ping {
    /// The sender's own; the peer reads nothing in them.
    pub opaque: [u8; 8],
}

/// PRIORITY: a stream's new priority.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Priority {
    /// As in [`Open::priority`].
    pub priority: u8,
}

/// One entry of a SETTINGS frame; unknown ids are ignored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Setting {
    /// Which, see [`setting`].
    pub id: u16,
    /// Its value.
    pub value: u32,
}

/// The ids of SETTINGS.
#[expect(missing_docs, reason = "described in the protocol page's table")]
pub mod setting {
    pub const MAX_STREAMS: u16 = 1;
    pub const INITIAL_WINDOW: u16 = 2;
    pub const MAX_FRAME: u16 = 3;
    pub const MAX_META: u16 = 4;
    pub const IDLE_MS: u16 = 5;
    pub const MAX_AGE_MS: u16 = 6;
    pub const MAX_REUSE: u16 = 7;
    pub const MIN_PING_MS: u16 = 8;
    pub const MAX_DGRAM: u16 = 9;
    pub const RESUME_GRACE_MS: u16 = 10;
    pub const OPEN_RATE: u16 = 11;
    pub const CONN_WINDOW: u16 = 12;
}
