//! A YAML document as a tree, and the places in it.
//!
//! The library gives positions only with errors. So the tree is read without any, and when a place is
//! needed the document is read once more by a [`Probe`] that walks to the node and fails there: the
//! parser itself says where that was, for every style of writing. A place is needed at most once in the
//! life of a program that stops for it, and for numbers, of which only the text tells `16` from `0x10`.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, EnumAccess, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_yaml::Deserializer;

/// One value of a document.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Float(f64),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    Null,
    Switch(bool),
    Text(String),
    /// Its value, where that fits.
    Whole(Option<u64>),
}

/// Line and column, both from 1, the column in characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Position {
    pub(super) const START: Position = Position { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Which half of a map's entry is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part {
    Key,
    Value,
}

/// Reads the only document of a file; `None` if it holds nothing but comments.
///
/// # Errors
/// What the parser, or the rules for our files, object to, and where.
pub(super) fn parse(text: &str) -> Result<Option<Node>, Fault> {
    if let Some((line, column)) =
        text.lines().zip(1..).find_map(|(text, line)| Some((line, forbidden(text)?)))
    {
        let position = Position { line, column };
        return Err(Fault { position, why: "this character may not be in YAML, not even in quotes".into() });
    }
    if let Some(position) = too_deep(text) {
        return Err(Fault { position, why: format!("lists and maps are nested deeper than {MAX_DEPTH}") });
    }
    let room = Cell::new(MAX_NODES);
    let mut documents = Deserializer::from_str(text);
    let Some(first) = documents.next() else { return Ok(None) };
    let root = Tree { room: &room }.deserialize(first).map_err(|error| Fault::from_yaml(text, &error))?;
    if let Some(second) = documents.next()
        && let Err(error) = (Probe { steps: &[], part: Part::Value }).deserialize(second)
    {
        if !error.to_string().contains(HERE) {
            return Err(Fault::from_yaml(text, &error));
        }
        let position = position_of(&error).unwrap_or(Position::START);
        return Err(Fault {
            position,
            why: "a second document begins here; a configuration is one document".into(),
        });
    }
    Ok(if root == Node::Null && text.lines().all(is_blank) { None } else { Some(root) })
}

/// Where a node is: `steps` are the ordinals of entries and items on the way from the root.
pub(super) fn locate(text: &str, steps: &[usize], part: Part) -> Position {
    let probe = Probe { steps, part };
    let error = Deserializer::from_str(text).next().and_then(|document| probe.deserialize(document).err());
    error.as_ref().and_then(position_of).unwrap_or(Position::START)
}

/// The characters of a plain scalar that starts there.
pub(super) fn token(text: &str, position: Position) -> &str {
    let Some(line) = text.lines().nth(position.line.saturating_sub(1)) else { return "" };
    let start = line.char_indices().nth(position.column.saturating_sub(1)).map_or(line.len(), |(at, _)| at);
    let rest = line.get(start..).unwrap_or_default();
    let end = [" #", ": ", ",", "]", "}"].iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default().trim()
}

/// Why a text is no configuration, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Fault {
    pub(super) position: Position,
    pub(super) why: String,
}

impl Fault {
    fn from_yaml(text: &str, error: &serde_yaml::Error) -> Self {
        let position = position_of(error).unwrap_or(Position::START);
        let line = text.lines().nth(position.line.saturating_sub(1)).unwrap_or_default();
        let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
        if indent.contains('\t') {
            let column = indent.chars().position(|c| c == '\t').unwrap_or(0).saturating_add(1);
            let position = Position { column, ..position };
            return Self { position, why: "a tab is used for indentation, where YAML wants spaces".into() };
        }
        // The place is said in front, in our way; the library says it behind, and the path of keys before.
        let message = error.to_string();
        let (problem, context) = match message.split_once(", while ") {
            Some((problem, context)) => {
                (problem, format!(", while {}", context.replace(" line ", " ").replace(" column ", ":")))
            }
            None => (message.as_str(), String::new()),
        };
        let end =
            problem.find(" at line ").or_else(|| problem.find(" at position ")).unwrap_or(problem.len());
        let problem = problem.get(..end).unwrap_or_default();
        let problem = match problem.rsplit_once(": ") {
            Some((path, why)) if !path.contains(' ') => why,
            _ => problem,
        };
        Self { position, why: format!("{problem}{context}") }
    }
}

