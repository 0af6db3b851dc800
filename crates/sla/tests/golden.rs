//! The log's surface, held: dashboards are built on these lines.
//!
//! After a wanted change, `SLA_BLESS=1 cargo test -p sla` writes the golden files and the tables in
//! `docs/logs.md` anew; the difference is then part of the change.

mod common;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::{emit_all, logged};
use serde_json::Value;
use sla::fields::{self, EVENTS, FIELDS, Form, Kind, optional};
use sla::subscriber::{Config, Format, Level};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// One test: the open counts in the lines belong to the whole process.
#[test]
fn every_event_looks_as_in_the_golden_files_and_as_its_row_says() {
    let text = logged(config(Format::Text), || emit_all(&str::to_owned));
    let text: String = text.lines().map(|line| without_time(line) + "\n").collect();
    expect_file("tests/golden/events.txt", &text);

    let json = logged(config(Format::Json), || emit_all(&str::to_owned));
    let json: String = json.lines().map(|line| without_moment(line) + "\n").collect();
    expect_file("tests/golden/events.jsonl", &json);
    check_json(&json);

    let calls = Calls::default();
    tracing::subscriber::with_default(Registry::default().with(calls.clone()), || emit_all(&str::to_owned));
    check_calls(&calls);
}

#[test]
fn manual_lists_exactly_the_events_and_fields_that_exist() {
    let path = "../../docs/logs.md";
    let full = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    let manual = std::fs::read_to_string(full).expect("docs/logs.md");
    let (before, rest) = manual.split_once(BEGIN).expect("the begin mark");
    let (_, after) = rest.split_once(END).expect("the end mark");
    expect_file(path, &format!("{before}{BEGIN}\n\n{}\n{END}{after}", tables()));
}

fn config(format: Format) -> Config {
    let mut config = Config::default();
    (config.level, config.format) = (Level::Debug, format);
    config
}

/// Each line has the right keys in the right order, and each value its kind.
fn check_json(json: &str) {
    let mut seen = BTreeSet::new();
    for text in json.lines() {
        let line: Value = serde_json::from_str(text).expect("JSON");
        let name = line["event"].as_str().expect("an event");
        let row = fields::event(name).unwrap_or_else(|| panic!("no row for {name}"));
        seen.insert(row.name);
        assert!(row.level == "any" || line["level"] == row.level, "{text}");
        assert!(row.area == "any" || line["area"] == row.area, "{text}");
        assert!(row.message.is_empty() || line["msg"] == row.message, "{text}");
        let object = line.as_object().expect("an object");
        for key in
            object.keys().filter(|key| !ALWAYS.contains(&key.as_str()) && !REPEATED.contains(&key.as_str()))
        {
            assert!(row.fields.iter().any(|field| optional(field).0 == key), "{key} in {text}");
        }
        for (name, may_lack) in row.fields.iter().map(|field| optional(field)) {
            let Some(value) = object.get(name) else {
                assert!(may_lack, "{name} is missing in {text}");
                continue;
            };
            let is_kind = match fields::field(name).expect("a row").kind {
                Kind::Fraction => value.is_number(),
                Kind::Number => value.is_u64(),
                Kind::Sentence | Kind::Text => value.is_string(),
            };
            assert!(is_kind, "{name} in {text}");
        }
    }
    assert_eq!(seen, EVENTS.iter().map(|event| event.name).collect(), "every row was emitted");
}

/// Whoever brings another subscriber gets the same names, levels and fields.
fn check_calls(calls: &Calls) {
    for meta in calls.0.lock().expect("no panic").iter() {
        let Some(area) = meta.target().strip_prefix("sla::") else { continue };
        let row = fields::event(meta.name()).unwrap_or_else(|| panic!("no row for {}", meta.name()));
        let level = meta.level().as_str().to_ascii_lowercase();
        assert!([level.as_str(), "any"].contains(&row.level) || row.level == "fatal", "{}", row.name);
        assert!([area, "any"].contains(&row.area), "{}", row.name);
        let call: Vec<_> =
            meta.fields().iter().map(|field| field.name()).filter(|name| *name != "message").collect();
        let table: Vec<_> = row.fields.iter().map(|field| optional(field).0).collect();
        assert_eq!(call, table, "{}", row.name);
    }
}

