//! Alerts to a DingTalk robot: what to say, when, and how it is signed. Pure: it opens no socket and reads no clock.
//!
//! ```text
//!                       equal within 60 s: counted
//! handle_event ──▶ fold ──▶ queue (100) ──poll_send──▶ in flight ──handle_result──▶ done
//!                    │                       ▲                          │
//!                    └─60 s over: "repeated" ┘◀─ back-off, at most 3 ───┘
//! ```
//!
//! DingTalk takes 20 messages a minute from a robot and then mutes it for ten minutes; we stop at 15, and put
//! what waits together into one message. HTTP 200 with an `errcode` other than 0 is a failure.

mod answer;
mod endpoint;
mod fold;
mod sign;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

pub use answer::Response;
use answer::{Verdict, judge};
pub use endpoint::{Endpoint, EndpointError};
use fold::Fold;

/// Decides what is sent to the robot, and when.
///
/// Call [`Self::handle_event`] for each alert, [`Self::poll_send`] whenever something happened or the time of
/// [`Self::poll_timeout`] has come, and [`Self::handle_result`] for each request it gave, before the next.
#[derive(Debug)]
pub struct Alerts {
    config: Config,
    fold: Fold,
    queue: VecDeque<String>,
    /// Alerts that found no room.
    lost: u64,
    /// Sent in the last minute.
    sent: VecDeque<Instant>,
    flight: Option<Flight>,
    /// Nothing is sent before this.
    wait: Option<(Instant, &'static str)>,
    notes: VecDeque<Note>,
    rejected: Option<Instant>,
}

impl Alerts {
    /// Nothing has happened yet.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            fold: Fold::default(),
            queue: VecDeque::new(),
            lost: 0,
            sent: VecDeque::new(),
            flight: None,
            wait: None,
            notes: VecDeque::new(),
            rejected: None,
        }
    }

    /// Something went wrong, or is well again.
    pub fn handle_event(&mut self, now: Instant, alert: Alert) {
        self.handle_timeout(now);
        if let Some(text) = self.fold.handle_event(now, alert) {
            self.push(text);
        }
    }

    /// The next request, if one is due. `unix_ms` is the time of day in milliseconds since 1970.
    pub fn poll_send(&mut self, now: Instant, unix_ms: u64) -> Option<Request> {
        self.handle_timeout(now);
        let in_flight = self.flight.as_ref().is_some_and(|flight| flight.is_out);
        if in_flight || self.poll_wait(now).is_some() {
            return None;
        }
        if self.flight.is_none() {
            let text = self.merged()?;
            self.flight = Some(Flight { text, tries: 0, is_out: false });
        }
        let flight = self.flight.as_mut()?;
        flight.is_out = true;
        flight.tries += 1;
        self.sent.push_back(now);
        let body = sign::body(&flight.text);
        Some(Request { endpoint: self.config.endpoint.clone(), query: self.config.query(unix_ms), body })
    }

    /// What became of the last request: an answer, or why there was none.
    pub fn handle_result(&mut self, now: Instant, result: Result<Response, String>) {
        let Some(mut flight) = self.flight.take_if(|flight| flight.is_out) else { return };
        flight.is_out = false;
        match judge(&result) {
            Verdict::Taken => self.wait = None,
            Verdict::Muted => {
                self.wait = Some((now + MUTED, "muted by the robot"));
                self.notes.push_back(Note::Paused { pause: MUTED, held: self.waiting() + 1 });
                flight.tries = 0;
                self.flight = Some(flight);
            }
            Verdict::Rejected(cause) => {
                // Trying again changes nothing, and the fault is told once in ten minutes only.
                self.wait = Some((now + REJECTED, "rejected by the robot"));
                if self.rejected.is_none_or(|last| now.saturating_duration_since(last) >= MUTED) {
                    self.rejected = Some(now);
                    self.notes.push_back(Note::Rejected { cause: self.config.scrub(&cause) });
                }
            }
            Verdict::Failed(cause) if flight.tries >= TRIES => {
                let cause = self.config.scrub(&cause);
                self.wait = Some((now + REJECTED, "all tries failed"));
                self.notes.push_back(Note::Failed { cause, tries: flight.tries });
            }
            Verdict::Failed(_) => {
                self.wait = Some((now + BACKOFF * 4_u32.pow(flight.tries.saturating_sub(1)), "back-off"));
                self.flight = Some(flight);
            }
        }
    }

    /// When to call [`Self::poll_send`] again, and why.
    pub fn poll_timeout(&self, now: Instant) -> Option<(Instant, &'static str)> {
        let fold = self.fold.poll_timeout();
        let is_out = self.flight.as_ref().is_some_and(|flight| flight.is_out);
        let has_work = self.flight.is_some() || !self.queue.is_empty();
        let send = (has_work && !is_out).then(|| self.poll_wait(now).unwrap_or((now, "ready to send")));
        fold.into_iter().chain(send).min_by_key(|(at, _)| *at)
    }

    /// What the log should say about the webhook itself. It must not come back here as an alert.
    pub fn poll_note(&mut self) -> Option<Note> {
        self.notes.pop_front()
    }

    /// Whether nothing waits to be sent.
    pub fn is_idle(&self) -> bool {
        self.flight.is_none() && self.queue.is_empty()
    }

    /// Time has passed: repetitions are told, old sends are forgotten.
    fn handle_timeout(&mut self, now: Instant) {
        while let Some(text) = self.fold.poll_repeated(now) {
            self.push(text);
        }
        let is_old = |sent: &Instant| now.saturating_duration_since(*sent) >= MINUTE;
        while self.sent.front().is_some_and(is_old) {
            self.sent.pop_front();
        }
    }

    fn push(&mut self, text: String) {
        if self.queue.len() >= MAX_QUEUE {
            self.lost += 1;
            return;
        }
        self.queue.push_back(text);
    }

    /// What forbids a send at the moment.
    fn poll_wait(&self, now: Instant) -> Option<(Instant, &'static str)> {
        if let Some((until, why)) = self.wait
            && now < until
        {
            return Some((until, why));
        }
        let first = self.sent.front().filter(|_| self.sent.len() >= PER_MINUTE)?;
        let until = *first + MINUTE;
        (now < until).then_some((until, "rate limit"))
    }

    fn waiting(&self) -> u64 {
        self.queue.len() as u64 + self.lost
    }

    /// All that waits, as one message of bounded size.
    fn merged(&mut self) -> Option<String> {
        let mut text = format!("{}\n{}", self.config.title, self.queue.pop_front()?);
        while let Some(next) = self.queue.front() {
            if text.len() + next.len() > MAX_TEXT {
                break;
            }
            text.push('\n');
            text.push_str(next);
            self.queue.pop_front();
        }
        match std::mem::take(&mut self.lost) {
            0 => {}
            lost => text.push_str(&format!("\nand {lost} more alerts that found no room")),
        }
        Some(text)
    }
}

