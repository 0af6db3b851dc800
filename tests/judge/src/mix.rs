//! Which flows a run is made of.

use crate::pattern::scramble;
use crate::plan::{AFTER_END, Finish, Plan, Side};

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Decides everything.
    pub seed: u64,
    /// The kind of flows.
    pub kind: Kind,
    /// Bytes a direction, instead of the kind's own range.
    pub bytes: Option<(u64, u64)>,
    /// How long stalled readers stall ([`Kind::Stalled`]), and flows are kept ([`Kind::Hang`]).
    pub stall_ms: u32,
}

/// The kinds of flows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Both ways at once, two clean ends.
    Calm,
    /// Everything an application may do, aborts included.
    Mixed,
    /// The same without aborts and with nothing after an end: what the classic wire can carry.
    Classic,
    /// As mixed, slower and longer.
    Soak,
    /// Readers that stop in the middle for a given time.
    Stalled,
    /// Long downloads.
    Bulk,
    /// Opened, used a little, kept.
    Hang,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Calm, Self::Mixed, Self::Classic, Self::Soak, Self::Stalled, Self::Bulk, Self::Hang];

    /// By its name on the command line.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Mixed => "mixed",
            Self::Classic => "classic",
            Self::Soak => "soak",
            Self::Stalled => "stalled",
            Self::Bulk => "bulk",
            Self::Hang => "hang",
        }
    }

    fn range(self) -> (u64, u64) {
        match self {
            Self::Calm | Self::Classic => (0, 256 << 10),
            Self::Mixed => (0, 1 << 20),
            Self::Soak => (0, 2 << 20),
            Self::Stalled => (4 << 20, 8 << 20),
            Self::Bulk => (16 << 20, 32 << 20),
            Self::Hang => (100, 4 << 10),
        }
    }
}

impl Mix {
    /// The plan of a flow.
    pub fn plan(&self, flow: u64) -> Plan {
        let mut dice = Dice(scramble(self.seed ^ scramble(flow)));
        let range = self.bytes.unwrap_or(self.kind.range());
        let mut plan = Plan::plain(flow, dice.size(range), dice.size(range));
        for side in [&mut plan.near, &mut plan.far] {
            side.chunk = dice.size((512, 64 << 10)) as u32;
            side.read_chunk = dice.size((512, 256 << 10)) as u32;
        }
        match self.kind {
            Kind::Calm => {}
            Kind::Mixed => varied(&mut plan, &mut dice, Pace { aborts: true, half: true, wait_ms: 1500 }),
            Kind::Classic => {
                varied(&mut plan, &mut dice, Pace { aborts: false, half: false, wait_ms: 1500 });
            }
            Kind::Soak => varied(&mut plan, &mut dice, Pace { aborts: true, half: true, wait_ms: 20_000 }),
            Kind::Stalled => {
                let (stalled, other) = near_or_far(&mut plan, &mut dice);
                stalled.stall_at = 1000;
                stalled.stall_ms = self.stall_ms;
                stalled.bytes = 2000;
                stalled.finish = Finish::Last;
                other.finish = Finish::Fin;
            }
            Kind::Bulk => plan.near.bytes = 0,
            Kind::Hang => {
                plan.near.quiet_at = plan.near.bytes / 2;
                plan.near.quiet_ms = self.stall_ms;
                plan.far.finish = Finish::Last;
            }
        }
        plan
    }
}

/// How far a varied flow may go.
#[derive(Clone, Copy)]
struct Pace {
    aborts: bool,
    /// One direction may end long before the other.
    half: bool,
    /// Longest wait on purpose.
    wait_ms: u64,
}

fn varied(plan: &mut Plan, dice: &mut Dice, pace: Pace) {
    let wait = dice.range(pace.wait_ms / 10, pace.wait_ms) as u32;
    match dice.below(14) {
        0 => {}
        1 => {
            // Question and answer, many times.
            plan.near.bytes = plan.near.bytes.min(u64::from(plan.near.chunk) * 50);
            plan.far.bytes = plan.near.bytes;
            plan.far.lockstep = true;
        }
        2 => plan.near.after = plan.far.bytes,
        3 => {
            // The answer comes after the question's end.
            plan.far.after = if pace.half { AFTER_END } else { plan.near.bytes };
        }
        4 => {
            let (tiny, _) = near_or_far(plan, dice);
            tiny.bytes = tiny.bytes.min(3000);
            tiny.chunk = dice.range(1, 16) as u32;
        }
        5 => {
            let (slow, _) = near_or_far(plan, dice);
            slow.chunk = (slow.bytes / 40 + 1) as u32;
            slow.pause_ms = wait / 40;
        }
        6 => {
            let (slow, other) = near_or_far(plan, dice);
            slow.read_chunk = (other.bytes / 40 + 512) as u32;
            slow.read_pause_ms = wait / 40;
        }
        7 | 8 => {
            let (stalled, other) = near_or_far(plan, dice);
            stalled.stall_at = other.bytes / 3;
            stalled.stall_ms = wait;
        }
        9 if pace.aborts => {
            let (aborting, _) = near_or_far(plan, dice);
            aborting.finish = Finish::Abort;
        }
        10 if pace.aborts => {
            // Resets in the middle of what the other writes.
            let (aborting, other) = near_or_far(plan, dice);
            aborting.after = other.bytes / 2;
            aborting.bytes = 0;
            aborting.finish = Finish::Abort;
        }
        11 => (plan.near.bytes, plan.far.bytes) = (0, 0),
        12 => {
            let (quiet, _) = near_or_far(plan, dice);
            quiet.quiet_at = quiet.bytes / 2;
            quiet.quiet_ms = wait;
        }
        13 => plan.near.bytes = plan.near.bytes.min(200),
        _ => plan.far.bytes = plan.far.bytes.min(200),
    }
    if !plan.aborts() {
        who_ends_last(plan, dice, pace.half);
    }
}

fn who_ends_last(plan: &mut Plan, dice: &mut Dice, half: bool) {
    if !half {
        // Everything has gone both ways before the first end.
        let (first, last) = near_or_far(plan, dice);
        (first.finish, last.finish) = (Finish::Full, Finish::Last);
        return;
    }
    if plan.near.after == AFTER_END || plan.far.after == AFTER_END {
        return;
    }
    match dice.below(3) {
        0 => plan.near.finish = Finish::Last,
        1 => plan.far.finish = Finish::Last,
        _ => {}
    }
}

fn near_or_far<'a>(plan: &'a mut Plan, dice: &mut Dice) -> (&'a mut Side, &'a mut Side) {
    if dice.coin() { (&mut plan.near, &mut plan.far) } else { (&mut plan.far, &mut plan.near) }
}

/// A seeded source of decisions.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn coin(&mut self) -> bool {
        self.next() >> 20 & 1 == 1
    }

    /// From `low` to `high`, both included.
    fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// A size in a range, every order of magnitude equally often.
    fn size(&mut self, (low, high): (u64, u64)) -> u64 {
        let bits = |value: u64| u64::from(u64::BITS - value.leading_zeros());
        let width = self.range(bits(low), bits(high));
        let top = if width == 0 { 0 } else { self.below(1 << width) };
        top.clamp(low, high)
    }
}
