//! How much of a stream may be under way: the receiver's window and the sender's leave.
//!
//! ```text
//!  bytes of the stream   0 ─────── consumed ──────── received ─────────── limit ─────▶
//!                              │<──── unread ────>│<── still promised ──>│
//!                              │<────────────────── window T ──────────────────>│ grantable
//! ```
//!
//! `limit` never moves back: a window shrinks by withholding. The receiver tells a new limit when a quarter of the
//! window can be granted, or one frame's worth when the sender said it is BLOCKED.
//!
//! The window grows by what the application consumed within one round trip, so however long a big window takes to
//! drain, growth does not stop before the path is full.

use std::time::{Duration, Instant};

use framing::remux2::Credit;

use crate::budget::Stage;
use crate::config::WindowConfig;

/// The receiving side of a stream's credit.
#[derive(Debug)]
pub(super) struct RecvCredit {
    consumed: u64,
    received: u64,
    limit: u64,
    window: u64,
    /// The window at the start: what is charged to admission, not to growth.
    initial: u64,
    /// The last DATA said that its sender has more and may not send it.
    blocked: bool,
    /// The same, seen while little was unread: the window is the bottleneck.
    starved: bool,
    grown: bool,
    began: Instant,
    epoch: Instant,
    epoch_consumed: u64,
    last_consumed: Instant,
    /// Since when more than half of the window has been unread.
    slow_since: Option<Instant>,
    /// Since when the window has been full, with nothing consumed.
    full_since: Option<Instant>,
}

impl RecvCredit {
    pub(super) fn new(initial: u64, now: Instant) -> Self {
        Self {
            consumed: 0,
            received: 0,
            limit: initial,
            window: initial,
            initial,
            blocked: false,
            starved: false,
            grown: false,
            began: now,
            epoch: now,
            epoch_consumed: 0,
            last_consumed: now,
            slow_since: None,
            full_since: None,
        }
    }

    /// Accounts for a frame of `n` bytes, before any of them is taken in.
    ///
    /// # Errors
    /// The peer sends beyond its limit.
    pub(super) fn receive(&mut self, n: u64, now: Instant) -> Result<(), FlowError> {
        let received = self.received.checked_add(n).filter(|&sum| sum <= self.limit).ok_or(FlowError)?;
        self.received = received;
        if self.unread() > self.window / 2 && self.slow_since.is_none() {
            self.slow_since = Some(now);
        }
        if self.is_full() && self.full_since.is_none() {
            self.full_since = Some(now);
        }
        Ok(())
    }

    /// Notes whether the frame just received said BLOCKED.
    pub(super) const fn set_blocked(&mut self, blocked: bool) {
        self.blocked = blocked;
        if blocked && self.unread() < self.window / 4 {
            self.starved = true;
        }
    }

    /// The application consumed `n` bytes (no more than it got).
    pub(super) fn consume(&mut self, n: u64, now: Instant, growth: &Growth<'_>) -> bool {
        let n = n.min(self.unread());
        if n == 0 {
            return false;
        }
        self.shrink(now, growth);
        self.consumed = self.consumed.saturating_add(n);
        self.epoch_consumed = self.epoch_consumed.saturating_add(n);
        self.last_consumed = now;
        self.full_since = None;
        if self.unread() <= self.window / 2 {
            self.slow_since = None;
        }
        self.grow(now, growth)
    }

    /// Halves the window for each second its reader was slow and each two it was idle; where memory is short nothing
    /// above 64 KiB is granted.
    fn shrink(&mut self, now: Instant, growth: &Growth<'_>) {
        let config = growth.config;
        if growth.stage >= Stage::NoOpens {
            self.window = self.window.min(TIGHT);
        }
        let idle = periods(now.saturating_duration_since(self.last_consumed), config.idle_after);
        let slow = self
            .slow_since
            .map_or(0, |since| periods(now.saturating_duration_since(since), config.slow_after));
        let halvings = idle.max(slow);
        if halvings > 0 {
            let least = u64::from(config.min).min(self.window);
            self.window = self.window.checked_shr(halvings).unwrap_or(0).max(least);
            self.slow_since = self.slow_since.map(|_| now);
            self.epoch = now;
            self.epoch_consumed = 0;
        }
    }