/// Which robot, and the words it needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Its access token; empty where the endpoint needs none.
    pub token: Secret,
    /// Its signing secret; empty where it asks for no signature.
    pub secret: Secret,
    /// The first line of each message: who speaks. Robots may ask for a keyword; ours is `TunneLS`, so have it in here.
    pub title: String,
}

impl Config {
    fn query(&self, unix_ms: u64) -> Secret {
        let mut query = Vec::new();
        if !self.token.0.is_empty() {
            query.push(format!("access_token={}", sign::percent_encode(&self.token.0)));
        }
        if !self.secret.0.is_empty() {
            let sign = sign::percent_encode(&sign::sign(&self.secret.0, unix_ms));
            query.push(format!("timestamp={unix_ms}&sign={sign}"));
        }
        Secret(query.join("&"))
    }

    /// HTTP libraries put the URL in their errors, and the robot may repeat what it got.
    fn scrub(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in [&self.token.0, &self.secret.0] {
            if !secret.is_empty() {
                text = text.replace(secret.as_str(), "***").replace(&sign::percent_encode(secret), "***");
            }
        }
        match text.find("sign=") {
            Some(at) => {
                let value = at + "sign=".len();
                let end = text[value..].find(|c: char| c.is_whitespace() || "&\")'".contains(c));
                let end = end.map_or(text.len(), |length| value + length);
                text.replace_range(value..end, "***");
                text
            }
            None => text,
        }
    }
}

