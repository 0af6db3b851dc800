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
    drain_with(tasks, std::future::ready(()), limit, shutdown, task).await;
}

/// The same with what they leave behind: `tail` has as much of the limit as the tasks leave.
pub(crate) async fn drain_with(
    tasks: &mut JoinSet<()>,
    tail: impl Future<Output = ()>,
    limit: Duration,
    shutdown: &Shutdown,
    task: &str,
) {
    let ended = async {
        all(tasks, task).await;
        tail.await;
    };
    tokio::select! {
        _ = timeout(limit, ended) => {}
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

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn drain_is_done_with_the_last_task_and_waits_no_longer_than_its_limit_and_a_goodbye() {
        let limit = Duration::from_secs(30);
        for (task_takes, drain_takes) in [(4, 4), (3600, 31)] {
            let (shutdown, mut tasks) = (Shutdown::new(), JoinSet::new());
            tasks.spawn(sleep(Duration::from_secs(task_takes)));
            let began = Instant::now();
            drain(&mut tasks, limit, &shutdown, "flow").await;
            assert_eq!(began.elapsed().as_secs(), drain_takes);
            assert!(tasks.is_empty());
            assert_eq!(shutdown.phase(), Phase::Stopped, "who listens is told to end");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn second_signal_ends_a_drain_at_once_and_drops_what_tasks_hold() {
        let (shutdown, held) = (Shutdown::new(), Arc::new(()));
        let mut tasks = JoinSet::new();
        let socket = held.clone();
        tasks.spawn(async move {
            let _socket = socket;
            pending().await
        });
        shutdown.press();
        let second = shutdown.clone();
        let began = Instant::now();
        tokio::join!(drain(&mut tasks, Duration::from_secs(30), &shutdown, "flow"), async move {
            sleep(Duration::from_secs(2)).await;
            second.press();
        });
        assert_eq!(
            (began.elapsed().as_secs(), Arc::strong_count(&held)),
            (3, 1),
            "deaf tasks get a goodbye's time"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn tail_has_what_the_tasks_leave_of_the_limit_and_ends_with_the_second_signal() {
        let limit = Duration::from_secs(30);
        for (tail_takes, second_signal, drain_takes) in [(5, 3600, 9), (3600, 3600, 30), (3600, 6, 6)] {
            let (shutdown, mut tasks) = (Shutdown::new(), JoinSet::new());
            tasks.spawn(sleep(Duration::from_secs(4)));
            let tail = async move { sleep(Duration::from_secs(tail_takes)).await };
            let second = shutdown.clone();
            tokio::spawn(async move {
                sleep(Duration::from_secs(second_signal)).await;
                second.force();
            });
            let began = Instant::now();
            drain_with(&mut tasks, tail, limit, &shutdown, "flow").await;
            assert_eq!(began.elapsed().as_secs(), drain_takes);
        }
    }

    #[tokio::test]
    async fn panic_of_one_task_leaves_the_others_alone() {
        let mut tasks: JoinSet<()> = JoinSet::new();
        tasks.spawn(async { panic!("a task of the test panics") });
        tasks.spawn(async {});
        drain(&mut tasks, Duration::from_secs(30), &Shutdown::new(), "flow").await;
        assert!(tasks.is_empty());
    }
}
