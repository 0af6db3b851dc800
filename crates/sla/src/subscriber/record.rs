//! One event, taken from `tracing` and bounded, before it becomes a line.

use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata};

use super::config::Level;
use super::escape::Bounded;
use crate::fields::{self, Kind};

/// What the formats write.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Microseconds since 1970, UTC.
    pub(crate) at: i64,
    pub(crate) level: Level,
    pub(crate) area: &'static str,
    pub(crate) event: &'static str,
    pub(crate) message: String,
    pub(crate) fields: Vec<(&'static str, Value)>,
    /// Where it stands for identical ones that were not written.
    pub(crate) repeated: Option<Repeated>,
}

/// How often a message came without being written, and within what time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Repeated {
    pub(crate) times: u64,
    pub(crate) seconds: u64,
}

impl Record {
    /// Takes in an event that happened at `at`.
    pub(crate) fn new(event: &Event<'_>, at: SystemTime) -> Self {
        let meta = event.metadata();
        let mut record = Self {
            at: micros(at),
            level: level(meta),
            area: area(meta).unwrap_or("libs"),
            event: meta.name(),
            message: String::new(),
            fields: Vec::with_capacity(meta.fields().len()),
            repeated: None,
        };
        event.record(&mut Visitor(&mut record));
        if area(meta).is_none() {
            record.fold_foreign(meta);
        }
        record
    }

    /// How many records before this one it stands for already.
    pub(crate) fn held_back(&self) -> u64 {
        match self.value("held_back") {
            Some(Value::Number(count)) => u64::try_from(*count).unwrap_or(0),
            _ => 0,
        }
    }

    /// The value of a field.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value)
    }

    /// Fields of other libraries are not in our table: they become part of the sentence.
    fn fold_foreign(&mut self, meta: &Metadata<'static>) {
        self.event = "foreign";
        let mut message = Bounded::new(SENTENCE);
        let _ = message.write_str(&self.message);
        for (name, value) in &self.fields {
            let _ = write!(message, " {name}={value}");
        }
        self.message = message.finish();
        self.fields = vec![("module", Value::Text(meta.target().to_owned()))];
    }
}

/// A field's value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Fraction(f64),
    Number(i128),
    Text(String),
    Truth(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fraction(number) => number.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Truth(truth) => truth.fmt(f),
        }
    }
}

/// The area of one of our events; none for those of other libraries.
pub(crate) fn area<'a>(meta: &Metadata<'a>) -> Option<&'a str> {
    meta.target().strip_prefix("sla::")
}

/// The level as we know it: `tracing` has no `fatal`.
pub(crate) fn level(meta: &Metadata<'_>) -> Level {
    match *meta.level() {
        tracing::Level::ERROR if meta.name() == "fatal" && area(meta).is_some() => Level::Fatal,
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        _ => Level::Debug,
    }
}

pub(crate) fn micros(at: SystemTime) -> i64 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    }
}

struct Visitor<'a>(&'a mut Record);

impl Visitor<'_> {
    fn push(&mut self, field: &Field, value: Value) {
        self.0.fields.push((field.name(), value));
    }
}

impl Visit for Visitor<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Value::Truth(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let is_message = field.name() == MESSAGE;
        let is_sentence = fields::field(field.name()).is_some_and(|row| row.kind == Kind::Sentence);
        let mut text = Bounded::new(if is_message || is_sentence { SENTENCE } else { TEXT });
        // An error here is the bound that was reached: the mark says so.
        let _ = write!(text, "{value:?}");
        if is_message {
            self.0.message = text.finish();
        } else {
            self.push(field, Value::Text(text.finish()));
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, Value::Fraction(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Value::Number(value.into()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Value::Number(value.into()));
    }
}

/// The field that `tracing` keeps the sentence in.
const MESSAGE: &str = "message";
/// Bytes of a peer's string that a line shows.
const TEXT: usize = 256;
/// Bytes of a sentence of ours: it must have room for the advice at its end.
const SENTENCE: usize = 1024;