/// Deeper is no configuration but an attack; the library's scanner takes quadratic time on such.
const MAX_DEPTH: usize = 64;
/// More values than any configuration has; aliases can make a small file into a huge tree.
const MAX_NODES: usize = 100_000;

/// What a [`Probe`] says when it has arrived.
const HERE: &str = "the end of the walk";

fn position_of(error: &serde_yaml::Error) -> Option<Position> {
    error.location().map(|location| Position { line: location.line(), column: location.column() })
}

fn is_blank(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#') || line == "---" || line == "..."
}

/// The column of a character that no YAML may hold (YAML 1.2, 5.1); the library says no place for these.
fn forbidden(line: &str) -> Option<usize> {
    let bad = |c: char| {
        (c.is_control() && c != '\t' && c != '\u{85}') || matches!(c, '\u{fffe}' | '\u{ffff}' | '\u{feff}')
    };
    line.trim_end_matches('\r').chars().position(bad).map(|at| at.saturating_add(1))
}

/// The first bracket or list dash that nests too deep, counted without regard to quotes.
fn too_deep(text: &str) -> Option<Position> {
    let mut brackets = 0_usize;
    for (number, line) in text.lines().enumerate() {
        let mut dashes = 0_usize;
        for (column, c) in line.chars().enumerate() {
            match c {
                '[' | '{' => brackets = brackets.saturating_add(1),
                ']' | '}' => brackets = brackets.saturating_sub(1),
                '-' | '?' | ' ' if dashes == column => dashes = dashes.saturating_add(1),
                _ => {}
            }
            if brackets > MAX_DEPTH || (c != ' ' && dashes > 4 * MAX_DEPTH) {
                return Some(Position { line: number.saturating_add(1), column: column.saturating_add(1) });
            }
        }
    }
    None
}

/// Builds the tree.
struct Tree<'a> {
    room: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Node;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, number, list or map")
    }

    fn visit_bool<E>(self, on: bool) -> Result<Node, E> {
        Ok(Node::Switch(on))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Whole(number.try_into().ok()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Whole(Some(number)))
    }

    fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
        Ok(Node::Whole(None))
    }

    fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
        Ok(Node::Whole(None))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Ok(Node::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = items.next_element_seed(Tree { room: self.room })? {
            self.take_room()?;
            list.push(node);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key_seed(Key)? {
            self.take_room()?;
            map.push((key, entries.next_value_seed(Tree { room: self.room })?));
        }
        Ok(Node::Map(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        Err(de::Error::custom("tags (words that begin with !) have no meaning here"))
    }
}

impl Tree<'_> {
    fn take_room<E: de::Error>(&self) -> Result<(), E> {
        let left = self.room.get().checked_sub(1).ok_or_else(|| {
            E::custom(format_args!("there are more than {MAX_NODES} values, counting what aliases repeat"))
        })?;
        self.room.set(left);
        Ok(())
    }
}

/// A key as it is written, whatever type YAML would give it.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a setting's name")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

/// Walks to a node and fails there.
#[derive(Clone, Copy)]
struct Probe<'a> {
    steps: &'a [usize],
    part: Part,
}

