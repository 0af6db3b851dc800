//! The well-behaved user beside an attack: small requests at a steady pace, and how long each took.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

use crate::sink::exchange;

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
            let done = timeout(LIMIT, exchange(socks, to)).await;
            (matches!(done, Ok(Ok(()))), began.elapsed(), began > start + time / 2)
        });
    }
    let (mut took, mut failed, mut failed_late) = (Vec::new(), 0_u64, 0_u64);
    while let Some(Ok((is_done, time, is_late))) = asked.join_next().await {
        failed += u64::from(!is_done);
        failed_late += u64::from(!is_done && is_late);
        took.push(if is_done { time } else { LIMIT }.as_secs_f64() * 1000.0);
    }
    took.sort_by(f64::total_cmp);
    serde_json::json!({ "failed": failed, "failed_late": failed_late, "ms": took.iter().map(|ms| (ms * 1000.0).round() / 1000.0).collect::<Vec<_>>() })
}

const LIMIT: Duration = Duration::from_secs(12);
