//! Compares the ledgers of a generator and a sink, flow by flow.
//!
//! | predicate | says |
//! |---|---|
//! | prefix | what is received is an exact prefix of what was sent |
//! | no cross-talk | no byte of another flow or of the other direction |
//! | once | a flow arrives at most once: no request is replayed |
//! | honest end | a clean end is seen only if the sender ended cleanly, and after every byte |
//! | complete | without faults every flow ends as planned, with equal hashes |
//! | no hang | every flow ends |

use std::collections::BTreeMap;
use std::fmt;

use crate::check::Hash;
use crate::damage::Damage;
use crate::ledger::{End, Ending, In, Line, Out};
use crate::plan::Plan;

/// What must be true of every run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum Predicate {
    /// Received is a prefix of sent.
    Prefix,
    /// No bytes of another flow.
    NoCrossTalk,
    /// No flow arrives twice.
    Once,
    /// A clean end is one.
    HonestEnd,
    /// Without faults nothing is missing.
    Complete,
    /// Everything ends.
    NoHang,
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prefix => "prefix",
            Self::NoCrossTalk => "no cross-talk",
            Self::Once => "once",
            Self::HonestEnd => "honest end",
            Self::Complete => "complete",
            Self::NoHang => "no hang",
        })
    }
}

/// A predicate that a flow breaks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Broken {
    /// Which one.
    pub predicate: Predicate,
    /// By which flow, where that is known.
    pub flow: Option<u64>,
    /// How.
    pub how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.flow {
            Some(flow) => write!(f, "broken: {}: flow {flow}: {}", self.predicate, self.how),
            None => write!(f, "broken: {}: {}", self.predicate, self.how),
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Every broken predicate, by flow.
    pub broken: Vec<Broken>,
    /// Flows begun.
    pub flows: u64,
    /// Flows of which both directions ended cleanly at both ends.
    pub complete: u64,
    /// Bytes received at the sink and at the generator.
    pub bytes: (u64, u64),
    /// How the generator's flows ended, as read by it.
    pub ends: BTreeMap<Ending, u64>,
    /// SHA-256 over flow numbers and hashes of everything received, in the order of flows.
    pub sha256: String,
}

impl Verdict {
    /// Whether nothing is broken.
    pub fn is_good(&self) -> bool {
        self.broken.is_empty()
    }

    /// Whether waiting may change it: a flow has not ended everywhere.
    pub fn may_improve(&self) -> bool {
        self.broken.iter().any(|broken| matches!(broken.predicate, Predicate::NoHang | Predicate::Complete))
    }
}

/// What one side's ledger says.
#[derive(Debug, Default)]
struct Side {
    plans: BTreeMap<u64, Vec<Plan>>,
    ends: BTreeMap<u64, Vec<End>>,
    headless: Vec<In>,
    done: bool,
}

