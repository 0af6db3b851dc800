//! One connection, without any I/O: streams, credit, scheduling, limits, liveness, on either wire.
//!
//! A [`Session`] is told what happened (`handle_*`) and what the application wants (plain verbs), and is asked what
//! should be sent ([`Session::poll_transmit`]), what the application should know ([`Session::poll_event`]) and when
//! to be called again ([`Session::poll_timeout`]). It reads no clock, touches no socket and draws no randomness that
//! was not handed in.
//!
//! ```text
//!   application                        Session                             transport
//!   open send finish reset ──▶ ┌─────────────────────┐ ──poll_transmit──▶ Batch: records, ready to seal
//!   recv release forget    ──▶ │ table   limits      │
//!   drain abort            ──▶ │ credit  liveness    │ ◀──handle_data──── plaintext
//!                              │ schedule            │ ◀──handle_path──── TCP_INFO
//!   ◀──poll_event───────────── └─────────────────────┘ ◀──handle_timeout─ clock (poll_timeout says when)
//! ```
//!
//! The life of the connection:
//!
//! ```text
//!   Open ──drain()──▶ Draining ──last stream ended──▶ Closed(Drained)
//!     └──────┬───────────┘
//!            └── transport ended, limit, protocol, time-out, abort() ──▶ Closed(cause)
//! ```
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//! use bytes::{Buf, Bytes, BytesMut};
//! use remux::session::{Batch, Event, Open, Recv, Session};
//! use remux::{Budget, Role, SessionConfig, Wire};
//!
//! let (now, budget) = (Instant::now(), Arc::new(Budget::default()));
//! let mut client = Session::new(Role::Client, Wire::Remux2, SessionConfig::default(), budget.clone(), now);
//! let mut server = Session::new(Role::Server, Wire::Remux2, SessionConfig::default(), budget, now);
//!
//! let open = Open::connect("example.net:443".parse()?);
//! client.open(now, Open { first: Bytes::from("hello"), ..open })?;
//! let mut batch = Batch::new();
//! client.poll_transmit(now, &mut batch);
//! let mut wire = BytesMut::from(&batch.copy_to_bytes(batch.remaining())[..]);
//! server.handle_data(now, &mut wire)?;
//!
//! let mut events = std::iter::from_fn(|| server.poll_event());
//! let incoming = events.find_map(|event| match event {
//!     Event::Incoming { id, .. } => Some(id),
//!     _ => None,
//! });
//! let id = incoming.expect("a stream");
//! assert_eq!(server.recv(now, id), Recv::Data(Bytes::from("hello")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Payload is never copied inside, except received chunks under 8 KiB (see `stream`). After any call, drain
//! [`Session::poll_event`], write while [`Session::wants_transmit`], and arm one timer.

mod app;
mod batch;
mod chunks;
mod credit;
mod event;
mod life;
mod limits;
mod liveness;
mod path;
#[cfg(feature = "planted")]
mod planted;
mod schedule;
mod stream;
mod table;
mod timer;
mod wire_classic;
mod wire_remux2;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use framing::remux2::{Code, GoAway};

use crate::budget::{Account, Budget, Ledger};
use crate::config::{Role, SessionConfig, Wire};
use crate::error::ConnectionError;

pub use batch::Batch;
pub use event::{Event, Open, Recv, Stats, StreamEnd, StreamId};
pub use path::PathInfo;

use limits::Limits;
use liveness::Liveness;
use path::{ASSUMED_LIMIT, ASSUMED_ROUND_TRIP};
use schedule::Scheduler;
use table::{Ended, Key, Table};

/// The engine of one connection.
#[derive(Debug)]
pub struct Session {
    role: Role,
    wire: Wire,
    config: SessionConfig,
    phase: Phase,
    table: Table,
    ended: Ended,
    counts: Counts,
    schedule: Scheduler,
    limits: Limits,
    liveness: Liveness,
    ledger: Ledger,
    /// The peer's last stream was refused for want of memory, and the application told.
    is_short: bool,
    /// Bytes in the send queues of all streams.
    queued: usize,
    peer: Peer,
    out: Out,
    writing: Writing,
    /// The frame whose payload is being received.
    body: Option<Body>,
    /// Classic: the stream whose full queue holds up the connection.
    blocked: Option<(Key, StreamId)>,
    path: Option<PathInfo>,
    start: Instant,
    idle_since: Option<Instant>,
    sweep_at: Option<Instant>,
    events: VecDeque<Event>,
    stats: Stats,
}

