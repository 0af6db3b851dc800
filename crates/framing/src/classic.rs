//! `classic`, the wire of the first TunneLS: a 4-byte header, then the data of one session.
//!
//! ```text
//!  0                 2                4
//!  | session u16 BE  | length u16 BE  | data[length]
//! ```
//!
//! Only the client opens; the first frame with an unused session opens it, and its data begin with an
//! [eager request](crate::eager). A length of 0 ends the session in both directions. Nothing else can be said: no
//! half-close, no error code, no credit, no keepalive.

/// Bytes of a frame's header.
pub const HEADER: usize = 4;
/// The most data one frame carries.
pub const MAX_PAYLOAD: usize = 65_535;

/// The fixed front of each frame.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Header {
    /// The session, 1-65535; 0 is reserved and for the user of the value to judge.
    pub session: u16,
    /// Bytes of data behind the header; 0 ends the session.
    pub length: u16,
}

impl Header {
    /// The frame that ends a session.
    pub const fn end(session: u16) -> Self {
        Self { session, length: 0 }
    }

    /// Whether this frame ends its session.
    pub const fn is_end(self) -> bool {
        self.length == 0
    }

    /// The wire form.
    pub const fn to_bytes(self) -> [u8; HEADER] {
        let [s0, s1] = self.session.to_be_bytes();
        let [l0, l1] = self.length.to_be_bytes();
        [s0, s1, l0, l1]
    }

    /// Reads a header; every 4 bytes are one.
    pub const fn from_bytes(bytes: [u8; HEADER]) -> Self {
        let [s0, s1, l0, l1] = bytes;
        Self { session: u16::from_be_bytes([s0, s1]), length: u16::from_be_bytes([l0, l1]) }
    }
}
