//! Compares what comes with what should come, and hashes it.

use aws_lc_rs::digest::{self, Context, SHA256};

use crate::damage::{self, TAIL, Wrong};
use crate::pattern::{Pattern, Place};
use crate::plan;

/// One received direction of one flow.
#[derive(Clone)]
pub struct Check {
    pattern: Pattern,
    next: Place,
    header: Vec<u8>,
    hash: Hash,
    wrong_at: Option<u64>,
    tail: Vec<u8>,
    scratch: Vec<u8>,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check")
            .field("next", &self.next)
            .field("wrong_at", &self.wrong_at)
            .finish_non_exhaustive()
    }
}

impl Check {
    /// A direction that begins at `start` (offset 0) with `header`, which is empty for [`crate::pattern::Direction::Down`].
    pub fn new(pattern: Pattern, start: Place, header: Vec<u8>) -> Self {
        Self {
            pattern,
            next: start,
            header,
            hash: Hash::new(),
            wrong_at: None,
            tail: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Takes the next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        self.hash.add(bytes);
        if self.wrong_at.is_none() {
            self.scratch.resize(bytes.len(), 0);
            plan::fill(&self.pattern, self.next, &self.header, &mut self.scratch);
            if let Some(at) = bytes.iter().zip(&self.scratch).position(|(came, right)| came != right) {
                self.wrong_at = Some(self.next.offset + at as u64);
                self.keep(&bytes[at..]);
            }
        } else {
            self.keep(bytes);
        }
        self.next.offset += bytes.len() as u64;
    }

    /// Bytes taken.
    pub fn bytes(&self) -> u64 {
        self.next.offset
    }

    /// SHA-256 of all bytes taken, in hex.
    pub fn sha256(&self) -> String {
        self.hash.hex()
    }

    /// The first wrong byte and what it is.
    pub fn wrong(&self) -> Option<Wrong> {
        let at = self.wrong_at?;
        let here = Place { offset: at, ..self.next };
        Some(Wrong { at, damage: damage::name(&self.pattern, here, &self.header, &self.tail) })
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = TAIL.saturating_sub(self.tail.len());
        self.tail.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// A running SHA-256.
#[derive(Clone)]
pub struct Hash(Context);

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.hex())
    }
}

impl Default for Hash {
    fn default() -> Self {
        Self::new()
    }
}

impl Hash {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Goes on with these bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// So far, in hex.
    pub fn hex(&self) -> String {
        let digest: digest::Digest = self.0.clone().finish();
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage::Damage;
    use crate::pattern::Direction;
    use crate::plan::{HEADER, Plan};

    const SEED: u64 = 11;

    #[test]
    fn untouched_bytes_are_right_however_they_are_cut() {
        let sent = sent(5);
        for cut in [1, 7, 8, 100, 4096] {
            let mut check = check();
            sent.chunks(cut).for_each(|part| check.take(part));
            assert_eq!((check.wrong(), check.bytes()), (None, sent.len() as u64));
        }
    }

    #[test]
    fn changed_bytes_are_named_with_their_offset_and_number() {
        for (at, count) in [(HEADER + 40, 1), (HEADER + 1003, 5), (HEADER, 64), (20, 3)] {
            let mut came = sent(5);
            came[at..at + count].iter_mut().for_each(|byte| *byte ^= 0x55);
            assert_eq!(verdict(&came), wrong(at, Damage::Corrupt { bytes: count as u64 }));
        }
    }

    #[test]
    fn missing_bytes_are_named_as_lost() {
        for (at, count) in [(HEADER + 8, 8), (HEADER + 1001, 777), (HEADER + 3, 1), (0, HEADER), (10, HEADER)]
        {
            let mut came = sent(5);
            came.drain(at..at + count);
            assert_eq!(verdict(&came), wrong(at, Damage::Lost { bytes: count as u64 }), "{at} {count}");
        }
    }

    #[test]
    fn repeated_bytes_are_named_as_duplicates() {
        for (at, count) in
            [(HEADER + 8, 80), (HEADER + 1001, 777), (HEADER + 504, 16), (0, HEADER), (0, 1000), (0, 30)]
        {
            let whole = sent(5);
            let mut came = whole[..at + count].to_vec();
            came.extend_from_slice(&whole[at..]);
            assert_eq!(
                verdict(&came),
                wrong(at + count, Damage::Duplicate { from: at as u64 }),
                "{at} {count}"
            );
        }
    }

    #[test]
    fn exchanged_pieces_are_named_as_reordered() {
        for (first, second) in [(80, 80), (777, 16), (16, 777), (1, 2000)] {
            let at = HEADER + 100;
            let whole = sent(5);
            let mut came = whole[..at].to_vec();
            came.extend_from_slice(&whole[at + first..at + first + second]);
            came.extend_from_slice(&whole[at..at + first]);
            came.extend_from_slice(&whole[at + first + second..]);
            let Some(Wrong { damage, .. }) = verdict(&came) else { panic!("unnoticed") };
            // One byte that comes later is too little to be seen again.
            let expected = if first == 1 {
                Damage::Lost { bytes: 1 }
            } else {
                Damage::Reordered { ahead: first as u64 }
            };
            assert_eq!(damage, expected, "{first} {second}");
        }
    }

    #[test]
    fn bytes_of_another_flow_and_of_the_other_direction_are_named_with_their_place() {
        let pattern = Pattern::new(SEED);
        for place in [
            Place { flow: 77, direction: Direction::Up, offset: 8000 },
            Place { flow: 5, direction: Direction::Down, offset: 333 },
        ] {
            let at = HEADER + 1000;
            let mut came = sent(5);
            pattern.fill(place, &mut came[at..at + 500]);
            assert_eq!(verdict(&came), wrong(at, Damage::Foreign { place }));
        }
        let mut came = sent(5);
        came.splice(HEADER + 9..HEADER + 9, sent(6));
        let place = Place { flow: 6, direction: Direction::Up, offset: 0 };
        assert_eq!(verdict(&came), wrong(HEADER + 9, Damage::Foreign { place }));
    }

    #[test]
    fn noise_to_the_end_is_unknown() {
        let mut came = sent(5);
        came[HEADER + 100..].fill(0xee);
        assert_eq!(verdict(&came), wrong(HEADER + 100, Damage::Unknown));
    }

    fn sent(flow: u64) -> Vec<u8> {
        let pattern = Pattern::new(SEED);
        let mut bytes = vec![0; 9000];
        let header = Plan::plain(flow, 9000 - HEADER as u64, 0).header(&pattern);
        plan::fill(&pattern, Place { flow, direction: Direction::Up, offset: 0 }, &header, &mut bytes);
        bytes
    }

    fn check() -> Check {
        let pattern = Pattern::new(SEED);
        let header = Plan::plain(5, 9000 - HEADER as u64, 0).header(&pattern);
        Check::new(pattern, Place { flow: 5, direction: Direction::Up, offset: 0 }, header)
    }

    fn verdict(came: &[u8]) -> Option<Wrong> {
        let mut check = check();
        came.chunks(100).for_each(|part| check.take(part));
        check.wrong()
    }

    fn wrong(at: usize, damage: Damage) -> Option<Wrong> {
        Some(Wrong { at: at as u64, damage })
    }
}
