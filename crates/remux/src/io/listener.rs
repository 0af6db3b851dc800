//! The accepting end: takes transports that are up, yields the streams their peers open.
//!
//! ```text
//!  serve(connected) ──▶ driver (in the listener's JoinSet) ──Incoming──▶ queue ──▶ accept()
//!        │                                                        full: refused, safe to retry
//!        └──▶ ConnectionHandle: facts, open, drain, abort
//! ```

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use framing::remux2::Code;
use parking_lot::Mutex;
use sla::ConnectionId;
use sla::event;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::budget::Budget;
use crate::config::{Config, Role, SessionConfig, Wire};
use crate::error::{ConnectionError, OpenError};
use crate::io::connect::{Connected, PeerFacts};
use crate::io::driver::{ConnEvent, Connection, Observer, start};
use crate::io::shared::seed_or_chance;
use crate::io::stream::Stream;
use crate::session::Open;

/// Accepts streams on connections that were handed to it. Dropping it ends them all at once.
pub struct Listener {
    config: Config,
    budget: Arc<Budget>,
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<ConnectionError>>,
}

impl Listener {
    /// A listener without connections, with a memory budget of its own.
    pub fn new(config: Config) -> Self {
        Self::with_budget(config, Arc::new(Budget::default()))
    }

    /// A listener that shares its memory budget with others.
    pub fn with_budget(config: Config, budget: Arc<Budget>) -> Self {
        Self { config, budget, shared: Arc::default(), tasks: Mutex::default() }
    }

    /// Takes one transport that was accepted, its handshake done. Its task runs until the connection ends.
    ///
    /// Must be called within a tokio runtime. After [`Listener::close`] the connection is turned away with GOAWAY.
    pub fn serve(&self, connected: Connected) -> ConnectionHandle {
        let id = ConnectionId(rand::random());
        let session = &self.config.session;
        let config = SessionConfig { seed: seed_or_chance(session.seed), ..session.clone() };
        let observer = Arc::new(Watch { shared: Arc::downgrade(&self.shared) });
        let account = self.budget.account(connected.facts.identity.as_deref());
        let (connection, task) = start(Role::Server, connected, id, config, account, observer);
        let closed = {
            let mut state = self.shared.state.lock();
            state.connections.insert(id, connection.clone());
            state.running = state.running.saturating_add(1);
            state.closed
        };
        let (running, left) = (Running { shared: self.shared.clone() }, connection.clone());
        let mut tasks = self.tasks.lock();
        reap(&mut tasks);
        tasks.spawn(async move {
            let cause = task.await;
            drop(running);
            left.rest().await;
            cause
        });
        drop(tasks);
        if closed {
            connection.drain(Code::DRAIN, Duration::ZERO);
        }
        ConnectionHandle { connection }
    }

    /// The next stream that a peer opened, in order; `None` once the listener is closed and its queue empty.
    ///
    /// Cancel safe; any number of tasks may wait.
    pub async fn accept(&self) -> Option<Stream> {
        loop {
            let mut notified = pin!(self.shared.arrived.notified());
            // In line before the look: of two streams that come after it, each wakes a task.
            notified.as_mut().enable();
            {
                let mut state = self.shared.state.lock();
                if let Some(stream) = state.queue.pop_front() {
                    return Some(stream);
                }
                if state.closed {
                    return None;
                }
            }
            notified.await;
        }
    }

    /// Connections that are up.
    pub fn connections(&self) -> usize {
        self.shared.state.lock().connections.len()
    }

    /// Accepts no more: every connection is told (GOAWAY), streams that are open go on without a limit of time, and
    /// [`Listener::accept`] yields what is queued, then `None`.
    pub fn close(&self) {
        self.shutdown(Duration::MAX);
    }

    /// As [`Listener::close`]; streams still open after `limit` are reset (DRAIN). Returns when every connection has ended.
    ///
    /// Cancel safe: what was begun goes on.
    pub async fn drain(&self, limit: Duration) {
        self.shutdown(limit);
        loop {
            let ended = self.shared.ended.notified();
            if self.shared.state.lock().running == 0 {
                break;
            }
            ended.await;
        }
        reap(&mut self.tasks.lock());
    }

