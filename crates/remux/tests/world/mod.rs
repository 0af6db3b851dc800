//! One simulated world: a client with its pool, a server, connections between them, flows over those.

mod conn;
mod flow;
mod judge;
mod kind;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use framing::remux2::{Code, MAX_PAYLOAD, Opened};

use remux::pool::{self, Action, CloseReason, Pool, Proof, RequestError, Ticket, Waiter};
use remux::session::{Event, Open, Recv, StreamId};
use remux::{Budget, ConnectionError, OpenReason, SessionConfig, Stage, StreamError, Wire};
use simnet::Rng;

use conn::{Conn, Fate, Half};
use flow::Flow;
pub(crate) use kind::Kind;

/// Everything there is, and the time.
pub(crate) struct World {
    seed: u64,
    wire: Wire,
    rng: Rng,
    start: Instant,
    now: Instant,
    pool: Pool<String>,
    limits: pool::Config,
    /// The client's and the server's.
    configs: [SessionConfig; 2],
    conns: BTreeMap<Ticket, Conn>,
    gone: Vec<Ticket>,
    flows: Vec<Flow>,
    /// The pool's timer is late by so much.
    late: Duration,
    /// The client's machine wakes up.
    suspend_at: Option<Instant>,
    wanted: BTreeSet<Kind>,
    fired: BTreeSet<Kind>,
    /// Something has happened for which a request may fail.
    trouble: bool,
    budgets: [Arc<Budget>; 2],
    telling: bool,
    trace: DefaultHasher,
    steps: u64,
}

/// Where a side is.
pub(crate) type Place = Option<(Ticket, StreamId)>;

impl World {
    /// The same world, printing what happens.
    pub(crate) fn telling(mut self) -> Self {
        self.telling = true;
        println!("{} flows, faults wanted: {:?}, {:?}", self.flows.len(), self.wanted, self.limits);
        self
    }

    /// Lives until nothing is left to do; the kinds of faults that struck.
    ///
    /// # Panics
    /// When a promise is broken; the message names the seed.
    pub(crate) fn run(mut self) -> Vec<Kind> {
        self.live();
        self.judge();
        self.fired.into_iter().collect()
    }

    /// A digest of everything that happened, for comparing two lives.
    pub(crate) fn trace(mut self) -> u64 {
        self.live();
        self.trace.finish()
    }

    fn live(&mut self) {
        loop {
            self.settle();
            if self.flows.iter().all(Flow::is_over) && self.conns.is_empty() {
                return;
            }
            let next = self.next_instant();
            let Some(next) = next else { self.fail("nothing will ever happen again, and something is left") };
            self.now = next.max(self.now);
            self.check(self.now <= self.start + LIMIT, "the world hangs");
            self.steps += 1;
            self.check(self.steps < 200_000, "the world spins");
        }
    }

    /// Lets everything happen that happens now.
    fn settle(&mut self) {
        let now = self.now;
        for round in 0.. {
            self.check(round < 100_000, "one instant never ends");
            let mut busy = false;
            if self.pool.poll_timeout().is_some_and(|(at, _)| at + self.late <= now) {
                self.pool.handle_timeout(now);
                busy = true;
            }
            if self.suspend_at.take_if(|at| *at <= now).is_some() {
                self.pool.handle_wake(now);
                busy = true;
            }
            busy |= self.carry_out();
            for index in 0..self.flows.len() {
                if self.flows[index].wants_start(now, self.start) {
                    self.ask(index);
                    busy = true;
                }
            }
            let tickets: Vec<Ticket> = self.conns.keys().copied().collect();
            for ticket in tickets {
                busy |= self.step_conn(ticket);
            }
            busy |= self.step_flows();
            for ticket in std::mem::take(&mut self.gone) {
                self.conns.remove(&ticket);
            }
            if !busy {
                return;
            }
        }
    }

