//! What happens to the next piece or datagram: decided here from the seed and the faults in force, done elsewhere.
//!
//! ```text
//!  Faults (what was asked for) ─┐
//!                               ├─▶ Lane (one direction of one connection) ─▶ how much, when, how often, how broken
//!  seed, connection, direction ─┘
//! ```

use std::time::{Duration, Instant};

use crate::command::{Fault, Way};
use crate::rng::{Millionths, Rng};

/// The faults in force, for each direction.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Plan {
    pub(crate) up: Faults,
    pub(crate) down: Faults,
}

/// The faults in force in one direction; all zero is a clean line.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Faults {
    pub(crate) black_hole: bool,
    delay: Duration,
    jitter: Duration,
    /// Bytes a second.
    rate: u64,
    slice: u64,
    limit: u64,
    loss: Millionths,
    reorder: Millionths,
    duplicate: Millionths,
    corrupt: Millionths,
    truncate: Millionths,
}

impl Plan {
    pub(crate) fn set(&mut self, fault: Fault, way: Way) {
        if way != Way::Down {
            self.up.set(fault);
        }
        if way != Way::Up {
            self.down.set(fault);
        }
    }

    /// No connection can come to be.
    pub(crate) fn is_dark(&self) -> bool {
        self.up.black_hole || self.down.black_hole
    }
}

impl Faults {
    fn set(&mut self, fault: Fault) {
        match fault {
            Fault::BlackHole => self.black_hole = true,
            Fault::Corrupt(share) => self.corrupt = share,
            Fault::Delay(time) => self.delay = time,
            Fault::Duplicate(share) => self.duplicate = share,
            Fault::Jitter(time) => self.jitter = time,
            Fault::Limit(bytes) => self.limit = bytes,
            Fault::Loss(share) => self.loss = share,
            Fault::Rate(bytes) => self.rate = bytes,
            Fault::Reorder(share) => self.reorder = share,
            Fault::Slice(bytes) => self.slice = bytes,
            Fault::Truncate(share) => self.truncate = share,
        }
    }
}

/// One direction of one connection, or of one UDP peer.
#[derive(Debug)]
pub(crate) struct Lane {
    rng: Rng,
    /// When the line is free again.
    free_at: Option<Instant>,
    /// When the last piece comes out: a stream never overtakes itself.
    last_at: Option<Instant>,
    passed: u64,
}

impl Lane {
    pub(crate) fn new(seed: u64, connection: u64, up: bool) -> Self {
        let mut rng = Rng::new(seed ^ connection.wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ u64::from(up));
        rng.bits();
        Self { rng, free_at: None, last_at: None, passed: 0 }
    }

    /// Of `have` bytes of a stream, the next piece and when it comes out; `None`: the connection has had its bytes.
    pub(crate) fn piece(&mut self, now: Instant, have: usize, faults: &Faults) -> Option<Piece> {
        let mut size = u64::try_from(have).unwrap_or(u64::MAX);
        if faults.slice > 0 {
            size = size.min(self.rng.between(1, faults.slice));
        }
        if faults.limit > 0 {
            size = size.min(faults.limit.saturating_sub(self.passed));
            if size == 0 {
                return None;
            }
        }
        self.passed = self.passed.saturating_add(size);
        let due = self.due(now, size, faults);
        let at = self.last_at.map_or(due, |last| due.max(last));
        self.last_at = Some(at);
        Some(Piece { size: usize::try_from(size).unwrap_or(have), at })
    }

    /// What comes out of one datagram, and when: nothing, it, or more than one.
    pub(crate) fn datagram(&mut self, now: Instant, size: usize, faults: &Faults) -> Vec<Copy> {
        // Every decision is drawn, whatever the others say, so that datagram n meets the same fate at any load.
        let lost = self.rng.chance(faults.loss);
        let twice = self.rng.chance(faults.duplicate);
        let held = self.rng.chance(faults.reorder);
        let flip = self.rng.chance(faults.corrupt).then(|| self.rng.bits());
        let cut = self.rng.chance(faults.truncate).then(|| self.rng.bits());
        let whole = u64::try_from(size).unwrap_or(u64::MAX);
        let mut at = self.due(now, whole, faults);
        if lost || faults.black_hole {
            return Vec::new();
        }
        if held {
            at += HELD_BACK + faults.delay;
        }
        let within = |bits: u64, bound: u64| usize::try_from(bits % bound.max(1)).unwrap_or(0);
        let copy = Copy {
            at,
            flip_bit: flip.map(|bits| within(bits, whole.saturating_mul(8))),
            keep: cut.map_or(size, |bits| within(bits, whole)),
        };
        let mut copies = vec![copy];
        if twice {
            copies.push(Copy { at: at + TWIN_AFTER, flip_bit: None, keep: size });
        }
        copies
    }

