//! The thread that carries alerts to the robot: the clock and the sender of [`super::dingtalk`], and no decision.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};

use super::dingtalk::{Alert, Alerts, Note, Robot};
use crate::event;

/// Alerts on their way from any thread to the sender.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    work: Condvar,
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    alerts: VecDeque<Alert>,
    /// The sender still has something to send.
    is_busy: bool,
    /// And waits until then: for a back-off, or a robot that wants no messages now.
    resumes: Option<Instant>,
    is_closed: bool,
}

impl Inbox {
    /// Takes an alert; one beyond the bound is lost, as its line is in the log.
    pub(crate) fn push(&self, alert: Alert) {
        let mut state = self.state.lock();
        if state.alerts.len() < MAX_ALERTS && !state.is_closed {
            state.alerts.push_back(alert);
            self.work.notify_one();
        }
    }

    /// Waits until all alerts were sent or given up, at most `limit`, and not at all for what can't be sent in
    /// that time.
    pub(crate) fn flush(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let may_send = |state: &mut State| {
            let is_soon = state.resumes.is_none_or(|at| at <= deadline);
            is_soon && (state.is_busy || !state.alerts.is_empty())
        };
        self.idle.wait_while_until(&mut self.state.lock(), may_send, deadline);
    }

    /// Ends the thread after what it is doing.
    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
        self.work.notify_one();
    }

    /// Waits for an alert or the deadline; `None` when closed.
    fn take(&self, deadline: Option<Instant>, is_busy: bool) -> Option<VecDeque<Alert>> {
        let mut state = self.state.lock();
        state.is_busy = is_busy;
        state.resumes = deadline.filter(|_| is_busy);
        self.idle.notify_all();
        let nothing = |state: &mut State| state.alerts.is_empty() && !state.is_closed;
        match deadline {
            Some(deadline) => drop(self.work.wait_while_until(&mut state, nothing, deadline)),
            None => self.work.wait_while(&mut state, nothing),
        }
        if state.is_closed {
            return None;
        }
        (state.is_busy, state.resumes) = (true, None);
        Some(std::mem::take(&mut state.alerts))
    }
}

/// Runs until the inbox is closed.
pub(crate) fn run(inbox: &Arc<Inbox>, robot: Robot) {
    struct Finish<'a>(&'a Inbox);
    impl Drop for Finish<'_> {
        fn drop(&mut self) {
            let mut state = self.0.state.lock();
            (state.is_busy, state.is_closed) = (false, true);
            state.alerts.clear();
            self.0.idle.notify_all();
        }
    }
    let _finish = Finish(inbox);
    let Robot { config, mut post } = robot;
    let mut alerts = Alerts::new(config);
    loop {
        let deadline = alerts.poll_timeout(Instant::now()).map(|(at, _)| at);
        let Some(news) = inbox.take(deadline, !alerts.is_idle()) else { return };
        news.into_iter().for_each(|alert| alerts.handle_event(Instant::now(), alert));
        if let Some(request) = alerts.poll_send(Instant::now(), unix_ms()) {
            let result = post.post(&request);
            alerts.handle_result(Instant::now(), result);
        }
        while let Some(note) = alerts.poll_note() {
            match note {
                Note::Failed { cause, tries } => event::alert_failed(&cause, tries),
                Note::Paused { pause, held } => event::alert_paused(pause, held),
                Note::Rejected { cause } => event::alert_rejected(&cause),
            }
        }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Alerts that wait for the sender to look; it takes them all each time.
const MAX_ALERTS: usize = 100;
