//! The one task of a connection: it moves bytes between a [`Session`] and its [`Records`], and keeps the clock.
//!
//! ```text
//!            ┌──────────────────────── a turn ────────────────────────────┐
//!  woken ──▶ │ flush batch ◀──▶ pull batch   (lock, poll_transmit, unlock)│
//!            │      │ socket full, or nothing to send                     │
//!            │ read into slab ──▶ handle_data (lock … unlock, then wake)  │──▶ yield after 128 KiB or 64 reads
//!            │      │ nothing to read                                     │
//!            │ probe (10 Hz), timers                                      │
//!            └──────┴─ nothing to do ──▶ park: Idle or Blocked ───────────┘
//! ```
//! So it runs until the session or the transport ends; `closing` has what comes then.

mod closing;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use closing::{Closing, End, Patience};
use sla::ConnectionId;
use sla::event;
use tokio::task::JoinSet;
use tokio::time::Sleep;

use crate::budget::Account;
use crate::config::{Role, SessionConfig};
use crate::error::ConnectionError;
use crate::io::clock::{Wakefulness, now};
use crate::io::connect::{Connected, Lease, OnEnd, Probe};
pub(crate) use crate::io::connection::{ConnEvent, Connection, Observer};
use crate::io::records::Records;
use crate::io::shared::{Effects, News, Park, Shared};
use crate::io::slabs::{self, SLAB};
use crate::io::stream::Stream;
use crate::session::{Batch, Event, Session};

/// Puts a session on a transport. The future drives it until it ends and yields why; who holds it owns the connection, and
/// dropping it ends the connection at once.
pub(crate) fn start(
    role: Role,
    connected: Connected,
    id: ConnectionId,
    config: SessionConfig,
    account: Account,
    observer: Arc<dyn Observer>,
) -> (Connection, impl Future<Output = ConnectionError> + Send + 'static) {
    let Connected { records, wire, probe, facts, on_end, lease } = connected;
    let start = now();
    let session = Session::new(role, wire, config, account, start);
    let role = match role {
        Role::Client => event::Role::Client,
        Role::Server => event::Role::Server,
    };
    let conn = event::Conn::open(
        id,
        &event::ConnFacts {
            role,
            wire: wire.name(),
            transport: &facts.transport,
            local: &facts.local,
            remote: &facts.remote,
            identity: facts.identity.as_deref(),
        },
    );
    let shared = Shared::new(id, wire, facts, session);
    let mut driver = Driver {
        shared: shared.clone(),
        observer,
        records,
        probe,
        role,
        on_end,
        conn: Some(conn),
        start,
        batch: Batch::new(),
        slab: BytesMut::new(),
        read_size: READ_SMALL,
        small_reads: 0,
        paused: false,
        ended: None,
        blocked: false,
        timer: Box::pin(tokio::time::sleep_until(start.into())),
        armed: None,
        probed: None,
        wakefulness: Wakefulness::new(start),
        lowat: 0,
        phase: Phase::Running,
        bytes_in: 0,
        bytes_out: 0,
        effects: Effects::default(),
    };
    let connection = Connection::new(shared);
    let watch = lease.map(|lease| watch(connection.clone(), lease));
    let task = async move {
        let _watch = watch;
        std::future::poll_fn(move |cx| driver.poll(cx)).await
    };
    (connection, task)
}

/// Waits for the end of the peer's right in a task of its own, so that the driver doesn't look at it in each turn.
fn watch(connection: Connection, lease: Lease) -> JoinSet<()> {
    let mut watch = JoinSet::new();
    watch.spawn(async move {
        let cause = lease.await;
        connection.abort(ConnectionError::Forbidden(cause));
    });
    watch
}

struct Driver {
    shared: Arc<Shared>,
    observer: Arc<dyn Observer>,
    records: Box<dyn Records>,
    probe: Option<Box<dyn Probe>>,
    role: event::Role,
    on_end: Option<OnEnd>,
    conn: Option<event::Conn>,
    start: Instant,
    /// Bytes bound for the wire; nothing is added until it is gone.
    batch: Batch,
    /// Bytes read and not yet taken by the session.
    slab: BytesMut,
    /// Size of the next slab: small until a read fills it.
    read_size: usize,
    small_reads: u8,
    /// The session wants no bytes for now (classic: a stream's queue is full).
    paused: bool,
    /// The transport has ended, and bytes from before its end wait for the session.
    ended: Option<End>,
    /// The transport takes no more for now.
    blocked: bool,
    timer: Pin<Box<Sleep>>,
    /// When the timer fires, if it is set.
    armed: Option<Instant>,
    probed: Option<Instant>,
    wakefulness: Wakefulness,
    lowat: usize,
    phase: Phase,
    bytes_in: u64,
    bytes_out: u64,
    effects: Effects,
}

