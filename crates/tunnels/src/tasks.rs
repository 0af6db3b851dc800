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

/// Waits until all tasks have ended, for at most `limit` or until the process is to end at once; then aborts the rest.
pub(crate) async fn drain(tasks: &mut JoinSet<()>, limit: Duration, shutdown: &Shutdown, task: &str) {
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            note_panic(task, ended);
        }
    };
    tokio::select! {
        _ = timeout(limit, all) => {}
        () = shutdown.reached(Phase::Stopped) => {}
    }
    tasks.shutdown().await;
}