impl Session {
    /// A connection that has just been made. Give each its own [`SessionConfig::seed`].
    ///
    /// What it holds is charged to `account`: the peer's at an accepting end, so that one peer's memory is told from
    /// another's, else just the process's (a [`Budget`] itself).
    pub fn new(
        role: Role,
        wire: Wire,
        config: SessionConfig,
        account: impl Into<Account>,
        now: Instant,
    ) -> Self {
        let liveness = Liveness::new(config.liveness.clone(), role, config.seed, now);
        Self {
            role,
            wire,
            phase: Phase::Open,
            table: Table::new(if wire == Wire::Remux2 { 2 } else { 1 }),
            ended: Ended::default(),
            counts: Counts::default(),
            schedule: Scheduler::new(config.sending.quantum),
            limits: Limits::new(&config.limits, now),
            liveness,
            ledger: Ledger::open(account.into()),
            is_short: false,
            queued: 0,
            peer: Peer::new(role, wire),
            out: Out { settings: wire == Wire::Remux2, ..Out::default() },
            writing: Writing { outstanding: 0, streams: false, progress: now, burst: 0, sent_at: None },
            body: None,
            blocked: None,
            path: None,
            start: now,
            idle_since: Some(now),
            sweep_at: None,
            events: VecDeque::new(),
            stats: Stats::default(),
            config,
        }
    }

    /// Bytes arrived. Consumes whole frames, and what there is of a DATA payload, from the front of `input`; what is
    /// left (less than one frame, at most 16 KiB by default) must stay in front of the next call's bytes.
    ///
    /// Classic: stops at bytes for a stream whose queue is full; once [`Session::wants_read`] is true again call this
    /// with what is left before reading more.
    ///
    /// # Errors
    /// The connection is over (an [`Event::Closed`] says the same): write what [`Session::poll_transmit`] still gives,
    /// once, and close.
    pub fn handle_data(&mut self, now: Instant, input: &mut BytesMut) -> Result<(), ConnectionError> {
        if let Phase::Closed(cause) = &self.phase {
            input.clear();
            return Err(cause.clone());
        }
        if input.is_empty() {
            return Ok(());
        }
        self.check_memory(now).inspect_err(|_| input.clear())?;
        let before = input.len();
        let result = match self.wire {
            Wire::Remux2 => self.receive_remux2(now, input),
            Wire::Classic => {
                self.prove();
                self.receive_classic(now, input).map(|()| true)
            }
        };
        self.stats.bytes_in = self.stats.bytes_in.saturating_add(before.saturating_sub(input.len()) as u64);
        let busy = match result {
            Ok(busy) => busy,
            Err(cause) => {
                self.close(now, cause.clone());
                return Err(cause);
            }
        };
        if self.liveness.handle_received(now, busy) {
            self.events.push_back(Event::Alive);
        }
        self.check_drained(now);
        Ok(())
    }

    /// The transport ended. Every unfinished stream is [`StreamError::Truncated`](crate::StreamError::Truncated), even
    /// if the end was an orderly one of the transport; an [`Event::Closed`] follows.
    pub fn handle_closed(&mut self, now: Instant, cause: ConnectionError) {
        let announced = self.peer.goaway.take().map(|(code, text)| ConnectionError::GoAway { code, text });
        let cause = match cause {
            ConnectionError::Closed | ConnectionError::Io { .. } => announced.unwrap_or(cause),
            cause => cause,
        };
        self.close(now, cause);
    }

    /// What the kernel knows about the path; at most ten times a second while bytes flow, and just before each
    /// [`Session::handle_timeout`].
    pub fn handle_path(&mut self, now: Instant, path: PathInfo) {
        if self.closed().is_some() {
            return;
        }
        self.path = Some(path);
        let round_trip = self.round_trip();
        if self.liveness.handle_path(now, &path, round_trip).is_some() {
            self.events.push_back(Event::Suspect);
        } else if self.wire == Wire::Classic && self.liveness.handle_progress() {
            self.events.push_back(Event::Alive);
        }
    }

