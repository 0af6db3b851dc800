//! Which of the usable connections carries the next stream.
//!
//! Lanes keep small exchanges away from bulk: nothing is predicted and nothing is moved. A connection on which a
//! stream turned out to be bulk is set apart and takes new streams only when nothing better is usable, so bulk
//! streams drift apart and small ones don't join them. Lanes only choose: they never cause a dial.

use std::cmp::Reverse;
use std::time::Duration;

use super::Ticket;
use super::slot::Slot;

/// Orders usable connections, the best one first.
///
/// Among equals the newest wins: it has the most life left, and the older ones get their chance to end.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Rank {
    class: Class,
    unproven: bool,
    delay: Duration,
    bulk: u32,
    newest: Reverse<Ticket>,
}

impl Rank {
    pub(super) fn of(ticket: Ticket, slot: &Slot, unproven: bool) -> Self {
        let class = Class::of(slot);
        // Below the threshold a difference in delay is noise, and following it would scatter the streams.
        let (delay, bulk) = match class {
            Class::Quiet | Class::Spare => (Duration::ZERO, 0),
            Class::Slow | Class::Bulk | Class::Sick => (slot.path.queue_delay, slot.path.bulk),
        };
        Self { class, unproven, delay, bulk, newest: Reverse(ticket) }
    }
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Class {
    /// In use, without bulk and with a short queue.
    Quiet,
    /// Never used: kept for when the quiet ones are gone.
    Spare,
    /// A queue that a new stream would feel.
    Slow,
    /// Set apart for bulk.
    Bulk,
    /// Losing packets or standing still, though not long enough to be suspect.
    Sick,
}

impl Class {
    fn of(slot: &Slot) -> Self {
        let felt = QUEUE_FELT.max(slot.path.rtt.checked_div(4).unwrap_or_default());
        match () {
            () if slot.path.sick || slot.path.queue_delay > QUEUE_SICK => Self::Sick,
            () if slot.lane => Self::Bulk,
            () if slot.is_fresh() => Self::Spare,
            () if slot.path.queue_delay >= felt => Self::Slow,
            () => Self::Quiet,
        }
    }
}

/// A queue a person would feel, on a path shorter than four times this.
const QUEUE_FELT: Duration = Duration::from_millis(10);
/// A queue so long that the connection is a last resort.
const QUEUE_SICK: Duration = Duration::from_millis(250);
