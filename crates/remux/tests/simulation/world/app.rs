//! What the applications at both ends do with their streams.

use std::hash::Hash;
use std::time::Instant;

use bytes::Bytes;
use framing::remux2::{Code, MAX_PAYLOAD, Opened};
use remux::pool::{Ticket, Waiter};
use remux::session::{Open, Recv, StreamId};
use remux::{ConnectionError, StreamError, Wire};

use super::attack::Tactic;
use super::conn::{Fate, Half};
use super::{Kind, World};

/// A request that waits on the server.
pub(super) struct Queued {
    pub(super) ticket: Ticket,
    pub(super) until: Instant,
    id: StreamId,
    open: Open,
}

/// A stream of an attacker, and the dial behind it, which runs on whatever becomes of the stream.
pub(super) struct Held {
    pub(super) until: Instant,
    ticket: Ticket,
    id: StreamId,
}

impl World {
    /// The server's own affairs: reloads, requests that have waited, dials that are over.
    pub(super) fn step_server(&mut self) -> bool {
        let now = self.now;
        if !self.is_awake(Half::Server) {
            return false;
        }
        let mut busy = false;
        while let Some(at) = self.reloads.iter().position(|at| *at <= now) {
            self.reloads.swap_remove(at);
            self.fired.insert(Kind::Reload);
            for conn in self.conns.values_mut().filter(|conn| conn.dialled.is_some()) {
                conn.drain_at = conn.drain_at.or(Some(now)).filter(|_| conn.drained_at.is_none());
            }
            busy = true;
        }
        while let Some(at) = self.queued.iter().position(|queued| queued.until <= now) {
            let Queued { ticket, id, open, .. } = self.queued.remove(at);
            self.take_up(ticket, id, open);
            busy = true;
        }
        while let Some(at) = self.held.iter().position(|held| held.until <= now) {
            let Held { ticket, id, .. } = self.held.swap_remove(at);
            if let Some(conn) = self.conns.get_mut(&ticket) {
                conn.server.session.forget(conn.server.host.local(now), id);
            }
            busy = true;
        }
        busy
    }

    /// A request that has waited: most are served, some turned away because the server has to stop.
    fn take_up(&mut self, ticket: Ticket, id: StreamId, open: Open) {
        let stops = self.rng.one_in(3);
        let Some(conn) = self.conns.get_mut(&ticket) else { return };
        if conn.drained_at.is_some() && stops && self.wire == Wire::Remux2 {
            let clock = conn.server.host.local(self.now);
            conn.server.session.turn_away(clock, id, Code::DRAIN, "stops");
            conn.server.session.forget(clock, id);
            return self.count("turned away by a server that stops", 1);
        }
        self.serve(ticket, Half::Server, id, open);
    }

    pub(super) fn handle_incoming(&mut self, ticket: Ticket, half: Half, id: StreamId, open: Open) {
        let now = self.now;
        let tactic = self.conns[&ticket].attacker.as_ref().map(|attacker| attacker.tactic);
        if let Some(tactic) = tactic {
            return self.hold(ticket, id, tactic);
        }
        let longest = u64::try_from(self.plan.queue.as_micros()).unwrap();
        if half == Half::Server && longest > 0 {
            let wait = std::time::Duration::from_micros(self.rng.between(0, longest));
            return self.queued.push(Queued { ticket, until: now + wait, id, open });
        }
        self.serve(ticket, half, id, open);
    }

    /// What runs behind an attacker's stream: a dial, or for ever something that reads nothing.
    fn hold(&mut self, ticket: Ticket, id: StreamId, tactic: Tactic) {
        let time = self.rng.between(10, 3_000);
        let time = if matches!(tactic, Tactic::ResetLoop | Tactic::Provoke | Tactic::OpenMany) {
            time
        } else {
            600_000
        };
        let until = self.now + std::time::Duration::from_millis(time);
        self.held.push(Held { until, ticket, id });
        let dials = self.held.iter().filter(|held| held.ticket == ticket).count() as u64;
        let most = self.tally.entry("most dials behind one attacker").or_default();
        *most = (*most).max(dials);
        self.check(dials <= 256, "more dials behind one connection than it may have streams");
        if tactic == Tactic::OpenUnread {
            let conn = self.conns.get_mut(&ticket).unwrap();
            let clock = conn.server.host.local(self.now);
            let room = conn.server.session.send_room(id).unwrap_or(0).min(32 << 10);
            let _ = conn.server.session.send(clock, id, Bytes::from(vec![1; room]));
        }
    }

    /// The acceptor of a flow takes it up.
    fn serve(&mut self, ticket: Ticket, half: Half, id: StreamId, open: Open) {
        let (now, clock, wire) = (self.now, self.clock(half), self.wire);
        let conn = self.conns.get_mut(&ticket).unwrap();
        let index = open.target.map_or(0, |target| usize::from(target.port));
        // A hostile peer opens what it likes; nobody wants it.
        let known = conn.fate != Fate::Hostile;
        let flow = index.checked_sub(1).and_then(|i| self.flows.get_mut(i));
        let Some(flow) = flow.filter(|flow| known && flow.opener == half.other()) else {
            return conn.end(half).session.forget(clock, id);
        };
        if let Some(code) = flow.denied {
            flow.times_served += 1;
            let session = &mut conn.end(half).session;
            session.reset(clock, id, code, "the dial failed");
            return session.forget(clock, id);
        }
        let same = (open.priority, open.want_opened) == (flow.priority, flow.wants_opened);
        flow.served = Some(now);
        flow.times_served += 1;
        let side = flow.side(half);
        let served = side.stream.is_some();
        side.stream = Some((ticket, id));
        let end = conn.end(half);
        end.flows.insert(id, index - 1);
        end.running.insert(id);
        flow.tainted |= conn.fate != Fate::Fine;
        let end = conn.end(half);
        if open.want_opened {
            let dial_us = u32::try_from(index - 1).unwrap();
            end.session.answer_opened(clock, id, Opened { dial_us, bound: None });
        }
        self.check(!served, "one request was served twice");
        self.check(same || wire == Wire::Classic, "the request is not the one that was sent");
    }