    fn shutdown(&self, limit: Duration) {
        let connections: Vec<Connection> = {
            let mut state = self.shared.state.lock();
            state.closed = true;
            state.connections.values().cloned().collect()
        };
        self.shared.arrived.notify_waiters();
        for connection in connections {
            connection.drain(Code::DRAIN, limit);
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("connections", &self.connections()).finish_non_exhaustive()
    }
}

/// One connection of a [`Listener`], for those who keep a table of them. It doesn't keep the connection alive.
#[derive(Clone)]
pub struct ConnectionHandle {
    connection: Connection,
}

impl ConnectionHandle {
    /// Its name in the logs.
    pub fn id(&self) -> ConnectionId {
        self.connection.id()
    }

    /// Who is at the other end.
    pub fn facts(&self) -> &PeerFacts {
        &self.connection.shared().facts
    }

    /// Its wire.
    pub fn wire(&self) -> Wire {
        self.connection.shared().wire
    }

    /// Streams on it that are held by someone.
    pub fn streams(&self) -> usize {
        self.connection.streams()
    }

    /// Opens a stream towards the peer (a reverse tunnel); the peer must allow it.
    ///
    /// # Errors
    /// [`OpenError`] says why and hands `open` back; nothing was sent.
    pub fn open(&self, open: Open) -> Result<Stream, OpenError> {
        self.connection.open(open)
    }

    /// No new streams on this connection; those still open after `limit` are reset (DRAIN).
    pub fn drain(&self, limit: Duration) {
        self.connection.drain(Code::DRAIN, limit);
    }

    /// Ends the connection and all its streams now.
    pub fn abort(&self, cause: &str) {
        self.connection.abort(ConnectionError::Aborted(cause.into()));
    }

    /// Whether the connection has ended; never true before its streams have failed.
    pub fn is_closed(&self) -> bool {
        self.connection.shared().ended().is_some()
    }

    /// Waits until the connection has ended, and says why. Cancel safe.
    pub async fn closed(&self) -> ConnectionError {
        self.connection.shared().gone().await
    }
}

impl fmt::Debug for ConnectionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionHandle")
            .field("id", &self.id())
            .field("facts", self.facts())
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    arrived: Notify,
    ended: Notify,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Stream>,
    connections: HashMap<ConnectionId, Connection>,
    /// Connections whose task has not ended; it outlives the streams by the transport's orderly end.
    running: usize,
    closed: bool,
}

/// Counts a connection's task, whichever way it ends.
struct Running {
    shared: Arc<Shared>,
}

impl Drop for Running {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state.lock();
            state.running = state.running.saturating_sub(1);
        }
        self.shared.ended.notify_waiters();
    }
}

/// What the listener sees of its connections.
struct Watch {
    /// The queue holds streams, streams hold their connection: a strong reference would be a ring.
    shared: Weak<Shared>,
}

impl Observer for Watch {
    fn on_event(&self, id: ConnectionId, event: ConnEvent) {
        let Some(shared) = self.shared.upgrade() else { return };
        match event {
            ConnEvent::Incoming(stream) => {
                let refused = {
                    let mut state = shared.state.lock();
                    if state.queue.len() < ACCEPT_QUEUE && !state.closed {
                        state.queue.push_back(stream);
                        None
                    } else {
                        Some(stream)
                    }
                };
                match refused {
                    None => shared.arrived.notify_one(),
                    Some(stream) => stream.refuse(Code::REFUSED, "accept queue is full"),
                }
            }
            ConnEvent::Closed { .. } => {
                let connection = shared.state.lock().connections.remove(&id);
                drop(connection);
            }
            _ => {}
        }
    }
}

/// Takes the results of tasks that have ended.
fn reap(tasks: &mut JoinSet<ConnectionError>) {
    while let Some(result) = tasks.try_join_next() {
        if let Err(error) = result {
            report(error);
        }
    }
}

/// A panic ends one connection, and is told.
fn report(error: tokio::task::JoinError) {
    if error.is_panic() {
        event::task_panicked("connection", &panic_text(error));
    }
}

fn panic_text(error: tokio::task::JoinError) -> String {
    let payload = error.into_panic();
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "panic without text".to_owned(),
    }
}

/// Streams that wait to be accepted at most, over all connections.
const ACCEPT_QUEUE: usize = 1024;
