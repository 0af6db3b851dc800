//! What was sent, what came, and how it may end.

use std::collections::BTreeMap;

use bytes::Bytes;
use remux::Wire;
use remux::session::StreamId;

/// Each direction of each flow, by who sends in it.
#[derive(Default)]
pub(super) struct Ledger {
    flows: BTreeMap<(usize, StreamId), Flow>,
    /// Whose bytes may be changed on their way.
    all_tainted: [bool; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    sent: u64,
    received: u64,
    /// The sender has said that no more comes.
    finished: bool,
    /// The receiver was told so.
    ended: bool,
    /// Either side reset it, let go of it early, or it was refused.
    aborted: bool,
    /// A side was told that it failed.
    failed: bool,
    /// The far side's application knows of it.
    accepted: bool,
    /// Somebody else put bytes into it.
    tainted: bool,
}

impl Ledger {
    /// The next `n` bytes from `me`.
    pub(super) fn bytes(&self, me: usize, id: StreamId, n: usize) -> Bytes {
        let sent = self.flows.get(&(me, id)).map_or(0, |flow| flow.sent);
        (sent..).take(n).map(|offset| byte(me, id, offset)).collect()
    }

    pub(super) fn sent(&mut self, me: usize, id: StreamId, n: usize) {
        self.flow(me, id).sent += n as u64;
    }

    pub(super) fn accepted(&mut self, id: StreamId) {
        for me in super::SIDES {
            self.flow(me, id).accepted = true;
        }
    }

    pub(super) fn finish(&mut self, me: usize, id: StreamId) {
        self.flow(me, id).finished = true;
    }

    pub(super) fn abort(&mut self, id: StreamId) {
        for me in super::SIDES {
            self.flow(me, id).aborted = true;
        }
    }

    pub(super) fn failed(&mut self, id: StreamId, refused: bool) {
        for me in super::SIDES {
            let flow = self.flow(me, id);
            flow.failed = true;
            flow.aborted |= refused;
        }
    }

    /// Somebody else sends `me` bytes of this flow.
    pub(super) fn taint(&mut self, me: usize, id: StreamId) {
        self.flow(1 - me, id).tainted = true;
    }

    /// All that comes to `me` may be changed.
    pub(super) fn taint_all(&mut self, me: usize) {
        self.all_tainted[1 - me] = true;
    }

    /// Bytes came to `me`.
    pub(super) fn received(&mut self, me: usize, id: StreamId, chunk: &[u8]) {
        assert!(!chunk.is_empty());
        let changed = self.all_tainted[1 - me];
        let flow = self.flow(1 - me, id);
        let from = flow.received;
        flow.received += chunk.len() as u64;
        if changed || flow.tainted {
            return;
        }
        assert!(flow.received <= flow.sent, "{id}: {} bytes of {} came", flow.received, flow.sent);
        for (offset, &got) in (from..).zip(chunk) {
            let expected = byte(1 - me, id, offset);
            assert_eq!(got, expected, "{id}: a wrong byte at {offset}");
        }
    }

    /// `me` was told that no more comes.
    pub(super) fn end(&mut self, me: usize, id: StreamId, wire: Wire, broken: bool) {
        let changed = self.all_tainted[1 - me];
        let flow = self.flow(1 - me, id);
        flow.ended = true;
        // The classic wire can't tell an end from an abort, and the server's end is the end of both directions.
        let vague =
            wire == Wire::Classic && (me == 1 || flow.aborted || flow.failed || !flow.accepted || broken);
        if !(changed || flow.tainted || vague) {
            assert!(flow.finished, "{id}: an end that nobody meant");
            assert_eq!(flow.received, flow.sent, "{id}: a clean end before the last byte");
        }
    }

    /// Nobody broke anything, and everything was read: whatever nobody aborted is whole.
    pub(super) fn complete(&self, wire: Wire) {
        for (&(sender, id), flow) in &self.flows {
            if flow.aborted || (wire == Wire::Classic && (sender == 0 || !flow.accepted)) || flow.sent == 0 {
                continue;
            }
            assert!(!flow.failed, "{id} failed and nobody made it: {flow:?}");
            assert_eq!(flow.received, flow.sent, "{id} is not whole: {flow:?}");
            assert!(flow.ended || !flow.finished, "{id}: its end never came: {flow:?}");
        }
    }

    fn flow(&mut self, sender: usize, id: StreamId) -> &mut Flow {
        self.flows.entry((sender, id)).or_default()
    }
}

/// The byte at `offset` of what `sender` sends on the stream: a word of eight is enough to tell all flows apart.
fn byte(sender: usize, id: StreamId, offset: u64) -> u8 {
    let seed = (u64::from(id.0) << 1 | sender as u64) << 40 | offset >> 3;
    let mixed = (seed ^ seed >> 31).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ mixed >> 29).to_le_bytes()[(offset & 7) as usize]
}
