//! What a world promises.

use remux::Wire;

use super::World;

impl World {
    /// The promises, after the end.
    pub(crate) fn judge(&mut self) {
        for index in 0..self.flows.len() {
            self.judge_flow(index);
        }
        let pool = self.pool.stats();
        let left = pool.dialling + pool.open + pool.retiring + pool.waiting;
        self.check(left == 0 && pool.streams == 0, &format!("the pool keeps what is gone: {pool:?}"));
        for budget in &self.budgets {
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
        panic!(
            "seed {} on {}, {:?} in: {what}\nreplay: REMUX_SEED={} cargo test -p remux --test simulation no_world -- --nocapture",
            self.seed,
            self.wire.name(),
            self.now - self.start,
            self.seed
        )
    }
}
