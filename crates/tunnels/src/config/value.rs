//! From text or YAML to a value of the kind a setting has.

use super::error::quote;
use super::setting::{Kind, Unit};
use super::yaml::Node;

/// A setting's value, of its kind but not judged yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Value {
    List(Vec<String>),
    Switch(bool),
    Text(String),
    Whole(u64),
}

impl Value {
    /// Reads what a flag or a variable holds.
    pub(super) fn from_text(kind: Kind, text: &str) -> Result<Self, Complaint> {
        match kind {
            Kind::Choice(words) => choice(words, text),
            Kind::File | Kind::Text(_) => Ok(Value::Text(text.to_owned())),
            Kind::List(_) => Ok(Value::List(split(text))),
            Kind::Switch => match text {
                "true" => Ok(Value::Switch(true)),
                "false" => Ok(Value::Switch(false)),
                _ => Err(Complaint::new(format!("{} is no yes or no", quote(text)), "write true or false")),
            },
            Kind::Whole { unit, min, max } => whole(unit, min, max, text),
        }
    }

    /// Reads a node of a file; `token` tells how it was written.
    ///
    /// # Errors
    /// Which item of a list (if it is one) is wrong, and why.
    pub(super) fn from_node(
        kind: Kind,
        node: &Node,
        token: &dyn Fn(Option<usize>) -> String,
    ) -> Result<Self, (Option<usize>, Complaint)> {
        let here = |complaint| (None, complaint);
        match (kind, node) {
            (Kind::Whole { unit, min, max }, Node::Whole(_)) => {
                whole(unit, min, max, &token(None)).map_err(here)
            }
            (Kind::Whole { unit, min, .. }, Node::Text(text)) => {
                let digits: String = text.chars().take_while(char::is_ascii_digit).take(20).collect();
                let example = if digits.is_empty() { min.max(10).to_string() } else { digits };
                let why = format!("{} was read as text, a number is needed", quote(text));
                Err(here(Complaint::new(
                    why,
                    format!("write a whole number{} without quotes or a unit: {example}", unit.of()),
                )))
            }
            (Kind::Whole { unit, min, .. }, other) => Err(here(Complaint::new(
                read_as(other, &token(None)),
                format!("write a whole number{} in digits, for example {}", unit.of(), min.max(10)),
            ))),
            (Kind::Switch, Node::Switch(on)) => Ok(Value::Switch(*on)),
            (Kind::Switch, other) => {
                Err(here(Complaint::new(read_as(other, &token(None)), "write true or false")))
            }
            (Kind::Choice(words), Node::Text(text)) => choice(words, text).map_err(here),
            (Kind::File | Kind::Text(_), Node::Text(text)) => Ok(Value::Text(text.clone())),
            (Kind::List(_), Node::Text(text)) => Ok(Value::List(split(text))),
            (Kind::List(_), Node::List(items)) => items
                .iter()
                .enumerate()
                .map(|(index, item)| match item {
                    Node::Text(text) if !text.is_empty() => Ok(text.clone()),
                    other => Err((Some(index), not_text(other, &token(Some(index))))),
                })
                .collect::<Result<_, _>>()
                .map(Value::List),
            (Kind::Choice(_) | Kind::File | Kind::List(_) | Kind::Text(_), other) => {
                Err(here(not_text(other, &token(None))))
            }
        }
    }
}

/// What is wrong with a value, and what to write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Complaint {
    pub(super) why: String,
    pub(super) fix: String,
}

impl Complaint {
    pub(super) fn new(why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { why: why.into(), fix: fix.into() }
    }

    /// Takes over a message that has its advice behind an arrow, as those of `transport` have.
    pub(super) fn from_message(message: &str) -> Self {
        let (why, fix) = message.split_once(" → ").unwrap_or((message, ""));
        Self::new(why, fix)
    }
}