    /// Once a round trip: widens the window when the reader used half of it, or the sender starved.
    fn grow(&mut self, now: Instant, growth: &Growth<'_>) -> bool {
        let elapsed = now.saturating_duration_since(self.epoch);
        if elapsed < growth.rtt {
            return false;
        }
        let per_rtt = scale(self.epoch_consumed, growth.rtt, elapsed);
        let starved = std::mem::take(&mut self.starved);
        self.epoch = now;
        self.epoch_consumed = 0;
        if !starved && per_rtt.saturating_mul(2) < self.window {
            return false;
        }
        // What was consumed in one round trip is proof of that much; no need to creep up on it.
        let factor = if starved && !self.grown { 4 } else { 2 };
        let proven = per_rtt.saturating_mul(2).checked_next_power_of_two().unwrap_or(u64::MAX);
        let most = u64::from(growth.config.max).max(self.initial);
        let wanted = self.window.saturating_mul(factor).max(proven).min(most);
        let before = self.growth();
        let fits = |window: u64| (growth.allows)(self.growth_at(window).saturating_sub(before));
        // Where there is no room for all of it, some of it helps.
        let halves = std::iter::successors(Some(wanted), |window| Some(window / 2));
        let Some(window) = halves.take_while(|&window| window > self.window).find(|&window| fits(window))
        else {
            return false;
        };
        self.window = window;
        self.grown = true;
        true
    }

    /// Whether a CREDIT is worth a frame now.
    pub(super) fn is_due(&self) -> bool {
        let window = self.window;
        let grantable = self.consumed.saturating_add(window).saturating_sub(self.limit);
        grantable > 0 && (grantable >= window / 4 || (self.blocked && grantable >= FRAME))
    }

    /// Moves the limit up and says so.
    pub(super) fn grant(&mut self) -> Credit {
        self.limit = self.limit.max(self.consumed.saturating_add(self.window));
        if !self.is_full() {
            self.full_since = None;
        }
        let window = self.limit.saturating_sub(self.consumed);
        Credit { consumed: low_half(self.consumed), window: u32::try_from(window).unwrap_or(u32::MAX) }
    }

    /// Whether there is no room for another frame. A sender that leaves a byte of it free holds as much.
    const fn is_full(&self) -> bool {
        self.limit.saturating_sub(self.received) < FRAME
    }

    /// Bytes received that the application has not consumed.
    pub(super) const fn unread(&self) -> u64 {
        self.received.saturating_sub(self.consumed)
    }

    /// Bytes received so far.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    /// When the stream began.
    pub(super) const fn began(&self) -> Instant {
        self.began
    }

    /// `n` of the bytes received were not the application's.
    pub(super) const fn discount(&mut self, n: u64) {
        self.received = self.received.saturating_sub(n);
    }

    /// Bytes that are unread or may still come.
    const fn promised(&self) -> u64 {
        self.limit.saturating_sub(self.consumed)
    }

    /// What the stream may come to hold: what was promised, or will be with the next CREDIT.
    pub(super) fn claim(&self) -> u64 {
        self.window.max(self.promised())
    }

    /// The part of the window, or of what was promised, beyond the initial window.
    pub(super) fn growth(&self) -> u64 {
        self.growth_at(self.window)
    }

    fn growth_at(&self, window: u64) -> u64 {
        window.max(self.promised()).saturating_sub(self.initial)
    }

    /// Since when the window has been full with nothing consumed.
    pub(super) const fn full_since(&self) -> Option<Instant> {
        self.full_since
    }

    #[cfg(test)]
    pub(super) const fn window(&self) -> u64 {
        self.window
    }
}

/// What growth depends on beside the stream itself.
pub(super) struct Growth<'a> {
    /// Smoothed round-trip time, at least 1 ms.
    pub(super) rtt: Duration,
    pub(super) config: &'a WindowConfig,
    /// How short memory is.
    pub(super) stage: Stage,
    /// Whether connection and process have room for that many more bytes.
    pub(super) allows: &'a dyn Fn(u64) -> bool,
}

/// The sending side of a stream's credit.
#[derive(Debug)]
pub(super) struct SendCredit {
    sent: u64,
    limit: u64,
    /// What the peer last said it consumed.
    consumed: u64,
    /// The limit at which BLOCKED was said; once is enough.
    told: Option<u64>,
}