    /// Bytes of a batch were written, `left` remain in it. Optional, as [`Session::poll_transmit`] sees the same, but
    /// a batch can take long on a slow path. A transport that took all of it and has not flushed yet says at least 1:
    /// else a peer that stops reading goes unnoticed.
    pub fn handle_written(&mut self, now: Instant, left: usize) {
        if left < self.writing.outstanding {
            self.writing.progress = now;
            self.writing.outstanding = left;
            self.writing.streams &= left > 0;
            self.liveness.handle_written(now, left == 0);
        }
    }

    /// The machine slept, or the network changed: the connection is [`Event::Suspect`] until a byte comes. On remux2
    /// the peer is asked, and the connection dead after 1 s without an answer; this holds without streams too.
    pub fn handle_suspend(&mut self, now: Instant) {
        if self.closed().is_none() && self.liveness.handle_suspend(now) {
            self.events.push_back(Event::Suspect);
        }
    }

    /// Fills `batch` up to its room with what should be sent next. Call it when the transport can take bytes, and
    /// hand in the same batch until it is empty. After the end of the connection it gives a last GOAWAY, once.
    pub fn poll_transmit(&mut self, now: Instant, batch: &mut Batch) {
        self.handle_written(now, batch.len());
        let idle = self.writing.sent_at.is_none_or(|at| {
            now.saturating_duration_since(at) >= self.config.sending.small_idle
                && self.writing.outstanding == 0
        });
        if idle {
            self.writing.burst = 0;
        }
        let records =
            self.config.sending.batch_records.clamp(1, MOST_RECORDS).saturating_mul(Batch::MAX_RECORD);
        batch.set_limit(self.transmit_limit().clamp(Batch::MAX_RECORD, records));
        let before = batch.len();
        match self.wire {
            Wire::Remux2 => self.transmit_remux2(now, batch),
            Wire::Classic => self.transmit_classic(now, batch),
        }
        let added = batch.len().saturating_sub(before);
        if added > 0 {
            self.stats.bytes_out = self.stats.bytes_out.saturating_add(added as u64);
            self.writing.burst = self.writing.burst.saturating_add(added);
            self.writing.sent_at = Some(now);
            if self.writing.outstanding == 0 {
                self.writing.progress = now;
            }
        }
        self.writing.outstanding = batch.len();
        self.check_drained(now);
    }

    /// What the application should know; call until `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether [`Session::poll_transmit`] may have something to add: wake the writer.
    pub fn wants_transmit(&self) -> bool {
        if self.closed().is_some() {
            return self.out.goaway.is_some();
        }
        self.out.is_waiting()
            || self.schedule.is_active()
            || (self.wire == Wire::Remux2 && self.liveness.wants_ping())
    }

    /// Whether bytes should be read from the transport; false is back-pressure (classic only).
    pub fn wants_read(&self) -> bool {
        self.blocked.is_none()
    }

    /// Bytes the kernel should hold unsent at most (`TCP_NOTSENT_LOWAT`): 2 ms' worth, 16 KiB to 256 KiB. Follows
    /// [`Session::handle_path`].
    pub fn transmit_limit(&self) -> usize {
        self.path.as_ref().map_or(ASSUMED_LIMIT, PathInfo::transmit_limit)
    }

    /// Whether [`Session::poll_transmit`] gave bytes of streams that are not written yet.
    pub const fn holds_streams(&self) -> bool {
        self.writing.streams
    }

    /// The wire in use.
    pub const fn wire(&self) -> Wire {
        self.wire
    }

    /// Which end this is.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Streams the application has not let go of, or about which something is still to be sent.
    pub fn streams(&self) -> usize {
        self.table.len()
    }

    /// Why the connection ended, once it has.
    pub const fn closed(&self) -> Option<&ConnectionError> {
        match &self.phase {
            Phase::Closed(cause) => Some(cause),
            Phase::Open | Phase::Draining { .. } => None,
        }
    }

    /// Counters since the start.
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// Who is woken when [`Session::poll_timeout`] has become due for the sake of memory, which other connections use up.
    /// A driver that asks often enough needs none.
    pub fn set_waker(&mut self, waker: &std::task::Waker) {
        self.ledger.set_waker(waker);
    }

    /// What this connection's streams hold or are promised, and their windows' growth, in bytes: what it adds to the
    /// [`Budget`] beside its fixed cost.
    pub const fn charged(&self) -> (u64, u64) {
        (self.ledger.held(), self.ledger.growth())
    }

    /// Whose memory it takes.
    pub const fn account(&self) -> &Account {
        self.ledger.account()
    }

    /// The budget it shares with others.
    pub fn budget(&self) -> &Arc<Budget> {
        self.ledger.budget()
    }

