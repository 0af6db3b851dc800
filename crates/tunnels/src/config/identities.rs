//! The file of identities (`server.identities.file`).
//!
//! ```yaml
//! identities:
//!   laptop-7: {allow: ["10.2.0.0/16:443"], streams: 512}
//!   "*": {only: ["192.0.2.0/24:443"]}      # everybody else with a certificate of ours
//! revoked: [old-laptop, "sha256:6f…", "serial:1a:2b"]
//! ```
//! It is a file of its own because its keys are names of people and machines, with dots and slashes in them, and not settings:
//! the table of settings, which flags and variables follow, ends at the path of it.

use std::collections::HashSet;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use routing::Grant;
use sla::code;

use super::CONFIG;
use super::error::{Error, quote};
use super::file::{File, MAX_SIZE, explain};
use super::identity::{Identities, Revoked, Rights, plain_serial};
use super::reader::Reader;
use super::rules::grant;
use super::setting::{Kind, Unit, nearest};
use super::value::{Complaint, Value};
use super::yaml::Node;

/// What the settings say; everybody with a certificate of ours where they name no file.
pub(super) fn identities(read: &Reader<'_>) -> Result<Identities, Error> {
    let path = read.text(FILE);
    if path.is_empty() {
        return Ok(Identities::default());
    }
    let path = read.resolved(FILE, Path::new(&path));
    let bad = |why: String, fix: &str, code| {
        let why = format!("{}: {why}", path.display());
        read.clash(FILE, None, why, fix).coded(code)
    };
    let unreadable = |error: std::io::Error| bad(explain(&error), "check the path", code::IDENTITIES_FILE);
    let file = std::fs::File::open(&path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(unreadable(ErrorKind::IsADirectory.into()));
    }
    if metadata.permissions().mode() & 0o002 != 0 {
        let why = "others on this machine can change who is let in".to_owned();
        return Err(bad(why, "chmod o-w it", code::LIST_MODE));
    }
    let mut bytes = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if std::str::from_utf8(&bytes).is_ok_and(is_blank) {
        return Err(bad("it is empty".to_owned(), NOBODY, code::IDENTITIES_FILE));
    }
    let file = File::from_bytes(&path, &bytes, 0)?;
    let (mut identities, both) = Walk { file: &file }.whole()?;
    for name in both {
        read.warn(format!("{}: {name} is in identities and in revoked: it is refused", path.display()));
    }
    identities.file = Some(path);
    Ok(identities)
}

/// Goes through the file once.
struct Walk<'a> {
    file: &'a File,
}

