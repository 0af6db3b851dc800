//! Bugs to be planted on purpose, one at a time, so that the end-to-end tests can show that they would notice.
//!
//! Only with the feature `planted`, which no shipped program has. A program built with it behaves until one bug is chosen with
//! [`plant`]; from then on that one strikes once in a while.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// What can be planted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Bug {
    /// A DATA frame is not sent.
    DropFrame = 1,
    /// A DATA frame is sent twice.
    DoubleFrame,
    /// Two DATA frames are sent in the wrong order.
    SwapFrames,
    /// A DATA frame is given to another stream of its connection.
    WrongStream,
    /// A stream's FIN is not sent.
    LostEnd,
    /// One byte more is sent than there is credit for.
    CreditPlusOne,
    /// A flow that broke ends on its socket as if it had ended cleanly.
    FinForReset,
    /// A stream's place among those of its identity is not given back.
    LeakedPermit,
    /// The task of a connection panics when a stream to [`PANIC_PORT`] is opened on it.
    PanicInConnection,
    /// The task of a stream to [`PANIC_PORT`] panics.
    PanicInStream,
}

/// The destination's port that makes tasks panic.
pub const PANIC_PORT: u16 = 13;

impl Bug {
    const ALL: [(&str, Self); 10] = [
        ("drop-frame", Self::DropFrame),
        ("double-frame", Self::DoubleFrame),
        ("swap-frames", Self::SwapFrames),
        ("wrong-stream", Self::WrongStream),
        ("lost-end", Self::LostEnd),
        ("credit-plus-one", Self::CreditPlusOne),
        ("fin-for-reset", Self::FinForReset),
        ("leaked-permit", Self::LeakedPermit),
        ("panic-in-connection", Self::PanicInConnection),
        ("panic-in-stream", Self::PanicInStream),
    ];

    /// It strikes each so manieth time.
    const fn every(self) -> u32 {
        match self {
            Self::CreditPlusOne | Self::PanicInConnection | Self::PanicInStream => 1,
            Self::FinForReset | Self::LeakedPermit => 3,
            Self::LostEnd => 20,
            Self::DropFrame | Self::DoubleFrame | Self::SwapFrames | Self::WrongStream => 50,
        }
    }
}

/// Chooses the bug of this process by its name, as `drop-frame`; false if there is none of that name.
pub fn plant(name: &str) -> bool {
    let found = Bug::ALL.iter().find(|(known, _)| *known == name);
    if let Some((_, bug)) = found {
        CHOSEN.store(*bug as u8, Ordering::Relaxed);
    }
    found.is_some()
}

/// Whether to misbehave here and now.
pub fn strikes(bug: Bug) -> bool {
    let chosen = CHOSEN.load(Ordering::Relaxed) == bug as u8;
    chosen && CHANCES.fetch_add(1, Ordering::Relaxed).checked_rem(bug.every()) == Some(0)
}

/// Panics if that is the bug and `port` the one.
pub fn panic_at(bug: Bug, port: u16) {
    assert!(port != PANIC_PORT || !strikes(bug), "a bug was planted");
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);
static CHANCES: AtomicU32 = AtomicU32::new(1);