impl SendCredit {
    pub(super) const fn new(initial: u64) -> Self {
        Self { sent: 0, limit: initial, consumed: 0, told: None }
    }

    /// Bytes that may be sent now.
    pub(super) const fn room(&self) -> u64 {
        self.limit.saturating_sub(self.sent)
    }

    /// `n` bytes are sent, at most [`SendCredit::room`].
    pub(super) const fn spend(&mut self, n: u64) {
        self.sent = self.sent.saturating_add(n);
    }

    /// Bytes sent so far.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// The peer's initial window turned out larger than assumed.
    pub(super) fn raise(&mut self, initial: u64) {
        self.limit = self.limit.max(initial);
    }

    /// A CREDIT came. `Ok(true)`: the limit rose.
    ///
    /// # Errors
    /// It takes back what was granted, counts bytes that were never sent, or grants too much.
    pub(super) fn update(&mut self, credit: Credit) -> Result<bool, FlowError> {
        let step = credit.consumed.wrapping_sub(low_half(self.consumed));
        let consumed =
            self.consumed.checked_add(step.into()).filter(|&sum| sum <= self.sent).ok_or(FlowError)?;
        if credit.window > MAX_WINDOW {
            return Err(FlowError);
        }
        let limit = consumed.checked_add(credit.window.into()).ok_or(FlowError)?;
        if limit < self.limit {
            return Err(FlowError);
        }
        let rose = limit > self.limit;
        self.consumed = consumed;
        self.limit = limit;
        Ok(rose)
    }

    /// Whether the peer does not know yet that this limit holds the stream up.
    pub(super) fn should_tell(&self) -> bool {
        self.told != Some(self.limit)
    }

    /// BLOCKED is said.
    pub(super) const fn tell(&mut self) {
        self.told = Some(self.limit);
    }
}

/// The rules of credit were broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FlowError;

/// The longest window there is.
pub(super) const MAX_WINDOW: u32 = 1 << 30;
/// What a blocked sender needs at least.
const FRAME: u64 = 16_376;
/// A CREDIT that grants less is hardly worth its frame: a quarter of the shortest window there should be.
pub(super) const CRUMB: u64 = 4096;
/// Nothing above this is granted while no stream is opened for want of memory.
const TIGHT: u64 = 64 << 10;

/// The part of a count that is on the wire.
#[expect(clippy::cast_possible_truncation, reason = "the wire carries counts modulo 2^32")]
const fn low_half(count: u64) -> u32 {
    count as u32
}

