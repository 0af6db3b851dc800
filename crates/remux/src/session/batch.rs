//! Bytes on their way to the record layer: what one write seals and sends.
//!
//! ```text
//!  segments   [copied: headers, small payloads][payload, shared][copied][payload, shared] …
//!  records    |<-------- at most 16384 -------->|<-------- at most 16384 -------->| …
//! ```
//!
//! Headers and payloads under 1 KiB are copied into one arena, so that a batch is few and long slices; longer
//! payloads are shared, not copied. The arena is reused once the batch has been written: no allocation in steady state.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Plaintext to be sealed and written, in order; read it through [`Buf`].
///
/// [`Session::poll_transmit`](super::Session::poll_transmit) fills it. Records should be sealed along
/// [`Batch::record_len`]: a frame's header and body then share one.
#[derive(Debug, Default)]
pub struct Batch {
    arena: Vec<u8>,
    segments: VecDeque<Segment>,
    /// Lengths of the records not yet consumed, the open one last.
    records: VecDeque<usize>,
    len: usize,
    limit: usize,
    /// Most bytes in the record being filled.
    record_limit: usize,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes not yet consumed.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether everything was consumed.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes the session may still add.
    pub const fn room(&self) -> usize {
        self.limit.saturating_sub(self.len)
    }

    /// Bytes of the first record, at most [`Batch::MAX_RECORD`]: seal these together. 0 when the batch is empty.
    pub fn record_len(&self) -> usize {
        self.records.front().copied().unwrap_or(0)
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.segments.clear();
        self.records.clear();
        self.len = 0;
    }

    /// Sets how many bytes the batch may hold in all.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Sets how long a record may be from here on.
    pub(super) fn set_record(&mut self, record: usize) {
        self.record_limit = record.clamp(MIN_RECORD, Self::MAX_RECORD);
    }

    /// Bytes left in the record being filled, and in the batch.
    pub(super) fn record_room(&self) -> usize {
        let used = self.records.back().copied().unwrap_or(0);
        self.record_limit.saturating_sub(used).min(self.room())
    }

    /// Makes room for `need` bytes in one record: in the one being filled, or by beginning another, which is as long
    /// as they need. Says how much room there is; `None` when the batch can't take so much.
    pub(super) fn fit(&mut self, need: usize) -> Option<usize> {
        let here = self.record_room();
        if here >= need {
            return Some(here);
        }
        let fresh = self.record_limit.max(need.min(Self::MAX_RECORD)).min(self.room());
        if fresh < need {
            return None;
        }
        if self.records.back().is_some_and(|&n| n > 0) {
            self.records.push_back(0);
        }
        Some(fresh)
    }

    /// Adds a copy of `bytes` to the record being filled.
    pub(super) fn put_copy(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.arena.extend_from_slice(bytes);
        match self.segments.back_mut() {
            Some(Segment::Copied { end, .. }) => *end = self.arena.len(),
            _ => {
                let end = self.arena.len();
                self.segments.push_back(Segment::Copied { start: end.saturating_sub(bytes.len()), end });
            }
        }
        self.grew(bytes.len());
    }

    /// Adds a payload to the record being filled; copied only when it is short.
    pub(super) fn put(&mut self, bytes: Bytes) {
        if bytes.len() < COPY_BELOW {
            return self.put_copy(&bytes);
        }
        self.grew(bytes.len());
        self.segments.push_back(Segment::Shared(bytes));
    }

    fn grew(&mut self, n: usize) {
        self.len = self.len.saturating_add(n);
        match self.records.back_mut() {
            Some(last) => *last = last.saturating_add(n),
            None => self.records.push_back(n),
        }
    }

    fn slice<'a>(&'a self, segment: &'a Segment) -> &'a [u8] {
        match segment {
            Segment::Copied { start, end } => self.arena.get(*start..*end).unwrap_or_default(),
            Segment::Shared(bytes) => bytes,
        }
    }

    /// Most bytes of one record.
    pub const MAX_RECORD: usize = 16_384;
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.segments.front().map(|segment| self.slice(segment)).unwrap_or_default()
    }

    fn chunks_vectored<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let mut n = 0_usize;
        for (slot, segment) in out.iter_mut().zip(&self.segments) {
            *slot = IoSlice::new(self.slice(segment));
            n = n.saturating_add(1);
        }
        n
    }

    /// Consumes `count` bytes, or all if there are fewer.
    fn advance(&mut self, count: usize) {
        let count = count.min(self.len);
        self.len = self.len.saturating_sub(count);
        take_front(&mut self.records, count, |n, by| {
            *n = n.saturating_sub(by);
            *n
        });
        if self.len == 0 {
            return self.clear();
        }
        let mut left = count;
        while left > 0 {
            let Some(front) = self.segments.front_mut() else { return };
            let had = match front {
                Segment::Copied { start, end } => end.saturating_sub(*start),
                Segment::Shared(bytes) => bytes.len(),
            };
            if had <= left {
                self.segments.pop_front();
                left = left.saturating_sub(had);
                continue;
            }
            match front {
                Segment::Copied { start, .. } => *start = start.saturating_add(left),
                Segment::Shared(bytes) => bytes.advance(left),
            }
            left = 0;
        }
    }
}

/// Takes `count` off the front entries, dropping those that reach zero.
fn take_front(records: &mut VecDeque<usize>, count: usize, take: impl Fn(&mut usize, usize) -> usize) {
    let mut left = count;
    while let Some(front) = records.front_mut() {
        let by = (*front).min(left);
        left = left.saturating_sub(by);
        if take(front, by) > 0 {
            return;
        }
        records.pop_front();
    }
}

#[derive(Debug)]
enum Segment {
    /// A range of the arena.
    Copied {
        start: usize,
        end: usize,
    },
    Shared(Bytes),
}

/// Payloads below this are copied: a slice of its own costs more than the copy.
const COPY_BELOW: usize = 1024;
/// A record takes at least this: less is more overhead than payload.
const MIN_RECORD: usize = 1024;
