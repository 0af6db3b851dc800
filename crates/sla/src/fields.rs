//! The tables of events and fields: the text format reads them, `docs/logs.md` is made from them, tests hold them.
//!
//! A new event is a function in [`crate::event`] and a row in [`EVENTS`]; a test fails while one of them is missing.

mod events;

pub use events::EVENTS;

/// Every field, ordered by name.
pub static FIELDS: &[Field] = &[
    Field::new("address", Kind::Text, "host:port or path", "where we listen"),
    Field::new("attempt", Kind::Number, "count", "failures in a row, this one included"),
    Field::new("bytes_down", Kind::Number, "bytes", "payload from the destination to the application"),
    Field::new("bytes_in", Kind::Number, "bytes", "received on the connection, framing included, TLS not"),
    Field::new("bytes_out", Kind::Number, "bytes", "sent on the connection, framing included, TLS not"),
    Field::new("bytes_up", Kind::Number, "bytes", "payload from the application to the destination"),
    Field::new("cause", Kind::Sentence, "", "why, and where it helps, what to do"),
    Field::new("connection_id", Kind::Text, "8 hex digits", "name of the connection in this process"),
    Field::new("connections", Kind::Number, "count", "connections open at that moment"),
    Field::new("days_left", Kind::Number, "days", "until the certificate ends"),
    Field::new("descriptors", Kind::Number, "count", "open files and sockets that this process plans with"),
    Field::new("duration_ms", Kind::Fraction, "milliseconds", "how long it lasted"),
    Field::new(
        "end",
        Kind::Text,
        "word",
        "how the stream ended: fin, reset, refused, denied, truncated, timeout …",
    ),
    Field::new("error", Kind::Sentence, "", "what went wrong, where something did"),
    Field::new("file", Kind::Text, "path", "the file in question"),
    Field::new(
        "first_byte_ms",
        Kind::Fraction,
        "milliseconds",
        "from the request to the destination's first byte",
    ),
    Field::new("held", Kind::Number, "count", "alerts waiting"),
    Field::new(
        "held_back",
        Kind::Number,
        "count",
        "events like this one that were not written since the last: 50 at once are, then two a second",
    ),
    Field::new("held_bytes", Kind::Number, "bytes", "what that identity holds or is promised"),
    Field::new("identity", Kind::Text, "name", "what the peer proved: certificate name or user"),
    Field::new(
        "inbound",
        Kind::Text,
        "word",
        "how the request came in: socks5, socks4, socks4a, http, eager",
    ),
    Field::new("limit", Kind::Number, "as the setting", "the limit's value"),
    Field::new("limit_ms", Kind::Fraction, "milliseconds", "the longest wait"),
    Field::new("lines", Kind::Number, "count", "log lines lost"),
    Field::new("local", Kind::Text, "host:port or path", "our end of the connection"),
    Field::new("memory", Kind::Number, "bytes", "the most memory that this process will take"),
    Field::new("module", Kind::Text, "path", "the part of the library that spoke"),
    Field::new("net", Kind::Text, "word", "tcp, unix, and what runs on it"),
    Field::new("open", Kind::Number, "count", "how many of its kind this process holds after the event"),
    Field::new("path", Kind::Text, "path", "the log file"),
    Field::new("pause_ms", Kind::Fraction, "milliseconds", "how long alerts wait"),
    Field::new("peer", Kind::Text, "host:port or path", "the socket's other end"),
    Field::new("pid", Kind::Number, "", "process id"),
    Field::new("remote", Kind::Text, "host:port or path", "the peer's end of the connection"),
    Field::new("role", Kind::Text, "word", "client or server"),
    Field::new("rule", Kind::Text, "grant or range", "the rule that refused"),
    Field::new("server", Kind::Text, "host:port or path", "the server that is dialled"),
    Field::new(
        "source",
        Kind::Text,
        "host:port or path",
        "who asked: the application (client) or the peer (server)",
    ),
    Field::new(
        "stage",
        Kind::Text,
        "word",
        "no_growth: windows stop growing; no_opens: streams are refused, too; no_accept: nothing is accepted, and an identity \
         that holds nearly all loses its heaviest connection; shed: the heaviest identity does",
    ),
    Field::new("stream_id", Kind::Number, "", "number of the stream in its connection"),
    Field::new("streams", Kind::Number, "count", "streams the connection carried"),
    Field::new(
        "target_address",
        Kind::Text,
        "host:port",
        "the destination as asked, shown as sla.log.redact says",
    ),
    Field::new("task", Kind::Text, "word", "the part of the program"),
    Field::new("transport", Kind::Text, "word", "tls, tcp, unix"),
    Field::new("tries", Kind::Number, "count", "how often it was tried"),
    Field::new("used", Kind::Number, "bytes", "held or promised at that moment"),
    Field::new("user", Kind::Text, "name", "the user that was named"),
    Field::new("version", Kind::Text, "version", "of this program"),
    Field::new("wait_ms", Kind::Fraction, "milliseconds", "until the next dial"),
    Field::new("what", Kind::Text, "word", "the setting or thing in question"),
    Field::new("wire", Kind::Text, "word", "remux2, classic, or none"),
];

