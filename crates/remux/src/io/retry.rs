//! The safe retry: a stream that was refused before anything was done with it goes on elsewhere, once; one whose whole
//! connection was refused, as often as there are servers.
//!
//! ```text
//!          write ≤ 64 KiB              refused safe                 stream + replay
//!  Armed ───────────────▶ Armed ──────────────────────▶ Busy ─────────────────────▶ Off
//!    │                                                    └── no connection ──▶ Off, the error surfaces
//!    └── first answer, more than 64 KiB, any other end ──▶ Off
//! ```
//! Nothing else is ever retried: eager data is not idempotent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::budget::{Budget, Charge};
use crate::error::{DialError, StreamError};
use crate::io::shared::Side;
use crate::io::stream::Stream;
use crate::session::Open;

/// Who can open a refused stream again: the pool.
pub(crate) trait Reopen: Send + Sync {
    /// A stream for the same request, of the time `asked`, on another connection; `again`: that one may be retried too.
    fn reopen(&self, open: Open, asked: Instant, again: bool) -> Reopening;
}

/// A stream to come.
pub(crate) type Reopening = Pin<Box<dyn Future<Output = Result<Stream, DialError>> + Send>>;

/// Bytes kept for a replay at most.
pub(crate) const REPLAY_MAX: usize = 64 * 1024;

/// Where a stream is with its one retry.
#[derive(Default)]
pub(crate) enum Retry {
    /// There is none, or not any more.
    #[default]
    Off,
    /// What was sent is kept; nothing came back yet.
    Armed(Box<Replay>),
    /// Another stream is on its way.
    Busy(Box<Busy>),
}

/// What has to be said again.
pub(crate) struct Replay {
    reopen: Arc<dyn Reopen>,
    open: Open,
    asked: Instant,
    pub(crate) chunks: Vec<Bytes>,
    bytes: usize,
    charge: Charge,
    pub(crate) finished: bool,
}

pub(crate) struct Busy {
    replay: Replay,
    /// What the stream failed with.
    error: StreamError,
    /// A lock only to be `Sync`; it is never contended.
    opening: Mutex<Reopening>,
    tasks: Arc<Tasks>,
}

impl Retry {
    pub(crate) fn armed(reopen: Arc<dyn Reopen>, open: Open, asked: Instant, budget: &Arc<Budget>) -> Self {
        if open.first.len() > REPLAY_MAX {
            return Self::Off;
        }
        let bytes = open.first.len();
        let charge = budget.charge(bytes as u64);
        let chunks = Vec::new();
        Self::Armed(Box::new(Replay { reopen, open, asked, chunks, bytes, charge, finished: false }))
    }

    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Self::Busy(_))
    }

    /// Keeps a chunk that is about to be sent; beyond the bound there is no retry.
    pub(crate) fn keep(&mut self, chunk: &Bytes) {
        let replay = match self {
            Self::Off => return,
            Self::Armed(replay) => &mut **replay,
            Self::Busy(busy) => &mut busy.replay,
        };
        replay.bytes = replay.bytes.saturating_add(chunk.len());
        if replay.bytes > REPLAY_MAX && matches!(self, Self::Armed(_)) {
            *self = Self::Off;
            return;
        }
        let replay = match self {
            Self::Off => return,
            Self::Armed(replay) => &mut **replay,
            Self::Busy(busy) => &mut busy.replay,
        };
        replay.charge.add(chunk.len() as u64);
        replay.chunks.push(chunk.clone());
    }

    /// Keeps the end of input.
    pub(crate) fn keep_fin(&mut self) {
        match self {
            Self::Off => {}
            Self::Armed(replay) => replay.finished = true,
            Self::Busy(busy) => busy.replay.finished = true,
        }
    }

    /// Whether this failure leads to a retry.
    pub(crate) fn can_handle(&self, error: &StreamError) -> bool {
        !matches!(self, Self::Off) && error.is_refused_safe()
    }

    /// Starts the retry if the failure allows it; false: the failure is final.
    pub(crate) fn handle_failure(&mut self, error: &StreamError) -> bool {
        match std::mem::take(self) {
            Self::Armed(replay) if error.is_refused_safe() => {
                // Of several servers more than one may turn the connection away; each does so once.
                let again = matches!(error, StreamError::Truncated { .. });
                let opening = Mutex::new(replay.reopen.reopen(replay.open.clone(), replay.asked, again));
                let error = error.clone();
                *self = Self::Busy(Box::new(Busy { replay: *replay, error, opening, tasks: Arc::default() }));
                true
            }
            Self::Busy(busy) => {
                *self = Self::Busy(busy);
                true
            }
            Self::Armed(_) | Self::Off => false,
        }
    }

    /// The new stream and what to replay on it, or the first failure if there is none to be had.
    pub(crate) fn poll(
        &mut self,
        cx: &Context<'_>,
        side: Side,
    ) -> Poll<Result<(Stream, Replay), StreamError>> {
        let opened = match self {
            Self::Busy(busy) => {
                busy.tasks.keep(side, cx.waker());
                let waker = Waker::from(busy.tasks.clone());
                ready!(busy.opening.get_mut().as_mut().poll(&mut Context::from_waker(&waker)))
            }
            Self::Off | Self::Armed(_) => return Poll::Pending,
        };
        let Self::Busy(busy) = std::mem::take(self) else { return Poll::Pending };
        busy.tasks.wake_by_ref();
        Poll::Ready(match opened {
            Ok(stream) => Ok((stream, busy.replay)),
            Err(_) => Err(busy.error),
        })
    }
}

/// The tasks that wait for one retry: reader and writer may be two.
#[derive(Default)]
struct Tasks {
    wakers: Mutex<[Option<Waker>; 3]>,
}

impl Tasks {
    fn keep(&self, side: Side, waker: &Waker) {
        let mut wakers = self.wakers.lock();
        let [read, write, closed] = &mut *wakers;
        let place = match side {
            Side::Read => read,
            Side::Write => write,
            Side::Closed => closed,
        };
        *place = Some(waker.clone());
    }
}

impl Wake for Tasks {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let wakers = std::mem::take(&mut *self.wakers.lock());
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }
}
