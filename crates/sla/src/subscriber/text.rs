//! The text format of the original: `2020.09.01 17:15:07 [info] [conn] + 8f7ed46a = 2`, in local time.

use std::fmt::Write;

use super::civil::Civil;
use super::escape;
use super::record::{Record, Repeated, Value};
use super::zone::Zone;
use crate::fields::{self, Form, Part};

/// The line, without its end; `None` for an event that this format leaves out.
pub(crate) fn line(record: &Record, zone: &Zone) -> Option<String> {
    let seconds = record.at.div_euclid(1_000_000);
    let local = Civil::from_seconds(seconds.saturating_add(zone.offset(seconds).into()));
    let Civil { year, month, day, hour, minute, second } = local;
    let mut out = String::with_capacity(128);
    let _ = write!(
        out,
        "{year:04}.{month:02}.{day:02} {hour:02}:{minute:02}:{second:02} [{}] [{}] ",
        record.level.tag(),
        record.area
    );
    if let Some(Repeated { times, seconds }) = record.repeated {
        let _ = write!(out, "repeated {times} times in {seconds} s: ");
    }
    push_body(&mut out, record)?;
    Some(out)
}

/// What stands behind time, level and area.
fn push_body(out: &mut String, record: &Record) -> Option<()> {
    match fields::event(record.event).map_or(Form::Pairs, |event| event.form) {
        Form::JsonOnly => return None,
        Form::Line(parts) => parts.iter().for_each(|part| push_part(out, record, part)),
        Form::Message => escape::push(out, &record.message),
        Form::Pairs => {
            escape::push(out, &record.message);
            record.fields.iter().for_each(|(name, value)| push_pair(out, name, value));
        }
    }
    Some(())
}

fn push_part(out: &mut String, record: &Record, part: &Part) {
    match part {
        Part::Cause => match record.value("cause") {
            Some(Value::Text(cause)) => escape::push(out, cause),
            _ => out.push_str("unknown"),
        },
        Part::Field(name) => match record.value(name) {
            Some(Value::Text(text)) => escape::push_word(out, text),
            Some(value) => drop(write!(out, "{value}")),
            None => out.push('-'),
        },
        Part::Word(word) => out.push_str(word),
    }
}

/// ` key=value`, quoted where the value would not be one word.
fn push_pair(out: &mut String, name: &str, value: &Value) {
    let _ = write!(out, " {name}=");
    match value {
        Value::Text(text) if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c == '"') => {
            out.push('"');
            escape::push(out, &text.replace('\\', "\\\\").replace('"', "\\\""));
            out.push('"');
        }
        Value::Text(text) => escape::push(out, text),
        value => drop(write!(out, "{value}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscriber::config::Level;

    fn record(
        event: &'static str,
        level: Level,
        area: &'static str,
        fields: &[(&'static str, Value)],
    ) -> Record {
        let message = fields::event(event).map_or("", |event| event.message).to_owned();
        let fields = fields.to_vec();
        Record { at: 1_598_980_507_999_999, level, area, event, message, fields, repeated: None }
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn lines_of_the_original_to_the_byte() {
        let id = ("connection_id", text("8f7ed46a"));
        let stream = ("stream_id", Value::Number(3));
        let target = ("target_address", text("example.org:443"));
        let cases = [
            ("conn_open", Level::Info, "conn", vec![id.clone()], "[info] [conn] + 8f7ed46a = 2"),
            ("conn_close", Level::Info, "conn", vec![id.clone()], "[info] [conn] - 8f7ed46a = 2 idle"),
            (
                "sess_open",
                Level::Debug,
                "sess",
                vec![id.clone(), stream.clone()],
                "[debg] [sess] + 8f7ed46a:3 = 2",
            ),
            ("sess_close", Level::Debug, "sess", vec![id, stream], "[debg] [sess] - 8f7ed46a:3 = 2 idle"),
            ("sock_open", Level::Info, "sock", vec![target.clone()], "[info] [sock] + example.org:443 = 2"),
            ("sock_close", Level::Info, "sock", vec![target], "[info] [sock] - example.org:443 = 2 idle"),
        ];
        for (event, level, area, mut values, want) in cases {
            values.extend([("open", Value::Number(2)), ("cause", text("idle"))]);
            let line = line(&record(event, level, area, &values), &Zone::UTC);
            assert_eq!(line, Some(format!("2020.09.01 17:15:07 {want}")));
        }
    }

    #[test]
    fn other_events_are_a_sentence_and_pairs() {
        let values =
            [("server", text("a b")), ("cause", text("say \"no\"\\")), ("attempt", Value::Number(2))];
        let line = line(&record("dial_failed", Level::Warn, "conn", &values), &Zone::UTC).expect("a line");
        let want = r#"[warn] [conn] dial failed server="a b" cause="say \"no\"\\" attempt=2"#;
        assert_eq!(line, format!("2020.09.01 17:15:07 {want}"));
    }

    #[test]
    fn target_can_not_forge_the_rest_of_its_line() {
        let values = [("target_address", text("x = 9\n2020.09.01:1")), ("open", Value::Number(1))];
        let line = line(&record("sock_open", Level::Info, "sock", &values), &Zone::UTC).expect("a line");
        assert!(line.ends_with(r"+ x\u{20}=\u{20}9\u{a}2020.09.01:1 = 1"), "{line}");
    }

    #[test]
    fn repeated_message_says_so_before_its_words() {
        let mut record = record("dial_failed", Level::Warn, "conn", &[("attempt", Value::Number(9))]);
        record.repeated = Some(Repeated { times: 212, seconds: 60 });
        let line = line(&record, &Zone::UTC).expect("a line");
        assert!(line.ends_with(" [warn] [conn] repeated 212 times in 60 s: dial failed attempt=9"), "{line}");
    }

    #[test]
    fn access_is_left_to_json() {
        assert_eq!(line(&record("access", Level::Info, "access", &[]), &Zone::UTC), None);
    }
}
