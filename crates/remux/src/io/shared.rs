//! What a connection's driver and its streams share: the session behind a short lock, and who waits for what.
//!
//! ```text
//!  Stream::write ──▶ lock { session.send } ──▶ driver parked? wake it, once ──▶ driver
//!  driver ──▶ lock { handle_data, poll_event } ──▶ wakers of the streams concerned ──▶ wake, after the lock
//! ```
//! Nothing is copied, logged or woken under the lock. The driver notes where it parked, so that a stream wakes it only when
//! that changes anything:
//!
//! ```text
//!  Running ──nothing to do──▶ Idle ──any nudge──────────▶ Running
//!     └─────socket is full──▶ Blocked ──Nudge::Command──▶ Running
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use framing::remux2::Opened;
use parking_lot::{Mutex, MutexGuard};
use sla::ConnectionId;
use tokio::sync::Notify;

use crate::config::{Role, Wire};
use crate::error::{ConnectionError, OpenError, OpenReason, StreamError};
pub(crate) use crate::io::clock::{now, seed_or_chance};
use crate::io::connect::PeerFacts;
use crate::session::{Event, Open, PathInfo, Recv, Session, StreamEnd, StreamId};

/// One connection, as its streams see it.
pub(crate) struct Shared {
    pub(crate) id: ConnectionId,
    pub(crate) wire: Wire,
    pub(crate) facts: PeerFacts,
    inner: Mutex<Inner>,
    gone: Notify,
}

impl Shared {
    pub(crate) fn new(id: ConnectionId, wire: Wire, facts: PeerFacts, session: Session) -> Arc<Self> {
        let inner = Inner {
            session,
            slots: BTreeMap::new(),
            park: Park::Running,
            driver: None,
            paused: false,
            ended: None,
            lost: None,
        };
        Arc::new(Self { id, wire, facts, inner: Mutex::new(inner), gone: Notify::new() })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// The connection is over, for this reason.
    pub(crate) fn tell_end(&self, cause: ConnectionError) {
        self.inner.lock().ended = Some(cause);
        self.gone.notify_waiters();
    }

    pub(crate) fn ended(&self) -> Option<ConnectionError> {
        self.inner.lock().ended.clone()
    }

    /// Waits for the end of the connection.
    pub(crate) async fn gone(&self) -> ConnectionError {
        loop {
            let gone = self.gone.notified();
            if let Some(cause) = self.ended() {
                return cause;
            }
            gone.await;
        }
    }

    /// Does something to the session for the application, then wakes the driver if that needs it.
    pub(crate) fn act<R>(&self, nudge: Nudge, act: impl FnOnce(&mut Inner, Instant) -> R) -> R {
        let now = now();
        let (result, waker) = {
            let mut inner = self.inner.lock();
            let result = act(&mut inner, now);
            let waker = inner.nudge(nudge);
            (result, waker)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }
}

/// How much a change matters to a parked driver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Nudge {
    /// A command: it may change deadlines, or end the connection.
    Command,
    /// Bytes to send: they can wait while the socket is full.
    Data,
    /// Bytes were consumed: matters only if credit is to be sent or reading can go on.
    Consumed,
}

/// Where the driver is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Park {
    /// In its loop, or woken already.
    Running,
    /// Asleep with nothing to send.
    Idle,
    /// Asleep until the transport takes more.
    Blocked,
}

pub(crate) struct Inner {
    pub(crate) session: Session,
    slots: BTreeMap<StreamId, Slot>,
    park: Park,
    driver: Option<Waker>,
    /// The driver has stopped reading until the session wants bytes again.
    pub(crate) paused: bool,
    /// Why the connection is over.
    ended: Option<ConnectionError>,
    /// The driver panicked, so the session may be half changed: it is not touched any more.
    lost: Option<ConnectionError>,
}

impl Inner {
    /// Makes room for a stream's wakers; each handle has one slot.
    fn attach(&mut self, id: StreamId) {
        self.slots.insert(id, Slot::default());
    }

    /// Streams that have a handle.
    pub(crate) fn attached(&self) -> usize {
        self.slots.len()
    }