#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<&'static Metadata<'static>>>>);

impl<S: Subscriber> Layer<S> for Calls {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.lock().expect("no panic").push(event.metadata());
    }
}

/// A file beside the tests; with `SLA_BLESS=1` in the environment it is written anew.
fn expect_file(path: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("SLA_BLESS").is_some() {
        std::fs::write(&path, actual).expect("a file");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (expected, actual)) in expected.lines().zip(actual.lines()).enumerate() {
        assert_eq!(actual, expected, "{}:{} (SLA_BLESS=1 writes it anew)", path.display(), number + 1);
    }
    assert_eq!(actual, expected, "{} (SLA_BLESS=1 writes it anew)", path.display());
}

/// A text line whose time is checked for its shape and taken off.
fn without_time(line: &str) -> String {
    let (time, rest) = line.split_at(20);
    assert_eq!(shape(time), "0000.00.00 00:00:00 ", "{line}");
    volatile(rest, "pid=", "duration_ms=", "server up again")
}

/// The same for a JSON line.
fn without_moment(line: &str) -> String {
    let (start, rest) = line.split_at(36);
    assert_eq!(shape(start), r#"{"ts":"0000-00-00T00:00:00.000000Z","#, "{line}");
    volatile(&format!("{{{rest}"), "\"pid\":", "\"duration_ms\":", "\"server_up\"")
}

fn shape(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect()
}

/// What differs from run to run becomes 0: the process id, and how long the server was down.
fn volatile(line: &str, pid: &str, duration: &str, marks_duration: &str) -> String {
    let mut line = line.to_owned();
    let keys = [Some(pid), line.contains(marks_duration).then_some(duration)];
    for key in keys.into_iter().flatten() {
        let Some(start) = line.find(key).map(|at| at + key.len()) else { continue };
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let length = line[start..].find(|c| !is_number(c)).unwrap_or(line.len() - start);
        line.replace_range(start..start + length, "0");
    }
    line
}

/// The tables of the manual.
fn tables() -> String {
    let mut out = String::from(
        "### Events\n\n| event | level | area | msg | fields | tells |\n|---|---|---|---|---|---|\n",
    );
    for event in EVENTS {
        let names: Vec<_> = event
            .fields
            .iter()
            .map(|field| match optional(field) {
                (name, true) => format!("`{name}`?"),
                (name, false) => format!("`{name}`"),
            })
            .collect();
        let message = if event.message.is_empty() { "(the sentence)" } else { event.message };
        let mut tells = event.meaning.to_owned();
        if matches!(event.form, Form::JsonOnly) {
            tells.push_str(" (JSON only)");
        }
        if let Some(from) = event.recovers {
            let _ = write!(tells, " (ends the alert of `{from}`)");
        }
        let (name, level, area) = (event.name, event.level, event.area);
        let _ = writeln!(out, "| `{name}` | {level} | {area} | {message} | {} | {tells} |", names.join(" "));
    }
    out.push_str("\n### Fields\n\n| field | type | unit or shape | tells | in |\n|---|---|---|---|---|\n");
    for field in FIELDS {
        let users: Vec<_> = EVENTS
            .iter()
            .filter(|event| event.fields.iter().any(|name| optional(name).0 == field.name))
            .map(|event| event.name)
            .collect();
        let users = if users.len() > 6 { format!("{} events", users.len()) } else { users.join(", ") };
        let kind = field.kind.as_str();
        let _ = writeln!(out, "| `{}` | {kind} | {} | {} | {users} |", field.name, field.unit, field.meaning);
    }
    out
}

/// Keys of every line.
const ALWAYS: [&str; 5] = ["ts", "level", "area", "event", "msg"];
/// Keys of a line that stands for identical ones.
const REPEATED: [&str; 2] = ["repeated", "repeated_sec"];
const BEGIN: &str = "<!-- tables: written by the golden test of sla -->";
const END: &str = "<!-- end of the tables -->";