    fn due(&mut self, now: Instant, size: u64, faults: &Faults) -> Instant {
        let begin = self.free_at.map_or(now, |free| free.max(now));
        let sent = match faults.rate {
            0 => begin,
            rate => begin + Duration::from_secs_f64(as_f64(size) / as_f64(rate)),
        };
        self.free_at = Some(sent);
        let spread = u64::try_from(faults.jitter.as_micros()).unwrap_or(u64::MAX);
        let jitter = if spread == 0 { 0 } else { self.rng.between(0, spread.saturating_mul(2)) };
        (sent + faults.delay + Duration::from_micros(jitter))
            .checked_sub(faults.jitter)
            .unwrap_or(sent)
            .max(sent)
    }
}

/// Bytes of a stream that travel together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Piece {
    pub(crate) size: usize,
    pub(crate) at: Instant,
}

/// One datagram that comes out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Copy {
    pub(crate) at: Instant,
    pub(crate) flip_bit: Option<usize>,
    pub(crate) keep: usize,
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no 53rd bit")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

/// Long enough for later datagrams to overtake.
const HELD_BACK: Duration = Duration::from_millis(5);
const TWIN_AFTER: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, Kind};

    fn faults(kind: Kind, lines: &[&str]) -> Faults {
        let mut plan = Plan::default();
        for line in lines {
            let Ok(Command::Set(fault, way)) = Command::parse(line, kind) else { panic!("{line}") };
            plan.set(fault, way);
        }
        plan.up
    }

    fn pieces(seed: u64, faults: &Faults, total: usize) -> Vec<Piece> {
        let now = Instant::now();
        let mut lane = Lane::new(seed, 0, true);
        let mut left = total;
        let mut pieces = Vec::new();
        while left > 0
            && let Some(piece) = lane.piece(now, left, faults)
        {
            left -= piece.size;
            pieces.push(piece);
        }
        pieces
    }

    #[test]
    fn same_seed_breaks_the_same_way_and_another_seed_differently() {
        let faults = faults(Kind::Tcp, &["slice 9", "jitter 3ms", "delay 10ms"]);
        let sizes = |seed| pieces(seed, &faults, 5_000).iter().map(|piece| piece.size).collect::<Vec<_>>();
        assert_eq!(sizes(1), sizes(1));
        assert_ne!(sizes(1), sizes(2));
    }

    #[test]
    fn stream_never_overtakes_itself_and_loses_no_byte() {
        let faults = faults(Kind::Tcp, &["slice 100", "jitter 50ms", "delay 10ms"]);
        for seed in 0..50 {
            let pieces = pieces(seed, &faults, 10_000);
            assert_eq!(pieces.iter().map(|piece| piece.size).sum::<usize>(), 10_000);
            assert!(pieces.iter().all(|piece| (1..=100).contains(&piece.size)));
            assert!(pieces.is_sorted_by_key(|piece| piece.at));
        }
    }

    #[test]
    fn limit_ends_the_connection_after_exactly_its_bytes() {
        let pieces = pieces(1, &faults(Kind::Tcp, &["limit 1000", "slice 7"]), 5_000);
        assert_eq!(pieces.iter().map(|piece| piece.size).sum::<usize>(), 1_000);
    }

    #[test]
    fn rate_spaces_pieces_by_their_size() {
        let now = Instant::now();
        let faults = faults(Kind::Tcp, &["rate 8kbit"]);
        let mut lane = Lane::new(1, 0, true);
        let first = lane.piece(now, 500, &faults).unwrap();
        let second = lane.piece(now, 1_000, &faults).unwrap();
        assert_eq!(
            (first.at - now, second.at - now),
            (Duration::from_millis(500), Duration::from_millis(1_500))
        );
    }

    #[test]
    fn datagrams_are_lost_doubled_and_held_back_in_the_share_asked_for() {
        let now = Instant::now();
        let faults =
            faults(Kind::Udp, &["loss 10%", "duplicate 20%", "reorder 30%", "corrupt 5%", "truncate 5%"]);
        let mut lane = Lane::new(7, 0, true);
        let fates: Vec<Vec<Copy>> = (0..20_000).map(|_| lane.datagram(now, 100, &faults)).collect();
        let share = |count: usize| count * 100 / fates.len();
        assert!((9..=11).contains(&share(fates.iter().filter(|copies| copies.is_empty()).count())));
        let kept: Vec<_> = fates.iter().filter(|copies| !copies.is_empty()).collect();
        let share = |count: usize| count * 100 / kept.len();
        assert!((19..=21).contains(&share(kept.iter().filter(|copies| copies.len() == 2).count())));
        assert!((29..=31).contains(&share(kept.iter().filter(|copies| copies[0].at > now).count())));
        assert!((4..=6).contains(&share(kept.iter().filter(|copies| copies[0].flip_bit.is_some()).count())));
        assert!((4..=6).contains(&share(kept.iter().filter(|copies| copies[0].keep < 100).count())));
    }

    #[test]
    fn black_hole_lets_no_datagram_out() {
        let faults = faults(Kind::Udp, &["blackhole", "duplicate 100%"]);
        assert!(Lane::new(1, 0, true).datagram(Instant::now(), 100, &faults).is_empty());
    }
}
