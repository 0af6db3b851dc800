//! What a dialer does: carries out what the pool wants, and tells it what became of that.

use std::time::Duration;

use framing::remux2::Code;
use remux::pool::{Action, CloseReason, Proof, RequestError, Ticket, Waiter};
use remux::session::StreamId;
use remux::{ConnectionError, OpenReason, Wire};
use simnet::Rng;

use super::conn::{Conn, Fate, Half};
use super::{Kind, World, is_clients};

impl World {
    /// A flow begins.
    pub(super) fn ask(&mut self, index: usize) {
        let now = self.now;
        self.flows[index].asked = Some(now);
        if self.flows[index].opener == Half::Client {
            self.pool.request(self.clock(Half::Client), Waiter(index as u64));
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
        let id = conn.server.session.open(conn.server.host.local(now), open).unwrap();
        self.fired.insert(Kind::ServerStream);
        self.begun(index, ticket, id, fin);
    }

    /// Does what the pool wants, as a dialer does: at once after whatever made it want that.
    pub(super) fn carry_out(&mut self) -> bool {
        let mut busy = false;
        while let Some(action) = self.pool.poll_action() {
            busy = true;
            self.note(|| format!("pool: {action:?}"));
            match action {
                Action::Dial(ticket) => self.dial(ticket),
                Action::Use { waiter, ticket } => self.begin(waiter, ticket),
                Action::Drain(ticket) => {
                    if let Some(conn) = self.conns.get_mut(&ticket) {
                        conn.client.session.drain(
                            conn.client.host.local(self.now),
                            Code::DRAIN,
                            Duration::MAX,
                        );
                    }
                }
                Action::Close { ticket, why } => self.close(ticket, why),
                Action::Probe(ticket) => {
                    if let Some(conn) = self.conns.get_mut(&ticket) {
                        conn.client.session.handle_suspend(conn.client.host.local(self.now));
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

    fn dial(&mut self, ticket: Ticket) {
        let now = self.now;
        self.check_dial();
        // Its own chances, whatever else is drawn in this world.
        let mut rng = Rng::new(self.plan.seed.rotate_left(32) ^ (self.dials as u64 + 1)).fork();
        let conn = Conn::dial(now, self.start, &self.plan, self.dials, &mut rng);
        self.dials += 1;
        self.events.push(0);
        self.conns.insert(ticket, conn);
        let live = self.conns.iter().filter(|(ticket, conn)| !conn.reported && !self.gone.contains(ticket));
        let live = live.filter(|(_, conn)| conn.attacker.is_none()).count();
        self.check(live <= self.plan.pool.max_connections, "more connections than the cap");
    }

    /// Nobody dials without need: not beside dials that will do, not at once after one that failed; but beside one that keeps
    /// requests waiting.
    fn check_dial(&mut self) {
        let under_way = self
            .conns
            .iter()
            .filter(|(ticket, conn)| conn.dialled.is_none() && !conn.given_up && !self.gone.contains(ticket));
        let under_way = under_way.count();
        let asked = self.flows.iter().filter(|flow| {
            flow.asked.is_some()
                && flow.opener == Half::Client
                && flow.refused.is_none()
                && flow.view(Half::Client).stream.is_none()
        });
        let asked = asked.count();
        let lasted = |conn: &Conn| conn.dialled.is_some_and(|at| self.passed(at) >= LASTS);
        let late = self.conns.iter().any(|(ticket, conn)| {
            let trial = !(conn.proven || self.wire == Wire::Classic && lasted(conn));
            trial && !conn.given_up && !self.gone.contains(ticket) && self.passed(conn.began) >= HEDGE
        });
        let hedge = asked > 0 && late;
        self.check(
            under_way < 2 || asked > under_way || hedge,
            "a herd of dials: more than there are requests",
        );
        if self.wire == Wire::Classic && self.conns.values().any(lasted) {
            self.failed = None;
        }
        if let Some(failed) = self.failed {
            let pause = self.passed(failed);
            self.check(pause >= self.plan.pool.backoff_min || hedge, "a dial right after one that failed");
            self.check(under_way == 0 || hedge, "a second dial while dials fail");
        }
        let most = self.tally.entry("most dials at a time").or_default();
        *most = (*most).max(under_way as u64 + 1);
    }

    /// The time of a dial is over.
    pub(super) fn end_dial(&mut self, ticket: Ticket) {
        let (now, clock) = (self.now, self.clock(Half::Client));
        let Some(conn) = self.conns.get_mut(&ticket) else { return };
        if conn.dial_fails {
            self.fired.insert(Kind::DialFailure);
            self.trouble = true;
            // Dials that ran side by side fail as one.
            let began = conn.began;
            self.failed = self.failed.filter(|failed| began < *failed).or(Some(now));
            self.gone.push(ticket);
            self.pool.handle_dial_failed(clock, ticket, "refused".into());
        } else {
            conn.begin(now, &self.plan);
            // As the dialer has it: a classic peer says nothing before it has an answer.
            let proof = match self.wire {
                Wire::Remux2 => Proof::FirstByte,
                Wire::Classic => Proof::Lasts(LASTS),
            };
            self.pool.handle_dialled(clock, ticket, proof);
        }
        self.carry_out();
    }

    fn begin(&mut self, waiter: Waiter, ticket: Ticket) {
        let now = self.now;
        let index = usize::try_from(waiter.0).unwrap();
        let Some(conn) = self.conns.get_mut(&ticket).filter(|conn| !conn.reported) else {
            self.fail("a stream on a connection that is gone")
        };
        conn.used += 1;
        let (used, max, dialled) = (conn.used, self.plan.pool.limits, conn.dialled.unwrap_or(now));
        let (most, refuses, suspect) = (conn.most_uses, conn.refuses, conn.client.suspect);
        let running = conn.client.running.iter().filter(|id| is_clients(self.wire, **id)).count();
        let most_streams = if conn.fate == Fate::Hostile { usize::MAX } else { conn.most_streams };
        let age = self.passed(dialled);
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
        conn.tick(now);
        match conn.client.session.open(conn.client.host.local(now), open) {
            Ok(id) => {
                self.check(running < most_streams, "more streams than the server allows");
                self.begun(index, ticket, id, fin);
            }
            Err(error) if error.reason == OpenReason::NoMemory => {
                // For the pool this was a use.
                conn.idle_since = conn.idle_since.map(|_| now);
                let clock = self.clock(Half::Client);
                self.pool.handle_stream_ended(clock, ticket);
                self.flows[index].refuse(error.to_string());
            }
            Err(error) => {
                // As a dialer does: elsewhere, in its old place.
                self.note(|| format!("{ticket:?}: {}", error.reason));
                let hostile = self.conns[&ticket].fate == Fate::Hostile;
                let full = running >= most_streams || error.reason != OpenReason::TooMany;
                self.check(full || hostile, "a stream too many that is not");
                self.flows[index].avoids = Some(ticket);
                let host = self.host(Half::Client);
                let (clock, asked) = (host.local(now), host.local(self.flows[index].asked.unwrap_or(now)));
                self.pool.handle_open_failed(clock, ticket);
                self.pool.request_again(clock, waiter, asked, ticket);
            }
        }
    }

    pub(super) fn begun(&mut self, index: usize, ticket: Ticket, id: StreamId, fin: bool) {
        let conn = self.conns.get_mut(&ticket).unwrap();
        let flow = &mut self.flows[index];
        let end = conn.end(flow.opener);
        end.speaks(self.now);
        end.flows.insert(id, index);
        end.running.insert(id);
        flow.tainted |= conn.fate != Fate::Fine;
        let side = flow.side(flow.opener);
        side.stream = Some((ticket, id));
        side.finished = fin;
    }

    fn close(&mut self, ticket: Ticket, why: CloseReason) {
        let now = self.clock(Half::Client);
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
}

/// A connection on the classic wire that has lasted so long was dialled well.
const LASTS: Duration = Duration::from_secs(3);
/// A dial that keeps requests waiting for so long gets another one beside it.
const HEDGE: Duration = Duration::from_secs(1);