impl<'de> DeserializeSeed<'de> for Probe<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = ();

    // Scalars end the walk by themselves: no method for them means "invalid type", with the position.
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HERE)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((&ordinal, steps)) = self.steps.split_first() else { return Err(de::Error::custom(HERE)) };
        for _ in 0..ordinal {
            items.next_element::<IgnoredAny>()?;
        }
        items.next_element_seed(Probe { steps, ..self })?;
        Err(de::Error::custom(HERE))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((&ordinal, steps)) = self.steps.split_first() else { return Err(de::Error::custom(HERE)) };
        for _ in 0..ordinal {
            entries.next_entry::<IgnoredAny, IgnoredAny>()?;
        }
        if steps.is_empty() && self.part == Part::Key {
            entries.next_key_seed(Probe { steps, ..self })?;
        } else {
            entries.next_key::<IgnoredAny>()?;
            entries.next_value_seed(Probe { steps, ..self })?;
        }
        Err(de::Error::custom(HERE))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(de::Error::custom(HERE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probe_finds_keys_values_and_items_in_every_style() {
        let text = "# é\na: 1\nb:\n  - x\n  - \"y\"\nç: {d: [é, 2], e: |\n }\n";
        let block = "# é\na: 1\nb:\n  - x\n  - \"y\"\nç: {é: [é, 2],\n  e: 3}\nf:\n  g: h\n  i: |\n    k\n  l:\nm: n\n";
        let at = |steps: &[usize], part| locate(block, steps, part).to_string();
        assert_eq!(at(&[0], Part::Key), "2:1");
        assert_eq!(at(&[0], Part::Value), "2:4");
        assert_eq!(at(&[1, 1], Part::Value), "5:5");
        assert_eq!(at(&[2, 0, 1], Part::Value), "6:12");
        assert_eq!(at(&[2, 1], Part::Key), "7:3");
        assert_eq!(at(&[3, 0], Part::Value), "9:6");
        assert_eq!(at(&[3, 1], Part::Value), "10:6");
        assert_eq!(at(&[3, 2], Part::Key), "12:3");
        assert_eq!(at(&[4], Part::Value), "13:4");
        assert!(parse(text).is_err());
    }

    #[test]
    fn token_is_the_plain_scalar_as_written() {
        let text = "a: 0x10 # sixteen\nb: [1e3, 08]\né: {x: no}\n";
        let token = |line, column| token(text, Position { line, column });
        assert_eq!(token(1, 4), "0x10");
        assert_eq!(token(2, 5), "1e3");
        assert_eq!(token(2, 10), "08");
        assert_eq!(token(3, 8), "no");
        assert_eq!(token(9, 9), "");
        assert_eq!(token(1, 999), "");
    }

    #[test]
    fn scalars_get_the_types_of_yaml_1_2() {
        let root = parse("a: no\nb: 1e3\nc: 0x10\nd: 08\ne: 12:30:00\nf: true\ng:\nh: ~\n");
        let Ok(Some(Node::Map(entries))) = root else { panic!("{root:?}") };
        let nodes: Vec<Node> = entries.into_iter().map(|(_, node)| node).collect();
        let text = |text: &str| Node::Text(text.into());
        let expected = [
            text("no"),
            Node::Float(1000.0),
            Node::Whole(Some(16)),
            text("08"),
            text("12:30:00"),
            Node::Switch(true),
            Node::Null,
            Node::Null,
        ];
        assert_eq!(nodes, expected);
    }

    #[test]
    fn bomb_of_aliases_and_deep_nesting_are_refused_quickly() {
        let mut bomb = String::from("a0: &a0 [x, x]\n");
        for i in 1..60 {
            bomb.push_str(&format!("a{i}: &a{i} [*a{0}, *a{0}, *a{0}]\n", i - 1));
        }
        assert!(parse(&bomb).is_err());
        for piece in
            ["[", "{a: ", "- ", "? ", "-\n", "a:\n", "[[]", "\"", "&a [", "!!x [", "'\n", "%", "a: [b, {"]
        {
            let fault = parse(&piece.repeat((1 << 20) / piece.len()));
            assert!(fault.is_err(), "{piece:?}: {:?}", fault.map(|_| ()));
        }
        let mut stairs = String::new();
        for depth in 0..1000 {
            stairs.push_str(&" ".repeat(depth));
            stairs.push_str("a:\n");
        }
        assert!(parse(&stairs).is_err());
    }

    #[test]
    fn second_document_is_refused_where_it_begins() {
        let fault = parse("a: 1\n---\n\nb: 2\n").expect_err("two documents");
        assert_eq!(fault.position.to_string(), "4:1");
        assert!(parse("---\na: 1\n...\n").is_ok());
        let fault = parse("\"a\" \"b\"\n").expect_err("garbage behind the document");
        assert!(!fault.why.contains("second document"), "{fault:?}");
    }

    #[test]
    fn tags_are_those_of_yaml_itself() {
        let value = |text: &str| match parse(text) {
            Ok(Some(Node::Map(entries))) => entries.into_iter().next().map(|(_, node)| node),
            _ => None,
        };
        assert_eq!(value("a: !!str 60\n"), Some(Node::Text("60".into())));
        assert_eq!(value("a: !seconds 60\n"), None);
    }

    #[test]
    fn file_of_comments_holds_nothing() {
        assert_eq!(parse(""), Ok(None));
        assert_eq!(parse("# only\n\n  # comments\n"), Ok(None));
        assert_eq!(parse("null\n"), Ok(Some(Node::Null)));
    }
}