    fn ask(&mut self, index: usize) {
        let now = self.now;
        self.flows[index].asked = Some(now);
        if self.flows[index].opener == Half::Client {
            self.pool.request(now, Waiter(index as u64));
            self.carry_out();
            return;
        }
        let usable = |conn: &&mut Conn| conn.dialled.is_some() && conn.server.session.can_open();
        let Some((ticket, conn)) = self.conns.iter_mut().map(|(t, c)| (*t, c)).find(|(_, conn)| usable(conn))
        else {
            // Nobody promised that there is a connection.
            self.flows[index].tainted = true;
            return self.flows[index].refuse("no connection".into());
        };
        let (open, fin) = self.flows[index].request(self.wire);
        let id = conn.server.session.open(now, open).unwrap();
        self.fired.insert(Kind::ServerStream);
        self.begun(index, ticket, id, fin);
    }

    /// Does what the pool wants, as a dialer does: at once after whatever made it want that.
    fn carry_out(&mut self) -> bool {
        let mut busy = false;
        while let Some(action) = self.pool.poll_action() {
            busy = true;
            self.note(|| format!("pool: {action:?}"));
            match action {
                Action::Dial(ticket) => {
                    let mut rng = self.rng.fork();
                    let conn = Conn::dial(
                        self.now,
                        self.start,
                        self.wire,
                        &self.wanted,
                        &self.configs,
                        &self.budgets,
                        &mut rng,
                    );
                    self.conns.insert(ticket, conn);
                    let live = self.conns.values().filter(|conn| !conn.reported).count();
                    let gone = self.gone.iter().filter(|t| self.conns.get(t).is_some_and(|c| !c.reported));
                    self.check(
                        live - gone.count() <= self.limits.max_connections,
                        "more connections than the cap",
                    );
                }
                Action::Use { waiter, ticket } => self.begin(waiter, ticket),
                Action::Drain(ticket) => {
                    if let Some(conn) = self.conns.get_mut(&ticket) {
                        conn.client.session.drain(self.now, Code::DRAIN, Duration::MAX);
                    }
                }
                Action::Close { ticket, why } => self.close(ticket, why),
                Action::Probe(ticket) => {
                    if let Some(conn) = self.conns.get_mut(&ticket) {
                        conn.client.session.handle_suspend(self.now);
                        conn.client.asked = Some(self.now);
                        self.fired.insert(Kind::Suspend);
                    }
                }
                Action::Fail { waiter, error } => {
                    // At a limit, waiting was all that could be done.
                    self.trouble |= error == RequestError::Limit;
                    self.flows[usize::try_from(waiter.0).unwrap()].refuse(error.to_string());
                }
                other => panic!("unknown action {other:?}"),
            }
        }
        busy
    }

    fn begin(&mut self, waiter: Waiter, ticket: Ticket) {
        let now = self.now;
        let index = usize::try_from(waiter.0).unwrap();
        let Some(conn) = self.conns.get_mut(&ticket).filter(|conn| !conn.reported) else {
            self.fail("a stream on a connection that is gone")
        };
        let age = now - conn.dialled.unwrap_or(now);
        conn.used += 1;
        let (used, max) = (conn.used, self.limits.limits);
        let (most, refuses, suspect) = (conn.most_uses, conn.refuses, conn.client.suspect);
        let running = conn.client.running.iter().filter(|id| is_clients(self.wire, **id)).count();
        let most_streams = if conn.fate == Fate::Hostile { usize::MAX } else { conn.most_streams };
        self.check(age < max.max_age || used == 1, "a stream on a connection past its age");
        self.check(used <= max.max_count.min(most), "a stream on a connection past its count");
        self.check(!refuses, "a stream on a connection whose server takes no more");
        self.check(!suspect, "a stream on a connection that may be dead");
        self.check(
            self.flows[index].avoids != Some(ticket),
            "a stream on the connection that had refused it",
        );
        let (open, fin) = self.flows[index].request(self.wire);
        let conn = self.conns.get_mut(&ticket).unwrap();
        match conn.client.session.open(now, open) {
            Ok(id) => {
                self.check(running < most_streams, "more streams than the server allows");
                self.begun(index, ticket, id, fin);
            }
            Err(error) if error.reason == OpenReason::NoMemory => {
                // For the pool this was a use.
                conn.idle_since = conn.idle_since.map(|_| now);
                self.pool.handle_stream_ended(now, ticket);
                self.flows[index].refuse(error.to_string());
            }
            Err(error) => {
                // As a dialer does: elsewhere, in its old place.
                self.note(|| format!("{ticket:?}: {}", error.reason));
                let hostile = self.conns[&ticket].fate == Fate::Hostile;
                let full = running >= most_streams || error.reason != OpenReason::TooMany;
                self.check(full || hostile, "a stream too many that is not");
                self.flows[index].avoids = Some(ticket);
                let asked = self.flows[index].asked.unwrap_or(now);
                self.pool.handle_open_failed(now, ticket);
                self.pool.request_again(now, waiter, asked, ticket);
            }
        }
    }

