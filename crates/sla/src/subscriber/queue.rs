//! Lines on their way from any thread to the writer: bounded, and never a wait for who logs.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// The lines that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// The writer waits here for work.
    work: Condvar,
    /// Those who flush wait here for its end.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<String>,
    bytes: usize,
    dropped: u64,
    /// The writer has lines in its hands.
    writing: bool,
    reopen: bool,
    closed: bool,
}

/// What the writer has to do.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Work {
    pub(crate) lines: VecDeque<String>,
    /// Lines that found no room since the last time.
    pub(crate) dropped: u64,
    /// Open the file anew, before the lines.
    pub(crate) reopen: bool,
    /// Nothing comes after this.
    pub(crate) last: bool,
}

impl Queue {
    /// Takes a line, or counts it where there is no room.
    pub(crate) fn push(&self, line: String) {
        let mut state = self.state.lock();
        let full = state.lines.len() >= MAX_LINES || state.bytes + line.len() > MAX_BYTES;
        if full || state.closed {
            state.dropped += 1;
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        drop(state);
        self.work.notify_one();
    }

    /// Waits for work, at most until `deadline`; the work before counts as done.
    pub(crate) fn take(&self, deadline: Option<Instant>) -> Work {
        let mut state = self.state.lock();
        state.writing = false;
        if state.lines.is_empty() {
            self.idle.notify_all();
        }
        let nothing = |state: &mut State| state.lines.is_empty() && !state.reopen && !state.closed;
        match deadline {
            Some(deadline) => drop(self.work.wait_while_until(&mut state, nothing, deadline)),
            None => self.work.wait_while(&mut state, nothing),
        }
        state.writing = true;
        state.bytes = 0;
        Work {
            lines: std::mem::take(&mut state.lines),
            dropped: std::mem::take(&mut state.dropped),
            reopen: std::mem::take(&mut state.reopen),
            last: state.closed,
        }
    }

    /// The writer is gone or done: nobody need wait for it.
    pub(crate) fn finish(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.writing = false;
        state.lines.clear();
        self.idle.notify_all();
    }

    /// Waits until everything pushed before is written, at most `limit`; whether it is.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.state.lock();
        let waited = self.idle.wait_while_until(
            &mut state,
            |state| state.writing || !state.lines.is_empty(),
            deadline,
        );
        !waited.timed_out()
    }

    /// Asks the writer to open its file anew.
    pub(crate) fn reopen(&self) {
        self.state.lock().reopen = true;
        self.work.notify_one();
    }

    /// Takes no more lines; the writer ends after those it has.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_one();
    }
}

/// Lines that wait at most.
const MAX_LINES: usize = 8192;
/// Their bytes at most.
const MAX_BYTES: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_bound_are_counted_and_not_kept() {
        let queue = Queue::default();
        (0..MAX_LINES + 3).for_each(|n| queue.push(n.to_string()));
        let work = queue.take(None);
        assert_eq!((work.lines.len(), work.dropped), (MAX_LINES, 3));

        let quarter = "x".repeat(MAX_BYTES / 4);
        (0..6).for_each(|_| queue.push(quarter.clone()));
        let work = queue.take(None);
        assert_eq!((work.lines.len(), work.dropped), (4, 2));
        queue.push("room again".to_owned());
        assert_eq!(queue.take(None).lines, ["room again"]);
    }

    #[test]
    fn flush_waits_for_the_lines_in_hand() {
        let queue = Queue::default();
        queue.push("one".to_owned());
        assert!(!queue.flush(Duration::ZERO), "not taken yet");
        let work = queue.take(None);
        assert_eq!(work.lines, ["one"]);
        assert!(!queue.flush(Duration::ZERO), "taken, not written yet");
        queue.close();
        assert!(queue.take(None).last);
        queue.finish();
        assert!(queue.flush(Duration::ZERO));
    }

    #[test]
    fn closed_queue_hands_out_what_it_has_and_takes_no_more() {
        let queue = Queue::default();
        queue.push("one".to_owned());
        queue.close();
        queue.push("two".to_owned());
        assert_eq!(
            queue.take(None),
            Work { lines: ["one".to_owned()].into(), dropped: 1, reopen: false, last: true }
        );
    }
}