/// One kind of event.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Its name in JSON, `event`.
    pub name: &'static str,
    /// `debug`, `info`, `warn`, `error`, `fatal`, or `any`.
    pub level: &'static str,
    /// The area, or `any`.
    pub area: &'static str,
    /// Its constant text, `msg`; empty where the caller gives it.
    pub message: &'static str,
    /// Its fields in their order; a `?` at the end means: not in every line.
    pub fields: &'static [&'static str],
    /// Its line in the text format.
    pub form: Form,
    /// The event whose alert this one ends, for the same first field.
    pub recovers: Option<&'static str>,
    /// What it tells.
    pub meaning: &'static str,
}

impl Event {
    const fn new(
        name: &'static str,
        level: &'static str,
        area: &'static str,
        message: &'static str,
        fields: &'static [&'static str],
        meaning: &'static str,
    ) -> Self {
        Self { name, level, area, message, fields, form: Form::Pairs, recovers: None, meaning }
    }
}

/// The row of the event called `name`.
pub fn event(name: &str) -> Option<&'static Event> {
    EVENTS.binary_search_by(|event| event.name.cmp(name)).ok().and_then(|at| EVENTS.get(at))
}

/// How an event looks in the text format, after time, level and area.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// Nothing is written.
    JsonOnly,
    /// The original's line.
    Line(&'static [Part]),
    /// The sentence alone.
    Message,
    /// The sentence, then `key=value` for each field.
    Pairs,
}

/// A piece of a [`Form::Line`].
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// The cause, to the end of the line: the one piece that may hold spaces.
    Cause,
    /// A field's value.
    Field(&'static str),
    /// As it stands.
    Word(&'static str),
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its key in JSON.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// The value's unit or shape.
    pub unit: &'static str,
    /// What it tells.
    pub meaning: &'static str,
}

impl Field {
    const fn new(name: &'static str, kind: Kind, unit: &'static str, meaning: &'static str) -> Self {
        Self { name, kind, unit, meaning }
    }
}

/// The row of the field called `name`.
pub fn field(name: &str) -> Option<&'static Field> {
    FIELDS.binary_search_by(|field| field.name.cmp(name)).ok().and_then(|at| FIELDS.get(at))
}

/// What a field's value is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A JSON number with at most three digits behind the point.
    Fraction,
    /// A whole JSON number, not negative.
    Number,
    /// A JSON string of our own words that may quote a peer; at most 1,024 bytes.
    Sentence,
    /// A JSON string, perhaps a peer's; at most 256 bytes.
    Text,
}

impl Kind {
    /// Its word in the manual.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fraction => "number",
            Self::Number => "whole number",
            Self::Sentence => "sentence",
            Self::Text => "string",
        }
    }
}

/// `open?` is the field `open`, and not in every line.
pub fn optional(field: &'static str) -> (&'static str, bool) {
    match field.strip_suffix('?') {
        Some(name) => (name, true),
        None => (field, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_ordered_and_every_field_is_known_and_used() {
        assert!(EVENTS.is_sorted_by(|a, b| a.name < b.name));
        assert!(FIELDS.is_sorted_by(|a, b| a.name < b.name));
        let used = |name| EVENTS.iter().any(|event| event.fields.iter().any(|f| optional(f).0 == name));
        for row in FIELDS {
            assert!(used(row.name), "no event has {}", row.name);
        }
        for event in EVENTS {
            for name in event.fields {
                assert!(field(optional(name).0).is_some(), "{} has the unknown field {name}", event.name);
            }
        }
    }

    #[test]
    fn line_uses_only_fields_that_are_always_there() {
        for event in EVENTS {
            let Form::Line(parts) = event.form else { continue };
            for part in parts {
                let name = match part {
                    Part::Field(name) => name,
                    Part::Cause => "cause",
                    Part::Word(_) => continue,
                };
                assert!(event.fields.contains(&name), "{} lacks {name}", event.name);
            }
        }
    }

    #[test]
    fn recovery_names_an_event_with_the_same_first_field() {
        for event in EVENTS {
            let Some(from) = event.recovers else { continue };
            let from = super::event(from).expect("an event");
            assert_eq!((from.level, from.fields.first()), ("error", event.fields.first()));
        }
    }
}
