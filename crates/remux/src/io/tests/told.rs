//! What the log of streams says about how each ended.

use std::sync::{Arc, Mutex};

use framing::remux2::Code;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;

#[tokio::test(start_paused = true)]
async fn stream_let_go_after_both_ends_closed_with_fin_though_nothing_was_sent_since() {
    let (causes, _log) = listen();
    let mut world = World::new(Wire::Remux2);
    let (mut ours, mut theirs) = world.stream().await;
    ours.write_all(b"ping").await.unwrap();
    ours.finish();
    let mut heard = Vec::new();
    theirs.read_to_end(&mut heard).await.unwrap();
    // FIN is queued and the driver has not run since.
    theirs.finish();
    drop(theirs);
    ours.read_to_end(&mut heard).await.unwrap();
    drop(ours);
    assert_eq!(causes.take(), ["fin", "fin"]);
}

#[tokio::test(start_paused = true)]
async fn stream_that_is_dropped_early_or_reset_is_not_called_a_clean_end_and_repeats_no_text_of_the_peer() {
    let (causes, _log) = listen();
    let mut world = World::new(Wire::Remux2);
    let (ours, mut theirs) = world.stream().await;
    drop(ours);
    theirs.read_to_end(&mut Vec::new()).await.unwrap_err();
    drop(theirs);
    assert_eq!(causes.take(), ["let go of before its end", "reset by the peer: cancel"]);

    let (mut ours, mut theirs) = world.stream().await;
    theirs.reset(Code::DEST_REFUSED, "secret.example:443 refused");
    drop(theirs);
    let error = ours.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert!(error.to_string().contains("secret.example"), "the application's side may tell it");
    drop(ours);
    assert_eq!(causes.take(), ["reset here: dest_refused", "reset by the peer: dest_refused"]);
}

/// Keeps the causes of closed streams that this thread tells.
fn listen() -> (Causes, (tracing::subscriber::DefaultGuard, tracing::Dispatch)) {
    let causes = Causes::default();
    // While there is only one, a place that logs first on a thread without any is taken for one nobody listens to.
    let second = tracing::Dispatch::new(causes.clone());
    let guard = tracing::subscriber::set_default(causes.clone());
    (causes, (guard, second))
}

#[derive(Clone, Default)]
struct Causes(Arc<Mutex<Vec<String>>>);

impl Causes {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Subscriber for Causes {
    fn enabled(&self, meta: &Metadata<'_>) -> bool {
        meta.name() == "sess_close"
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Cause(self));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Cause<'a>(&'a Causes);

impl Visit for Cause<'_> {
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "cause" {
            self.0.0.lock().unwrap().push(value.to_owned());
        }
    }
}
