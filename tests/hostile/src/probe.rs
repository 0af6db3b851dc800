//! The well-behaved user beside an attack: small requests at a steady pace, and how long each took.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

use crate::sink::{ask, exchange};

/// Asks every `every` for `time`, without waiting for the answer before. A request that fails counts as `LIMIT`.
pub(crate) async fn run(
    socks: SocketAddr,
    to: SocketAddr,
    every: Duration,
    time: Duration,
) -> serde_json::Value {
    let mut tick = interval(every);
    let mut asked = JoinSet::new();
    let start = Instant::now();
    let end = start + time;
    while Instant::now() < end {
        tick.tick().await;
        asked.spawn(async move {
            let began = Instant::now();
            let asked = timeout(LIMIT, ask(socks, to)).await;
            let is_answered = matches!(asked, Ok(Ok(_)));
            let is_done = match asked {
                Ok(Ok(stream)) => matches!(timeout(LIMIT, exchange(stream)).await, Ok(Ok(()))),
                _ => false,
            };
            Asked { is_answered, is_done, is_late: began > start + time / 2, took: began.elapsed() }
        });
    }
    let mut all = Vec::new();
    while let Some(Ok(asked)) = asked.join_next().await {
        all.push(asked);
    }
    let count = |what: fn(&Asked) -> bool| all.iter().filter(|asked| what(asked)).count();
    let millis = |asked: &Asked| if asked.is_done { asked.took } else { LIMIT }.as_micros() as f64 / 1000.0;
    serde_json::json!({
        "failed": count(|asked| !asked.is_done),
        "failed_late": count(|asked| !asked.is_done && asked.is_late),
        "unanswered": count(|asked| !asked.is_answered),
        "ms": all.iter().map(millis).collect::<Vec<_>>(),
    })
}

/// What became of one request.
struct Asked {
    /// The SOCKS port gave its word.
    is_answered: bool,
    is_done: bool,
    /// It was made in the second half of the time.
    is_late: bool,
    took: Duration,
}

const LIMIT: Duration = Duration::from_secs(12);
