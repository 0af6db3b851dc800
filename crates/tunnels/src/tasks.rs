//! What every owner of tasks does with them: notices panics, waits for their end, ends them.

use std::time::Duration;

use sla::event;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use crate::shutdown::{Phase, Shutdown};

/// How long a last message may take: a failure reply, a close of a connection.
pub(crate) const GOODBYE: Duration = Duration::from_secs(1);

/// Logs a panic of a task; its flow is over, the others go on.
pub(crate) fn note_panic(task: &str, ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        event::task_panicked(task, &error.to_string());
    }
}

/// Waits until all tasks have ended, for at most `limit` or until the process is to end at once. Those left are told by
/// [`Phase::Stopped`], so that each can still say how it ended, and what does not listen to that is aborted.
pub(crate) async fn drain(tasks: &mut JoinSet<()>, limit: Duration, shutdown: &Shutdown, task: &str) {
    tokio::select! {
        _ = timeout(limit, all(tasks, task)) => {}
        () = shutdown.reached(Phase::Stopped) => {}
    }
    shutdown.force();
    let _ = timeout(GOODBYE, all(tasks, task)).await;
    tasks.shutdown().await;
}

async fn all(tasks: &mut JoinSet<()>, task: &str) {
    while let Some(ended) = tasks.join_next().await {
        note_panic(task, ended);
    }
}
