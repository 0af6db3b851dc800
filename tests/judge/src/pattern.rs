//! Bytes that say where they belong.
//!
//! The eight bytes at offset `o` of a direction are a permutation, keyed by the run's seed, of (flow, direction, `o`). Going
//! backwards from a wrong word therefore names the place it came from.
//!
//! ```text
//!   64 bits before the permutation:   flow:20 │ direction:1 │ offset / 8:33 │ zero:10
//! ```
//! The zero bits let one word alone be told from noise 1023 times in 1024; two words in a row leave no doubt.

use serde::{Deserialize, Serialize};

/// Bytes of a word.
pub const WORD: u64 = 8;
/// Flows a run can have.
pub const MAX_FLOWS: u64 = 1 << FLOW_BITS;
/// Bytes a direction can have.
pub const MAX_BYTES: u64 = WORD << INDEX_BITS;

const FLOW_BITS: u32 = 20;
const INDEX_BITS: u32 = 33;
const ZERO_BITS: u32 = 10;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the generator to the sink.
    Up,
    /// From the sink to the generator.
    Down,
}

/// Where a byte belongs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The flow, below [`MAX_FLOWS`].
    pub flow: u64,
    /// Its direction.
    pub direction: Direction,
    /// The byte's offset in that direction, below [`MAX_BYTES`].
    pub offset: u64,
}

/// A run's permutation.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    before: u64,
    after: u64,
}

impl Pattern {
    /// The permutation of the run with this seed.
    pub fn new(seed: u64) -> Self {
        Self { before: scramble(seed ^ 0x6a09_e667_f3bc_c908), after: scramble(seed ^ 0xbb67_ae85_84ca_a73b) }
    }

    /// Fills `into` with the bytes that belong at `place` and after it.
    pub fn fill(&self, place: Place, into: &mut [u8]) {
        let mut index = place.offset / WORD;
        let skip = usize::try_from(place.offset % WORD).unwrap_or(0);
        let (head, rest) = into.split_at_mut(into.len().min((8 - skip) % 8));
        if !head.is_empty() {
            let word = self.word(place.flow, place.direction, index);
            let end = skip + head.len();
            head.copy_from_slice(&word[skip..end]);
            index += 1;
        }
        for slot in rest.chunks_mut(8) {
            slot.copy_from_slice(&self.word(place.flow, place.direction, index)[..slot.len()]);
            index += 1;
        }
    }

    /// Where a word belongs, if it is one of this run's.
    pub fn place(&self, word: [u8; 8]) -> Option<Place> {
        let packed = unscramble(u64::from_le_bytes(word) ^ self.after).wrapping_sub(self.before);
        if packed & ((1 << ZERO_BITS) - 1) != 0 {
            return None;
        }
        let index = packed >> ZERO_BITS & ((1 << INDEX_BITS) - 1);
        let down = packed >> (ZERO_BITS + INDEX_BITS) & 1 == 1;
        Some(Place {
            flow: packed >> (ZERO_BITS + INDEX_BITS + 1),
            direction: if down { Direction::Down } else { Direction::Up },
            offset: index * WORD,
        })
    }

    /// A keyed sum over a flow's header, so that a damaged one is noticed.
    pub fn sum(&self, bytes: &[u8]) -> u64 {
        bytes.iter().fold(self.before, |sum, byte| scramble(sum ^ u64::from(*byte)))
    }

    fn word(&self, flow: u64, direction: Direction, index: u64) -> [u8; 8] {
        let packed = flow << (ZERO_BITS + INDEX_BITS + 1)
            | u64::from(direction == Direction::Down) << (ZERO_BITS + INDEX_BITS)
            | index << ZERO_BITS;
        (scramble(packed.wrapping_add(self.before)) ^ self.after).to_le_bytes()
    }
}

/// A number from a number, without pattern and without repetition (the finalizer of splitmix64).
pub fn scramble(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

fn unscramble(mut x: u64) -> u64 {
    x = x ^ x >> 31 ^ x >> 62;
    x = x.wrapping_mul(0x3196_42b2_d24d_8ec3);
    x = x ^ x >> 27 ^ x >> 54;
    x = x.wrapping_mul(0x96de_1b17_3f11_9089);
    x ^ x >> 30 ^ x >> 60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_names_its_place_and_no_other() {
        let pattern = Pattern::new(7);
        for step in 0..10_000_u64 {
            let random = scramble(step);
            let place = Place {
                flow: random % MAX_FLOWS,
                direction: if random >> 40 & 1 == 1 { Direction::Down } else { Direction::Up },
                offset: (scramble(random) % MAX_BYTES) / WORD * WORD,
            };
            let mut word = [0; 8];
            pattern.fill(place, &mut word);
            assert_eq!(pattern.place(word), Some(place));
        }
    }

    #[test]
    fn bytes_do_not_depend_on_how_they_are_cut() {
        let pattern = Pattern::new(9);
        let at = |offset| Place { flow: 3, direction: Direction::Down, offset };
        let mut whole = vec![0; 200];
        pattern.fill(at(0), &mut whole);
        for from in 0..60 {
            for length in 0..60 {
                let mut part = vec![0; length];
                pattern.fill(at(from as u64), &mut part);
                assert_eq!(part, whole[from..from + length], "{from} {length}");
            }
        }
    }

    #[test]
    fn words_of_another_run_are_almost_never_taken_for_ours() {
        let (ours, theirs) = (Pattern::new(1), Pattern::new(2));
        let mut word = [0; 8];
        let taken = (0..100_000_u64).filter(|index| {
            theirs.fill(Place { flow: 1, direction: Direction::Up, offset: index * WORD }, &mut word);
            ours.place(word).is_some()
        });
        let taken = taken.count();
        assert!((40..=200).contains(&taken), "1 in 1024 expected, {taken} in 100,000 seen");
    }
}
