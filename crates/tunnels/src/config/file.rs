//! The configuration file: read once, whole, and asked for places later.

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sla::code;

use super::error::{Error, quote};
use super::setting::{Setting, nearest};
use super::table::TABLE;
use super::value::Value;
use super::yaml::{self, Node, Part, Position};
use super::{CONFIG, Role};

/// A file that was read and is YAML.
#[derive(Clone, Debug)]
pub(super) struct File {
    name: PathBuf,
    text: String,
    root: Node,
    /// Permission bits of group and others.
    open_bits: u32,
}

/// What a file says about one setting.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) setting: &'static Setting,
    pub(super) value: Value,
    /// The way to the value in the tree.
    pub(super) steps: Vec<usize>,
}

impl File {
    /// Reads a file, at most [`MAX_SIZE`] bytes of it.
    ///
    /// # Errors
    /// It is missing, unreadable, too large, not UTF-8 or not YAML.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let fault =
            |why: String, fix: &str| Error::new(CONFIG, path.display(), "", why, fix).coded(code::BAD_FILE);
        let file = std::fs::File::open(path).map_err(|error| {
            fault(format!("cannot open the configuration file: {}", explain(&error)), "check --config")
        })?;
        let metadata = file.metadata().map_err(|error| fault(explain(&error), ""))?;
        if metadata.is_dir() {
            return Err(fault("this is a folder".into(), "name the YAML file in it"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_SIZE + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| fault(format!("cannot read it: {}", explain(&error)), ""))?;
        let mode = metadata.permissions().mode() & 0o7777;
        let open = if transport::is_closed(path, mode) { 0 } else { mode & 0o077 };
        Self::from_bytes(path, &bytes, open)
    }

    /// The same from bytes at hand.
    pub(super) fn from_bytes(path: &Path, bytes: &[u8], open_bits: u32) -> Result<Self, Error> {
        let fault = |position: Position, why: &str, fix: &str| {
            Error::new(CONFIG, Place { path, position }, "", why, fix).coded(code::BAD_FILE)
        };
        if bytes.len() as u64 > MAX_SIZE {
            return Err(fault(
                Position::START,
                "the file is larger than 1 MiB",
                "name a YAML configuration file",
            ));
        }
        // A byte order mark is what some editors put in front; it means nothing in UTF-8.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let good = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
            fault(end_of(&good), "these bytes are not UTF-8", "save the file as UTF-8")
        })?;
        let root =
            yaml::parse(text).map_err(|error| fault(error.position, &error.why, "correct the YAML here"))?;
        let root = root.ok_or_else(|| {
            fault(Position::START, "the file holds no settings", "tunnels init writes a commented example")
        })?;
        Ok(Self { name: path.to_owned(), text: text.to_owned(), root, open_bits })
    }

    /// The whole of it.
    pub(super) fn root(&self) -> &Node {
        &self.root
    }

    /// What relative paths in it are relative to.
    pub(super) fn folder(&self) -> &Path {
        self.name.parent().unwrap_or(Path::new(""))
    }

    /// The name it was opened by.
    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// Permission bits of group and others.
    pub(super) fn open_bits(&self) -> u32 {
        self.open_bits
    }

    /// `file:line:col` of a value.
    pub(super) fn place(&self, steps: &[usize]) -> impl fmt::Display {
        self.place_of(steps, Part::Value)
    }

    /// `file:line:col` of a setting's name.
    pub(super) fn key_place(&self, steps: &[usize]) -> impl fmt::Display {
        self.place_of(steps, Part::Key)
    }

    /// Whether the value there is written as a list.
    pub(super) fn is_list(&self, steps: &[usize]) -> bool {
        let down = |node: &Node, step: &usize| match node {
            Node::List(items) => items.get(*step).cloned(),
            Node::Map(entries) => entries.get(*step).map(|(_, value)| value.clone()),
            _ => None,
        };
        let node = steps.iter().try_fold(self.root.clone(), |node, step| down(&node, step));
        matches!(node, Some(Node::List(_)))
    }

    /// Every setting in it.
    ///
    /// # Errors
    /// A name that does not exist, or belongs to the other program (`role`, if known); one given twice; a
    /// value of the wrong kind.
    pub(super) fn entries(&self, role: Option<Role>) -> Result<Vec<Entry>, Error> {
        let Node::Map(_) = self.root else {
            let why = "the file is not a map of settings";
            let fix = "write names and values, for example  server: {addr: \"127.0.0.1:8443\"}";
            return Err(Error::new(CONFIG, self.place(&[]), "", why, fix).coded(code::BAD_FILE));
        };
        let mut walk = Walk { file: self, role, entries: Vec::new(), seen: HashMap::new() };
        walk.group("", &self.root, &mut Vec::new())?;
        Ok(walk.entries)
    }

    fn place_of(&self, steps: &[usize], part: Part) -> Place<'_> {
        Place { path: &self.name, position: yaml::locate(&self.text, steps, part) }
    }

    /// How a plain value there is written.
    pub(super) fn token(&self, steps: &[usize]) -> &str {
        yaml::token(&self.text, yaml::locate(&self.text, steps, Part::Value))
    }
}

