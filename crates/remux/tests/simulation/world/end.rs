//! One end of a connection: a session, and what a driver does with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use remux::session::{Batch, Session, StreamId};
use remux::{Account, ConnectionError, Role, SessionConfig, Wire};
use simnet::{Arrival, Fault, Host, Link};

use super::filter::Filter;

/// A session and what a driver keeps beside it.
pub(crate) struct End {
    pub(crate) session: Session,
    /// The machine it runs on.
    pub(crate) host: Arc<Host>,
    pub(crate) batch: Batch,
    input: BytesMut,
    /// The session stopped reading, with bytes left in `input`.
    paused: bool,
    /// Why it ended, once the session said so.
    pub(crate) over: Option<ConnectionError>,
    /// It has sent its last byte.
    pub(crate) closed: bool,
    /// The flows on it.
    pub(crate) flows: BTreeMap<StreamId, usize>,
    /// Streams that are not over on the wire.
    pub(crate) running: BTreeSet<StreamId>,
    /// Since when there are such.
    pub(crate) busy_since: Option<Instant>,
    /// The peer may be gone, as the session says.
    pub(crate) suspect: bool,
    /// Since when an answer is due, after a suspend.
    pub(crate) asked: Option<Instant>,
    /// A byte came from the peer since the last round.
    pub(crate) heard: bool,
    /// When the last one came.
    pub(crate) heard_at: Instant,
    /// When its application first spoke after that.
    pub(crate) spoke_at: Option<Instant>,
    /// Since when bytes wait for the transport and none of them moved.
    pub(crate) waits_since: Option<Instant>,
    pub(crate) looked: Option<Instant>,
    /// Takes frames out of what it sends.
    pub(crate) filter: Option<Filter>,
}

impl End {
    pub(crate) fn new(
        role: Role,
        wire: Wire,
        config: SessionConfig,
        account: Account,
        host: &Arc<Host>,
        now: Instant,
    ) -> Self {
        Self {
            session: Session::new(role, wire, config, account, host.local(now)),
            host: host.clone(),
            batch: Batch::new(),
            input: BytesMut::new(),
            paused: false,
            over: None,
            closed: false,
            flows: BTreeMap::new(),
            running: BTreeSet::new(),
            busy_since: None,
            suspect: false,
            asked: None,
            heard: false,
            heard_at: now,
            spoke_at: None,
            waits_since: None,
            looked: None,
            filter: None,
        }
    }

    /// What its machine's clock shows.
    pub(crate) fn clock(&self, now: Instant) -> Instant {
        self.host.local(now)
    }

    /// Reads what has come, at most `pieces` pieces of it; whether anything happened.
    pub(crate) fn read(&mut self, now: Instant, from: &mut Link, pieces: usize, count: &mut Count) -> bool {
        let mut busy = false;
        let clock = self.clock(now);
        let mut left = pieces;
        while left > 0 && self.is_alive() && self.session.wants_read() {
            // What an earlier call left because a queue was full comes before anything new.
            if std::mem::take(&mut self.paused) && !self.input.is_empty() {
                let before = self.input.len();
                // The session says the same in an event.
                let _ = self.session.handle_data(clock, &mut self.input);
                self.paused = !self.session.wants_read();
                busy |= self.input.len() != before;
                continue;
            }
            match from.receive(now, 16 << 10) {
                Some(Arrival::Data(bytes)) => {
                    busy = true;
                    left -= 1;
                    self.heard = true;
                    (self.heard_at, self.spoke_at) = (now, None);
                    self.input.extend_from_slice(&bytes);
                    let _ = self.session.handle_data(clock, &mut self.input);
                    self.paused = !self.session.wants_read();
                    count.event(now, from);
                }
                Some(Arrival::End) => {
                    self.session.handle_closed(clock, ConnectionError::Closed);
                    return true;
                }
                Some(Arrival::Cut) => return self.lose(clock),
                None => break,
            }
        }
        // A broken transport is known at once, whether or not anybody reads.
        if from.is_cut() && self.is_alive() {
            return self.lose(clock);
        }
        busy
    }

