//! What the two ends of a flow do. The generator decides; the flow's header tells the sink.

use serde::{Deserialize, Serialize};

use crate::pattern::{Direction, Pattern, Place};

/// Bytes of a header, a whole number of words.
pub const HEADER: usize = 8 + 8 + 2 * SIDE + 8;

const MAGIC: [u8; 8] = *b"judge/1\n";
const SIDE: usize = 64;

/// One flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Its number, unique in a run.
    pub flow: u64,
    /// What the generator does.
    pub near: Side,
    /// What the sink does.
    pub far: Side,
}

/// What one end does: how it writes, how it ends, how it reads.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Bytes to write; the generator's header comes on top.
    pub bytes: u64,
    /// Bytes a write.
    pub chunk: u32,
    /// Milliseconds between two writes.
    pub pause_ms: u32,
    /// Bytes to have read before the first write (the header not counted); [`AFTER_END`] waits for the other's end.
    pub after: u64,
    /// Never writes more than it has read: an echo, where it is the sink that does it.
    pub lockstep: bool,
    /// How it ends its direction.
    pub finish: Finish,
    /// Bytes a read.
    pub read_chunk: u32,
    /// Milliseconds between two reads.
    pub read_pause_ms: u32,
    /// Having read so much, it stops reading …
    pub stall_at: u64,
    /// … for so many milliseconds, once.
    pub stall_ms: u32,
    /// Having written so much, it stops writing …
    pub quiet_at: u64,
    /// … for so many milliseconds, once.
    pub quiet_ms: u32,
}

/// [`Side::after`]: begins when the other direction has ended.
pub const AFTER_END: u64 = u64::MAX;

/// How an end ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// Cleanly, having written everything.
    Fin,
    /// The same, but not before the other has.
    Last,
    /// The same, but not before it has read all that the other is to write.
    Full,
    /// With a reset, having written everything.
    Abort,
}

impl Side {
    /// Writes at once, reads at once, ends cleanly.
    pub fn plain(bytes: u64) -> Self {
        Self {
            bytes,
            chunk: 16 << 10,
            pause_ms: 0,
            after: 0,
            lockstep: false,
            finish: Finish::Fin,
            read_chunk: 64 << 10,
            read_pause_ms: 0,
            stall_at: 0,
            stall_ms: 0,
            quiet_at: 0,
            quiet_ms: 0,
        }
    }

    /// Whether it resets.
    pub fn aborts(&self) -> bool {
        self.finish == Finish::Abort
    }

    /// Milliseconds in which it does nothing on purpose, at most.
    pub fn waits_ms(&self) -> u64 {
        u64::from(self.stall_ms)
            + u64::from(self.quiet_ms)
            + u64::from(self.pause_ms)
            + u64::from(self.read_pause_ms)
    }

    fn encode(&self, into: &mut Vec<u8>) {
        let start = into.len();
        for number in [self.bytes, self.after, self.stall_at, self.quiet_at] {
            into.extend_from_slice(&number.to_le_bytes());
        }
        for number in
            [self.chunk, self.pause_ms, self.read_chunk, self.read_pause_ms, self.stall_ms, self.quiet_ms]
        {
            into.extend_from_slice(&number.to_le_bytes());
        }
        into.push(u8::from(self.lockstep));
        into.push(self.finish as u8);
        into.resize(start + SIDE, 0);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let short = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        Some(Self {
            bytes: long(0)?,
            after: long(8)?,
            stall_at: long(16)?,
            quiet_at: long(24)?,
            chunk: short(32)?,
            pause_ms: short(36)?,
            read_chunk: short(40)?,
            read_pause_ms: short(44)?,
            stall_ms: short(48)?,
            quiet_ms: short(52)?,
            lockstep: *bytes.get(56)? == 1,
            finish: match bytes.get(57)? {
                0 => Finish::Fin,
                1 => Finish::Last,
                2 => Finish::Full,
                3 => Finish::Abort,
                _ => return None,
            },
        })
    }
}

impl Plan {
    /// A flow without peculiarities.
    pub fn plain(flow: u64, up: u64, down: u64) -> Self {
        Self { flow, near: Side::plain(up), far: Side::plain(down) }
    }