/// How many whole periods have passed.
fn periods(elapsed: Duration, period: Duration) -> u32 {
    let n = elapsed.as_nanos().checked_div(period.as_nanos()).unwrap_or(0);
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// `n` over `elapsed`, as seen in `part` of that time.
fn scale(n: u64, part: Duration, elapsed: Duration) -> u64 {
    let scaled = u128::from(n).saturating_mul(part.as_nanos()).checked_div(elapsed.as_nanos());
    scaled.and_then(|n| u64::try_from(n).ok()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn credit(consumed: u64, window: u32) -> Credit {
        Credit { consumed: low_half(consumed), window }
    }

    /// A sender that is `sent` bytes along, all of them consumed but `unread`.
    fn sender(sent: u64, unread: u64) -> SendCredit {
        SendCredit { sent, limit: sent, consumed: sent - unread, told: None }
    }

    #[test]
    fn counts_go_on_past_two_to_the_32() {
        for start in [(1 << 32) - 10, (1 << 32), (5 << 32) - 1, 1 << 60] {
            let mut send = sender(start, 5);
            assert_eq!(send.update(credit(start, 1000)), Ok(true));
            assert_eq!(send.room(), 1000);
            send.spend(1000);
            assert_eq!(send.update(credit(start + 1000, 20)), Ok(true));
            assert_eq!(send.room(), 20);
        }
    }

    #[test]
    fn credit_that_moves_back_or_ahead_of_what_was_sent_is_refused() {
        let mut send = sender(5 << 32, 1000);
        assert_eq!(send.update(credit((5 << 32) - 1001, 1 << 20)), Err(FlowError), "consumed went back");
        assert_eq!(send.update(credit((5 << 32) + 1, 1 << 20)), Err(FlowError), "never sent");
        assert_eq!(send.update(credit((5 << 32) - 500, 499)), Err(FlowError), "the limit went back");
        assert_eq!(send.update(credit(5 << 32, MAX_WINDOW + 1)), Err(FlowError), "too much");
        assert_eq!(send.update(credit((5 << 32) - 500, 500)), Ok(false), "the same limit");
        assert_eq!(send.update(credit(5 << 32, MAX_WINDOW)), Ok(true));
    }

    #[test]
    fn sums_near_the_end_of_64_bits_are_errors_not_wraps() {
        let mut send = sender(u64::MAX - 10, 0);
        assert_eq!(send.update(credit(u64::MAX - 10, 100)), Err(FlowError));
        let mut recv = RecvCredit::new(u64::MAX, Instant::now());
        recv.received = u64::MAX - 5;
        assert_eq!(recv.receive(6, Instant::now()), Err(FlowError));
    }

    fn growth<'a>(config: &'a WindowConfig, rtt_ms: u64, allows: &'a dyn Fn(u64) -> bool) -> Growth<'a> {
        Growth { rtt: Duration::from_millis(rtt_ms), config, stage: Stage::Plenty, allows }
    }

    #[test]
    fn window_halves_while_its_reader_is_slow_and_its_limit_stays() {
        let (start, config) = (Instant::now(), WindowConfig::default());
        let growth = growth(&config, 10, &|_| false);
        let mut recv = RecvCredit::new(256 << 10, start);
        recv.receive(256 << 10, start).unwrap();
        recv.consume(1, start + Duration::from_millis(900), &growth);
        assert_eq!(recv.window(), 256 << 10);
        recv.consume(1, start + Duration::from_millis(1100), &growth);
        assert_eq!(recv.window(), 128 << 10);
        recv.consume(1, start + Duration::from_secs(60), &growth);
        assert_eq!((recv.window(), recv.limit), (64 << 10, 256 << 10));
        recv.consume(256 << 10, start + Duration::from_secs(60), &growth);
        assert!(recv.is_due(), "{recv:?}");
        assert_eq!(recv.grant().window, 64 << 10);
    }

    #[test]
    fn blocked_sender_is_granted_as_little_as_a_frame() {
        let (start, config) = (Instant::now(), WindowConfig::default());
        let growth = growth(&config, 1000, &|_| false);
        let mut recv = RecvCredit::new(256 << 10, start);
        recv.receive(256 << 10, start).unwrap();
        recv.consume(FRAME, start, &growth);
        assert!(!recv.is_due(), "a quarter of the window is worth a frame, this is not");
        recv.set_blocked(true);
        assert!(recv.is_due());
        recv.grant();
        assert!(!recv.is_due());
    }

    #[test]
    fn window_is_full_when_another_frame_has_no_room_and_not_once_something_was_consumed() {
        let (start, config) = (Instant::now(), WindowConfig::default());
        let mut recv = RecvCredit::new(256 << 10, start);
        recv.receive((256 << 10) - FRAME, start).unwrap();
        assert_eq!(recv.full_since(), None);
        recv.receive(1, start).unwrap();
        assert_eq!(recv.full_since(), Some(start), "a sender that stops short holds as much");
        recv.consume(1, start, &growth(&config, 10, &|_| false));
        assert_eq!(recv.full_since(), None);
    }

    #[test]
    fn starved_sender_gets_four_times_the_window_at_first_and_then_twice() {
        let (start, config) = (Instant::now(), WindowConfig::default());
        let mut recv = RecvCredit::new(256 << 10, start);
        let mut windows = Vec::new();
        for n in 1..6 {
            let now = start + Duration::from_millis(n * 100);
            recv.receive(1000, now).unwrap();
            recv.set_blocked(true);
            recv.consume(1000, now, &growth(&config, 50, &|_| true));
            windows.push(recv.window() >> 20);
        }
        assert_eq!(windows, [1, 2, 4, 8, 16], "and no further than 16 MiB");
    }

    #[test]
    fn nothing_above_64_kib_is_granted_while_the_process_is_short_of_memory() {
        let (start, config) = (Instant::now(), WindowConfig::default());
        let mut recv = RecvCredit::new(256 << 10, start);
        recv.receive(256 << 10, start).unwrap();
        let short = Growth { stage: Stage::NoOpens, ..growth(&config, 1000, &|_| false) };
        recv.consume(256 << 10, start, &short);
        assert_eq!(recv.grant().window, 64 << 10);
        assert_eq!(recv.claim(), 64 << 10, "and nothing more is charged");
    }

    /// One thing that happens to a stream, as small numbers.
    #[derive(Clone, Debug)]
    enum Step {
        Send(u16),
        Deliver,
        Consume(u32),
        Offer(bool),
        DeliverCredit,
        /// A CREDIT out of thin air.
        Forge(u32, u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1_u16..).prop_map(Step::Send),
            4 => Just(Step::Deliver),
            4 => (1_u32..2_000_000).prop_map(Step::Consume),
            4 => any::<bool>().prop_map(Step::Offer),
            4 => Just(Step::DeliverCredit),
            1 => (any::<u32>(), prop_oneof![any::<u32>(), 0_u32..1_000_000]).prop_map(|(a, b)| Step::Forge(a, b)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        /// Both ends against sums in 128 bits: same verdicts, and an honest sender is never beyond its limit.
        #[test]
        fn both_ends_agree_with_a_model_in_128_bits(
            origin in prop_oneof![Just(0_u64), (1_u64 << 31) - 400_000..(1 << 31), (1_u64 << 32) - 400_000..(1 << 32), Just(7 << 40)],
            steps in proptest::collection::vec(step(), 1..400),
        ) {
            let start = Instant::now();
            let config = WindowConfig::default();
            let mut recv = RecvCredit::new(256 << 10, start);
            (recv.received, recv.consumed, recv.limit) = (origin, origin, origin + (256 << 10));
            let mut send = SendCredit { sent: origin, limit: origin + (256 << 10), consumed: origin, told: None };
            let (mut sent, mut limit, mut said) = (i128::from(origin), i128::from(send.limit), i128::from(origin));
            let (mut data, mut credits) = (std::collections::VecDeque::new(), std::collections::VecDeque::new());
            for (n, step) in steps.into_iter().enumerate() {
                let now = start + Duration::from_millis(n as u64 * 7);
                match step {
                    Step::Send(n) => {
                        let n = u64::from(n).min(send.room());
                        send.spend(n);
                        sent += i128::from(n);
                        data.push_back(n);
                        prop_assert!(sent <= limit);
                    }
                    Step::Deliver => {
                        if let Some(n) = data.pop_front() {
                            prop_assert_eq!(recv.receive(n, now), Ok(()), "an honest sender is within its limit");
                        }
                    }
                    Step::Consume(n) => {
                        let unread = recv.unread();
                        recv.consume(n.into(), now, &growth(&config, 20, &|_| true));
                        prop_assert_eq!(recv.unread(), unread.saturating_sub(n.into()));
                    }
                    Step::Offer(blocked) => {
                        recv.set_blocked(blocked);
                        if recv.is_due() {
                            let before = recv.limit;
                            credits.push_back(recv.grant());
                            prop_assert!(recv.limit > before, "a CREDIT that says nothing new is not sent");
                        }
                    }
                    Step::DeliverCredit => {
                        if let Some(credit) = credits.pop_front() {
                            prop_assert_eq!(send.update(credit), Ok(true));
                            limit = i128::from(send.limit);
                            said = i128::from(send.consumed);
                        }
                    }
                    Step::Forge(consumed, window) => {
                        let step = (i128::from(consumed) - said).rem_euclid(1 << 32);
                        let new = said + step + i128::from(window);
                        let good = said + step <= sent && window <= MAX_WINDOW && new >= limit;
                        let before = (send.sent, send.limit, send.consumed);
                        let mut copy = SendCredit { sent: send.sent, limit: send.limit, consumed: send.consumed, told: None };
                        prop_assert_eq!(copy.update(Credit { consumed, window }).is_ok(), good);
                        if good {
                            prop_assert_eq!(i128::from(copy.limit), new);
                        } else {
                            prop_assert_eq!((copy.sent, copy.limit, copy.consumed), before, "nothing changed");
                        }
                    }
                }
            }
        }
    }
}
