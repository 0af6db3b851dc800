//! What a world promises.

use remux::{Stage, Wire};

use super::World;
use super::attack::ATTACKER;

impl World {
    /// The promises, after the end.
    pub(crate) fn judge(&mut self) {
        for index in 0..self.flows.len() {
            self.judge_flow(index);
        }
        let pool = self.pool.stats();
        let left = pool.dialling + pool.open + pool.retiring + pool.waiting;
        self.check(left == 0 && pool.streams == 0, &format!("the pool keeps what is gone: {pool:?}"));
        for budget in &self.plan.budgets {
            self.check(budget.used() == 0, &format!("memory is left: {budget:?}"));
        }
    }

    fn judge_flow(&self, index: usize) {
        let flow = &self.flows[index];
        if let Some(why) = &flow.refused {
            self.check(
                self.trouble || flow.tainted,
                &format!("flow {index} got no stream without a reason: {why}"),
            );
        }
        let once = flow.times_served <= 1 || flow.hostile();
        self.check(once, &format!("flow {index} was served {} times", flow.times_served));
        let clean = !flow.tainted && flow.refused.is_none() && flow.reset_is_planned().is_none();
        for (side, other) in [(&flow.client, &flow.server), (&flow.server, &flow.client)] {
            if side.fin {
                // The classic wire can't tell an end from an abort.
                let excused =
                    self.wire == Wire::Classic && (other.reset || other.failed.is_some() || flow.tainted);
                self.check(
                    side.received == other.planned || excused || flow.hostile(),
                    &format!("flow {index}: a clean end after {} of {} bytes", side.received, other.planned),
                );
            }
            if clean {
                let what = format!("flow {index} ended early without a reason: {flow:?}");
                self.check(side.fin && side.received == other.planned, &what);
            }
        }
        if clean {
            let wanted = usize::from(flow.wants_opened);
            self.check(
                flow.opened == wanted,
                &format!("flow {index}: {} answers to its request", flow.opened),
            );
        }
    }

    /// The server's budget says what it should for what is used. `quiet`: nothing more happens at this instant.
    pub(super) fn check_budget(&mut self, quiet: bool) {
        if !self.plan.watches_budget {
            return;
        }
        let budget = &self.plan.budgets[1];
        let (used, stage, limit) = (budget.used(), budget.stage(), budget.limit());
        let reaches =
            |stage: Stage, slack: u64| used * 100 >= limit * (stage.percent().saturating_sub(slack));
        let stages = || Stage::ALL.into_iter().rev();
        let least = stages().find(|stage| reaches(*stage, 0)).unwrap();
        let most = stages().find(|stage| reaches(*stage, Stage::HYSTERESIS)).unwrap();
        let at = format!("{stage:?} at {used} of {limit} bytes");
        self.check(least <= stage && stage <= most, &format!("the stage does not fit what is used: {at}"));
        let alive = self.conns.values().filter(|conn| conn.server.is_alive()).count() as u64;
        let most = limit + STREAM + alive * CONNECTION;
        self.check(used <= most, &format!("more is promised than there is: {at}"));
        self.check(!quiet || stage < Stage::Shed || alive == 0, &format!("nothing is shed: {at}"));
        let over = budget.heaviest().filter(|(name, _)| budget.account(Some(name)).stage() >= Stage::NoOpens);
        let sheddable = over.is_some_and(|(name, _)| {
            let mut alive = self.conns.values().filter(|conn| conn.server.is_alive());
            alive.any(|conn| conn.attacker.is_some() == (*name == *ATTACKER))
        });
        self.check(
            !quiet || stage < Stage::NoAccept || !sheddable,
            &format!("the door stays closed for one who holds nearly all: {at}"),
        );
        self.note_stage();
    }

    /// Counts the stage the server's budget is at; some last only until a connection has learned that it is to end.
    pub(super) fn note_stage(&mut self) {
        let name = match self.plan.budgets[1].stage() {
            _ if !self.plan.watches_budget => return,
            Stage::Plenty => return,
            Stage::NoGrowth => "stage NoGrowth",
            Stage::NoOpens => "stage NoOpens",
            Stage::NoAccept => "stage NoAccept",
            Stage::Shed => "stage Shed",
        };
        self.tally.insert(name, 1);
    }

    /// Fails unless `fact`.
    pub(crate) fn check(&self, fact: bool, what: &str) {
        if !fact {
            self.fail(what);
        }
    }

    /// Ends the test with what is needed to see it again.
    pub(crate) fn fail(&self, what: &str) -> ! {
        for (index, flow) in self.flows.iter().enumerate().filter(|(_, flow)| self.telling && !flow.is_over())
        {
            println!("left: {index}: {flow:#?}");
        }
        panic!("seed {} on {}, {:?} in: {what}", self.plan.seed, self.wire.name(), self.now - self.start)
    }
}

/// What one more stream is promised.
const STREAM: u64 = (256 << 10) + (16 << 10);
/// What one connection takes, and what it may hide.
const CONNECTION: u64 = (160 << 10) + 2 * (16 << 10);
