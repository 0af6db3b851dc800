//! One direction of a simulated byte transport: TCP as seen from above.
//!
//! ```text
//!            finish                    all delivered
//!   Open ───────────▶ Finishing ───────────────────────▶ ended (clean)
//!     │ cut (byte or time)                                   ▲
//!     └──────▶ Cut: what is on the way is lost ──▶ ended (cut)
//!   Open ──vanish──▶ Gone: bytes disappear, nobody is told
//! ```
//! Writes are split and merged at random, arrive after a delay, in order, and wait while the link stalls.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::rng::Rng;

/// How a link behaves.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Time a byte travels.
    pub delay: Duration,
    /// Up to this much more, at random, never reordering.
    pub jitter: Duration,
    /// From this instant on a byte sent later travels longer, by a twentieth of the time since, up to so much more.
    pub grows: Option<(Instant, Duration)>,
    /// A write is split into pieces of at most this many bytes.
    pub split: usize,
    /// One in so many pieces waits for the next one and arrives merged with it; 0 never.
    pub merge_one_in: u64,
    /// Bytes that may be on the way or unread at once; more has to wait at the sender.
    pub capacity: usize,
    /// What goes wrong, at most one of each trigger.
    pub faults: Vec<(Trigger, Fault)>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            grows: None,
            split: usize::MAX,
            merge_one_in: 0,
            capacity: 256 << 10,
            faults: Vec::new(),
        }
    }
}

/// When a fault strikes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trigger {
    /// When this many bytes were taken; the byte with this number is the first that is lost.
    AtByte(u64),
    /// At this instant.
    At(Instant),
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The transport breaks; both ends learn of it at once, bytes on the way are lost.
    Cut,
    /// A black hole: bytes disappear and nobody is told.
    Vanish,
    /// Nothing arrives for this long, then everything goes on.
    Stall(Duration),
}

/// What comes out at the far end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Arrival {
    /// Bytes, in order.
    Data(Bytes),
    /// The sender has finished and everything was delivered.
    End,
    /// The transport broke.
    Cut,
}

/// One direction of a transport.
#[derive(Debug)]
pub struct Link {
    plan: Plan,
    rng: Rng,
    state: State,
    taken: u64,
    held: usize,
    last: Option<Instant>,
    stalled_until: Option<Instant>,
    on_the_way: VecDeque<(Instant, Bytes)>,
    fired: Vec<(Trigger, Fault)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Open,
    Finishing,
    Cut,
    Gone,
    Ended,
}

impl Link {
    /// A link that behaves as planned; `rng` decides splits, merges and jitter.
    pub fn new(plan: Plan, rng: Rng) -> Self {
        Self {
            plan,
            rng,
            state: State::Open,
            taken: 0,
            held: 0,
            last: None,
            stalled_until: None,
            on_the_way: VecDeque::new(),
            fired: Vec::new(),
        }
    }

    /// Bytes the link takes now. A black hole takes nothing once the sender's buffer is full.
    pub fn room(&self) -> usize {
        self.plan.capacity.saturating_sub(self.held)
    }

    /// Takes bytes on their way. More than [`Link::room`] is the caller's mistake and is taken all the same.
    pub fn send(&mut self, now: Instant, mut data: Bytes) {
        self.strike(now);
        if let Some(at) = self.byte_trigger()
            && self.taken + data.len() as u64 > at
        {
            let kept = usize::try_from(at.saturating_sub(self.taken)).unwrap_or(0);
            let lost = data.split_off(kept.min(data.len()));
            self.put(now, data);
            self.strike(now);
            data = lost;
        }
        self.put(now, data);
    }

    /// The sender has no more bytes.
    pub fn finish(&mut self, now: Instant) {
        self.strike(now);
        if self.state == State::Open {
            self.state = State::Finishing;
            self.last = Some(self.arrival(now));
        }
    }

    /// Lets what is due by now strike, whether or not anybody sends or receives.
    pub fn advance(&mut self, now: Instant) {
        self.strike(now);
    }

    /// A fault that was not planned strikes now.
    pub fn strike_now(&mut self, now: Instant, fault: Fault) {
        self.plan.faults.push((Trigger::At(now), fault));
        self.strike(now);
    }

    /// Whether nothing arrives at this instant, because it stands still.
    pub fn is_stalled(&self, now: Instant) -> bool {
        self.stalled_until.is_some_and(|until| until > now)
    }

    /// Breaks the link now.
    pub fn cut(&mut self) {
        if self.state != State::Ended {
            self.state = State::Cut;
            self.on_the_way.clear();
            self.held = 0;
        }
    }

    /// True once the transport broke, for either end to see.
    pub fn is_cut(&self) -> bool {
        self.state == State::Cut
    }

