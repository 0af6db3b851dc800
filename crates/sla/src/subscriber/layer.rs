//! Our place in `tracing-subscriber`: events become lines in the queue and alerts in the inbox.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::alerts::Inbox;
use super::config::{Format, Level};
use super::dingtalk::{Alert, Kind};
use super::fold::Fold;
use super::queue::Queue;
use super::record::{self, Record};
use super::zone::Zone;
use super::{json, text};
use crate::fields;

/// What makes lines and alerts of events. It asks for none by itself: that is [`Wanted`]'s part.
#[derive(Clone, Debug)]
pub(super) struct Log {
    pub(super) wanted: Wanted,
    pub(super) lines: Arc<Lines>,
    pub(super) queue: Arc<Queue>,
    pub(super) inbox: Option<Arc<Inbox>>,
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let meta = event.metadata();
        let (is_line, is_alert) = (self.wanted.as_line(meta), self.wanted.as_alert(meta));
        if !is_line && !is_alert {
            return;
        }
        let record = Record::new(event, SystemTime::now());
        if let Some(inbox) = self.inbox.as_ref().filter(|_| is_alert) {
            inbox.push(alert(&record, &self.lines.zone));
        }
        if is_line && self.lines.fold.lock().handle_record(Instant::now(), &record) {
            self.lines.line(&record).into_iter().for_each(|line| self.queue.push(line));
        }
    }
}

/// How records become lines, and which of them are folded: known to who logs and to the writer.
#[derive(Debug)]
pub(super) struct Lines {
    format: Format,
    zone: Zone,
    fold: Mutex<Fold>,
}

impl Lines {
    pub(super) fn new(format: Format, zone: Zone) -> Self {
        Self { format, zone, fold: Mutex::default() }
    }

    /// When [`repeated`](Self::repeated) has something to say.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.fold.lock().poll_timeout()
    }

    /// Lines of messages that were repeated and are due; all of them at the `last` time.
    pub(super) fn repeated(&self, now: Instant, wall: SystemTime, last: bool) -> Vec<String> {
        let mut fold = self.fold.lock();
        let records = std::iter::from_fn(|| if last { fold.poll_rest(now) } else { fold.poll_repeated(now) });
        let at = record::micros(wall);
        records.filter_map(|record| self.line(&Record { at, ..record })).collect()
    }

    fn line(&self, record: &Record) -> Option<String> {
        match self.format {
            Format::Json => Some(json::line(record)),
            Format::Text => text::line(record, &self.zone),
        }
    }
}

/// The words for the robot. Equal are: one event about one thing (its first field), or one sentence.
fn alert(record: &Record, zone: &Zone) -> Alert {
    let recovers = fields::event(record.event).and_then(|event| event.recovers);
    let about = match record.fields.first() {
        Some((_, value)) => value.to_string(),
        None => record.message.clone(),
    };
    let kind = if recovers.is_some() { Kind::Recovery } else { Kind::Problem };
    let key = format!("{}\n{about}", recovers.unwrap_or(record.event));
    Alert { key, kind, text: text::line(record, zone).unwrap_or_default() }
}

/// Which events this log has a use for: decided once per call site, so the others cost nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) level: Level,
    pub(super) format: Format,
    pub(super) alerts: bool,
}

impl Wanted {
    fn as_line(self, meta: &Metadata<'_>) -> bool {
        let level = record::level(meta);
        let least = match record::area(meta) {
            // Access lines have no form in text.
            Some("access") if self.format == Format::Text => return false,
            Some(_) => self.level,
            // Other libraries are only heard where something is wrong.
            None => self.level.max(Level::Warn),
        };
        level >= least
    }

    /// Never about the webhook through the webhook, nor what other libraries say.
    fn as_alert(self, meta: &Metadata<'_>) -> bool {
        let is_ours = record::area(meta).is_some_and(|area| area != "hook");
        let is_news = record::level(meta) >= Level::Error
            || fields::event(meta.name()).is_some_and(|event| event.recovers.is_some());
        self.alerts && is_ours && is_news
    }

    /// Spans are not logged.
    fn is_met(self, meta: &Metadata<'_>) -> bool {
        !meta.is_span() && (self.as_line(meta) || self.as_alert(meta))
    }

    fn interest(self, meta: &'static Metadata<'static>) -> Interest {
        if self.is_met(meta) { Interest::always() } else { Interest::never() }
    }

    fn max_level(self) -> LevelFilter {
        let lines = match self.level {
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warn => LevelFilter::WARN,
            Level::Error | Level::Fatal => LevelFilter::ERROR,
        };
        // Recoveries are told at info.
        if self.alerts { lines.max(LevelFilter::INFO) } else { lines }
    }
}

/// Beside other layers: what this log does not want may be wanted there.
impl<S: Subscriber + for<'a> LookupSpan<'a>> Filter<S> for Wanted {
    fn enabled(&self, meta: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.is_met(meta)
    }

    fn callsite_enabled(&self, meta: &'static Metadata<'static>) -> Interest {
        self.interest(meta)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.max_level())
    }
}

/// As the only log: what it does not want never leaves its call site.
impl<S: Subscriber> Layer<S> for Wanted {
    fn register_callsite(&self, meta: &'static Metadata<'static>) -> Interest {
        self.interest(meta)
    }

    fn enabled(&self, meta: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.is_met(meta)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.max_level())
    }
}
