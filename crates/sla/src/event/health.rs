//! Whether something we need answers: one error when it is down, one recovery when it is back.
//!
//! ```text
//!         failed x 3                    ok
//!  Up ───────────────▶ Down (error) ─────────▶ Up (recovered, info)
//!   each failure: dial_failed, at warn
//! ```

use std::time::Instant;

use super::{dial_failed, millis};

/// The health of one server as its dialler sees it. Keep one per server and tell it each result.
#[derive(Debug)]
pub struct Health {
    server: String,
    failures: u32,
    since: Option<Instant>,
    down: bool,
}

impl Health {
    /// The server has not failed yet.
    pub fn new(server: impl Into<String>) -> Self {
        Self { server: server.into(), failures: 0, since: None, down: false }
    }

    /// A dial failed, of several servers `server`: logs `dial_failed`, and `server_down` (error, alerts) at the third in a
    /// row.
    pub fn failed(&mut self, server: Option<&str>, cause: &str) {
        self.failures = self.failures.saturating_add(1);
        self.since.get_or_insert_with(Instant::now);
        dial_failed(server.unwrap_or(&self.server), cause, self.failures);
        if self.failures == FAILURES_DOWN {
            self.down = true;
            tracing::error!(
                name: "server_down",
                target: "sla::conn",
                server = self.server.as_str(),
                cause,
                attempt = self.failures,
                "server down"
            );
        }
    }

    /// A dial succeeded: logs `server_up` (info, an alert of recovery) where it was down.
    pub fn ok(&mut self) {
        let down_for = self.since.take().map(|since| since.elapsed()).unwrap_or_default();
        self.failures = 0;
        if std::mem::take(&mut self.down) {
            tracing::info!(
                name: "server_up",
                target: "sla::conn",
                server = self.server.as_str(),
                duration_ms = millis(down_for),
                "server up again"
            );
        }
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// One lost packet or one restart must not wake anyone; three dials with back-off between them may.
const FAILURES_DOWN: u32 = 3;
