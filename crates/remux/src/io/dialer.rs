//! The client's end: streams to one server, over a pool of connections.
//!
//! ```text
//!  open() ──lock──▶ Core { Pool, connections, requests } ──usable──▶ Connection::open ──▶ Stream     (no task hop)
//!                     │                  ▲         ▲
//!                     │ dial, deadline   │         └── Watch: first byte, streams ended, suspicion, end
//!                     ▼                  │ results
//!                  pool task: JoinSet of connects and drivers, one timer
//! ```
//! The pool decides, this module acts: every change goes through [`State::pump`], which carries out what the pool wants
//! under one short lock, so that streams are opened on a connection before it is told to drain.

mod task;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use framing::remux2::Code;
use parking_lot::{Mutex, MutexGuard};
use sla::ConnectionId;
use sla::event::{self, Health};
use tokio::sync::{Notify, oneshot};

use crate::budget::{Budget, Charge, Stage};
use crate::config::{Config, Wire};
use crate::error::{ConnectionError, DialError, OpenReason};
use crate::io::connect::{Connect, ConnectError};
use crate::io::connection::{ConnEvent, Connection, Observer};
use crate::io::retry::{Reopen, Reopening};
use crate::io::shared::{now, seed_or_chance};
use crate::io::stream::Stream;
use crate::pool::meter::Meter;
use crate::pool::{self, Action, CloseReason, Limits, Pool, Proof, RequestError, Ticket, Waiter};
use crate::session::Open;

/// Streams to one server, over as few connections as the limits allow.
///
/// Clones share one pool. Cheap to clone, and meant to be.
///
/// A stream is opened on a connection that is up where one can be used; otherwise a connection is dialled, and the stream's
/// request and first data leave with its very first bytes. Which connection, and when a new one: [`crate::pool`].
///
/// **Ending.** When the last clone is dropped the pool takes no more requests and dials no more; streams that are open go on,
/// each connection ends with its last stream, and the pool's task ends with the last connection. [`Dialer::drain`] sets a limit
/// to that. With the runtime everything ends at once.
#[derive(Clone)]
pub struct Dialer {
    handle: Arc<Handle>,
}

impl Dialer {
    /// A pool without connections; the first request dials. Logs call the server `server`: see [`Dialer::builder`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(connect: impl Connect, config: Config) -> Self {
        Self::builder(config).build(connect)
    }

    /// The same, with more to say about it.
    pub fn builder(config: Config) -> Builder {
        Builder { config, name: "server".to_owned(), budget: None }
    }

    /// Opens a plain stream between the two ends: no target, no data yet.
    ///
    /// Cancel safe: a dropped future leaves nothing behind.
    ///
    /// # Errors
    /// As [`Dialer::open`].
    pub async fn dial(&self) -> Result<Stream, DialError> {
        self.open(Open::stream()).await
    }

    /// Opens a stream. It may be used as soon as it is returned, before the server has answered anything.
    ///
    /// A stream that the server refuses before it has done anything with it (it drains, or is at a limit) is opened again on
    /// another connection, once and silently, as long as at most 64 KiB were written to it.
    ///
    /// Cancel safe: a dropped future leaves nothing behind.
    ///
    /// # Errors
    /// [`DialError`], within [`Config::dial_timeout`]. Nothing of `open` was sent then, so trying again is safe.
    pub async fn open(&self, open: Open) -> Result<Stream, DialError> {
        self.handle.core.open(open, now(), None, true).await
    }

    /// Figures for people and metrics.
    pub fn stats(&self) -> Stats {
        let state = self.handle.core.state.lock();
        Stats { pool: state.pool.stats(), ..state.stats }
    }

    /// The machine slept, or its network changed: asks each connection for a sign of life, and opens streams on none of them
    /// before it has answered.
    pub fn handle_wake(&self) {
        self.handle.core.with(|state, now| state.pool.handle_wake(now));
    }

    /// Takes no more requests, tells the server, waits for the streams, and resets those that are open after `limit`.
    ///
    /// Returns when the last connection is closed, shortly after `limit` at the latest. Cancel safe: a dropped future does not
    /// take the order back.
    pub async fn drain(&self, limit: Duration) {
        let core = &self.handle.core;
        core.with(|state, now| state.pool.shutdown(now));
        core.with(|state, _| {
            for line in state.lines.values() {
                line.connection.drain(Code::DRAIN, limit);
            }
        });
        let patience = limit.saturating_add(CLOSE_MAX);
        if tokio::time::timeout(patience, core.ended()).await.is_err() {
            core.stop();
            core.ended().await;
        }
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// What can be said about a [`Dialer`] beyond its configuration.
#[derive(Debug)]
pub struct Builder {
    config: Config,
    name: String,
    budget: Option<Arc<Budget>>,
}

impl Builder {
    /// What logs call the server, as `tunnel.example.net:443`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Shares a memory budget with other dialers and listeners; default: one of its own.
    #[must_use]
    pub fn budget(mut self, budget: Arc<Budget>) -> Self {
        self.budget = Some(budget);
        self
    }

    /// A pool without connections; the first request dials.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn build(self, connect: impl Connect) -> Dialer {
        let Self { config, name, budget } = self;
        let pool = Pool::new(pool_config(&config), seed_or_chance(config.session.seed));
        let core = Arc::new(Core {
            config,
            budget: budget.unwrap_or_default(),
            state: Mutex::new(State::new(pool)),
            health: Mutex::new(Health::new(name.clone())),
            name,
            work: Notify::new(),
            end: Notify::new(),
        });
        tokio::spawn(task::run(core.clone(), connect));
        Dialer { handle: Arc::new(Handle { core }) }
    }
}

