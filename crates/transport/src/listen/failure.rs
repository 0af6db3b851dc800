//! What a listener does when accept(2) fails.

use std::io;
use std::time::Duration;

use nix::libc;
use sla::code;
use sla::event::Area;
use tokio::time::Instant;

/// accept(2): errors of the network that came over the new socket are the peer's.
pub(super) fn judge_accept(error: &io::Error) -> AcceptFailure {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => AcceptFailure::Resources,
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::EFAULT) => {
            AcceptFailure::Listener
        }
        _ => AcceptFailure::Peer,
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum AcceptFailure {
    /// This one connection died in the queue.
    Peer,
    /// The process or system is out of something; it stays so until something is freed, and accept(2) would spin.
    Resources,
    /// The listener is no listener any more.
    Listener,
}

/// Back-off of an accept loop that the system gives no descriptors.
#[derive(Debug, Default)]
pub(super) struct Pause {
    current: Duration,
    told: Option<Instant>,
}

impl Pause {
    pub(super) fn next(&mut self, error: &io::Error) -> Duration {
        let now = Instant::now();
        if self.told.is_none_or(|told| now.duration_since(told) >= TELL_RESOURCES) {
            self.told = Some(now);
            let text = format!(
                "{} cannot accept: {} → raise LimitNOFILE (ulimit -n); new connections wait, running ones \
                 are unaffected",
                code::DESCRIPTORS,
                sla::plain(error),
            );
            sla::event::error(Area::Main, &text);
        }
        self.current = (self.current * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        self.current
    }

    pub(super) fn reset(&mut self) {
        self.current = Duration::ZERO;
    }
}

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);
const TELL_RESOURCES: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pause_doubles_to_a_second_and_starts_anew() {
        let mut pause = Pause::default();
        let error = io::Error::from_raw_os_error(libc::EMFILE);
        let delays: Vec<u128> = (0..9).map(|_| pause.next(&error).as_millis()).collect();
        assert_eq!(delays, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        pause.reset();
        assert_eq!(pause.next(&error).as_millis(), 10);
    }

    #[test]
    fn failures_of_accept_are_told_apart() {
        let judge = |errno| judge_accept(&io::Error::from_raw_os_error(errno));
        for errno in
            [libc::ECONNABORTED, libc::EPROTO, libc::ENETDOWN, libc::EPERM, libc::EINTR, libc::ETIMEDOUT]
        {
            assert_eq!(judge(errno), AcceptFailure::Peer);
        }
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            assert_eq!(judge(errno), AcceptFailure::Resources);
        }
        assert_eq!(judge(libc::EBADF), AcceptFailure::Listener);
    }
}
