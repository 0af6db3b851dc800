//! JSON lines: one flat object each, UTC.

use std::fmt::Write;

use super::civil::Civil;
use super::escape;
use super::record::{Record, Repeated, Value};

/// The line, without its end.
pub(crate) fn line(record: &Record) -> String {
    let (seconds, micros) = (record.at.div_euclid(1_000_000), record.at.rem_euclid(1_000_000));
    let Civil { year, month, day, hour, minute, second } = Civil::from_seconds(seconds);
    let mut out = String::with_capacity(320);
    let _ = write!(
        out,
        "{{\"ts\":\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z\",\
         \"level\":\"{}\",\"area\":\"{}\",\"event\":\"{}\",\"msg\":",
        record.level.as_str(),
        record.area,
        record.event,
    );
    push_string(&mut out, &record.message);
    for (name, value) in &record.fields {
        let _ = write!(out, ",\"{name}\":");
        match value {
            Value::Fraction(number) if !number.is_finite() => out.push_str("null"),
            Value::Text(text) => push_string(&mut out, text),
            value => drop(write!(out, "{value}")),
        }
    }
    if let Some(Repeated { times, seconds }) = record.repeated {
        let _ = write!(out, ",\"repeated\":{times},\"repeated_sec\":{seconds}");
    }
    out.push('}');
    out
}

/// RFC 8259, section 7. What our own escapes leave needs only the backslash and the quote.
fn push_string(out: &mut String, text: &str) {
    let mut plain = String::with_capacity(text.len());
    escape::push(&mut plain, text);
    out.push('"');
    for c in plain.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscriber::config::Level;

    #[test]
    fn line_is_a_flat_object_in_utc_with_microseconds() {
        let record = Record {
            at: 1_598_980_507_000_012,
            level: Level::Warn,
            area: "conn",
            event: "dial_failed",
            message: "dial failed".to_owned(),
            fields: vec![
                ("server", Value::Text("a\"\\\u{1b}\n:1".to_owned())),
                ("attempt", Value::Number(2)),
                ("wait_ms", Value::Fraction(1.5)),
                ("limit_ms", Value::Fraction(f64::NAN)),
            ],
            repeated: Some(Repeated { times: 212, seconds: 60 }),
        };
        let line = line(&record);
        let want = r#"{"ts":"2020-09-01T17:15:07.000012Z","level":"warn","area":"conn","event":"dial_failed","msg":"dial failed","server":"a\"\\\\u{1b}\\u{a}:1","attempt":2,"wait_ms":1.5,"limit_ms":null,"repeated":212,"repeated_sec":60}"#;
        assert_eq!(line, want);
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value["server"], "a\"\\\\u{1b}\\u{a}:1");
    }
}