/// What a dialer holds and has done.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Connections and requests now.
    pub pool: pool::Stats,
    /// Streams opened since the start.
    pub opened: u64,
    /// Dials begun since the start.
    pub dials: u64,
    /// Dials that failed: no connection, or none that lived to the peer's first byte.
    pub failed_dials: u64,
    /// Streams opened again because the server had refused them safely.
    pub reopened: u64,
}

/// Shared by the clones of a dialer and by nobody else: with it goes the wish for streams.
struct Handle {
    core: Arc<Core>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.with(|state, now| state.pool.shutdown(now));
    }
}

/// What a dialer's clones, its task and its connections' drivers share.
struct Core {
    config: Config,
    budget: Arc<Budget>,
    name: String,
    state: Mutex<State>,
    health: Mutex<Health>,
    /// The task has something to do before its timer.
    work: Notify,
    /// The task has ended.
    end: Notify,
}

impl Core {
    /// Opens a stream, or asks again for one of the time `asked` that `refused_by` didn't take.
    async fn open(
        self: &Arc<Self>,
        open: Open,
        asked: Instant,
        refused_by: Option<Ticket>,
        retry: bool,
    ) -> Result<Stream, DialError> {
        if self.budget.stage() >= Stage::NoOpens {
            return Err(self.short_of_memory());
        }
        let now = now();
        let (waiter, answer) = {
            let mut state = self.state.lock();
            let charge = self.budget.charge(WAITING.saturating_add(open.first.len() as u64));
            let waiter = state.ask(now, Request { open, asked, retry, charge, reply: None }, refused_by);
            state.pump(self, now);
            let answered = state.answered.take();
            let (reply, answer) = oneshot::channel();
            if let Some(request) = state.requests.get_mut(&waiter) {
                request.reply = Some(reply);
            }
            self.leave(state);
            match answered {
                Some(answered) => return answered,
                None => (waiter, answer),
            }
        };
        let mut asking = Asking { core: self, waiter, answer };
        // Without an answer the task is gone, and the runtime with it.
        (&mut asking.answer).await.unwrap_or(Err(DialError::Closed))
    }

    fn short_of_memory(&self) -> DialError {
        DialError::Memory { used: self.budget.used(), limit: self.budget.limit() }
    }

    /// Changes something, then does what the pool wants because of it, and tells the log if a dial failed by it.
    fn with<R>(self: &Arc<Self>, change: impl FnOnce(&mut State, Instant) -> R) -> R {
        let now = now();
        let mut state = self.state.lock();
        let before = state.pool.next_dial();
        let result = change(&mut state, now);
        state.pump(self, now);
        // Dials that failed side by side are one failure, and one line.
        let failed = state.pool.next_dial().filter(|next| before != Some(*next));
        let failed = failed.map(|next| {
            state.stats.failed_dials = state.stats.failed_dials.saturating_add(1);
            (next, state.last_failure.clone())
        });
        self.leave(state);
        if let Some((next, cause)) = failed {
            let attempt = {
                let mut health = self.health.lock();
                health.failed(cause.server.as_deref(), &cause.text);
                health.failures()
            };
            event::dial_backoff(&self.name, next.saturating_duration_since(now), attempt);
        }
        result
    }

