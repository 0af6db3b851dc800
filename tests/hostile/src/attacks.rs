//! Every attack by its name, and how hard it is run.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::ground::{Ground, end_of};
use crate::{classic, client, eager, prober};

/// Who attacks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Group {
    /// Without a certificate the server trusts.
    Prober,
    /// With one, on the remux2 wire.
    Client,
    /// With one, on the classic wire.
    Classic,
    /// With one, a request for itself.
    Eager,
}

/// One named attack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    /// Connections at a time.
    pub(crate) lanes: usize,
    /// Milliseconds between two connections of a lane.
    pause: u64,
}

/// Lanes and pauses are such that an attack takes a fraction of a core, not all there are: what is asked is what it
/// costs us, not who has more processors.
pub(crate) const ATTACKS: &[Attack] = &[
    prober("silent", 400, 1000),
    prober("slow-loris", 200, 500),
    prober("stalled-after-hello", 200, 500),
    prober("stalled-before-finished", 100, 50),
    prober("connect-flood", 10, 20),
    prober("hello-flood", 10, 100),
    prober("garbage", 10, 50),
    prober("plain-http", 10, 50),
    prober("truncated-hello", 10, 50),
    prober("fragmented-hello", 4, 100),
    prober("no-certificate", 4, 50),
    prober("wrong-ca", 4, 50),
    prober("expired", 4, 50),
    prober("server-as-client", 4, 50),
    client("no-settings", 50, 100),
    client("before-settings", 2, 200),
    client("idle-connections", 800, 100),
    client("stream-flood", 2, 200),
    client("rapid-reset", 2, 200),
    client("slow-rapid-reset", 8, 200),
    client("provoked-resets", 2, 200),
    client("data-beyond-credit", 1, 200),
    client("credit-overflow", 2, 200),
    client("credit-unsent", 2, 200),
    client("credit-taken-back", 2, 200),
    client("credit-unchanged", 1, 200),
    client("credit-crumbs", 1, 200),
    client("tiny-frames", 1, 1000),
    client("empty-data", 2, 200),
    client("ping-flood", 2, 200),
    client("settings-flood", 2, 200),
    client("pad-flood", 2, 200),
    client("unknown-flood", 2, 200),
    client("priority-flood", 2, 200),
    client("stray-flood", 2, 200),
    client("goaway-flood", 2, 200),
    client("oversize", 2, 200),
    client("out-of-state", 4, 200),
    client("unread-streams", 1, 1000),
    client("never-read", 1, 1000),
    client("never-read-pings", 1, 1000),
    client("dial-denied", 2, 200),
    client("dial-refused", 1, 200),
    client("dial-nowhere", 2, 200),
    client("open-and-finish", 1, 200),
    classic("session-flood", 2, 200),
    classic("session-ends", 2, 200),
    classic("session-tiny", 1, 1000),
    classic("session-unread", 1, 1000),
    classic("session-never-read", 1, 1000),
    classic("session-half-request", 1, 200),
    classic("session-bad-request", 2, 200),
    eager("eager-denied", 4, 50),
    eager("eager-half-request", 100, 100),
    eager("eager-bad-request", 4, 50),
    eager("eager-never-read", 50, 100),
    eager("eager-unread", 50, 100),
];

const fn prober(name: &'static str, lanes: usize, pause: u64) -> Attack {
    Attack { name, group: Group::Prober, lanes, pause }
}

const fn client(name: &'static str, lanes: usize, pause: u64) -> Attack {
    Attack { name, group: Group::Client, lanes, pause }
}

const fn classic(name: &'static str, lanes: usize, pause: u64) -> Attack {
    Attack { name, group: Group::Classic, lanes, pause }
}

const fn eager(name: &'static str, lanes: usize, pause: u64) -> Attack {
    Attack { name, group: Group::Eager, lanes, pause }
}

/// Runs an attack until its time is over.
pub(crate) async fn run(attack: Attack, lanes: usize, ground: Arc<Ground>) {
    let mut tasks = JoinSet::new();
    for lane in 0..lanes {
        let ground = ground.clone();
        tasks.spawn(async move {
            // Not all at once: a crowd that comes within half a second.
            ground.pause(Duration::from_millis((lane as u64).wrapping_mul(7) % 500)).await;
            while ground.is_on() {
                let began = Instant::now();
                ground.tally.connections.fetch_add(1, Ordering::Relaxed);
                let how = match attack.group {
                    Group::Prober => match prober::strike(attack.name, &ground, lane).await {
                        Ok(()) => "fin".to_owned(),
                        Err(error) => end_of(&error),
                    },
                    Group::Client => client::strike(attack.name, &ground, lane).await,
                    Group::Classic => classic::strike(attack.name, &ground, lane).await,
                    Group::Eager => eager::strike(attack.name, &ground, lane).await,
                };
                ground.tally.end(&how, began.elapsed());
                ground.pause(Duration::from_millis(attack.pause)).await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}