    /// The peer speaks this wire. A server of another kind may answer with an alert or a page: only what the wire begins
    /// with proves it.
    fn prove(&mut self) {
        if !std::mem::replace(&mut self.peer.first_byte, true) {
            self.events.push_back(Event::FirstByte);
        }
    }

    fn round_trip(&self) -> Duration {
        self.path.as_ref().map_or(ASSUMED_ROUND_TRIP, PathInfo::round_trip)
    }

    fn is_classic(&self) -> bool {
        self.wire == Wire::Classic
    }

    /// Whether `id` is one this side gives out.
    fn is_local(&self, id: StreamId) -> bool {
        match self.wire {
            Wire::Remux2 => (id.0 & 1 == 1) == (self.role == Role::Client),
            Wire::Classic => self.role == Role::Client,
        }
    }

    fn find(&self, id: StreamId) -> Option<Key> {
        self.table.find(id, self.is_local(id))
    }
}

#[derive(Debug)]
enum Phase {
    Open,
    Draining { deadline: Option<Instant> },
    Closed(ConnectionError),
}

/// How many streams there are and were.
#[derive(Debug, Default)]
struct Counts {
    /// The last id given out here, 0 before the first.
    last_local: u32,
    /// The highest id the peer used, 0 before the first.
    last_remote: u32,
    /// Opened here and not over on the wire.
    local: usize,
    /// Opened by the peer and still in a slot.
    remote: usize,
    /// Not over on the wire, whoever opened them.
    running: usize,
}

/// What the peer has said.
#[derive(Debug)]
struct Peer {
    first_byte: bool,
    settings: bool,
    max_streams: u32,
    initial_window: u64,
    max_age: Duration,
    max_reuse: u32,
    /// The highest of our ids it takes care of; it is draining.
    last_id: Option<u32>,
    goaway: Option<(Code, Arc<str>)>,
}

impl Peer {
    fn new(role: Role, wire: Wire) -> Self {
        let max_streams = match (wire, role) {
            (Wire::Remux2, Role::Client) => SERVER_STREAMS,
            (Wire::Classic, Role::Client) => u32::MAX,
            (_, Role::Server) => 0,
        };
        Self {
            first_byte: false,
            settings: false,
            max_streams,
            initial_window: INITIAL_WINDOW,
            max_age: Duration::MAX,
            max_reuse: u32::MAX,
            last_id: None,
            goaway: None,
        }
    }
}

/// Frames that wait to be sent: at most one entry of each kind per stream.
#[derive(Debug, Default)]
struct Out {
    settings: bool,
    goaway: Option<GoAway>,
    pong: Option<[u8; 8]>,
    resets: VecDeque<(Key, StreamId)>,
    credits: VecDeque<(Key, StreamId)>,
    opens: VecDeque<(Key, StreamId)>,
    /// Streams that never got a slot. Bounded by the limits on refusals and resets, and by those on opens up to a number.
    refused: VecDeque<Refused>,
    /// The last id of a GOAWAY that went out or waits.
    last_id: Option<u32>,
}

impl Out {
    fn is_waiting(&self) -> bool {
        self.settings
            || self.goaway.is_some()
            || self.pong.is_some()
            || !self.resets.is_empty()
            || !self.credits.is_empty()
            || !self.opens.is_empty()
            || !self.refused.is_empty()
    }
}

/// A stream that was turned away.
#[derive(Clone, Copy, Debug)]
struct Refused {
    id: StreamId,
    code: Code,
    safe: bool,
}

/// What the transport has been given.
#[derive(Debug)]
struct Writing {
    /// Bytes in the batch when last seen.
    outstanding: usize,
    /// Bytes of streams were among them.
    streams: bool,
    /// When bytes last left the batch, or entered an empty one.
    progress: Instant,
    /// Bytes since the start or the last pause.
    burst: usize,
    sent_at: Option<Instant>,
}

/// A payload being received.
#[derive(Clone, Copy, Debug)]
struct Body {
    /// `None`: dropped.
    to: Option<(Key, StreamId)>,
    left: usize,
    flags: u8,
}

/// Streams a server lets its client open, unless it says otherwise.
const SERVER_STREAMS: u32 = 256;
/// Every stream's window, unless the peer's settings raise it.
const INITIAL_WINDOW: u64 = 262_144;
const MOST_RECORDS: usize = 64;