    /// What has arrived by `now`, at most `max` bytes of it.
    pub fn receive(&mut self, now: Instant, max: usize) -> Option<Arrival> {
        self.strike(now);
        match self.state {
            State::Ended => return None,
            State::Cut => {
                self.state = State::Ended;
                return Some(Arrival::Cut);
            }
            State::Gone => return None,
            State::Open | State::Finishing => {}
        }
        if self.stalled_until.is_some_and(|until| until > now) {
            return None;
        }
        let mut out = BytesMut::new();
        while let Some((at, piece)) = self.on_the_way.front_mut() {
            if *at > now || out.len() >= max {
                break;
            }
            let part = piece.split_to(piece.len().min(max - out.len()));
            out.extend_from_slice(&part);
            if piece.is_empty() {
                self.on_the_way.pop_front();
            }
        }
        if !out.is_empty() {
            self.held = self.held.saturating_sub(out.len());
            return Some(Arrival::Data(out.freeze()));
        }
        let all_delivered = self.on_the_way.is_empty() && self.last.is_none_or(|last| last <= now);
        if self.state == State::Finishing && all_delivered {
            self.state = State::Ended;
            return Some(Arrival::End);
        }
        None
    }

    /// When a planned fault strikes next, as far as it is a matter of time.
    pub fn next_fault(&self) -> Option<Instant> {
        let planned = self.plan.faults.iter().filter_map(|(trigger, _)| match trigger {
            Trigger::At(at) => Some(*at),
            Trigger::AtByte(_) => None,
        });
        planned.min()
    }