/// A robot and who carries requests to it, for [`super::Config::alerts`].
#[derive(Debug)]
pub struct Robot {
    /// Which robot.
    pub config: Config,
    /// Who carries.
    pub post: Box<dyn Post>,
}

/// Carries one request to the robot and brings back its answer.
///
/// Called on the alert thread and on no other, so it may block: at most five seconds. It follows no redirect.
/// Its errors may hold the URL; tokens and signatures are taken out of them here.
pub trait Post: Send {
    /// Sends `request` by HTTP POST with the content type `application/json`.
    fn post(&mut self, request: &Request) -> Result<Response, String>;
}

impl<F: FnMut(&Request) -> Result<Response, String> + Send> Post for F {
    fn post(&mut self, request: &Request) -> Result<Response, String> {
        self(request)
    }
}

impl fmt::Debug for dyn Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Post")
    }
}

/// One HTTP POST.
#[derive(Clone, Debug)]
pub struct Request {
    endpoint: Endpoint,
    query: Secret,
    body: String,
}

impl Request {
    /// Where it goes: scheme, host and port.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The request target: path and query. Holds the token and the signature: for the wire, not for a message.
    pub fn path_and_query(&self) -> String {
        let Self { endpoint, query: Secret(query), .. } = self;
        match (query.is_empty(), endpoint.path().contains('?')) {
            (true, _) => endpoint.path().to_owned(),
            (false, true) => format!("{}&{query}", endpoint.path()),
            (false, false) => format!("{}?{query}", endpoint.path()),
        }
    }

    /// The body, `application/json`.
    pub fn body(&self) -> &str {
        &self.body
    }
}

/// A string that no output ever shows.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`, without the blanks and line ends around it that files have.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "***" })
    }
}

/// Something to tell people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Alert {
    /// What it is about: alerts with one key are equal, and a recovery has the key of what it ends.
    pub key: String,
    /// Trouble, or its end.
    pub kind: Kind,
    /// The words.
    pub text: String,
}

/// What an alert tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Something is wrong.
    Problem,
    /// It is well again; told only where the problem was.
    Recovery,
}

/// What happened to the webhook itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Note {
    /// A message was given up.
    Failed {
        /// Why.
        cause: String,
        /// How often it was tried.
        tries: u32,
    },
    /// The robot gets too many messages.
    Paused {
        /// How long it is left alone.
        pause: Duration,
        /// Alerts that wait.
        held: u64,
    },
    /// The robot does not want our messages.
    Rejected {
        /// Why, and what to check.
        cause: String,
    },
}

/// The message that is being sent.
#[derive(Debug)]
struct Flight {
    text: String,
    tries: u32,
    is_out: bool,
}

/// The robot's own limit is 20.
const PER_MINUTE: usize = 15;
const MINUTE: Duration = Duration::from_secs(60);
/// Alerts that wait at most.
const MAX_QUEUE: usize = 100;
/// Bytes of one message; DingTalk takes 20,000.
const MAX_TEXT: usize = 8 * 1024;
/// How often one message is tried.
const TRIES: u32 = 3;
/// Before the second try; four times as long before the third.
const BACKOFF: Duration = Duration::from_secs(1);
/// How long DingTalk mutes a robot that sent too much.
const MUTED: Duration = Duration::from_secs(600);
/// Before the next message after one that was given up.
const REJECTED: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
