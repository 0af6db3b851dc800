//! What a connection promises while it lives.

use std::time::{Duration, Instant};

use remux::session::Stats;
use remux::{ConnectionError, Wire};
use simnet::{Fault, Trigger};

use super::Kind;
use super::conn::{Conn, DRAIN_LIMIT, Fate, KERNEL_PATIENCE, SECOND};
use super::end::End;

impl Conn {
    /// Nothing ends without a reason, and what has a reason to end does.
    pub(crate) fn judge(&mut self, now: Instant) {
        self.check_silence(now);
        let worst = self.link.fired().find(|(_, fault)| !matches!(fault, Fault::Stall(_)));
        if let Some((_, fault)) = worst {
            self.taint(Fate::Cut);
            if fault == Fault::Vanish && self.kernel_gives_up.is_none() && !self.gave_up {
                self.kernel_gives_up = Some(now + KERNEL_PATIENCE);
            }
        }
        // The classic wire can't tell a refusal from an end either.
        if self.wire == Wire::Classic && self.server.session.stats().refused > 0 {
            self.taint(Fate::Cut);
        }
        let stood = self.link.fired().any(|(_, fault)| matches!(fault, Fault::Stall(_)));
        let slept = [&self.client, &self.server].iter().any(|end| end.host.has_slept(now, SECOND / 2));
        let lenient = self.lenient;
        let stretch = |time: Duration| if lenient { time * 3 / 2 } else { time };
        for (end, role) in [(&self.client, "client"), (&self.server, "server")] {
            // An end that is over takes its transport along, as a closed socket does.
            if let Some(cause) = end.session.closed().filter(|cause| !cause.is_orderly()) {
                use ConnectionError::{Dead, NoSettings, Stalled};
                let excused = (stood || slept)
                    && matches!(cause, Dead { .. } | Stalled { .. } | NoSettings { .. })
                    || self.tight && matches!(cause, ConnectionError::Memory { .. });
                if self.fate == Fate::Fine && !excused {
                    self.fault = Some(format!("the {role} ended a connection without a fault: {cause}"));
                }
                let heard = now.saturating_duration_since(end.heard_at);
                // The classic wire goes by what the kernel saw acknowledged, whatever the peer says meanwhile.
                let by_silence = self.wire == Wire::Remux2 && matches!(cause, Dead { .. });
                if by_silence && end.over.is_none() && heard < SECOND * 2 / 3 && !slept {
                    self.fault = Some(format!("the {role} calls a peer dead that spoke {heard:?} ago"));
                }
                self.fate = if self.fate == Fate::Hostile { Fate::Hostile } else { Fate::Cut };
            }
            // Who sleeps is not told of the most orderly end, and may open a stream before it learns of it.
            if slept && !end.is_alive() && self.fate == Fate::Fine {
                self.fate = Fate::Cut;
            }
            if !end.host.is_awake(now) || !end.is_alive() {
                continue;
            }
            let patience = stretch(SECOND + SECOND / 5) + self.link.ab.delay(now) + self.link.ba.delay(now);
            // A far machine whose processes stand acknowledges all the same, and progress moves the time.
            let asked = end.asked.filter(|_| end.suspect && end.batch.is_empty() && !slept);
            if self.wire == Wire::Remux2 && asked.is_some_and(|at| end.clock(now) - end.clock(at) > patience)
            {
                self.fault = Some(format!("the {role} slept, and does not know whether its peer is there"));
            }
            if end.waits_since.is_some_and(|since| now - since > stretch(STALL + SECOND)) && !slept {
                self.fault = Some(format!("the {role} does not notice that its bytes go nowhere"));
            }
        }
        let idle = stretch(SERVER_IDLE + SECOND);
        let up = self.server.is_alive() && self.server.host.is_awake(now);
        if up && self.empty_since.is_some_and(|since| now - since > idle) && !slept {
            self.fault = Some("the server keeps a connection that nobody uses".into());
        }
        let patient = stretch(DRAIN_LIMIT + 15 * SECOND);
        if worst.is_none()
            && self.fate != Fate::Hostile
            && up
            && self.drained_at.is_some_and(|at| now - at > patient)
            && !slept
        {
            self.fault = Some("a drained connection goes on past its limit".into());
        }
    }

