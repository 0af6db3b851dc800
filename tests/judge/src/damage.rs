//! Names what is wrong with received bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::pattern::{Direction, Pattern, Place};
use crate::plan;

/// Bytes kept from the first wrong one on, to tell loss from reordering.
pub const TAIL: usize = 256 << 10;

/// The first wrong byte of a direction and what it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Wrong {
    /// Its offset.
    pub at: u64,
    /// What it is.
    pub damage: Damage,
}

/// What the bytes from the first wrong one on are.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Damage {
    /// Changed on the way; right again after so many bytes.
    Corrupt {
        /// Bytes until the right ones go on.
        bytes: u64,
    },
    /// Bytes that had come before.
    Duplicate {
        /// Where they had come.
        from: u64,
    },
    /// A gap: the bytes that belong here never came.
    Lost {
        /// Its length.
        bytes: u64,
    },
    /// Bytes that belong further on; those that belong here came later.
    Reordered {
        /// How far ahead they are.
        ahead: u64,
    },
    /// Bytes of another flow or of the other direction.
    Foreign {
        /// Where they belong.
        place: Place,
    },
    /// Nothing this run ever sent, or too few bytes to tell.
    Unknown,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at offset {}: ", self.at)?;
        match self.damage {
            Damage::Corrupt { bytes } => write!(f, "{bytes} bytes changed"),
            Damage::Duplicate { from } => write!(f, "bytes of offset {from} came again"),
            Damage::Lost { bytes } => write!(f, "{bytes} bytes are missing"),
            Damage::Reordered { ahead } => write!(f, "bytes {ahead} further on came first"),
            Damage::Foreign { place } => {
                let way = if place.direction == Direction::Up { "up" } else { "down" };
                write!(f, "bytes of flow {} {way}, offset {}", place.flow, place.offset)
            }
            Damage::Unknown => f.write_str("bytes that nobody sent"),
        }
    }
}

/// Names the damage at `here`, where `tail` came instead of what `expect` gives. `header` is what the direction began with.
pub fn name(pattern: &Pattern, here: Place, header: &[u8], tail: &[u8]) -> Damage {
    if let Some(from) = source(pattern, here, header, tail) {
        let same = from.flow == here.flow && from.direction == here.direction;
        return match from.offset.cmp(&here.offset) {
            _ if !same => Damage::Foreign { place: from },
            std::cmp::Ordering::Less => Damage::Duplicate { from: from.offset },
            std::cmp::Ordering::Equal => Damage::Corrupt { bytes: 0 },
            std::cmp::Ordering::Greater => {
                let ahead = from.offset - here.offset;
                if comes_later(pattern, here, from, tail) {
                    Damage::Reordered { ahead }
                } else {
                    Damage::Lost { bytes: ahead }
                }
            }
        };
    }
    match resumes(pattern, here, header, tail) {
        Some(bytes) => Damage::Corrupt { bytes },
        None => Damage::Unknown,
    }
}

/// Where the first byte of `tail` belongs.
fn source(pattern: &Pattern, here: Place, header: &[u8], tail: &[u8]) -> Option<Place> {
    if tail.len() >= 8 {
        let found = header.windows(tail.len().min(16)).position(|window| tail.starts_with(window));
        if let Some(at) = found {
            return Some(Place { offset: at as u64, ..here });
        }
    }
    if let Some(flow) = plan::flow_of_header(pattern, tail) {
        return Some(Place { flow, direction: Direction::Up, offset: 0 });
    }
    (0..8).find_map(|skip| {
        let first = pattern.place(word(tail, skip)?)?;
        let start = Place { offset: first.offset.checked_sub(skip as u64)?, ..first };
        let own = start.flow == here.flow && start.direction == here.direction;
        let mut there = vec![0; tail.len().min(DOUBTLESS)];
        plan::fill(pattern, start, if own { header } else { &[] }, &mut there);
        tail.starts_with(&there).then_some(start)
    })
}

/// So many bytes in a row that fit a place come from there.
const DOUBTLESS: usize = 12;

/// Whether bytes that belong between `here` and `from` are further on in `tail`.
fn comes_later(pattern: &Pattern, here: Place, from: Place, tail: &[u8]) -> bool {
    (0..tail.len()).any(|at| {
        word(tail, at).and_then(|word| pattern.place(word)).is_some_and(|place| {
            place.flow == here.flow
                && place.direction == here.direction
                && (here.offset..from.offset).contains(&place.offset)
        })
    })
}

/// After how many bytes the right ones go on, for eight bytes at least.
fn resumes(pattern: &Pattern, here: Place, header: &[u8], tail: &[u8]) -> Option<u64> {
    let mut right = vec![0; tail.len()];
    plan::fill(pattern, here, header, &mut right);
    let same: Vec<bool> = tail.iter().zip(&right).map(|(a, b)| a == b).collect();
    let found = same.windows(8).position(|run| run.iter().all(|same| *same));
    found.map(|at| at as u64)
}

fn word(bytes: &[u8], at: usize) -> Option<[u8; 8]> {
    bytes.get(at..at.checked_add(8)?)?.try_into().ok()
}