    fn lose(&mut self, clock: Instant) -> bool {
        let kind = std::io::ErrorKind::ConnectionReset;
        self.session.handle_closed(clock, ConnectionError::Io { kind, text: "cut".into() });
        true
    }

    /// Whether anything happened, or what the session must not do.
    pub(crate) fn write(
        &mut self,
        now: Instant,
        to: &mut Link,
        count: &mut Count,
    ) -> Result<bool, &'static str> {
        let mut busy = false;
        let clock = self.clock(now);
        // There is nobody to say anything to.
        let lost = self.session.closed().is_some_and(|cause| cause.is_lost());
        while !self.closed && !lost {
            if self.batch.is_empty() {
                let wanted = self.session.wants_transmit();
                self.session.poll_transmit(clock, &mut self.batch);
                if !wanted && !self.batch.is_empty() {
                    return Err("it had bytes to send and said that it had none");
                }
            }
            if self.batch.is_empty() {
                break;
            }
            let n = to.room().min(self.batch.len());
            if n == 0 {
                self.waits_since.get_or_insert(now);
                return Ok(busy);
            }
            let Some(mut bytes) = self.take(n) else { return Err("its batch is shorter than it says") };
            if let Some(filter) = &mut self.filter {
                bytes = filter.pass(bytes);
            }
            to.send(now, bytes);
            count.event(now, to);
            self.session.handle_written(clock, self.batch.len());
            self.waits_since = None;
            self.asked = self.asked.map(|_| now);
            busy = true;
        }
        if !self.is_alive() && !self.closed {
            self.closed = true;
            self.batch.clear();
            to.finish(now);
            busy = true;
        }
        Ok(busy)
    }

    /// The next `n` bytes of the batch, slice by slice as a socket takes them.
    fn take(&mut self, n: usize) -> Option<Bytes> {
        let mut out = BytesMut::with_capacity(n);
        while out.len() < n {
            let chunk = self.batch.chunk();
            let part = chunk.len().min(n - out.len());
            out.extend_from_slice(&chunk[..part]);
            self.batch.advance(part);
            if part == 0 {
                return None;
            }
        }
        Some(out.freeze())
    }

    /// Acts on a deadline that has come; whether there was one, or the one that does not go away.
    pub(crate) fn fire(&mut self, now: Instant) -> Result<bool, String> {
        let clock = self.clock(now);
        let due = |end: &Self| end.session.poll_timeout().filter(|(at, _)| *at <= clock);
        // One deadline may lead to another one that has come too, but not for ever.
        for round in 0..3 {
            let Some((_, why)) = due(self) else { return Ok(round > 0) };
            if round == 2 {
                return Err(format!("the deadline for {why} does not go away"));
            }
            self.session.handle_timeout(clock);
        }
        Ok(true)
    }

    /// When, in the world's time, it acts on its next deadline.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let (at, _) = self.session.poll_timeout().filter(|_| self.is_alive())?;
        Some(self.host.world(at))
    }

    /// Its application opens a stream, or sends on one.
    pub(crate) fn speaks(&mut self, now: Instant) {
        self.spoke_at.get_or_insert(now);
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.session.closed().is_none()
    }
}

/// Numbers what happens on one connection, and breaks its transport at one of the numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    /// What has happened so far.
    pub(crate) events: u64,
    /// How many deadlines its sessions acted on.
    pub(crate) polls: u64,
    /// The event right after which a fault strikes, and which.
    pub(crate) strike: Option<(u64, Fault)>,
}

impl Count {
    /// One more; strikes this link if it is the one.
    pub(crate) fn event(&mut self, now: Instant, link: &mut Link) {
        self.events += 1;
        if let Some((_, fault)) = self.strike.take_if(|(at, _)| *at <= self.events) {
            link.strike_now(now, fault);
        }
    }
}
