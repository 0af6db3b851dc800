//! A stream's queued bytes: short ones copied together, long ones shared with the buffer they came in.
//!
//! ```text
//!  stream   0 ──── released ──── taken ─────────── pushed
//!                     │<── ours still ──>│<── queue ──>│
//!  shared chunks pin the 64 KiB buffer they came in until they are released: a stream that is read at once costs
//!  no copy; where its pins would outgrow its window, what is queued moves to memory of its own.
//! ```

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// A queue of bytes in which short chunks are copied together.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    queue: VecDeque<Bytes>,
    /// Behind the queue: short chunks, growing together.
    tail: BytesMut,
    bytes: usize,
    /// Bytes pushed by parts, and those of them that the application is done with.
    pushed: u64,
    released: u64,
    /// Shared chunks that are not released, in their order.
    pins: VecDeque<Pin>,
    /// Bytes of these.
    pinned: u64,
}

/// A chunk that keeps a whole buffer in memory.
#[derive(Clone, Copy, Debug)]
struct Pin {
    begin: u64,
    end: u64,
}

impl Pin {
    const fn len(&self) -> u64 {
        self.end.saturating_sub(self.begin)
    }
}

impl Chunks {
    fn len(&self) -> usize {
        self.queue.len().saturating_add(usize::from(!self.tail.is_empty()))
    }

    /// What they take beside their bytes.
    pub(super) fn cost(&self) -> u64 {
        (self.len() as u64).saturating_mul(CHUNK)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(super) fn push(&mut self, data: Bytes) {
        self.bytes = self.bytes.saturating_add(data.len());
        if data.len() < SHORT && !self.queue.is_empty() {
            return self.append(&data);
        }
        self.close_tail();
        if !data.is_empty() {
            self.queue.push_back(data);
        }
    }

    /// Takes the first `n` bytes of `input`: shared when they are many and what is kept in memory stays within `room`,
    /// else copied.
    pub(super) fn push_part(&mut self, input: &mut BytesMut, n: usize, room: u64) {
        let n = n.min(input.len());
        let first = self.is_empty();
        let fits = self.footprint().saturating_add(BUFFER) <= room;
        if n >= SHARED && !fits {
            self.unshare();
        }
        let begin = self.pushed;
        self.pushed = begin.saturating_add(n as u64);
        self.bytes = self.bytes.saturating_add(n);
        if n >= SHARED && fits {
            self.close_tail();
            self.pins.push_back(Pin { begin, end: self.pushed });
            self.pinned = self.pinned.saturating_add(n as u64);
            self.queue.push_back(input.split_to(n).freeze());
            return;
        }
        let part = input.get(..n).unwrap_or_default();
        if n >= SHORT || first {
            self.close_tail();
            self.queue.push_back(Bytes::copy_from_slice(part));
        } else {
            self.append(part);
        }
        input.advance(n);
    }

    /// The application is done with `n` bytes that were taken.
    pub(super) fn release(&mut self, n: usize) {
        let taken = self.pushed.saturating_sub(self.bytes as u64);
        self.released = self.released.saturating_add(n as u64).min(taken);
        while let Some(pin) = self.pins.front().filter(|pin| pin.end <= self.released) {
            self.pinned = self.pinned.saturating_sub(pin.len());
            self.pins.pop_front();
        }
    }

    /// What the bytes that are not released keep in memory.
    pub(super) fn footprint(&self) -> u64 {
        let own = self.pushed.saturating_sub(self.released).saturating_sub(self.pinned);
        (self.pins.len() as u64).saturating_mul(BUFFER).saturating_add(own)
    }

    /// Gives every shared chunk of the queue memory of its own.
    fn unshare(&mut self) {
        let taken = self.pushed.saturating_sub(self.bytes as u64);
        let mut at = taken;
        let mut pins = self.pins.iter().filter(|pin| pin.end > taken).peekable();
        for chunk in &mut self.queue {
            let end = at.saturating_add(chunk.len() as u64);
            if pins.next_if(|pin| pin.end == end).is_some() {
                *chunk = Bytes::copy_from_slice(chunk);
            }
            at = end;
        }
        self.pins.retain(|pin| pin.end <= taken);
        self.pinned = self.pins.iter().fold(0, |sum, pin| sum.saturating_add(pin.len()));
    }

    fn append(&mut self, data: &[u8]) {
        if self.tail.len().saturating_add(data.len()) > TAIL {
            self.close_tail();
        }
        self.tail.extend_from_slice(data);
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.queue.push_back(std::mem::take(&mut self.tail).freeze());
        }
    }

    /// The next chunk, at most `most` bytes of it.
    pub(super) fn take(&mut self, most: usize) -> Option<Bytes> {
        if self.queue.is_empty() {
            self.close_tail();
        }
        let front = self.queue.front_mut()?;
        let chunk = if front.len() <= most { self.queue.pop_front()? } else { front.split_to(most) };
        self.bytes = self.bytes.saturating_sub(chunk.len());
        Some(chunk)
    }

