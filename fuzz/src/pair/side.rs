//! One end: a session, what a driver keeps, and what its application holds.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use framing::remux2::{Header, Kind};
use remux::session::{Batch, Event, Session, StreamId};
use remux::{Budget, Role, SessionConfig, Wire};

use super::ledger::Ledger;
use crate::draw::Draw;

pub(super) struct Side {
    pub(super) session: Session,
    /// It was told to drain: the one reason for a second GOAWAY.
    pub(super) drained: bool,
    input: BytesMut,
    /// Streams its application has not let go of.
    streams: Vec<StreamId>,
    last_local: u32,
    goaways: usize,
    over: bool,
}

impl Side {
    pub(super) fn new(
        role: Role,
        wire: Wire,
        config: SessionConfig,
        budget: &Arc<Budget>,
        now: Instant,
    ) -> Self {
        Self {
            session: Session::new(role, wire, config, budget.clone(), now),
            drained: false,
            input: BytesMut::new(),
            streams: Vec::new(),
            last_local: 0,
            goaways: 0,
            over: false,
        }
    }

    /// The id of the next stream opened here.
    pub(super) fn next_id(&self, me: usize, wire: Wire) -> StreamId {
        let first = if wire == Wire::Remux2 { me as u32 + 1 } else { 1 };
        let step = if wire == Wire::Remux2 { 2 } else { 1 };
        StreamId(if self.last_local == 0 { first } else { self.last_local + step })
    }

    /// A stream opened here.
    pub(super) fn opened(&mut self, id: StreamId) {
        self.last_local = id.0;
        self.streams.push(id);
    }

    /// A stream of its application, or one that never was.
    pub(super) fn pick(&self, draw: &mut Draw<'_>) -> StreamId {
        let at = draw.u8();
        match self.streams.get(usize::from(at) % self.streams.len().max(1)) {
            Some(id) if at < 250 => *id,
            _ => StreamId(1000 + u32::from(at)),
        }
    }

    pub(super) fn all(&self) -> Vec<StreamId> {
        self.streams.clone()
    }

    /// The application lets go.
    pub(super) fn forget(&mut self, now: Instant, id: StreamId, ledger: &mut Ledger) {
        ledger.abort(id);
        self.streams.retain(|&other| other != id);
        self.session.forget(now, id);
    }

    /// Nothing is to be sent, and all that came was taken.
    pub(super) fn is_silent(&self) -> bool {
        !self.session.wants_transmit() && (self.input.is_empty() || self.session.closed().is_some())
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Bytes came.
    pub(super) fn receive(&mut self, now: Instant, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.handle_input(now);
    }

    fn handle_input(&mut self, now: Instant) {
        let result = self.session.handle_data(now, &mut self.input);
        assert!(result.is_ok() || self.session.closed() == result.as_ref().err());
    }

    /// All that it wants to send now: whole frames, and nothing but one GOAWAY after the end.
    pub(super) fn transmit(&mut self, now: Instant) -> Vec<u8> {
        let over = self.session.closed().is_some();
        let (mut batch, mut sent) = (Batch::new(), Vec::new());
        while self.session.wants_transmit() {
            self.session.poll_transmit(now, &mut batch);
            if batch.is_empty() {
                break;
            }
            while batch.has_remaining() {
                let n = batch.record_len();
                assert!((1..=Batch::MAX_RECORD).contains(&n));
                sent.extend_from_slice(&batch.copy_to_bytes(n));
            }
            self.session.handle_written(now, 0);
        }
        if self.session.wire() == Wire::Remux2 {
            self.check_sent(&sent, over);
        } else {
            assert!(!over || sent.is_empty(), "classic says something after the end");
        }
        sent
    }

    fn check_sent(&mut self, mut sent: &[u8], over: bool) {
        while let Some((front, behind)) = sent.split_first_chunk() {
            let header = Header::from_bytes(*front);
            assert!(header.kind <= 0x0A, "it sends what nobody knows: {header:?}");
            let goaway = header.kind == Kind::GoAway as u8;
            assert!(!over || goaway, "it says {header:?} after the end");
            self.goaways += usize::from(goaway);
            assert!(self.goaways <= 1 + usize::from(self.drained), "it says GOAWAY again");
            sent = behind.get(header.length.into()..).expect("whole frames only");
        }
    }

    /// What a driver does after each turn; the streams the peer opened.
    pub(super) fn settle(&mut self, now: Instant, ledger: &mut Ledger) {
        for _ in 0..8 {
            let due = self.session.poll_timeout().filter(|(at, _)| *at <= now);
            let Some((_, reason)) = due else { break };
            self.session.handle_timeout(now);
            let again = self.session.poll_timeout().is_some_and(|(at, why)| at <= now && why == reason);
            assert!(!again, "{reason} does not go away");
        }
        if self.session.wants_read() && !self.input.is_empty() {
            self.handle_input(now);
        }
        while let Some(event) = self.session.poll_event() {
            assert!(!self.over, "{event:?} after the last event");
            match event {
                Event::Incoming { id, open } => {
                    assert_eq!(
                        open.first,
                        Bytes::new(),
                        "what comes with a request is received like the rest"
                    );
                    ledger.accepted(id);
                    self.streams.push(id);
                }
                Event::Ended { id, end } => {
                    if let Some(error) = end.error {
                        ledger.failed(id, error.is_refused_safe());
                    }
                }
                Event::Closed(cause) => {
                    assert_eq!(self.session.closed(), Some(&cause));
                    self.over = true;
                }
                _ => {}
            }
        }
    }
}