enum Phase {
    Running,
    /// The streams have ended; the transport ends as well.
    Closing(Closing, Patience, ConnectionError),
    Gone,
}

/// What a turn has used up.
#[derive(Default)]
struct Turn {
    bytes: usize,
    reads: usize,
    rounds: usize,
}

impl Turn {
    fn is_spent(&self) -> bool {
        self.bytes >= TURN_BYTES || self.reads >= TURN_READS || self.rounds >= TURN_READS
    }
}

/// How a step of a turn went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// There may be more to do.
    More,
    /// Nothing, until something happens.
    Idle,
    /// The transport takes no more for now.
    Full,
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionError> {
        if let Phase::Running = self.phase {
            let end = ready!(self.poll_turn(cx));
            self.close(end);
        }
        ready!(self.poll_close(cx));
        Poll::Ready(self.finish())
    }

    /// Runs until there is nothing to do, or the budget of a turn is spent.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let mut turn = Turn::default();
        let start = now();
        if self.wakefulness.has_slept(start) {
            self.shared.lock().session.handle_suspend(start);
        }
        loop {
            let now = now();
            let step = self.poll_sending(cx, now, &mut turn).and_then(|sending| {
                let reading = self.poll_reading(cx, now, &mut turn)?;
                if reading == Step::More || sending == Step::More {
                    return Ok(Step::More);
                }
                self.poll_path(now);
                self.poll_parking(cx, now, sending)
            });
            match step {
                Ok(Step::More) if turn.is_spent() => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(Step::More) => turn.rounds = turn.rounds.saturating_add(1),
                Ok(Step::Idle | Step::Full) => return Poll::Pending,
                Err(end) => return Poll::Ready(end),
            }
        }
    }

    /// Writes and pulls until the session has nothing to say or the transport takes no more.
    fn poll_sending(&mut self, cx: &mut Context<'_>, now: Instant, turn: &mut Turn) -> Result<Step, End> {
        loop {
            if self.ended.is_some() {
                // Nobody is there to take it.
                self.batch.clear();
                self.blocked = false;
            }
            let before = self.batch.len();
            if before > 0 || self.blocked {
                let written = self.records.poll_write(cx, &mut self.batch);
                let left = self.batch.len();
                let moved = before.saturating_sub(left);
                turn.bytes = turn.bytes.saturating_add(moved);
                self.bytes_out = self.bytes_out.saturating_add(wide(moved));
                self.blocked = written.is_pending();
                match written {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Err(self.read_rest(cx, error.into())),
                    Poll::Pending => {
                        if moved > 0 {
                            // A TLS stream may have taken all of it and still wait for the socket: that is not written yet.
                            self.shared.lock().session.handle_written(now, left.max(1));
                        }
                        return Ok(Step::Full);
                    }
                }
            }
            {
                let mut inner = self.shared.lock();
                inner.resume();
                inner.session.poll_transmit(now, &mut self.batch);
                inner.collect(&mut self.effects);
            }
            self.apply()?;
            if !self.batch.has_remaining() {
                return Ok(Step::Idle);
            }
            if turn.is_spent() {
                return Ok(Step::More);
            }
        }
    }

    /// Reads up to a slab, then lets the session take it.
    fn poll_reading(&mut self, cx: &mut Context<'_>, now: Instant, turn: &mut Turn) -> Result<Step, End> {
        if self.paused {
            if !self.shared.lock().session.wants_read() {
                return Ok(Step::Idle);
            }
            self.paused = false;
            // What waits goes first: reading on each time would let the slab grow.
            if !self.slab.is_empty() {
                self.hand_over(now)?;
                return Ok(Step::More);
            }
        }
        if let Some(end) = self.ended.take() {
            return Err(end);
        }
        let mut fresh = 0_usize;
        let mut step = Step::More;
        let mut ended = None;
        while fresh < READ_LARGE {
            if self.spare() < SPARE_MIN {
                if fresh > 0 {
                    break;
                }
                self.renew_slab();
            }
            match self.records.poll_read(cx, &mut self.slab) {
                Poll::Ready(Ok(0)) => {
                    ended = Some(End::PeerClosed);
                    break;
                }
                Poll::Ready(Ok(count)) => {
                    fresh = fresh.saturating_add(count);
                    turn.reads = turn.reads.saturating_add(1);
                }
                Poll::Ready(Err(error)) => {
                    ended = Some(error.into());
                    break;
                }
                Poll::Pending => {
                    step = Step::Idle;
                    break;
                }
            }
        }
        self.adapt(fresh);
        turn.bytes = turn.bytes.saturating_add(fresh);
        self.bytes_in = self.bytes_in.saturating_add(wide(fresh));
        if fresh > 0 {
            self.hand_over(now)?;
        }
        match ended {
            // What came before the end is still to be read.
            Some(end) if self.paused => {
                self.ended = Some(end);
                Ok(Step::Idle)
            }
            Some(end) => Err(end),
            None => Ok(step),
        }
    }

    /// Lets the session take what was read.
    fn hand_over(&mut self, now: Instant) -> Result<(), End> {
        let handled = {
            let mut inner = self.shared.lock();
            let handled = inner.session.handle_data(now, &mut self.slab);
            self.paused = !inner.session.wants_read();
            inner.paused = self.paused;
            inner.collect(&mut self.effects);
            handled
        };
        self.apply()?;
        Ok(handled?)
    }

    /// Reads what the transport still has after a write failed: the peer's last words may explain it.
    fn read_rest(&mut self, cx: &mut Context<'_>, failed: End) -> End {
        for _ in 0..TURN_READS {
            match self.poll_reading(cx, now(), &mut Turn::default()) {
                Ok(Step::More) => {}
                Ok(Step::Idle | Step::Full) => return failed,
                Err(end @ (End::Orderly(_) | End::Now(ConnectionError::TurnedAway { .. }))) => return end,
                Err(_) => return failed,
            }
        }
        failed
    }

    /// Goes to sleep, unless something came up since the last look at the session.
    fn poll_parking(&mut self, cx: &mut Context<'_>, now: Instant, sending: Step) -> Result<Step, End> {
        let (deadline, again) = {
            let mut inner = self.shared.lock();
            if sending == Step::Idle {
                inner.session.poll_transmit(now, &mut self.batch);
            }
            // Also while nothing can be sent: the session may be over.
            inner.collect(&mut self.effects);
            let again = self.batch.has_remaining() && sending == Step::Idle
                || self.paused && inner.session.wants_read()
                || !self.effects.is_empty();
            if !again {
                inner.park(if sending == Step::Full { Park::Blocked } else { Park::Idle }, cx);
            }
            (inner.session.poll_timeout().map(|(at, _)| at), again)
        };
        self.apply()?;
        if again {
            return Ok(Step::More);
        }
        // A deadline that moved back is left alone: the timer fires early once, which is cheaper than setting it each turn.
        match (deadline, self.armed) {
            (Some(at), None) => self.arm(at),
            (Some(at), Some(armed)) if at < armed => self.arm(at),
            (_, None) => return Ok(sending),
            (_, Some(_)) => {}
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return Ok(sending);
        }
        self.armed = None;
        self.handle_timeout()?;
        Ok(Step::More)
    }

    fn handle_timeout(&mut self) -> Result<(), End> {
        let now = now();
        self.tell_path(now);
        {
            let mut inner = self.shared.lock();
            inner.session.handle_timeout(now);
            inner.collect(&mut self.effects);
        }
        if self.slab.is_empty() && self.small_reads > 0 {
            self.slab = BytesMut::new();
        }
        self.apply()
    }

    fn arm(&mut self, at: Instant) {
        self.armed = Some(at);
        self.timer.as_mut().reset(at.into());
    }

    /// Tells the session about the path, at most ten times a second, and the socket how much may wait in it.
    fn poll_path(&mut self, now: Instant) {
        let recent = |probed: Instant| now.saturating_duration_since(probed) < PROBE_EVERY;
        if self.probe.is_some() && !self.probed.is_some_and(recent) {
            self.tell_path(now);
        }
    }

    fn tell_path(&mut self, now: Instant) {
        let Some(probe) = &self.probe else { return };
        self.probed = Some(now);
        let Some(path) = probe.path() else { return };
        let limit = {
            let mut inner = self.shared.lock();
            inner.session.handle_path(now, path);
            inner.collect(&mut self.effects);
            inner.session.transmit_limit()
        };
        if limit != self.lowat {
            self.lowat = limit;
            probe.set_notsent_lowat(u32::try_from(limit).unwrap_or(u32::MAX));
        }
        self.effects.news.push(News::Path(path));
    }

    /// A slab with room to read into; what waits in the old one moves.
    fn renew_slab(&mut self) {
        if self.read_size == READ_SMALL {
            self.slab.reserve(READ_SMALL);
            return;
        }
        let mut fresh = slabs::take(SLAB);
        fresh.extend_from_slice(&self.slab);
        slabs::give(std::mem::replace(&mut self.slab, fresh));
    }

    fn spare(&self) -> usize {
        self.slab.capacity().saturating_sub(self.slab.len())
    }

    /// Small slabs for a connection that only gets small messages, large ones for the rest.
    fn adapt(&mut self, fresh: usize) {
        if fresh >= READ_SMALL / 2 {
            self.read_size = READ_LARGE;
            self.small_reads = 0;
        } else if fresh > 0 {
            self.small_reads = self.small_reads.saturating_add(1);
            if self.small_reads >= SMALL_READS {
                self.read_size = READ_SMALL;
            }
        }
    }

    /// Wakes and tells, with no lock held.
    fn apply(&mut self) -> Result<(), End> {
        for waker in self.effects.wakers.drain(..) {
            waker.wake();
        }
        let mut end = Ok(());
        if self.effects.news.is_empty() {
            return end;
        }
        for news in std::mem::take(&mut self.effects.news) {
            match news {
                News::Path(path) => self.tell(ConnEvent::Path(path)),
                News::Incoming(id, open) => {
                    let stream = Stream::new(self.shared.clone(), id, open, false);
                    self.tell(ConnEvent::Incoming(stream));
                }
                News::Ended { id, live } => self.tell(ConnEvent::StreamEnded { id, live }),
                News::Session(event) => end = self.handle_event(event).and(end),
            }
        }
        end
    }

    fn tell_verdict(&mut self, verdict: &ConnectionError) {
        if let Some(told) = self.on_end.take() {
            told(verdict);
        }
    }

    fn tell(&self, event: ConnEvent) {
        self.observer.on_event(self.shared.id, event);
    }

    fn tell_short(&self, held: u64, room: u64) {
        let facts = &self.shared.facts;
        let what = format!(
            "{} its streams are refused: of {room} bytes that are its own or free it holds {held} → close other streams and \
             connections of it, or raise remux.memory.max.bytes where the machine has more",
            sla::code::LIMIT_MEMORY
        );
        event::limit_reached(&what, &facts.remote, facts.identity.as_deref(), room);
    }

    fn handle_event(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::FirstByte => self.tell(ConnEvent::FirstByte),
            Event::PeerLimits { max_age, max_reuse, max_streams } => {
                self.tell(ConnEvent::PeerLimits { max_age, max_reuse, max_streams });
            }
            Event::PeerDraining { code, text, .. } => {
                let cause = if text.is_empty() { code.to_string() } else { format!("{code}: {text}") };
                event::conn_draining(self.shared.id, &cause);
                // Not when it is over at last: the next dial is now.
                self.tell_verdict(&ConnectionError::GoAway { code, text: text.as_str().into() });
                self.tell(ConnEvent::PeerDraining { cause });
            }
            Event::Suspect => {
                event::conn_suspect(self.shared.id, "no answer in time");
                self.tell(ConnEvent::Suspect);
            }
            Event::Alive => {
                event::conn_alive(self.shared.id);
                self.tell(ConnEvent::Alive);
            }
            Event::Short { held, room } => self.tell_short(held, room),
            Event::Closed(cause) => return Err(cause.into()),
            // Those of single streams were taken under the lock.
            _ => {}
        }
        Ok(())
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Bytes moved before other tasks get their turn: few enough that a stream's task still finds them in the cache (1 MiB cost
/// a tenth more CPU).
const TURN_BYTES: usize = 128 * 1024;
/// Reads, or rounds of the loop, before other tasks get their turn.
const TURN_READS: usize = 64;
/// Bytes read before the session takes them, and the size of a slab.
const READ_LARGE: usize = SLAB;
/// Size of a slab while only small messages come.
const READ_SMALL: usize = 4 * 1024;
/// Small reads in a row that make slabs small again.
const SMALL_READS: u8 = 16;
/// A slab with less room than this is given up.
const SPARE_MIN: usize = 1024;
/// Shortest time between two looks at the socket's figures.
const PROBE_EVERY: Duration = Duration::from_millis(100);