fn choice(words: &[&str], text: &str) -> Result<Value, Complaint> {
    if words.contains(&text) {
        return Ok(Value::Text(text.to_owned()));
    }
    // A kind of socket that exists elsewhere deserves more than "not one of these".
    if words.contains(&"unix")
        && let Err(error) = text.parse::<transport::Net>()
        && !matches!(error, transport::NetError::Unknown(_))
    {
        return Err(Complaint::from_message(&error.to_string()));
    }
    let fix = match super::setting::nearest(text, words.iter().copied()) {
        Some(near) => format!("did you mean {near}? (known: {})", words.join(", ")),
        None => format!("write one of {}", words.join(", ")),
    };
    Err(Complaint::new(format!("{} is not known", quote(text)), fix))
}

fn whole(unit: Unit, min: u64, max: u64, text: &str) -> Result<Value, Complaint> {
    let range = || format!("write a whole number{} from {min} to {max}, in digits only", unit.of());
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Complaint::new(format!("{} is no whole decimal number", quote(text)), range()));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(Complaint::new(
            format!("{} starts with a zero, which some read as octal", quote(text)),
            range(),
        ));
    }
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(Value::Whole(number)),
        _ => Err(Complaint::new(format!("{text:.40} is out of range"), range())),
    }
}

/// Items between commas; spaces around them and a comma at the end don't count.
fn split(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn not_text(node: &Node, token: &str) -> Complaint {
    let fix = match node {
        Node::Null => "write a value, or \"\" for none".to_owned(),
        Node::Text(_) => "write a value, or delete the item".to_owned(),
        Node::List(_) => "write one text, not a list".to_owned(),
        Node::Map(_) => {
            "write one text, not a map; put it in quotes if it holds a colon and a space".to_owned()
        }
        Node::Float(_) | Node::Switch(_) | Node::Whole(_) => format!("put it in quotes: {}", quote(token)),
    };
    Complaint::new(read_as(node, token), fix)
}

fn read_as(node: &Node, token: &str) -> String {
    match node {
        Node::Float(number) => format!("{token} was read as the number {number}"),
        Node::List(_) => "a list was read".to_owned(),
        Node::Map(_) => "a map was read".to_owned(),
        Node::Null if token.is_empty() => "there is no value".to_owned(),
        Node::Null => format!("{token} was read as no value"),
        Node::Switch(on) => format!("{token} was read as {on} (yes or no)"),
        Node::Text(text) => format!("{} was read as text", quote(text)),
        Node::Whole(_) => format!("{token} was read as a number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: Kind = Kind::Whole { unit: Unit::Seconds, min: 1, max: 3600 };

    #[test]
    fn number_is_decimal_digits_and_nothing_else() {
        assert_eq!(Value::from_text(SECONDS, "60"), Ok(Value::Whole(60)));
        for bad in ["", "0x10", "1e3", "08", "-1", "+1", "1_000", "60s", " 60", "12:30:00", "٣"] {
            let complaint = Value::from_text(SECONDS, bad).expect_err(bad);
            assert!(complaint.fix.contains("seconds from 1 to 3600"), "{bad}: {complaint:?}");
        }
        for bad in ["0", "3601", "99999999999999999999999"] {
            assert!(Value::from_text(SECONDS, bad).expect_err(bad).why.ends_with("is out of range"), "{bad}");
        }
    }

    #[test]
    fn list_is_split_at_commas_and_trimmed() {
        let list = Value::from_text(Kind::List("X"), " a, b,,c ,");
        assert_eq!(list, Ok(Value::List(vec!["a".into(), "b".into(), "c".into()])));
        assert_eq!(Value::from_text(Kind::List("X"), ""), Ok(Value::List(vec![])));
    }

    #[test]
    fn net_of_go_is_refused_with_its_own_reason() {
        let complaint = Value::from_text(Kind::Choice(&["tcp", "unix"]), "udp").expect_err("udp");
        assert!(complaint.why.contains("datagrams"), "{complaint:?}");
        let complaint = Value::from_text(Kind::Choice(&["tcp", "unix"]), "tpc").expect_err("tpc");
        assert!(complaint.fix.starts_with("did you mean tcp?"), "{complaint:?}");
    }
}