    pub(super) fn peek(&self, into: &mut [u8]) -> usize {
        let mut filled = 0_usize;
        for chunk in self.queue.iter().map(Bytes::as_ref).chain([self.tail.as_ref()]) {
            let room = into.get_mut(filled..).unwrap_or_default();
            let n = chunk.len().min(room.len());
            if let (Some(to), Some(from)) = (room.get_mut(..n), chunk.get(..n)) {
                to.copy_from_slice(from);
            }
            filled = filled.saturating_add(n);
        }
        filled
    }
}

/// What a chunk takes beside its bytes.
const CHUNK: u64 = 256;
/// The buffer that a driver reads into.
const BUFFER: u64 = 64 << 10;
/// Received chunks from this length on are shared with the buffer they came in: an eighth of it.
const SHARED: usize = 8 << 10;
/// Chunks below this are copied together.
const SHORT: usize = 2048;
/// Short chunks are put together up to this.
const TAIL: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KIB: usize = 1 << 10;

    /// One frame from a buffer that other streams share.
    fn push(chunks: &mut Chunks, n: usize, room: u64) {
        chunks.push_part(&mut BytesMut::from(&vec![7; 64 * KIB][..]).split_to(n), n, room);
    }

    #[test]
    fn stream_that_is_read_at_once_shares_its_buffers_and_one_that_is_not_has_memory_of_its_own() {
        let mut chunks = Chunks::default();
        for _ in 0..100 {
            push(&mut chunks, 16 * KIB, 256 << 10);
            assert_eq!(chunks.footprint(), BUFFER, "it keeps the buffer");
            let n = chunks.take(usize::MAX).unwrap().len();
            chunks.release(n);
            assert_eq!(chunks.footprint(), 0);
        }
        for n in 1..=4 {
            push(&mut chunks, 16 * KIB, 256 << 10);
            assert_eq!(chunks.footprint(), n * BUFFER);
        }
        push(&mut chunks, 16 * KIB, 256 << 10);
        assert_eq!(chunks.footprint(), 80 << 10, "five buffers would be more than the window");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        /// However frames and reads come, memory stays within the window, but for what the reader has in its hands.
        #[test]
        fn what_is_kept_stays_within_the_window(
            window in (64_u64..1024).prop_map(|kib| kib << 10),
            steps in proptest::collection::vec((any::<bool>(), 1_usize..16_377), 1..400),
        ) {
            let (mut chunks, mut unread) = (Chunks::default(), 0_u64);
            for (read, n) in steps {
                if read {
                    let n = chunks.take(n).map_or(0, |chunk| chunk.len());
                    chunks.release(n);
                    unread -= n as u64;
                } else if unread + n as u64 <= window {
                    push(&mut chunks, n, window);
                    unread += n as u64;
                }
                prop_assert!(chunks.footprint() <= window + BUFFER, "{} of {window}", chunks.footprint());
                prop_assert!(chunks.footprint() >= unread);
                prop_assert!(chunks.pins.len() <= chunks.queue.len() + 1);
            }
            while let Some(chunk) = chunks.take(usize::MAX) {
                chunks.release(chunk.len());
            }
            prop_assert_eq!((chunks.footprint(), chunks.pins.len()), (0, 0));
        }
    }

    #[test]
    fn flood_of_one_byte_chunks_is_few_chunks() {
        let mut chunks = Chunks::default();
        for _ in 0..100_000 {
            chunks.push_part(&mut BytesMut::from(&b"x"[..]), 1, 0);
        }
        assert_eq!(chunks.bytes, 100_000);
        assert!(chunks.len() < 30, "{} chunks", chunks.len());
    }

    #[test]
    fn bytes_come_out_in_order_whatever_their_chunks() {
        let data: Vec<u8> = (0..40_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut chunks = Chunks::default();
        let mut input = BytesMut::from(&data[..]);
        for n in [1, 1, 3000, 5, 2047, 2048, 1, 4000, 100, 20_000, 1, 2].into_iter().cycle() {
            let n = n.min(input.len());
            if n == 0 {
                break;
            }
            if n % 2 == 0 {
                let part = input.split_to(n).freeze();
                chunks.push(part);
            } else {
                chunks.push_part(&mut input, n, 1 << 20);
            }
        }
        let mut front = [0; 300];
        assert_eq!(chunks.peek(&mut front), 300);
        assert_eq!(front[..], data[..300]);
        let mut out = Vec::new();
        while let Some(chunk) = chunks.take(777) {
            out.extend_from_slice(&chunk);
        }
        assert_eq!(out, data);
        assert!(chunks.is_empty());
    }
}