    /// When [`Link::receive`] has something to say next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let arrival = match self.state {
            State::Ended | State::Gone => None,
            State::Cut => self.last,
            State::Open => self.on_the_way.front().map(|(at, _)| *at),
            State::Finishing => self.on_the_way.front().map(|(at, _)| *at).or(self.last),
        };
        let arrival = arrival.map(|at| self.stalled_until.map_or(at, |until| at.max(until)));
        self.next_fault().into_iter().chain(arrival).min()
    }

    /// Bytes taken since the start, and how many of them have not arrived by `now`: what a kernel knows of them.
    pub fn traffic(&self, now: Instant) -> (u64, u64) {
        let stands = self.state == State::Gone || self.stalled_until.is_some_and(|until| until > now);
        let arrived = self.on_the_way.iter().take_while(|(at, _)| !stands && *at <= now);
        let arrived: usize = arrived.map(|(_, piece)| piece.len()).sum();
        (self.taken, self.held.saturating_sub(arrived) as u64)
    }

    /// Time a byte sent at `now` travels, without jitter.
    pub fn delay(&self, now: Instant) -> Duration {
        let grown =
            self.plan.grows.map(|(since, most)| (now.saturating_duration_since(since) / 20).min(most));
        self.plan.delay + grown.unwrap_or_default()
    }

    /// The faults that have struck so far, with what set them off.
    pub fn fired(&self) -> &[(Trigger, Fault)] {
        &self.fired
    }

    fn put(&mut self, now: Instant, mut data: Bytes) {
        self.taken += data.len() as u64;
        if matches!(self.state, State::Open | State::Gone) {
            self.held += data.len();
        }
        if self.state != State::Open {
            return;
        }
        while !data.is_empty() {
            let size = self.rng.size(1, self.plan.split.min(data.len()));
            let piece = data.split_to(if self.plan.split == usize::MAX { data.len() } else { size });
            let at = self.arrival(now);
            match self.on_the_way.back_mut() {
                Some((before, earlier)) if self.rng.one_in(self.plan.merge_one_in) => {
                    let mut both = BytesMut::from(&earlier[..]);
                    both.extend_from_slice(&piece);
                    (*before, *earlier) = (at, both.freeze());
                }
                _ => self.on_the_way.push_back((at, piece)),
            }
        }
    }

    /// When a byte sent now arrives: never before an earlier one.
    fn arrival(&mut self, now: Instant) -> Instant {
        let jitter = self.rng.between(0, u64::try_from(self.plan.jitter.as_nanos()).unwrap_or(u64::MAX));
        let at = now + self.delay(now) + Duration::from_nanos(jitter);
        let at = self.last.map_or(at, |last| last.max(at));
        self.last = Some(at);
        at
    }

    fn byte_trigger(&self) -> Option<u64> {
        let bytes = self.plan.faults.iter().filter_map(|(trigger, _)| match trigger {
            Trigger::AtByte(at) => Some(*at),
            Trigger::At(_) => None,
        });
        bytes.min()
    }

    /// Lets every fault that is due strike, once.
    fn strike(&mut self, now: Instant) {
        let taken = self.taken;
        let due = |trigger: &Trigger| match trigger {
            Trigger::AtByte(at) => *at <= taken,
            Trigger::At(at) => *at <= now,
        };
        let (struck, waiting) = std::mem::take(&mut self.plan.faults).into_iter().partition(|(t, _)| due(t));
        self.plan.faults = waiting;
        let struck: Vec<(Trigger, Fault)> = struck;
        for (trigger, fault) in struck {
            self.fired.push((trigger, fault));
            match fault {
                Fault::Cut => {
                    self.last = Some(now);
                    self.cut();
                }
                Fault::Vanish if self.state == State::Open => self.state = State::Gone,
                Fault::Vanish => {}
                Fault::Stall(time) => {
                    // Whenever anybody looks: one that was planned for an instant began then.
                    let since = if let Trigger::At(at) = trigger { at } else { now };
                    self.stalled_until = Some(since + time);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(link: &mut Link, until: Instant) -> (Vec<u8>, Option<Arrival>) {
        let mut bytes = Vec::new();
        loop {
            match link.receive(until, usize::MAX) {
                Some(Arrival::Data(data)) => bytes.extend_from_slice(&data),
                other => return (bytes, other),
            }
        }
    }

    #[test]
    fn bytes_arrive_whole_in_order_and_then_the_end() {
        let start = Instant::now();
        for seed in 0..200 {
            let plan =
                Plan { split: 7, merge_one_in: 3, jitter: Duration::from_millis(5), ..Plan::default() };
            let mut link = Link::new(plan, Rng::new(seed));
            let sent: Vec<u8> = (0..200).collect();
            link.send(start, Bytes::from(sent.clone()));
            link.finish(start);
            assert_eq!(link.receive(start, 10), None, "nothing arrives before its delay");
            assert_eq!(drain(&mut link, start + Duration::from_secs(1)), (sent, Some(Arrival::End)));
        }
    }

    #[test]
    fn cut_at_a_byte_loses_what_is_on_the_way_and_both_ends_see_it() {
        let start = Instant::now();
        let plan = Plan { faults: vec![(Trigger::AtByte(3), Fault::Cut)], ..Plan::default() };
        let mut link = Link::new(plan, Rng::new(1));
        link.send(start, Bytes::from_static(b"abcdef"));
        assert!(link.is_cut());
        assert_eq!(drain(&mut link, start + Duration::from_secs(1)), (Vec::new(), Some(Arrival::Cut)));
        assert_eq!(link.fired(), [(Trigger::AtByte(3), Fault::Cut)]);
    }

    #[test]
    fn vanished_bytes_fill_the_sender_and_tell_nobody() {
        let start = Instant::now();
        let plan =
            Plan { faults: vec![(Trigger::At(start), Fault::Vanish)], capacity: 10, ..Plan::default() };
        let mut link = Link::new(plan, Rng::new(1));
        link.send(start, Bytes::from_static(b"abcdef"));
        assert_eq!(drain(&mut link, start + Duration::from_secs(9)), (Vec::new(), None));
        assert_eq!((link.poll_timeout(), link.room()), (None, 4));
        assert_eq!(link.traffic(start + Duration::from_secs(9)), (6, 6), "nobody acknowledges them");
    }

    #[test]
    fn bytes_are_acknowledged_when_they_arrive_whether_or_not_anybody_reads() {
        let start = Instant::now();
        let mut link = Link::new(Plan::default(), Rng::new(1));
        link.send(start, Bytes::from_static(b"abcdef"));
        assert_eq!(link.traffic(start), (6, 6));
        assert_eq!(link.traffic(start + link.delay(start)), (6, 0));
        assert!(link.room() < Plan::default().capacity, "they still take up room");
    }

    #[test]
    fn growing_path_takes_longer_up_to_its_bound() {
        let start = Instant::now();
        let grows = Some((start + Duration::from_secs(1), Duration::from_millis(200)));
        let link = Link::new(Plan { grows, ..Plan::default() }, Rng::new(1));
        let delay = |secs| link.delay(start + Duration::from_secs(secs)).as_millis();
        assert_eq!([delay(0), delay(1), delay(3), delay(5), delay(99)], [10, 10, 110, 210, 210]);
    }

    #[test]
    fn stall_holds_everything_back_and_loses_nothing() {
        let start = Instant::now();
        let stall = Fault::Stall(Duration::from_secs(5));
        let plan = Plan { faults: vec![(Trigger::AtByte(2), stall)], ..Plan::default() };
        let mut link = Link::new(plan, Rng::new(1));
        link.send(start, Bytes::from_static(b"abcdef"));
        assert_eq!(link.receive(start + Duration::from_secs(1), 10), None);
        assert_eq!(drain(&mut link, start + Duration::from_secs(6)).0, b"abcdef");
    }
}