    fn begun(&mut self, index: usize, ticket: Ticket, id: StreamId, fin: bool) {
        let conn = self.conns.get_mut(&ticket).unwrap();
        let flow = &mut self.flows[index];
        let end = conn.end(flow.opener);
        end.flows.insert(id, index);
        end.running.insert(id);
        flow.tainted |= conn.fate != Fate::Fine;
        let side = flow.side(flow.opener);
        side.stream = Some((ticket, id));
        side.finished = fin;
    }

    fn close(&mut self, ticket: Ticket, why: CloseReason) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&ticket) else {
            return self.pool.handle_closed(now, ticket, format!("{why:?}"));
        };
        if conn.dialled.is_none() {
            self.gone.push(ticket);
            return self.pool.handle_closed(now, ticket, format!("{why:?}"));
        }
        conn.given_up = true;
        let used = conn.client.running.iter().any(|id| is_clients(self.wire, *id));
        match why {
            CloseReason::Idle => conn.client.session.abort(now, ConnectionError::Idle),
            CloseReason::Retired => conn.client.session.drain(now, Code::DRAIN, Duration::ZERO),
            CloseReason::Silent => {
                self.trouble = true;
                conn.client.session.abort(now, ConnectionError::NoSettings { limit: Duration::ZERO });
            }
            other => panic!("unknown reason {other:?}"),
        }
        // The pool knows nothing of the server's streams.
        for index in conn.client.flows.values().chain(conn.server.flows.values()) {
            self.flows[*index].tainted |= self.flows[*index].opener == Half::Server;
        }
        self.check(!used || why == CloseReason::Silent, "the pool closes a connection that is in use");
    }

    /// One round of one connection; whether anything happened.
    fn step_conn(&mut self, ticket: Ticket) -> bool {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&ticket) else { return false };
        let mut busy = false;
        if conn.dialled.is_none() {
            if conn.dial_done > now || self.gone.contains(&ticket) {
                return false;
            }
            if conn.dial_fails {
                self.fired.insert(Kind::DialFailure);
                self.trouble = true;
                self.gone.push(ticket);
                self.pool.handle_dial_failed(now, ticket, "refused".into());
            } else {
                conn.dialled = Some(now);
                // As the dialer has it: a classic peer says nothing before it has an answer.
                let proof = match self.wire {
                    Wire::Remux2 => Proof::FirstByte,
                    Wire::Classic => Proof::Lasts(Duration::from_secs(3)),
                };
                self.pool.handle_dialled(now, ticket, proof);
            }
            self.carry_out();
            return true;
        }
        let was_suspect = [Half::Client, Half::Server].map(|half| conn.end(half).suspect);
        busy |= conn.pump(now);
        self.fired.extend(conn.struck(now));
        let tainted = conn.fate != Fate::Fine;
        self.trouble |= tainted;
        let idle = conn.idle_since.filter(|_| !conn.given_up && conn.client.over.is_none());
        let most = self.limits.idle_max + Duration::from_millis(100);
        if idle.is_some_and(|since| now - since > most) {
            self.fail("a connection without streams stays");
        }
        if let Some(fault) = conn.fault.take() {
            self.fail(&format!("{ticket:?}: {fault}"));
        }
        for (half, was_suspect) in [Half::Client, Half::Server].into_iter().zip(was_suspect) {
            let mut cleared = !was_suspect;
            while let Some(event) =
                self.conns.get_mut(&ticket).and_then(|conn| conn.end(half).session.poll_event())
            {
                busy = true;
                cleared |= event == Event::Alive;
                self.handle(ticket, half, event);
            }
            let end = self.conns.get_mut(&ticket).unwrap().end(half);
            let heard = std::mem::take(&mut end.heard) && end.over.is_none();
            self.check(cleared || !heard, "a peer that was heard is still suspect");
        }
        let conn = self.conns.get_mut(&ticket).unwrap();
        if tainted {
            for index in conn.client.flows.values().chain(conn.server.flows.values()) {
                self.flows[*index].tainted = true;
            }
        }
        for budget in &self.budgets {
            if self.wanted.contains(&Kind::TightMemory) && budget.stage() > Stage::Plenty {
                self.fired.insert(Kind::TightMemory);
            }
        }
        if conn.is_over() && !conn.reported {
            conn.reported = true;
            self.pool.handle_closed(now, ticket, "over".into());
            self.carry_out();
            busy = true;
        }
        // What was received can still be read: a connection stays until its flows have let go.
        let conn = self.conns.get_mut(&ticket).unwrap();
        if conn.reported && conn.client.flows.is_empty() && conn.server.flows.is_empty() {
            if let Some(left) = conn.left() {
                self.fail(&left);
            }
            self.gone.push(ticket);
            busy = true;
        }
        busy
    }

    fn handle(&mut self, ticket: Ticket, half: Half, event: Event) {
        let now = self.now;
        self.note(|| format!("{ticket:?} {half:?}: {event:?}"));
        let conn = self.conns.get_mut(&ticket).unwrap();
        match event {
            Event::Incoming { id, open } => return self.handle_incoming(ticket, half, id, open),
            Event::Opened { id, opened } => {
                if let Some(index) = conn.end(half).flows.get(&id).copied() {
                    self.flows[index].opened += 1;
                    let right = usize::try_from(opened.dial_us).is_ok_and(|n| n == index);
                    let hostile = conn.fate == Fate::Hostile;
                    self.check(right || hostile, "the answer to another request");
                }
            }
            Event::Readable(id) | Event::Writable(id) | Event::Ended { id, .. } => {
                let end = conn.end(half);
                if let Some(index) = end.flows.get(&id) {
                    let side = self.flows[*index].side(half);
                    if let Event::Ended { end, .. } = &event {
                        side.came = end.bytes_in;
                    }
                    side.waits_to_read &= matches!(event, Event::Writable(_));
                    side.waits_to_write &= matches!(event, Event::Readable(_));
                }
                let ended = matches!(event, Event::Ended { .. }) && end.running.remove(&id);
                if ended && half == Half::Client && is_clients(self.wire, id) {
                    self.pool.handle_stream_ended(now, ticket);
                }
            }
            Event::Suspect => {
                conn.end(half).suspect = true;
                if half == Half::Client {
                    self.pool.handle_suspect(now, ticket);
                }
            }
            Event::Alive => {
                conn.end(half).suspect = false;
                conn.end(half).asked = None;
                if half == Half::Client {
                    self.pool.handle_alive(now, ticket);
                }
            }
            Event::FirstByte if half == Half::Client => self.pool.handle_first_byte(now, ticket),
            Event::PeerLimits { max_age, max_reuse, max_streams } if half == Half::Client => {
                conn.most_uses = max_reuse.max(1);
                conn.most_streams = usize::try_from(max_streams).unwrap();
                let limits = pool::Limits { max_age, max_count: max_reuse, max_streams };
                self.pool.handle_limits(now, ticket, limits);
            }
            Event::PeerDraining { .. } if half == Half::Client => {
                self.fired.insert(Kind::ServerDrain);
                conn.refuses = true;
                self.pool.handle_draining(now, ticket);
            }
            Event::Closed(cause) => {
                conn.end(half).over = Some(cause);
            }
            _ => {}
        }
        self.carry_out();
    }

    fn handle_incoming(&mut self, ticket: Ticket, half: Half, id: StreamId, open: Open) {
        let (now, wire) = (self.now, self.wire);
        let conn = self.conns.get_mut(&ticket).unwrap();
        let index = open.target.map_or(0, |target| usize::from(target.port));
        // A hostile peer opens what it likes; nobody wants it.
        let known = conn.fate != Fate::Hostile;
        let flow = index.checked_sub(1).and_then(|i| self.flows.get_mut(i));
        let Some(flow) = flow.filter(|flow| known && flow.opener == half.other()) else {
            return conn.end(half).session.forget(now, id);
        };
        let same = (open.priority, open.want_opened) == (flow.priority, flow.wants_opened);
        let side = flow.side(half);
        let served = side.stream.is_some();
        side.stream = Some((ticket, id));
        let end = conn.end(half);
        end.flows.insert(id, index - 1);
        end.running.insert(id);
        if open.want_opened {
            let dial_us = u32::try_from(index - 1).unwrap();
            end.session.answer_opened(now, id, Opened { dial_us, bound: None });
        }
        self.check(!served, "one request was served twice");
        self.check(same || wire == Wire::Classic, "the request is not the one that was sent");
    }

    /// Every flow reads, writes, finishes and resets as it is planned to.
    fn step_flows(&mut self) -> bool {
        let mut busy = false;
        for index in 0..self.flows.len() {
            for half in [Half::Client, Half::Server] {
                busy |= self.step_side(index, half);
            }
        }
        busy
    }

    fn step_side(&mut self, index: usize, half: Half) -> bool {
        let now = self.now;
        let side = self.flows[index].side(half);
        let Some((ticket, id)) = side.stream else { return false };
        if side.released {
            return false;
        }
        let Some(conn) = self.conns.get_mut(&ticket) else {
            side.released = true;
            return true;
        };
        let held_up = !conn.end(half).session.wants_read();
        let mut busy = self.step_writing(index, half, ticket, id);
        let here = Some((ticket, id));
        if self.flows[index].view(half).stream == here && self.flows[index].view(half).may_read(now, held_up)
        {
            busy |= self.step_reading(index, half, ticket, id);
        }
        let classic = self.wire == Wire::Classic;
        let side = self.flows[index].side(half);
        if side.stream == here && side.is_done(classic) {
            side.released = true;
            if let Some(conn) = self.conns.get_mut(&ticket) {
                let end = conn.end(half);
                end.session.forget(now, id);
                end.flows.remove(&id);
            }
            return true;
        }
        busy
    }

    fn step_writing(&mut self, index: usize, half: Half, ticket: Ticket, id: StreamId) -> bool {
        let (now, classic) = (self.now, self.wire == Wire::Classic);
        let flow = &mut self.flows[index];
        // On the classic wire the server's end is the end of both: it waits until it has everything.
        let patient = classic && half == Half::Server && flow.server.received < flow.client.planned;
        let side = flow.side(half);
        if !side.may_write() || side.failed.is_some() || side.reset || side.cannot_write {
            return false;
        }
        let Some(conn) = self.conns.get_mut(&ticket) else { return false };
        let session = &mut conn.end(half).session;
        if side.reset_at.is_some_and(|at| side.sent >= at) {
            side.reset = true;
            session.reset(now, id, Code::CANCEL, "planned");
            self.fired.insert(if half == Half::Client { Kind::ClientReset } else { Kind::ServerReset });
            return true;
        }
        let mut busy = false;
        if side.has_more() && !side.waits_to_write {
            match session.send_room(id) {
                Ok(0) => side.waits_to_write = true,
                Ok(room) => {
                    let chunk = side.next_chunk(room);
                    session.send(now, id, chunk).unwrap();
                    busy = true;
                }
                // Its reader learns why, after what came before.
                Err(_) => side.cannot_write = true,
            }
        }
        if side.wants_finish() && !side.finished && !patient && !side.cannot_write {
            side.finished = true;
            session.finish(now, id);
            busy = true;
        }
        busy
    }

    fn step_reading(&mut self, index: usize, half: Half, ticket: Ticket, id: StreamId) -> bool {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&ticket) else { return false };
        let side = self.flows[index].side(half);
        let session = &mut conn.end(half).session;
        match session.recv(now, id) {
            Recv::Data(bytes) => {
                let length = bytes.len();
                let wrong = side.receive(&bytes);
                session.release(now, id, length);
                if let Some(kind) = side.after_read(now) {
                    self.fired.insert(kind);
                }
                length.hash(&mut self.trace);
                if let Some(wrong) = wrong.filter(|_| conn.fate != Fate::Hostile) {
                    self.fail(&format!("flow {index}, {half:?}: {wrong}"));
                }
                true
            }
            Recv::Fin => !std::mem::replace(&mut side.fin, true),
            Recv::Wait => {
                side.waits_to_read = true;
                false
            }
            Recv::Failed(_) if side.failed.is_some() => false,
            Recv::Failed(error) => {
                self.handle_failure(index, half, ticket, id, &error);
                true
            }
        }
    }

    /// A side learns that its stream failed; one that was refused safely is asked for again, once, as a dialer does.
    fn handle_failure(
        &mut self,
        index: usize,
        half: Half,
        ticket: Ticket,
        id: StreamId,
        error: &StreamError,
    ) {
        let now = self.now;
        let conn = self.conns.get_mut(&ticket).unwrap();
        let flow = &mut self.flows[index];
        let fresh = flow.view(half).received == 0 && !flow.view(half).fin && !flow.view(half).reset;
        let retries = flow.opener == Half::Client && fresh && !flow.retried && conn.fate != Fate::Hostile;
        if !error.is_refused_safe() || !retries {
            flow.tainted |= error.is_refused_safe();
            let side = flow.side(half);
            side.failed = Some(error.to_string());
            // A frame counts when its header comes; all but the last one were whole.
            let frame = if self.wire == Wire::Remux2 { MAX_PAYLOAD } else { usize::from(u16::MAX) };
            let read = (side.received + frame) as u64 >= side.came;
            // To free memory what is unread is dropped.
            let cut = match &error {
                StreamError::Truncated { cause } => !matches!(cause, ConnectionError::Memory { .. }),
                _ => false,
            };
            let lost = cut && !read && conn.fate != Fate::Hostile;
            return self.check(!lost, "bytes that had come before the cut can't be read");
        }
        let served = flow.view(half.other()).stream.is_some();
        let asked = flow.asked.unwrap_or(now);
        flow.begin_again(ticket);
        let end = conn.end(half);
        end.session.forget(now, id);
        end.flows.remove(&id);
        self.fired.insert(Kind::SafeRetry);
        self.check(!served, "a request was served, and refused as if it had not been");
        self.pool.request_again(now, Waiter(index as u64), asked, ticket);
        self.carry_out();
    }

    fn next_instant(&self) -> Option<Instant> {
        let now = self.now;
        let pool = self.pool.poll_timeout().map(|(at, _)| at + self.late);
        let conns = self.conns.values().filter_map(conn::Conn::poll_timeout);
        let flows = self.flows.iter().filter_map(|flow| flow.poll_timeout(now, self.start));
        conns.chain(pool).chain(flows).chain(self.suspend_at).min()
    }

    fn note(&self, what: impl FnOnce() -> String) {
        if self.telling {
            println!("{:>12?} {}", self.now - self.start, what());
        }
    }
}

/// Whether the client opened the stream.
const fn is_clients(wire: Wire, id: StreamId) -> bool {
    matches!(wire, Wire::Classic) || id.0 & 1 == 1
}

/// Nothing may last longer: the slowest honest end is a black hole found by silence, behind a stopped reader.
const LIMIT: Duration = Duration::from_secs(400);