    /// Unlocks, then does what must not be done under the lock.
    fn leave(&self, mut state: MutexGuard<'_, State>) {
        let urgent = state.is_urgent();
        let unclaimed = std::mem::take(&mut state.unclaimed);
        drop(state);
        // Dropping a stream takes its connection's lock, and logs.
        drop(unclaimed);
        if urgent {
            self.work.notify_one();
        }
    }

    /// A connection is gone, and its streams with it.
    fn handle_closed(self: &Arc<Self>, ticket: Ticket, cause: ConnectionError) {
        let elsewhere = matches!(cause, ConnectionError::TurnedAway { elsewhere: true, .. });
        let left = self.with(|state, now| {
            let line = state.lines.remove(&ticket)?;
            let server = line.connection.shared().facts.server.clone();
            state.last_failure = Failure { server: server.clone(), text: cause.early() };
            if elsewhere {
                state.pool.handle_turned_away(now, ticket);
            } else {
                state.pool.handle_closed(now, ticket, Cause::Ended(cause.clone()));
            }
            server
        });
        if let Some(server) = left.filter(|_| elsewhere) {
            // Another server may take us: then nobody else would tell of this one.
            event::dial_failed(&server, &cause.early(), 1);
        }
    }

    /// Ends every connection and dial now.
    fn stop(self: &Arc<Self>) {
        self.with(|state, _| state.stopped = true);
        self.work.notify_one();
    }

    /// Waits for the task's end.
    async fn ended(&self) {
        loop {
            let end = self.end.notified();
            tokio::pin!(end);
            end.as_mut().enable();
            if self.state.lock().gone {
                return;
            }
            end.await;
        }
    }
}

/// The pool and everything it speaks about.
struct State {
    pool: Pool<Cause>,
    lines: BTreeMap<Ticket, Line>,
    requests: BTreeMap<Waiter, Request>,
    next_waiter: u64,
    /// The answer to a request whose caller is still in [`Core::open`], with the lock held.
    answered: Option<Result<Stream, DialError>>,
    /// Streams whose callers have gone.
    unclaimed: Vec<Stream>,
    /// Dials to begin, and to stop.
    orders: Vec<Order>,
    /// When the task wakes up by itself.
    armed: Option<Instant>,
    /// The last dial's error, for the log and for requests that run out of time.
    last_failure: Failure,
    stats: Stats,
    /// End everything.
    stopped: bool,
    /// The task has ended.
    gone: bool,
}

/// A connection that is up.
struct Line {
    connection: Connection,
    /// What its streams call when they are refused.
    reopen: Arc<dyn Reopen>,
    meter: Meter,
}

/// Someone waits for a stream.
struct Request {
    open: Open,
    asked: Instant,
    /// Whether it may be asked again, should the server refuse it.
    retry: bool,
    /// For itself and its first data, while it waits.
    charge: Charge,
    /// `None` while its caller holds the lock.
    reply: Option<oneshot::Sender<Result<Stream, DialError>>>,
}

enum Order {
    Dial(Ticket),
    Stop(Ticket),
}

/// What went wrong last, and with which server if that is known.
#[derive(Clone, Debug, Default)]
struct Failure {
    server: Option<Arc<str>>,
    text: String,
}

/// Why a dial failed or a connection ended.
#[derive(Clone, Debug)]
enum Cause {
    Connect(ConnectError),
    Ended(ConnectionError),
}

impl State {
    fn new(pool: Pool<Cause>) -> Self {
        Self {
            pool,
            lines: BTreeMap::new(),
            requests: BTreeMap::new(),
            next_waiter: 0,
            answered: None,
            unclaimed: Vec::new(),
            orders: Vec::new(),
            armed: None,
            last_failure: Failure::default(),
            stats: Stats::default(),
            stopped: false,
            gone: false,
        }
    }

    fn ask(&mut self, now: Instant, request: Request, refused_by: Option<Ticket>) -> Waiter {
        let waiter = Waiter(self.next_waiter);
        self.next_waiter = self.next_waiter.wrapping_add(1);
        let asked = request.asked;
        self.requests.insert(waiter, request);
        match refused_by {
            None => self.pool.request(now, waiter),
            Some(ticket) => {
                self.stats.reopened = self.stats.reopened.saturating_add(1);
                self.pool.request_again(now, waiter, asked, ticket);
            }
        }
        waiter
    }