    /// The first [`HEADER`] bytes of the flow's way up.
    pub fn header(&self, pattern: &Pattern) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.flow.to_le_bytes());
        self.near.encode(&mut bytes);
        self.far.encode(&mut bytes);
        let sum = pattern.sum(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The plan in a header, if it is whole and of this run.
    pub fn of_header(pattern: &Pattern, header: &[u8]) -> Option<Self> {
        let (body, sum) = header.get(..HEADER)?.split_at(HEADER - 8);
        if !body.starts_with(&MAGIC) || pattern.sum(body).to_le_bytes() != sum {
            return None;
        }
        Some(Self {
            flow: u64::from_le_bytes(body.get(8..16)?.try_into().ok()?),
            near: Side::decode(&body[16..16 + SIDE])?,
            far: Side::decode(&body[16 + SIDE..])?,
        })
    }

    /// Whether either end resets.
    pub fn aborts(&self) -> bool {
        self.near.aborts() || self.far.aborts()
    }
}

/// The flow whose header `bytes` begin with.
pub fn flow_of_header(pattern: &Pattern, bytes: &[u8]) -> Option<u64> {
    Plan::of_header(pattern, bytes).map(|plan| plan.flow)
}

/// The bytes of a direction: its header first, then the pattern.
pub fn fill(pattern: &Pattern, place: Place, header: &[u8], into: &mut [u8]) {
    let begun = usize::try_from(place.offset).unwrap_or(usize::MAX).min(header.len());
    let head = (header.len() - begun).min(into.len());
    let (front, rest) = into.split_at_mut(head);
    front.copy_from_slice(&header[begun..begun + head]);
    if place.direction == Direction::Up || !rest.is_empty() {
        pattern.fill(Place { offset: place.offset + head as u64, ..place }, rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::{Kind, Mix};

    #[test]
    fn plans_of_every_mix_survive_their_header_and_damaged_headers_are_refused() {
        let pattern = Pattern::new(3);
        for kind in Kind::ALL {
            let mix = Mix { seed: 5, kind, bytes: None, stall_ms: 2000 };
            for flow in 0..500 {
                let plan = mix.plan(flow);
                let header = plan.header(&pattern);
                assert_eq!(header.len(), HEADER);
                assert_eq!(Plan::of_header(&pattern, &header), Some(plan));
                assert_eq!(Plan::of_header(&Pattern::new(4), &header), None);
                let mut damaged = header.clone();
                damaged[flow as usize % HEADER] ^= 1;
                assert_eq!(Plan::of_header(&pattern, &damaged), None);
            }
        }
    }

    #[test]
    fn both_ends_of_every_plan_come_to_their_end() {
        for kind in Kind::ALL {
            let mix = Mix { seed: 6, kind, bytes: None, stall_ms: 2000 };
            for flow in 0..5000 {
                let plan = mix.plan(flow);
                assert!(comes_to_an_end(&plan), "{kind:?}: {plan:?}");
            }
        }
    }

    /// Plays a plan without sockets: nothing is in the way, so whoever stands still waits for the other for ever.
    fn comes_to_an_end(plan: &Plan) -> bool {
        let sides = [plan.near, plan.far];
        let mut state = [(0, false); 2];
        loop {
            let before = state;
            for me in [0, 1] {
                let (side, peer, other) = (sides[me], sides[1 - me], state[1 - me]);
                let mine = &mut state[me];
                let begun = if side.after == AFTER_END { other.1 } else { other.0 >= side.after };
                if begun && mine.0 < side.bytes {
                    let limit = if side.lockstep { other.0.min(side.bytes) } else { side.bytes };
                    mine.0 = (mine.0 + u64::from(side.chunk)).min(limit).max(mine.0);
                }
                if begun && mine.0 == side.bytes {
                    match side.finish {
                        Finish::Fin => mine.1 = true,
                        Finish::Last => mine.1 |= other.1,
                        Finish::Full => mine.1 |= other.0 == peer.bytes,
                        Finish::Abort => return true,
                    }
                }
            }
            if state[0].1 && state[1].1 {
                return true;
            }
            if state == before {
                return false;
            }
        }
    }
}