    /// Nothing comes through: an end whose application speaks knows soon, one that only waits a little later.
    fn check_silence(&mut self, now: Instant) {
        for (end, role, busy) in [(&self.client, "client", 10), (&self.server, "server", 20)] {
            let Some(busy_since) = end.busy_since.filter(|_| end.is_alive() && self.partitions) else {
                continue;
            };
            let slack = SECOND / 2 + (self.link.ab.delay(now) + self.link.ba.delay(now)) * 2;
            let waits = end.spoke_at.is_some_and(|at| now - at.max(end.heard_at) > busy * SECOND + slack);
            let quiet = now - busy_since.max(end.heard_at) > 30 * SECOND + slack;
            if waits || quiet {
                let fault =
                    format!("the {role} has heard nothing since {:?} and does not mind", now - end.heard_at);
                self.fault = Some(fault);
            }
        }
    }

    /// A server refuses what is above its limit, and nothing else.
    pub(crate) fn check_refusals(&mut self, (streams, before): (usize, Stats)) {
        let after = self.server.session.stats();
        let most = streams as u64 + (after.accepted - before.accepted);
        let excused = self.tight || self.queues || self.drained_at.is_some() || self.fate == Fate::Hostile;
        if after.refused > before.refused && most < self.server_streams && !excused {
            self.fault = Some(format!("the server refused a stream beside {most}"));
        }
    }

    /// A peer that answers nothing is found before the kernel finds it.
    pub(crate) fn check_found(&mut self, now: Instant) {
        let late = |end: &End| {
            end.is_alive()
                && end.busy_since.is_some_and(|at| now - at > (if self.lenient { 68 } else { 45 }) * SECOND)
        };
        if self.wire == Wire::Remux2
            && self.fate != Fate::Hostile
            && (late(&self.client) || late(&self.server))
        {
            self.fault = Some("a peer that is gone was not found".into());
        }
    }

    /// The kinds of faults that have struck its transport.
    pub(crate) fn struck(&self, now: Instant) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self
            .link
            .fired()
            .map(|(trigger, fault)| match (trigger, fault) {
                (Trigger::AtByte(_), Fault::Cut) => Kind::CutAtByte,
                (Trigger::At(_), Fault::Cut) => Kind::CutInTime,
                (_, Fault::Vanish) => Kind::BlackHole,
                (Trigger::At(_), Fault::Stall(_)) => Kind::Partition,
                (Trigger::AtByte(_), Fault::Stall(_)) => Kind::Stall,
            })
            .collect();
        if self.hostile_struck {
            kinds.push(Kind::HostilePeer);
        }
        if self.path_grew(now) {
            kinds.push(Kind::PathGrows);
        }
        kinds
    }

    fn path_grew(&self, now: Instant) -> bool {
        let dialled = self.dialled.unwrap_or(now);
        self.link.ab.delay(now) > self.link.ab.delay(dialled) + Duration::from_millis(10)
    }

    /// What it holds although every stream has been let go of.
    pub(crate) fn left(&self) -> Option<String> {
        let ends = [&self.client, &self.server].map(|end| (end.session.streams(), end.session.charged()));
        let clean = ends.iter().all(|left| *left == (0, (0, 0))) || self.fate == Fate::Hostile;
        (!clean).then(|| format!("streams, or memory, are left at client or server: {ends:?}"))
    }
}

/// Both ends' bound on writing nothing.
const STALL: Duration = Duration::from_secs(30);
/// The server's bound on connections without streams.
const SERVER_IDLE: Duration = Duration::from_secs(60);