    /// Does what the pool wants, in its order.
    fn pump(&mut self, core: &Core, now: Instant) {
        while let Some(action) = self.pool.poll_action() {
            match action {
                Action::Use { waiter, ticket } => self.put(core, now, waiter, ticket),
                Action::Dial(ticket) => {
                    self.stats.dials = self.stats.dials.saturating_add(1);
                    self.orders.push(Order::Dial(ticket));
                }
                Action::Drain(ticket) => {
                    if let Some(line) = self.lines.get(&ticket) {
                        line.connection.drain(Code::DRAIN, Duration::MAX);
                    }
                }
                Action::Close { ticket, why } => self.close(core, ticket, why),
                Action::Probe(ticket) => {
                    if let Some(line) = self.lines.get(&ticket) {
                        line.connection.probe();
                    }
                }
                Action::Fail { waiter, error } => {
                    let error = self.dial_error(core, error);
                    if let Some(request) = self.requests.remove(&waiter) {
                        self.answer(request.reply, Err(error));
                    }
                }
            }
        }
    }

    fn put(&mut self, core: &Core, now: Instant, waiter: Waiter, ticket: Ticket) {
        let Some(request) = self.requests.remove(&waiter) else {
            self.pool.handle_stream_ended(now, ticket);
            return;
        };
        let Some(line) = self.lines.get(&ticket) else {
            self.retry_elsewhere(now, waiter, ticket, request);
            return;
        };
        let Request { open, asked, retry, charge, reply } = request;
        let kept = retry.then(|| open.clone());
        match line.connection.open(open) {
            Ok(mut stream) => {
                if let Some(open) = kept {
                    stream.arm(line.reopen.clone(), open, asked);
                }
                self.stats.opened = self.stats.opened.saturating_add(1);
                self.answer(reply, Ok(stream));
            }
            Err(error) => match error.reason {
                OpenReason::Unsupported(what) => {
                    self.pool.handle_stream_ended(now, ticket);
                    self.answer(reply, Err(DialError::Unsupported(what)));
                }
                OpenReason::NoMemory => {
                    self.pool.handle_stream_ended(now, ticket);
                    self.answer(reply, Err(core.short_of_memory()));
                }
                OpenReason::Closed | OpenReason::Draining | OpenReason::Exhausted | OpenReason::TooMany => {
                    let request = Request { open: error.open, asked, retry, charge, reply };
                    self.retry_elsewhere(now, waiter, ticket, request);
                }
            },
        }
    }

    /// The connection took nothing: it is given up, and the request keeps its place.
    fn retry_elsewhere(&mut self, now: Instant, waiter: Waiter, ticket: Ticket, request: Request) {
        let asked = request.asked;
        self.requests.insert(waiter, request);
        self.pool.handle_open_failed(now, ticket);
        self.pool.request_again(now, waiter, asked, ticket);
    }

    fn close(&mut self, core: &Core, ticket: Ticket, why: CloseReason) {
        let Some(line) = self.lines.get(&ticket) else {
            self.orders.push(Order::Stop(ticket));
            return;
        };
        match why {
            CloseReason::Idle => line.connection.abort(ConnectionError::Idle),
            CloseReason::Silent => {
                let cause = ConnectionError::NoSettings { limit: core.config.dial_timeout };
                let server = line.connection.shared().facts.server.clone();
                self.last_failure = Failure { server, text: cause.early() };
                line.connection.abort(cause);
            }
            CloseReason::Overtaken | CloseReason::Retired => {
                line.connection.drain(Code::DRAIN, Duration::ZERO)
            }
        }
    }

    fn answer(
        &mut self,
        reply: Option<oneshot::Sender<Result<Stream, DialError>>>,
        answer: Result<Stream, DialError>,
    ) {
        match reply {
            None => self.answered = Some(answer),
            Some(reply) => {
                if let Err(Ok(stream)) = reply.send(answer) {
                    self.unclaimed.push(stream);
                }
            }
        }
    }

    fn dial_error(&self, core: &Core, error: RequestError<Cause>) -> DialError {
        let limit = core.config.dial_timeout;
        match error {
            RequestError::Closed => DialError::Closed,
            RequestError::Dial(Cause::Connect(error)) => DialError::Connect(Arc::new(error)),
            RequestError::Dial(Cause::Ended(cause)) | RequestError::Refused(Cause::Ended(cause)) => {
                DialError::Connection(cause)
            }
            RequestError::Refused(Cause::Connect(error)) => DialError::Connect(Arc::new(error)),
            RequestError::Limit => DialError::Limit { limit: core.config.conn_max },
            RequestError::Silent => DialError::Connection(ConnectionError::NoSettings { limit }),
            RequestError::TimedOut => DialError::Timeout { limit, last: self.last_failure.text.clone() },
        }
    }