impl Walk<'_> {
    /// All of it, and the names that are on both lists.
    fn whole(&self) -> Result<(Identities, Vec<String>), Error> {
        let Node::Map(entries) = self.file.root() else {
            let why = "the file is not a map";
            let fix = "write identities: and below it the names, each with a colon behind it";
            return Err(self.error(&[], "", why, fix).coded(code::BAD_FILE));
        };
        let mut all = Identities::default();
        self.each(entries, &[], |key, node, steps| match key {
            "identities" => self.listed(node, steps, &mut all),
            "revoked" => self.revoked(node, steps, &mut all),
            _ => Err(self.unknown(steps, "", key, &["identities", "revoked"])),
        })?;
        let both = all.revoked.iter().filter_map(|revoked| match revoked {
            Revoked::Identity(name) if all.listed.contains_key(name) => Some(name.clone()),
            _ => None,
        });
        let both = both.collect();
        Ok((all, both))
    }

    fn listed(&self, node: &Node, steps: &[usize], all: &mut Identities) -> Result<(), Error> {
        const WHAT: &str = "identities";
        let entries = match node {
            Node::Map(entries) if !entries.is_empty() => entries,
            Node::Map(_) | Node::Null => {
                return Err(self.error(steps, WHAT, "nobody is listed, so nobody would be let in", NOBODY));
            }
            _ => {
                let fix = "write each name on a line of its own, with a colon behind it";
                return Err(self.error(steps, WHAT, "this is not a map of names", fix));
            }
        };
        all.others = None;
        self.each(entries, steps, |key, node, steps| {
            let rights = self.rights(key, node, steps)?;
            if key == OTHERS {
                all.others = Some(rights);
                return Ok(());
            }
            let bad = |complaint: Complaint| self.key_error(steps, WHAT, complaint);
            let name = identity(key).map_err(bad)?;
            match all.listed.insert(name, rights) {
                None => Ok(()),
                Some(_) => {
                    let why = format!("{} stands above already, in another spelling", quote(key));
                    let complaint = Complaint::new(why, "keep one of them");
                    Err(self.key_error(steps, WHAT, complaint).coded(code::GIVEN_TWICE))
                }
            }
        })
    }

    fn rights(&self, name: &str, node: &Node, steps: &[usize]) -> Result<Rights, Error> {
        let mut rights = Rights::default();
        let entries = match node {
            Node::Map(entries) => entries,
            // "laptop-7:" alone is let in, and that is all there is to say.
            Node::Null => return Ok(rights),
            _ => {
                let fix = format!("write nothing, or a map of {}", KEYS.join(", "));
                return Err(self.error(steps, name, "this is not a map of rights", fix));
            }
        };
        let mut only_at = None;
        self.each(entries, steps, |key, node, steps| {
            let what = format!("{name}.{key}");
            let count = |max| self.count(&what, node, steps, max);
            match key {
                "allow" => rights.allow = self.grants(&what, node, steps)?,
                "deny" => rights.deny = self.grants(&what, node, steps)?,
                "only" => {
                    rights.only = Some(self.grants(&what, node, steps)?);
                    only_at = Some(steps.to_vec());
                }
                "connections" => rights.connections = Some(count(1 << 20)?),
                "dials" => rights.dials = Some(count(1 << 20)?),
                "streams" => rights.streams = Some(count(1 << 24)?),
                _ => return Err(self.unknown(steps, name, key, &KEYS)),
            }
            Ok(())
        })?;
        let Some(steps) = only_at else { return Ok(rights) };
        let what = format!("{name}.only");
        if rights.only.as_ref().is_some_and(Vec::is_empty) {
            let fix = "list networks, or put the identity into revoked";
            return Err(self.error(&steps, &what, "nothing is listed, so nothing could be reached", fix));
        }
        if !rights.allow.is_empty() {
            let (why, fix) =
                ("only says all that is open, so allow adds nothing", "move the networks of allow into only");
            return Err(self.error(&steps, &what, why, fix).coded(code::CONFLICT));
        }
        Ok(rights)
    }

    fn revoked(&self, node: &Node, steps: &[usize], all: &mut Identities) -> Result<(), Error> {
        if *node == Node::Null {
            return Ok(());
        }
        for (item, text) in self.list("revoked", "IDENTITY", node, steps)?.iter().enumerate() {
            let entry = revoked(text).map_err(|complaint| {
                let steps: Vec<usize> = steps.iter().copied().chain([item]).collect();
                self.error(&steps, "revoked", complaint.why, complaint.fix)
            })?;
            all.revoked.insert(entry);
        }
        Ok(())
    }

    fn grants(&self, what: &str, node: &Node, steps: &[usize]) -> Result<Vec<Grant>, Error> {
        let items = self.list(what, "CIDR[:PORTS]", node, steps)?;
        let parsed = items.iter().enumerate().map(|(item, text)| {
            grant(text).map_err(|complaint| {
                let steps: Vec<usize> = steps.iter().copied().chain([item]).collect();
                self.error(&steps, what, complaint.why, complaint.fix)
            })
        });
        parsed.collect()
    }

    fn list(
        &self,
        what: &str,
        item: &'static str,
        node: &Node,
        steps: &[usize],
    ) -> Result<Vec<String>, Error> {
        let at = |item: Option<usize>| steps.iter().copied().chain(item).collect::<Vec<_>>();
        let token = |item| self.file.token(&at(item)).to_owned();
        let value = Value::from_node(Kind::List(item), node, &token);
        match value.map_err(|(item, bad)| self.error(&at(item), what, bad.why, bad.fix))? {
            Value::List(items) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    fn count(&self, what: &str, node: &Node, steps: &[usize], max: u64) -> Result<usize, Error> {
        // The file may list thousands, so that the text is looked at only where something is wrong.
        match node {
            Node::Whole(Some(number)) if (1..=max).contains(number) => {
                Ok(usize::try_from(*number).unwrap_or(usize::MAX))
            }
            _ => {
                let kind = Kind::Whole { unit: Unit::Count, min: 1, max };
                let token = |_| self.file.token(steps).to_owned();
                let complaint = Value::from_node(kind, node, &token).err().map(|(_, complaint)| complaint);
                let complaint = complaint.unwrap_or_else(|| Complaint::new("this is no such number", ""));
                Err(self.error(steps, what, complaint.why, complaint.fix))
            }
        }
    }

    /// Calls `take` with each entry of the map at `parent` and the way to it; a key that stands twice is an error.
    fn each(
        &self,
        entries: &[(String, Node)],
        parent: &[usize],
        mut take: impl FnMut(&str, &Node, &[usize]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut seen = HashSet::new();
        for (ordinal, (key, node)) in entries.iter().enumerate() {
            let steps: Vec<usize> = parent.iter().copied().chain([ordinal]).collect();
            if !seen.insert(key.as_str()) {
                let complaint =
                    Complaint::new(format!("{} stands above already", quote(key)), "keep one of them");
                return Err(self.key_error(&steps, "", complaint).coded(code::GIVEN_TWICE));
            }
            take(key, node, &steps)?;
        }
        Ok(())
    }

    fn unknown(&self, steps: &[usize], of: &str, key: &str, known: &[&str]) -> Error {
        let fix = match nearest(key, known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("known here: {}", known.join(", ")),
        };
        let complaint = Complaint::new(format!("there is no {}", quote(key)), fix);
        self.key_error(steps, of, complaint).coded(code::UNKNOWN_NAME)
    }

    fn error(&self, steps: &[usize], what: &str, why: impl Into<String>, fix: impl Into<String>) -> Error {
        Error::new(CONFIG, self.file.place(steps), what, why, fix)
    }

    fn key_error(&self, steps: &[usize], what: &str, complaint: Complaint) -> Error {
        Error::new(CONFIG, self.file.key_place(steps), what, complaint.why, complaint.fix)
    }
}

/// An identity as certificates prove it.
fn identity(text: &str) -> Result<String, Complaint> {
    let fix = "write it as tunnels cert show prints it, or as the server's log does";
    if text.is_empty() || text.len() > IDENTITY_MAX {
        return Err(Complaint::new(format!("an identity has 1 to {IDENTITY_MAX} bytes"), fix));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) || text.contains("CN=") {
        let why = format!(
            "{} is no identity: that is a URI, a DNS name or sha256:…, never a common name",
            quote(text)
        );
        return Err(Complaint::new(why, fix));
    }
    if let Some(digits) = text.strip_prefix("sha256:") {
        return sha256(digits).map(|digest| Revoked::Sha256(digest).to_string());
    }
    // DNS names know no case; of a URI only its owner knows what it means.
    Ok(if text.contains(':') { text.to_owned() } else { text.to_ascii_lowercase() })
}

fn revoked(text: &str) -> Result<Revoked, Complaint> {
    if text == OTHERS {
        let why = "this would shut out everybody";
        return Err(Complaint::new(why, "list identities, or take \"*\" out of identities"));
    }
    if let Some(digits) = text.strip_prefix("sha256:") {
        return sha256(digits).map(Revoked::Sha256);
    }
    if let Some(digits) = text.strip_prefix("serial:") {
        let serial = plain_serial(digits);
        if serial.is_empty() || !serial.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            let why = format!("{} is no serial number in hexadecimal", quote(digits));
            return Err(Complaint::new(why, "write the serial that tunnels cert show prints"));
        }
        return Ok(Revoked::Serial(serial));
    }
    if sha256(text).is_ok() {
        let why = format!("{} looks like a fingerprint", quote(text));
        return Err(Complaint::new(why, format!("write sha256:{text}")));
    }
    identity(text).map(Revoked::Identity)
}

/// 64 hexadecimal digits, with or without the colons that some tools put between them.
fn sha256(text: &str) -> Result<[u8; 32], Complaint> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let pairs = digits.chunks_exact(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        let is_hex = pair.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hex.then(|| u8::from_str_radix(pair, 16).ok()).flatten()
    });
    let bytes: Option<Vec<u8>> = pairs.collect();
    let bytes = bytes.filter(|_| digits.len() == 64).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| {
        let why = format!("{} is no SHA-256 in hexadecimal", quote(text));
        Complaint::new(why, "write the 64 digits behind sha256 in tunnels cert show")
    })
}

fn is_blank(text: &str) -> bool {
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#') || line == "---")
}

const FILE: &str = "server.identities.file";
/// Stands for everybody who is not listed.
const OTHERS: &str = "*";
const KEYS: [&str; 6] = ["allow", "deny", "only", "connections", "dials", "streams"];
/// As long as what certificates can prove.
const IDENTITY_MAX: usize = 256;
const NOBODY: &str =
    "list names below identities, \"*\" for everybody else, or delete server.identities.file";

#[cfg(test)]
#[path = "identities_tests.rs"]
mod tests;
