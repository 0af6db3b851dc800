//! Takes the answers to PINGs out of a stream of frames, as a peer does that forgets to send them.

use bytes::{BufMut, Bytes, BytesMut};
use framing::remux2::{HEADER, Header, Kind, flags};

/// Cuts a stream of remux2 frames and drops some of them.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    head: BytesMut,
    /// Bytes left of the frame that passes, or is dropped.
    left: usize,
    drops: bool,
    /// Frames dropped so far.
    pub(crate) dropped: u64,
}

impl Filter {
    /// What is left of the next bytes.
    pub(crate) fn pass(&mut self, mut bytes: Bytes) -> Bytes {
        let mut out = BytesMut::with_capacity(bytes.len() + HEADER);
        while !bytes.is_empty() {
            if self.left > 0 {
                let part = bytes.split_to(self.left.min(bytes.len()));
                self.left -= part.len();
                if !self.drops {
                    out.put_slice(&part);
                }
                continue;
            }
            let part = bytes.split_to((HEADER - self.head.len()).min(bytes.len()));
            self.head.put_slice(&part);
            let Some(whole) = self.head.first_chunk::<HEADER>().copied() else { break };
            let header = Header::from_bytes(whole);
            self.drops = header.kind == Kind::Ping as u8 && header.flags & flags::ACK != 0;
            self.dropped += u64::from(self.drops);
            self.left = header.length.into();
            if !self.drops {
                out.put_slice(&whole);
            }
            self.head.clear();
        }
        out.freeze()
    }
}