    /// Whether the task must look before its timer fires.
    fn is_urgent(&self) -> bool {
        if !self.orders.is_empty() || self.pool.is_finished() || self.stopped {
            return true;
        }
        match (self.pool.poll_timeout(), self.armed) {
            (Some((at, _)), Some(armed)) => at < armed,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

/// A request on its way; dropping it takes the request back.
struct Asking<'a> {
    core: &'a Arc<Core>,
    waiter: Waiter,
    answer: oneshot::Receiver<Result<Stream, DialError>>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut state = self.core.state.lock();
        if state.requests.remove(&self.waiter).is_some() {
            state.pool.cancel(self.waiter);
        }
    }
}

/// Opens streams again that this connection refused.
struct Again {
    core: Weak<Core>,
    ticket: Ticket,
}

impl Reopen for Again {
    fn reopen(&self, open: Open, asked: Instant, again: bool) -> Reopening {
        let (core, ticket) = (self.core.upgrade(), self.ticket);
        Box::pin(async move {
            let core = core.ok_or(DialError::Closed)?;
            core.open(open, asked, Some(ticket), again).await
        })
    }
}

/// Tells the pool what happens to one connection.
struct Watch {
    core: Arc<Core>,
    ticket: Ticket,
}

impl Observer for Watch {
    fn on_event(&self, id: ConnectionId, event: ConnEvent) {
        let (core, ticket) = (&self.core, self.ticket);
        match event {
            ConnEvent::FirstByte => {
                core.with(|state, now| state.pool.handle_first_byte(now, ticket));
                core.health.lock().ok();
            }
            ConnEvent::PeerLimits { max_age, max_reuse, max_streams } => {
                let limits = Limits { max_age, max_count: max_reuse, max_streams };
                core.with(|state, now| state.pool.handle_limits(now, ticket, limits));
            }
            // A client's peer opens no streams as yet: dropping it is the answer.
            ConnEvent::Incoming(stream) => drop(stream),
            ConnEvent::StreamEnded { id: stream, live } => {
                tracing::trace!(connection_id = %id, stream_id = stream.0, live, "Stream ended");
                core.with(|state, now| state.pool.handle_stream_ended(now, ticket));
            }
            ConnEvent::PeerDraining { cause } => {
                tracing::trace!(connection_id = %id, cause, "Peer drains");
                core.with(|state, now| state.pool.handle_draining(now, ticket));
            }
            ConnEvent::Suspect => {
                core.with(|state, now| state.pool.handle_suspect(now, ticket));
            }
            ConnEvent::Alive => {
                core.with(|state, now| state.pool.handle_alive(now, ticket));
            }
            ConnEvent::Path(info) => core.with(|state, now| {
                let Some(line) = state.lines.get_mut(&ticket) else { return };
                let stats = line.connection.shared().lock().session.stats();
                let path = line.meter.handle(now, &info, stats.bytes_in.saturating_add(stats.bytes_out));
                state.pool.handle_path(ticket, path);
            }),
            ConnEvent::Closed { cause } => core.handle_closed(ticket, cause),
        }
    }
}

fn pool_config(config: &Config) -> pool::Config {
    let ours = pool::Config::default();
    pool::Config {
        limits: Limits {
            max_age: config.reuse_max_age,
            max_count: config.reuse_max_count,
            max_streams: ours.limits.max_streams,
        },
        idle_max: config.idle_max,
        max_connections: config.conn_max,
        request_timeout: config.dial_timeout,
        backoff_min: config.backoff_min,
        backoff_max: config.backoff_max,
        ..ours
    }
}

/// What makes a dial good: remux2 begins with the peer's SETTINGS; a classic peer says nothing until it has an answer, so
/// there a connection is good that was not thrown out for a while (a refused certificate shows within a round trip).
fn proof(wire: Wire) -> Proof {
    match wire {
        Wire::Remux2 => Proof::FirstByte,
        Wire::Classic => Proof::Lasts(CLASSIC_PROOF),
    }
}

/// What a request that waits takes beside its first data.
const WAITING: u64 = 2 << 10;
/// A classic connection that has lasted this long was accepted.
const CLASSIC_PROOF: Duration = Duration::from_secs(3);
/// How long connections may take to close after a drain's limit: the driver's own bound, and a little.
const CLOSE_MAX: Duration = Duration::from_secs(3);
