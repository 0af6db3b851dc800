//! What each end saw, one JSON line a fact, appended at once.
//!
//! A line is one `write` to a file opened for appending: it is whole or absent, whoever is killed when.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::damage::Wrong;
use crate::plan::Plan;

/// One fact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Line {
    /// A program starts.
    Run {
        /// Milliseconds since 1970.
        at: u64,
        /// `generator` or `sink`.
        who: String,
        /// The run's seed.
        seed: u64,
    },
    /// A flow begins: about to be opened (generator), its header has come (sink).
    Begin {
        /// Milliseconds since 1970.
        at: u64,
        /// What is to happen.
        plan: Plan,
    },
    /// A flow has ended.
    End(End),
    /// A connection that ended before its header was whole, or whose header is wrong (sink).
    Headless {
        /// Milliseconds since 1970.
        at: u64,
        /// What came.
        r#in: In,
    },
    /// A program ends in order: every flow that it began is written.
    Done {
        /// Milliseconds since 1970.
        at: u64,
    },
}

/// How a flow ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Milliseconds since 1970.
    pub at: u64,
    /// The flow.
    pub flow: u64,
    /// Milliseconds it took.
    pub ms: u64,
    /// What it wrote.
    pub out: Out,
    /// What it read.
    pub r#in: In,
    /// Why it never began (generator).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What an end wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Out {
    /// Bytes its socket has accepted.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: String,
    /// How its own direction ended.
    pub end: Ending,
}

/// What an end read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct In {
    /// Bytes read.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: String,
    /// How the other direction ended.
    pub end: Ending,
    /// The first wrong byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong: Option<Wrong>,
}

/// How a direction ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// Cleanly.
    Fin,
    /// The other end, or what is between, has reset it.
    Rst,
    /// This end has reset it on purpose.
    Abort,
    /// Nothing moved for too long.
    Timeout,
    /// It never began.
    Refused,
    /// Still open when the program had to stop.
    Open,
}

/// A ledger being written.
#[derive(Debug)]
pub struct Ledger(Mutex<File>);

impl Ledger {
    /// Opens or makes it; lines are appended.
    ///
    /// # Errors
    ///
    /// If it can't be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Mutex::new(OpenOptions::new().create(true).append(true).open(path)?)))
    }

    /// Appends a line. A ledger that can't be written is worth nothing: the program ends.
    pub fn write(&self, line: &Line) {
        let written = serde_json::to_vec(line).map_err(io::Error::other).and_then(|mut text| {
            text.push(b'\n');
            self.0.lock().map_err(|_| io::Error::other("a writer has panicked"))?.write_all(&text)
        });
        if let Err(error) = written {
            let _ = writeln!(io::stderr(), "judge: can't write the ledger: {error}");
            std::process::exit(74);
        }
    }
}

/// Reads a ledger. A last line without its newline is being written, or never will be, and is left out.
///
/// # Errors
///
/// If it can't be read, or a line is no fact.
pub fn read(path: &Path) -> io::Result<Vec<Line>> {
    let text = std::fs::read_to_string(path)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|error| io::Error::other(format!("{}:{}: {error}", path.display(), number + 1)))
    };
    whole.lines().enumerate().map(parse).collect()
}

/// Milliseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back_and_a_torn_last_one_is_left_out() {
        let path = std::env::temp_dir().join(format!("judge-ledger-{}", std::process::id()));
        let lines = [
            Line::Run { at: 1, who: "sink".to_owned(), seed: u64::MAX },
            Line::Begin { at: 2, plan: Plan::plain(7, 8, 9) },
            Line::Done { at: 3 },
        ];
        let ledger = Ledger::open(&path).unwrap();
        lines.iter().for_each(|line| ledger.write(line));
        std::io::Write::write_all(
            &mut OpenOptions::new().append(true).open(&path).unwrap(),
            b"{\"event\":\"e",
        )
        .unwrap();
        let read = read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read, lines);
    }
}