impl Side {
    fn read(lines: Vec<Line>) -> Self {
        let mut side = Self::default();
        for line in lines {
            match line {
                Line::Run { .. } => {}
                Line::Begin { plan, .. } => side.plans.entry(plan.flow).or_default().push(plan),
                Line::End(end) => side.ends.entry(end.flow).or_default().push(end),
                Line::Headless { r#in, .. } => side.headless.push(r#in),
                Line::Done { .. } => side.done = true,
            }
        }
        side
    }

    fn end(&self, flow: u64) -> Option<&End> {
        self.ends.get(&flow).and_then(|ends| ends.first())
    }
}

/// Judges a run. `faulted`: something was broken on purpose, so flows may be cut.
pub fn judge(sent: Vec<Line>, received: Vec<Line>, faulted: bool) -> Verdict {
    let (near, far) = (Side::read(sent), Side::read(received));
    let mut court = Court { verdict: Verdict::default(), faulted };
    let mut hash = Hash::new();
    for (flow, plans) in &near.plans {
        let (mine, theirs) = (near.end(*flow), far.end(*flow));
        court.flow(&plans[0], mine, theirs, near.done, far.plans.contains_key(flow));
        for (end, name) in [(theirs, "up"), (mine, "down")] {
            let sum = end.map_or("-", |end| end.r#in.sha256.as_str());
            hash.add(format!("{flow} {name} {sum}\n").as_bytes());
        }
    }
    for (flow, plans) in &far.plans {
        if plans.len() > 1 {
            court.broken(Predicate::Once, Some(*flow), format!("it arrived {} times", plans.len()));
        }
        if !near.plans.contains_key(flow) {
            court.broken(Predicate::NoCrossTalk, Some(*flow), "it arrived and was never opened");
        }
    }
    court.headless(&far.headless, near.plans.values().filter(|plans| plans[0].near.aborts()).count());
    court.verdict.sha256 = hash.hex();
    court.verdict.broken.sort_by_key(|broken| broken.predicate);
    court.verdict
}

struct Court {
    verdict: Verdict,
    faulted: bool,
}

impl Court {
    fn broken(&mut self, predicate: Predicate, flow: Option<u64>, how: impl Into<String>) {
        self.verdict.broken.push(Broken { predicate, flow, how: how.into() });
    }

    /// One flow. `done`: the generator ended in order; `arrived`: the sink has seen the flow's header.
    fn flow(&mut self, plan: &Plan, near: Option<&End>, far: Option<&End>, done: bool, arrived: bool) {
        let flow = Some(plan.flow);
        self.verdict.flows += 1;
        if let Some(near) = near {
            *self.verdict.ends.entry(near.r#in.end).or_default() += 1;
            self.verdict.bytes.1 += near.r#in.bytes;
            self.one_end("generator", plan.flow, near);
            self.received("generator", plan.flow, &near.r#in, far.map(|far| &far.out), arrived);
        } else if done {
            self.broken(Predicate::NoHang, flow, "it never ended at the generator");
        }
        if let Some(far) = far {
            self.verdict.bytes.0 += far.r#in.bytes;
            self.one_end("sink", plan.flow, far);
            self.received("sink", plan.flow, &far.r#in, near.map(|near| &near.out), true);
        } else if arrived {
            self.broken(Predicate::NoHang, flow, "it never ended at the sink");
        }
        let (Some(near), Some(far)) = (near, far) else {
            let excused = self.faulted || plan.near.aborts() || arrived || near.is_none();
            if !excused {
                let why =
                    near.and_then(|near| near.refused.as_deref()).unwrap_or("it never reached the sink");
                self.broken(Predicate::Complete, flow, why);
            }
            return;
        };
        let ends = [near.out.end, near.r#in.end, far.out.end, far.r#in.end];
        self.verdict.complete += u64::from(ends.iter().all(|end| *end == Ending::Fin));
        if self.faulted {
            return;
        }
        if plan.aborts() {
            let (who, aborting, other) =
                if plan.near.aborts() { ("sink", near, far) } else { ("generator", far, near) };
            if aborting.out.end != Ending::Abort {
                self.broken(Predicate::Complete, flow, format!("its abort did not happen: {ends:?}"));
            } else if !matches!(other.r#in.end, Ending::Rst | Ending::Refused) {
                let seen = other.r#in.end;
                self.broken(
                    Predicate::Complete,
                    flow,
                    format!("the other end's reset reached the {who} as {seen:?}"),
                );
            }
        } else if ends.iter().any(|end| *end != Ending::Fin) {
            self.broken(
                Predicate::Complete,
                flow,
                format!("it ended {ends:?} (generator out, in; sink out, in)"),
            );
        } else if near.out.sha256 != far.r#in.sha256 || far.out.sha256 != near.r#in.sha256 {
            self.broken(Predicate::Complete, flow, "hashes differ");
        }
    }

    fn one_end(&mut self, who: &str, flow: u64, end: &End) {
        let ends = [end.out.end, end.r#in.end];
        if ends.contains(&Ending::Timeout) {
            let how = format!("nothing moved at the {who} for too long: out {:?}, in {:?}", ends[0], ends[1]);
            self.broken(Predicate::NoHang, Some(flow), how);
        }
        if ends.contains(&Ending::Open) {
            self.broken(Predicate::NoHang, Some(flow), format!("still open when the {who} stopped"));
        }
    }

    /// What `who` received, beside what the other end sent, where that is known.
    fn received(&mut self, who: &str, flow: u64, got: &In, sent: Option<&Out>, arrived: bool) {
        let flow = Some(flow);
        if let Some(wrong) = got.wrong {
            let predicate = match wrong.damage {
                Damage::Foreign { .. } => Predicate::NoCrossTalk,
                _ => Predicate::Prefix,
            };
            self.broken(predicate, flow, format!("received by the {who}, {wrong}"));
        }
        let Some(sent) = sent else {
            if got.end == Ending::Fin && !arrived {
                self.broken(
                    Predicate::HonestEnd,
                    flow,
                    format!("the {who} saw a clean end of a flow that nobody took"),
                );
            }
            return;
        };
        if sent.end == Ending::Open {
            return;
        }
        if got.bytes > sent.bytes {
            let how = format!("the {who} received {} bytes of {} sent", got.bytes, sent.bytes);
            self.broken(Predicate::Prefix, flow, how);
        }
        if got.end == Ending::Fin && (sent.end != Ending::Fin || got.bytes != sent.bytes) {
            let how = format!(
                "the {who} saw a clean end after {} bytes; the other end sent {} and ended with {:?}",
                got.bytes, sent.bytes, sent.end
            );
            self.broken(Predicate::HonestEnd, flow, how);
        }
    }

    /// Connections that no flow can be laid to; `excused` flows may have been cut that early without a fault.
    fn headless(&mut self, connections: &[In], excused: usize) {
        for got in connections {
            match (got.wrong, got.end) {
                (Some(wrong), _) => {
                    let predicate = match wrong.damage {
                        Damage::Foreign { .. } => Predicate::NoCrossTalk,
                        _ => Predicate::Prefix,
                    };
                    self.broken(predicate, None, format!("a connection began wrong, {wrong}"));
                }
                (None, Ending::Fin) => {
                    let how =
                        format!("a connection ended cleanly after {} bytes, within its header", got.bytes);
                    self.broken(Predicate::HonestEnd, None, how);
                }
                (None, Ending::Timeout) => {
                    self.broken(Predicate::NoHang, None, "a connection never brought its header");
                }
                _ => {}
            }
        }
        if !self.faulted && connections.len() > excused {
            let how = format!("{} connections were cut within their header", connections.len());
            self.broken(Predicate::Complete, None, how);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage::Wrong;
    use crate::pattern::{Direction, Place};

    #[test]
    fn flow_that_ended_as_planned_with_equal_bytes_is_good() {
        assert_eq!(Case::whole().broken(false), []);
    }

    #[test]
    fn clean_end_before_the_last_byte_is_dishonest_with_and_without_faults() {
        let mut case = Case::whole();
        case.near.r#in = read(90, Ending::Fin);
        assert_eq!(case.broken(true), [Predicate::HonestEnd]);
        assert_eq!(case.broken(false), [Predicate::HonestEnd, Predicate::Complete]);
    }

    #[test]
    fn clean_end_of_what_was_aborted_is_dishonest() {
        let mut case = Case::whole();
        case.far.out.end = Ending::Abort;
        case.plan.far.finish = crate::plan::Finish::Abort;
        assert_eq!(case.broken(true), [Predicate::HonestEnd]);
        case.near.r#in.end = Ending::Rst;
        assert_eq!(case.broken(false), []);
    }

    #[test]
    fn flow_that_a_fault_cut_is_excused_and_one_cut_without_a_fault_is_not() {
        let mut case = Case::whole();
        case.near.r#in = read(40, Ending::Rst);
        case.near.out.end = Ending::Rst;
        case.far.r#in = read(30, Ending::Rst);
        assert_eq!(case.broken(true), []);
        assert_eq!(case.broken(false), [Predicate::Complete]);
    }

    #[test]
    fn wrong_bytes_break_prefix_and_foreign_ones_no_cross_talk_even_with_faults() {
        let place = Place { flow: 9, direction: Direction::Up, offset: 0 };
        for (damage, predicate) in [
            (Damage::Lost { bytes: 3 }, Predicate::Prefix),
            (Damage::Foreign { place }, Predicate::NoCrossTalk),
        ] {
            let mut case = Case::whole();
            case.far.r#in.wrong = Some(Wrong { at: 5, damage });
            assert_eq!(case.broken(true), [predicate]);
        }
    }

    #[test]
    fn more_received_than_sent_breaks_prefix() {
        let mut case = Case::whole();
        case.far.r#in = read(101, Ending::Rst);
        assert_eq!(case.broken(true), [Predicate::Prefix]);
    }

    #[test]
    fn flow_that_never_ends_hangs_wherever_it_is_seen() {
        let mut case = Case::whole();
        case.far.r#in.end = Ending::Timeout;
        assert_eq!(case.broken(true), [Predicate::NoHang]);
        let case = Case::whole();
        let mut received = case.received();
        received.retain(|line| !matches!(line, Line::End(_)));
        assert_eq!(predicates(&judge(case.sent(), received, true)), [Predicate::NoHang]);
        let mut sent = case.sent();
        sent.retain(|line| !matches!(line, Line::End(_)));
        assert_eq!(predicates(&judge(sent.clone(), case.received(), true)), [Predicate::NoHang]);
        // A generator that was killed has nothing to answer for.
        sent.retain(|line| !matches!(line, Line::Done { .. }));
        assert_eq!(predicates(&judge(sent, case.received(), true)), []);
    }

    #[test]
    fn request_that_arrives_twice_or_out_of_nowhere_is_noticed() {
        let case = Case::whole();
        let mut received = case.received();
        received.push(Line::Begin { at: 3, plan: case.plan });
        received.push(Line::Begin { at: 3, plan: Plan::plain(77, 0, 0) });
        let mut found = predicates(&judge(case.sent(), received, true));
        found.dedup();
        assert_eq!(found, [Predicate::NoCrossTalk, Predicate::Once]);
    }

    #[test]
    fn flow_that_nobody_took_must_not_end_cleanly() {
        let mut case = Case::whole();
        assert_eq!(predicates(&judge(case.sent(), Vec::new(), true)), [Predicate::HonestEnd]);
        case.near.r#in = read(0, Ending::Rst);
        assert_eq!(predicates(&judge(case.sent(), Vec::new(), true)), []);
        assert_eq!(predicates(&judge(case.sent(), Vec::new(), false)), [Predicate::Complete]);
    }

    #[test]
    fn connection_that_ends_cleanly_within_its_header_is_dishonest_and_a_reset_one_is_cut() {
        for (end, faulted, expected) in [
            (Ending::Fin, true, vec![Predicate::HonestEnd]),
            (Ending::Rst, true, vec![]),
            (Ending::Rst, false, vec![Predicate::Complete]),
            (Ending::Timeout, true, vec![Predicate::NoHang]),
        ] {
            let case = Case::whole();
            let mut received = case.received();
            received.push(Line::Headless { at: 3, r#in: read(12, end) });
            assert_eq!(predicates(&judge(case.sent(), received, faulted)), expected, "{end:?}");
        }
    }

    /// A flow of 100 bytes each way, as both ends saw it.
    struct Case {
        plan: Plan,
        near: End,
        far: End,
    }

    impl Case {
        fn whole() -> Self {
            let end = || End {
                at: 2,
                flow: 1,
                ms: 1,
                out: Out { bytes: 100, sha256: "aa".to_owned(), end: Ending::Fin },
                r#in: read(100, Ending::Fin),
                refused: None,
            };
            Self { plan: Plan::plain(1, 100, 100), near: end(), far: end() }
        }

        fn sent(&self) -> Vec<Line> {
            vec![Line::Begin { at: 1, plan: self.plan }, Line::End(self.near.clone()), Line::Done { at: 3 }]
        }

        fn received(&self) -> Vec<Line> {
            vec![Line::Begin { at: 1, plan: self.plan }, Line::End(self.far.clone())]
        }

        fn broken(&self, faulted: bool) -> Vec<Predicate> {
            predicates(&judge(self.sent(), self.received(), faulted))
        }
    }

    fn read(bytes: u64, end: Ending) -> In {
        In { bytes, sha256: if bytes == 100 { "aa" } else { "bb" }.to_owned(), end, wrong: None }
    }

    fn predicates(verdict: &Verdict) -> Vec<Predicate> {
        verdict.broken.iter().map(|broken| broken.predicate).collect()
    }
}
