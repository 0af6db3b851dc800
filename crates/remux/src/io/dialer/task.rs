//! The one task of a dialer: it dials, drives the connections, and keeps the pool's time.
//!
//! ```text
//!           order: dial            connect done              connection over
//!  ──▶ wait ───────────▶ connect ─────────────▶ driver ────────────────────▶ tell the pool ──▶ wait
//!       │ shut down and nothing left, or stopped
//!       ▼
//!      end: every connect and driver is dropped with the set that holds it
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framing::remux2::Code;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::{Again, Cause, Core, Failure, Line, Order, Watch, proof};
use crate::config::{Config, Role, SessionConfig};
use crate::error::ConnectionError;
use crate::io::connect::{Connect, ConnectError, Connected};
use crate::io::driver::start;
use crate::io::shared::{now, seed_or_chance};
use crate::pool::Ticket;
use crate::pool::meter::Meter;

/// Runs until the pool is shut down and its last connection gone, or it is told to stop.
pub(super) async fn run(core: Arc<Core>, connect: impl Connect) {
    let _farewell = Farewell(core.clone());
    let mut task = Task { core, connect: Arc::new(connect), jobs: JoinSet::new(), tickets: HashMap::new() };
    while let Some(deadline) = task.begin() {
        let alarm = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Results first: a request whose time ends with its dial shall hear the dial's error.
            biased;
            Some(done) = task.jobs.join_next_with_id() => task.handle_done(done),
            () = task.core.work.notified() => {}
            () = alarm => task.core.with(|state, now| state.pool.handle_timeout(now)),
        }
    }
    task.jobs.shutdown().await;
}

struct Task<C> {
    core: Arc<Core>,
    connect: Arc<C>,
    jobs: JoinSet<Done>,
    /// What each job is for.
    tickets: HashMap<Id, Job>,
}

struct Job {
    ticket: Ticket,
    kind: Kind,
    abort: AbortHandle,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Connect,
    Driver,
}

/// How a job ended.
enum Done {
    Connect(Result<Connected, ConnectError>),
    Driver(ConnectionError),
}

impl<C: Connect> Task<C> {
    /// Carries the orders out and says until when to wait; `None`: the end.
    fn begin(&mut self) -> Option<Option<Instant>> {
        let (orders, deadline, over) = {
            let mut state = self.core.state.lock();
            let deadline = state.pool.poll_timeout().map(|(at, _)| at);
            state.armed = deadline;
            let over = state.stopped || (state.pool.is_finished() && self.jobs.is_empty());
            (std::mem::take(&mut state.orders), deadline, over)
        };
        for order in orders {
            match order {
                Order::Dial(ticket) => self.dial(ticket),
                Order::Stop(ticket) => self.stop(ticket),
            }
        }
        if over { None } else { Some(deadline) }
    }

    fn dial(&mut self, ticket: Ticket) {
        let connect = self.connect.clone();
        let limit = self.core.config.dial_timeout;
        let name = self.core.name.clone();
        let abort = self.jobs.spawn(async move {
            let result = tokio::time::timeout(limit, connect.connect()).await;
            Done::Connect(result.unwrap_or_else(|_| {
                Err(ConnectError::new(format!(
                    "{} no connection to {name} was ready within {} s → check that it is up and that a TunneLS server \
                     listens there, then the path to it",
                    sla::code::DIAL_LATE,
                    limit.as_secs_f32()
                )))
            }))
        });
        self.tickets.insert(abort.id(), Job { ticket, kind: Kind::Connect, abort });
    }

    /// A dial is not wanted any more.
    fn stop(&mut self, ticket: Ticket) {
        let unwanted = |job: &Job| job.ticket == ticket && job.kind == Kind::Connect;
        for (_, job) in self.tickets.extract_if(|_, job| unwanted(job)) {
            job.abort.abort();
        }
        let cause = Cause::Ended(ConnectionError::Drained);
        self.core.with(|state, now| state.pool.handle_closed(now, ticket, cause));
    }

    fn handle_done(&mut self, done: Result<(Id, Done), JoinError>) {
        let (id, done) = match done {
            Ok((id, done)) => (id, Ok(done)),
            Err(error) => (error.id(), Err(error)),
        };
        // A dial that was stopped has no entry any more; had it come up, it is dropped here.
        let Some(Job { ticket, kind, .. }) = self.tickets.remove(&id) else { return };
        match (done, kind) {
            (Ok(Done::Connect(Ok(connected))), _) => self.handle_connected(ticket, connected),
            (Ok(Done::Connect(Err(error))), _) => self.handle_connect_failed(ticket, error),
            (Ok(Done::Driver(cause)), _) => self.core.handle_closed(ticket, cause),
            (Err(error), Kind::Connect) => {
                sla::event::task_panicked("dial", &error.to_string());
                self.handle_connect_failed(ticket, ConnectError::new("the dial ended in a bug of ours"));
            }
            (Err(error), Kind::Driver) => {
                sla::event::task_panicked("connection", &error.to_string());
                self.core.handle_closed(ticket, ConnectionError::Aborted("its task panicked".into()));
            }
        }
    }

    fn handle_connected(&mut self, ticket: Ticket, connected: Connected) {
        let wire = connected.wire;
        let session = session_config(&self.core.config);
        let watch = Arc::new(Watch { core: self.core.clone(), ticket });
        let id = self.fresh_id();
        let (connection, driver) =
            start(Role::Client, connected, id, session, self.core.budget.clone().into(), watch);
        let reopen = Arc::new(Again { core: Arc::downgrade(&self.core), ticket });
        self.core.with(|state, now| {
            if !state.pool.handle_dialled(now, ticket, proof(wire)) {
                // Shut down while it came up.
                connection.drain(Code::DRAIN, Duration::ZERO);
            }
            state.lines.insert(ticket, Line { connection, reopen, meter: Meter::default() });
        });
        // Only now: what it hears of the peer is about a connection the pool knows.
        let abort = self.jobs.spawn(async move { Done::Driver(driver.await) });
        self.tickets.insert(abort.id(), Job { ticket, kind: Kind::Driver, abort });
    }

    fn handle_connect_failed(&self, ticket: Ticket, error: ConnectError) {
        self.core.with(|state, now| {
            state.last_failure = Failure { server: error.server().cloned(), text: error.to_string() };
            state.pool.handle_dial_failed(now, ticket, Cause::Connect(error));
        });
    }

    /// An id that no connection of this pool has.
    fn fresh_id(&self) -> sla::ConnectionId {
        let state = self.core.state.lock();
        loop {
            let id = sla::ConnectionId(rand::random());
            if state.lines.values().all(|line| line.connection.id() != id) {
                return id;
            }
        }
    }
}

fn session_config(config: &Config) -> SessionConfig {
    SessionConfig { seed: seed_or_chance(config.session.seed), ..config.session.clone() }
}

/// However the task ends, nobody waits for it.
struct Farewell(Arc<Core>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let core = &self.0;
        core.with(|state, _| {
            state.gone = true;
            state.pool.shutdown(now());
            // Dropped senders are an answer too.
            state.requests.clear();
            state.lines.clear();
        });
        core.end.notify_waiters();
    }
}