    /// Keeps the waker of a stream's task; it is woken once.
    pub(crate) fn wait(&mut self, id: StreamId, side: Side, cx: &Context<'_>) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let place = match side {
            Side::Read => &mut slot.read,
            Side::Write => &mut slot.write,
            Side::Closed => &mut slot.closed,
        };
        match place {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *place = Some(cx.waker().clone()),
        }
    }

    /// The acceptor's answer, once.
    pub(crate) fn take_opened(&mut self, id: StreamId) -> Option<Opened> {
        self.slots.get_mut(&id)?.opened.take()
    }

    /// How the stream failed, if it did.
    pub(crate) fn failure(&self, id: StreamId) -> Option<StreamError> {
        match &self.lost {
            Some(cause) => Some(StreamError::Truncated { cause: cause.clone() }),
            None => self.slots.get(&id)?.end.as_ref()?.error.clone(),
        }
    }

    pub(crate) fn open(&mut self, now: Instant, open: Open) -> Result<StreamId, OpenError> {
        if self.lost.is_some() {
            return Err(OpenError { reason: OpenReason::Closed, open });
        }
        let id = self.session.open(now, open)?;
        self.attach(id);
        Ok(id)
    }

    pub(crate) fn recv(&mut self, now: Instant, id: StreamId) -> Recv {
        match &self.lost {
            Some(cause) => Recv::Failed(StreamError::Truncated { cause: cause.clone() }),
            None => self.session.recv(now, id),
        }
    }

    /// Bytes the stream's queue takes, or why none ever again.
    pub(crate) fn send_room(&mut self, id: StreamId) -> Result<usize, StreamError> {
        match &self.lost {
            Some(cause) => Err(StreamError::Truncated { cause: cause.clone() }),
            None => self.session.send_room(id),
        }
    }

    pub(crate) fn send(&mut self, now: Instant, id: StreamId, chunk: Bytes) -> Result<usize, StreamError> {
        // The room answers for a lost session too.
        self.send_room(id)?;
        self.session.send(now, id, chunk)?;
        self.session.send_room(id)
    }

    /// The same for bytes that room was promised for before the stream went on elsewhere.
    pub(crate) fn send_promised(&mut self, id: StreamId, chunk: Bytes) -> Result<usize, StreamError> {
        self.send_room(id)?;
        self.session.send_promised(id, chunk)?;
        self.session.send_room(id)
    }

    /// Does something to the session unless it is lost.
    pub(crate) fn with(&mut self, act: impl FnOnce(&mut Session)) {
        if self.lost.is_none() {
            act(&mut self.session);
        }
    }

    /// The application lets go of a stream; says how it had ended by then.
    pub(crate) fn forget(&mut self, now: Instant, id: StreamId) -> Option<StreamEnd> {
        self.with(|session| session.forget(now, id));
        self.slots.remove(&id)?.end
    }

    /// The driver starts a turn: nobody needs to wake it.
    pub(crate) fn resume(&mut self) {
        self.park = Park::Running;
    }

    /// The driver found nothing to do, under this same lock.
    pub(crate) fn park(&mut self, place: Park, cx: &Context<'_>) {
        self.park = place;
        self.session.set_waker(cx.waker());
        match &mut self.driver {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.driver = Some(cx.waker().clone()),
        }
    }

    /// As [`Session::poll_rest`]; each stream that is let go of is a reason to look again.
    pub(crate) fn poll_rest(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.lost.is_some() {
            return Poll::Ready(());
        }
        let rest = self.session.poll_rest(cx);
        if rest.is_pending() {
            self.park(Park::Idle, cx);
        }
        rest
    }

    /// The driver's waker, if it sleeps through something it must not.
    fn nudge(&mut self, nudge: Nudge) -> Option<Waker> {
        let matters = match (self.park, nudge) {
            (Park::Running, _) => false,
            (_, Nudge::Command) | (Park::Idle, Nudge::Data) => true,
            (Park::Blocked, Nudge::Data) => false,
            (Park::Idle, Nudge::Consumed) => self.session.wants_transmit() || self.can_go_on_reading(),
            (Park::Blocked, Nudge::Consumed) => self.can_go_on_reading(),
        };
        if !matters {
            return None;
        }
        self.park = Park::Running;
        self.driver.clone()
    }

    /// Whether this side opened the stream.
    fn is_ours(&self, id: StreamId) -> bool {
        let by_client = self.session.wire() == Wire::Classic || id.0 & 1 == 1;
        by_client == (self.session.role() == Role::Client)
    }

    fn can_go_on_reading(&self) -> bool {
        self.paused && self.session.wants_read()
    }

    /// Takes the session's events: wakers to wake and news to tell once the lock is gone.
    pub(crate) fn collect(&mut self, effects: &mut Effects) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Readable(id) => {
                    effects.wake(self.slots.get_mut(&id).and_then(|slot| slot.read.take()))
                }
                Event::Writable(id) => {
                    effects.wake(self.slots.get_mut(&id).and_then(|slot| slot.write.take()))
                }
                Event::Opened { id, opened } => {
                    if let Some(slot) = self.slots.get_mut(&id) {
                        slot.opened = Some(opened);
                        slot.wake(effects);
                    }
                }
                Event::Incoming { id, open } => {
                    self.attach(id);
                    effects.news.push(News::Incoming(id, open));
                }
                Event::Ended { id, end } => {
                    if let Some(slot) = self.slots.get_mut(&id) {
                        slot.end = Some(end);
                        slot.wake(effects);
                    }
                    if self.is_ours(id) {
                        effects.news.push(News::Ended { id, live: self.slots.len() });
                    }
                }
                event => effects.news.push(News::Session(event)),
            }
        }
    }

    /// The connection is over: every stream learns it.
    pub(crate) fn end(&mut self, now: Instant, cause: &ConnectionError, effects: &mut Effects) {
        self.with(|session| session.handle_closed(now, cause.clone()));
        if self.lost.is_none() {
            self.collect(effects);
        }
        for slot in self.slots.values_mut() {
            slot.wake(effects);
        }
    }

    /// The driver panicked with the session in its hands.
    pub(crate) fn lose(&mut self, cause: ConnectionError) {
        self.lost = Some(cause);
    }
}

/// What to do once the lock is gone: wake these, tell that.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) wakers: Vec<Waker>,
    pub(crate) news: Vec<News>,
}

impl Effects {
    pub(crate) fn is_empty(&self) -> bool {
        self.wakers.is_empty() && self.news.is_empty()
    }

    fn wake(&mut self, waker: Option<Waker>) {
        self.wakers.extend(waker);
    }
}

/// What the driver has to look at itself.
pub(crate) enum News {
    Ended { id: StreamId, live: usize },
    Incoming(StreamId, Open),
    Path(PathInfo),
    Session(Event),
}

/// Who waits for one stream.
#[derive(Default)]
struct Slot {
    read: Option<Waker>,
    write: Option<Waker>,
    closed: Option<Waker>,
    opened: Option<Opened>,
    end: Option<StreamEnd>,
}

impl Slot {
    fn wake(&mut self, effects: &mut Effects) {
        effects.wake(self.read.take());
        effects.wake(self.write.take());
        effects.wake(self.closed.take());
    }
}

/// What a stream's task waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    /// Bytes, the end of input, or the answer to WANT_OPENED.
    Read,
    /// Room in the send queue.
    Write,
    /// The stream's failure.
    Closed,
}