    /// Every flow reads, writes, finishes and resets as it is planned to.
    pub(super) fn step_flows(&mut self) -> bool {
        let mut busy = false;
        for at in 0..self.flows.len() {
            let index = self.place(at, self.flows.len());
            for half in [Half::Client, Half::Server] {
                busy |= self.step_side(index, half);
            }
        }
        busy
    }

    fn step_side(&mut self, index: usize, half: Half) -> bool {
        let (now, clock) = (self.now, self.clock(half));
        let awake = self.is_awake(half);
        let side = self.flows[index].side(half);
        let Some((ticket, id)) = side.stream else { return false };
        if side.released || !awake {
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
                end.session.forget(clock, id);
                end.flows.remove(&id);
            }
            return true;
        }
        busy
    }

    fn step_writing(&mut self, index: usize, half: Half, ticket: Ticket, id: StreamId) -> bool {
        let (now, clock, classic) = (self.now, self.clock(half), self.wire == Wire::Classic);
        let flow = &mut self.flows[index];
        // On the classic wire the server's end is the end of both: it waits until it has everything.
        let patient = classic && half == Half::Server && flow.server.received < flow.client.planned;
        let side = flow.side(half);
        if !side.may_write(now) || side.failed.is_some() || side.reset || side.cannot_write {
            return false;
        }
        let Some(conn) = self.conns.get_mut(&ticket) else { return false };
        let session = &mut conn.end(half).session;
        if side.reset_at.is_some_and(|at| side.sent >= at) {
            side.reset = true;
            session.reset(clock, id, Code::CANCEL, "planned");
            // One that was over before keeps what had come.
            let ran = conn.end(half).running.contains(&id);
            let rest = if ran { conn.end(half).session.recv(clock, id) } else { Recv::Wait };
            self.fired.insert(if half == Half::Client { Kind::ClientReset } else { Kind::ServerReset });
            self.check(
                !matches!(rest, Recv::Data(_) | Recv::Fin),
                "bytes, or an end, of a stream after its reset",
            );
            return true;
        }
        let mut busy = false;
        if side.has_more() && !side.waits_to_write {
            match session.send_room(id) {
                Ok(0) => side.waits_to_write = true,
                Ok(room) => {
                    let chunk = side.next_chunk(now, room);
                    session.send(clock, id, chunk).unwrap();
                    busy = true;
                }
                // Its reader learns why, after what came before.
                Err(_) => side.cannot_write = true,
            }
        }
        if side.wants_finish() && !side.finished && !patient && !side.cannot_write {
            side.finished = true;
            session.finish(clock, id);
            busy = true;
        }
        if busy {
            conn.end(half).speaks(now);
        }
        busy
    }

    fn step_reading(&mut self, index: usize, half: Half, ticket: Ticket, id: StreamId) -> bool {
        let (now, clock) = (self.now, self.clock(half));
        let Some(conn) = self.conns.get_mut(&ticket) else { return false };
        conn.tick(now);
        let side = self.flows[index].side(half);
        let session = &mut conn.end(half).session;
        match session.recv(clock, id) {
            Recv::Data(bytes) => {
                let length = bytes.len();
                let wrong = side.receive(&bytes);
                session.release(clock, id, length);
                if let Some(kind) = side.after_read(now) {
                    self.fired.insert(kind);
                }
                length.hash(&mut self.trace);
                if let Some(wrong) = wrong.filter(|_| conn.fate != Fate::Hostile) {
                    self.fail(&format!("flow {index}, {half:?}: {wrong}"));
                }
                true
            }
            Recv::Fin => {
                side.fin_at.get_or_insert(now);
                !std::mem::replace(&mut side.fin, true)
            }
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
        let (now, clock) = (self.now, self.clock(half));
        let conn = self.conns.get_mut(&ticket).unwrap();
        let flow = &mut self.flows[index];
        flow.refusals += u32::from(error.is_refused_safe());
        let fresh = flow.view(half).received == 0 && !flow.view(half).fin && !flow.view(half).reset;
        let retries = flow.opener == Half::Client && fresh && !flow.retried && conn.fate != Fate::Hostile;
        if !error.is_refused_safe() || !retries {
            flow.tainted |= error.is_refused_safe();
            let side = flow.side(half);
            side.failed = Some(error.to_string());
            if let StreamError::Reset { code, refused_safe, .. } = error {
                side.code = Some((*code, *refused_safe));
            }
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
        let asked = self.plan.hosts[0].local(flow.asked.unwrap_or(now));
        flow.begin_again(ticket);
        let end = conn.end(half);
        end.session.forget(clock, id);
        end.flows.remove(&id);
        self.fired.insert(Kind::SafeRetry);
        self.check(!served, "a request was served, and refused as if it had not been");
        self.pool.request_again(clock, Waiter(index as u64), asked, ticket);
        self.carry_out();
    }
}