/// What went wrong with a file, in the words of a person.
pub(crate) fn explain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
        _ => sla::plain(error),
    }
}

/// Far above any configuration, far below what hurts.
pub(super) const MAX_SIZE: u64 = 1 << 20;

struct Place<'a> {
    path: &'a Path,
    position: Position,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.position)
    }
}

/// Goes through the tree once and turns dotted names into settings.
struct Walk<'a> {
    file: &'a File,
    role: Option<Role>,
    entries: Vec<Entry>,
    /// Settings and groups by full name, and where they were first.
    seen: HashMap<String, Vec<usize>>,
}

impl Walk<'_> {
    fn group(&mut self, prefix: &str, node: &Node, steps: &mut Vec<usize>) -> Result<(), Error> {
        let Node::Map(entries) = node else {
            // "remux:" with everything below it commented out is an empty group.
            if *node == Node::Null {
                return Ok(());
            }
            let why = "this is a group of settings, not a setting";
            let fix = format!("write one of its members below it: {}", members(prefix, self.role));
            let name = prefix.trim_end_matches('.');
            return Err(Error::new(CONFIG, self.file.place(steps), name, why, fix));
        };
        let mut here = HashMap::new();
        for (ordinal, (key, value)) in entries.iter().enumerate() {
            steps.push(ordinal);
            if here.insert(key, ordinal).is_some() {
                return Err(self.twice(&format!("{prefix}{key}"), steps, here_first(steps, entries, key)));
            }
            self.entry(&format!("{prefix}{key}"), value, steps)?;
            steps.pop();
        }
        Ok(())
    }

    fn entry(&mut self, name: &str, node: &Node, steps: &mut Vec<usize>) -> Result<(), Error> {
        let Some(setting) = Setting::find(name) else {
            let group = format!("{name}.");
            if TABLE.iter().any(|setting| setting.name.starts_with(&group)) {
                return self.group(&group, node, steps);
            }
            return Err(self.unknown(name, steps));
        };
        if let Some(role) = self.role.filter(|role| !setting.taken_by(*role)) {
            let why = format!(
                "this is a setting of the {}, and this is the {}'s file",
                role.other().name(),
                role.name()
            );
            let fix = format!("move it to the {}'s file", role.other().name());
            let place = self.file.place_of(steps, Part::Key);
            return Err(Error::new(CONFIG, place, name, why, fix).coded(code::WRONG_PROGRAM));
        }
        if let Some(first) = self.seen.insert(name.to_owned(), steps.clone()) {
            return Err(self.twice(name, steps, first));
        }
        let place = |item: Option<usize>| steps.iter().copied().chain(item).collect::<Vec<_>>();
        let token = |item| self.file.token(&place(item)).to_owned();
        let value = Value::from_node(setting.kind, node, &token).map_err(|(item, complaint)| {
            Error::new(CONFIG, self.file.place(&place(item)), name, complaint.why, complaint.fix)
        })?;
        self.entries.push(Entry { setting, value, steps: steps.clone() });
        Ok(())
    }

    fn twice(&self, name: &str, steps: &[usize], first: Vec<usize>) -> Error {
        let first = yaml::locate(&self.file.text, &first, Part::Key).line;
        let why = format!("it stands here a second time, first on line {first}");
        let place = self.file.place_of(steps, Part::Key);
        Error::new(CONFIG, place, shown(name), why, "keep one of them").coded(code::GIVEN_TWICE)
    }

    fn unknown(&self, name: &str, steps: &[usize]) -> Error {
        let place = self.file.place_of(steps, Part::Key);
        if name.ends_with("<<") {
            return Error::new(
                CONFIG,
                place,
                "",
                "merge keys (<<) have no meaning here",
                "write the settings out",
            )
            .coded(code::BAD_FILE);
        }
        let known = TABLE.iter().filter(|setting| self.role.is_none_or(|role| setting.taken_by(role)));
        // A group of the same depth may be what was meant as well as a setting.
        let depth = name.matches('.').count();
        let known = known.flat_map(|setting| {
            let group =
                setting.name.match_indices('.').nth(depth).and_then(|(dot, _)| setting.name.get(..dot));
            group.into_iter().chain([setting.name])
        });
        let fix = match nearest(name, known) {
            Some(near) => format!("did you mean {near}?"),
            None => {
                let (parent, _) = name.rsplit_once('.').map_or(("", ""), |(parent, key)| (parent, key));
                let parent = if parent.is_empty() { String::new() } else { format!("{parent}.") };
                format!("known here: {}", members(&parent, self.role))
            }
        };
        Error::new(CONFIG, place, "", format!("unknown setting {}", quote(name)), fix)
            .coded(code::UNKNOWN_NAME)
    }
}

