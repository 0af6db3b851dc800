//! The buffers bytes are copied into, used again and again by all connections of the process.
//!
//! ```text
//!  take ──▶ filled ──▶ split and frozen: Bytes go to streams or to the wire
//!                └──▶ give: the spent handle waits in the ring ──all its Bytes dropped──▶ take
//! ```
//! Fresh memory costs a page fault each 4 KiB: as much as encrypting them. A ring bounds what is kept; a slab that is in use
//! belongs to the streams that hold it, and is bounded by their windows and queues.

use std::collections::VecDeque;

use bytes::BytesMut;
use parking_lot::Mutex;

/// Size of a slab.
pub(crate) const SLAB: usize = 64 * 1024;

/// An empty buffer with room for `wanted` bytes, at most [`SLAB`].
pub(crate) fn take(wanted: usize) -> BytesMut {
    RING.take(wanted)
}

/// Gives back what is left of a buffer; the bytes split off it live on.
pub(crate) fn give(spent: BytesMut) {
    RING.give(spent);
}

static RING: Ring = Ring { spent: Mutex::new(VecDeque::new()) };

struct Ring {
    /// Oldest first: the likeliest to be free.
    spent: Mutex<VecDeque<BytesMut>>,
}

impl Ring {
    fn take(&self, wanted: usize) -> BytesMut {
        let mut spent = self.spent.lock();
        // The last one given may have a rest that is long enough.
        if spent.back().is_some_and(|slab| slab.capacity() >= wanted) {
            return spent.pop_back().unwrap_or_default();
        }
        for _ in 0..TRIES {
            let Some(mut slab) = spent.pop_front() else { break };
            if slab.try_reclaim(SLAB) {
                return slab;
            }
            spent.push_back(slab);
        }
        drop(spent);
        BytesMut::with_capacity(SLAB)
    }

    fn give(&self, mut slab: BytesMut) {
        slab.clear();
        let mut spent = self.spent.lock();
        let evicted = if spent.len() >= KEPT { spent.pop_front() } else { None };
        spent.push_back(slab);
        drop(spent);
        drop(evicted);
    }
}

/// Slabs kept for the whole process: 8 MiB.
const KEPT: usize = 128;
/// Slabs looked at before a new one is made.
const TRIES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slab_is_used_again_once_its_bytes_are_gone() {
        let ring = Ring { spent: Mutex::default() };
        let mut slab = ring.take(SLAB);
        let place = slab.as_ptr();
        slab.extend_from_slice(&[1; SLAB]);
        let bytes = slab.split().freeze();
        ring.give(slab);
        assert_ne!(ring.take(SLAB).as_ptr(), place);
        drop(bytes);
        let mut again = ring.take(SLAB);
        assert_eq!(again.as_ptr(), place);
        assert!(again.is_empty() && again.capacity() >= SLAB);
        again.extend_from_slice(&[2; 1000]);
        let bytes = again.split().freeze();
        ring.give(again);
        let rest = ring.take(SLAB - 1000);
        assert_eq!(rest.capacity(), SLAB - 1000);
        assert!(bytes.iter().all(|&byte| byte == 2));
    }

    #[test]
    fn ring_keeps_no_more_than_its_bound() {
        let ring = Ring { spent: Mutex::default() };
        for _ in 0..KEPT + 10 {
            ring.give(BytesMut::with_capacity(SLAB));
        }
        assert_eq!(ring.spent.lock().len(), KEPT);
    }
}