fn here_first(steps: &[usize], entries: &[(String, Node)], key: &str) -> Vec<usize> {
    let first = entries.iter().position(|(other, _)| other == key).unwrap_or(0);
    let parent = steps.split_last().map_or(&[][..], |(_, parent)| parent);
    parent.iter().copied().chain([first]).collect()
}

/// Names one level below a group.
fn members(prefix: &str, role: Option<Role>) -> String {
    let mut names: Vec<&str> = TABLE
        .iter()
        .filter(|setting| role.is_none_or(|role| setting.taken_by(role)))
        .filter_map(|setting| setting.name.strip_prefix(prefix)?.split('.').next())
        .collect();
    names.dedup();
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(*name));
    names.join(", ")
}

fn shown(name: &str) -> String {
    if Setting::find(name).is_some() { name.to_owned() } else { quote(name) }
}

fn end_of(text: &str) -> Position {
    let line = text.matches('\n').count().saturating_add(1);
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count().saturating_add(1);
    Position { line, column }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Result<Vec<(&'static str, Value)>, String> {
        let file =
            File::from_bytes(Path::new("c.yaml"), text.as_bytes(), 0).map_err(|error| error.to_string())?;
        let entries = file.entries(Some(Role::Server)).map_err(|error| error.to_string())?;
        Ok(entries.into_iter().map(|entry| (entry.setting.name, entry.value)).collect())
    }

    #[test]
    fn dots_nest_in_any_mixture() {
        let expected =
            Ok(vec![("remux.reuse.max.sec", Value::Whole(5)), ("remux.reuse.max.cnt", Value::Whole(6))]);
        assert_eq!(entries("remux: {reuse: {max: {sec: 5, cnt: 6}}}"), expected);
        assert_eq!(entries("remux.reuse.max.sec: 5\nremux.reuse.max.cnt: 6\n"), expected);
        assert_eq!(entries("remux:\n  reuse.max.sec: 5\nremux.reuse:\n  max.cnt: 6\n"), expected);
        assert_eq!(entries("remux:\n  # nothing\nserver:\n"), Ok(vec![]));
        assert_eq!(entries("\u{feff}remux.reuse.max.sec: 5\r\nremux.reuse.max.cnt: 6\r\n"), expected);
    }

    #[test]
    fn fault_is_one_line_with_place_cause_and_advice() {
        for (text, message) in [
            ("", "c.yaml:1:1: the file holds no settings → tunnels init writes a commented example"),
            (
                "- a\n",
                "c.yaml:1:1: the file is not a map of settings → write names and values, for example  server: {addr: \"127.0.0.1:8443\"}",
            ),
            ("server:\n  adr: x\n", "c.yaml:2:3: unknown setting \"server.adr\" → did you mean server.addr?"),
            ("sever:\n  addr: x\n", "c.yaml:1:1: unknown setting \"sever\" → did you mean server?"),
            (
                "server:\n  k0: x\n",
                "c.yaml:2:3: unknown setting \"server.k0\" → known here: net, addr, allow, deny, identities, dial, stream, conn, preauth",
            ),
            (
                "server:\n  colour: x\n",
                "c.yaml:2:3: unknown setting \"server.colour\" → known here: net, addr, allow, deny, identities, dial, stream, conn, preauth",
            ),
            (
                "server:\n\taddr: x\n",
                "c.yaml:2:1: a tab is used for indentation, where YAML wants spaces → correct the YAML here",
            ),
            (
                "server:\n  net: tcp\n  net: tcp\n",
                "c.yaml:3:3: server.net: it stands here a second time, first on line 2 → keep one of them",
            ),
            (
                "server.net: tcp\nserver:\n  net: tcp\n",
                "c.yaml:3:3: server.net: it stands here a second time, first on line 1 → keep one of them",
            ),
            (
                "server: {}\nserver: {}\n",
                "c.yaml:2:1: \"server\": it stands here a second time, first on line 1 → keep one of them",
            ),
            (
                "a: 1\n---\nb: 2\n",
                "c.yaml:3:1: a second document begins here; a configuration is one document → correct the YAML here",
            ),
            (
                "server: !x {}\n",
                "c.yaml:1:9: tags (words that begin with !) have no meaning here → correct the YAML here",
            ),
            (
                "server:\n  <<: {}\n",
                "c.yaml:2:3: merge keys (<<) have no meaning here → write the settings out",
            ),
            (
                "remux:\n  idle.max.sec: 0x10 # sixteen\n",
                "c.yaml:2:17: remux.idle.max.sec: \"0x10\" is no whole decimal number → write a whole number of seconds from 1 to 315360000, in digits only",
            ),
            (
                "remux.idle.max.sec: 1e3\n",
                "c.yaml:1:21: remux.idle.max.sec: 1e3 was read as the number 1000 → write a whole number of seconds in digits, for example 10",
            ),
            (
                "remux.idle.max.sec: 08\n",
                "c.yaml:1:21: remux.idle.max.sec: \"08\" was read as text, a number is needed → write a whole number of seconds without quotes or a unit: 08",
            ),
            (
                "remux.idle.max.sec: -5\n",
                "c.yaml:1:21: remux.idle.max.sec: \"-5\" is no whole decimal number → write a whole number of seconds from 1 to 315360000, in digits only",
            ),
            (
                "remux.idle.max.sec: 60s\n",
                "c.yaml:1:21: remux.idle.max.sec: \"60s\" was read as text, a number is needed → write a whole number of seconds without quotes or a unit: 60",
            ),
            (
                "remux.insecure: no\n",
                "c.yaml:1:17: remux.insecure: \"no\" was read as text → write true or false",
            ),
            (
                "server.allow:\n  - 10.0.0.0/8\n  - 1e3\n",
                "c.yaml:3:5: server.allow: 1e3 was read as the number 1000 → put it in quotes: \"1e3\"",
            ),
            (
                "server.net: udp\n",
                "c.yaml:1:13: server.net: \"udp\" carries datagrams, which may be lost or reordered; the tunnel needs a byte stream → use tcp or unix",
            ),
            (
                "server.net: on\n",
                "c.yaml:1:13: server.net: \"on\" is not known → write one of tcp, tcp4, tcp6, unix",
            ),
            (
                "server.addr:\n",
                "c.yaml:1:13: server.addr: there is no value → write a value, or \"\" for none",
            ),
            (
                "client.users.file: x\n",
                "c.yaml:1:1: client.users.file: this is a setting of the client, and this is the server's file → move it to the client's file",
            ),
            (
                "sla: info\n",
                "c.yaml:1:6: sla: this is a group of settings, not a setting → write one of its members below it: log, dingtalk",
            ),
            (
                "1: x\n",
                "c.yaml:1:1: unknown setting \"1\" → known here: server, client, remux, eagersocks, tls, stream, drain, process, sla",
            ),
        ] {
            assert_eq!(entries(text), Err(message.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn broken_files_are_refused_with_a_place() {
        for (bytes, place) in [
            (&b"server:\n  addr: \xff\n"[..], "c.yaml:2:9: "),
            (
                b"server: {addr: \"x\n",
                "c.yaml:2:1: found unexpected end of stream, while scanning a quoted scalar at 1:16 →",
            ),
            (b"server:\n  addr: [a,\n", "c.yaml:"),
            (b"server: \0\n", "c.yaml:1:9: "),
            (b"server: a\x7f\r\n", "c.yaml:1:10: "),
            (b"? [a]\n: b\n", "c.yaml:1:3: "),
            (b"server: *nowhere\n", "c.yaml:1:9: "),
            (&[b'#'; (1 << 20) + 1], "c.yaml:1:1: "),
        ] {
            let error = File::from_bytes(Path::new("c.yaml"), bytes, 0)
                .and_then(|file| file.entries(None))
                .map(|_| ());
            let message = error.expect_err(place).to_string();
            assert!(message.starts_with(place), "{message}");
            assert!(!message.contains('\n') && message.contains(" → "), "{message}");
        }
    }
}
