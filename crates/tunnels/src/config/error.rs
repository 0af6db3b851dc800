//! What is wrong with a configuration, in one line, and which exit code says so.

use std::fmt;

use sla::code;

/// Why nothing was started: `where: what: why → what to do`.
///
/// Displayed, it is one line without control characters, whatever a file or an argument held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Error {
    code: &'static str,
    place: String,
    what: String,
    why: String,
    fix: String,
    exit: u8,
}

impl Error {
    /// `place` is `file:line:col`, a flag, a variable, or empty; the other parts are said in this order.
    pub(crate) fn new(
        exit: u8,
        place: impl fmt::Display,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let (what, why, fix) = (what.into(), why.into(), fix.into());
        Self { code: code::BAD_VALUE, place: place.to_string(), what, why, fix, exit }
    }

    /// Something wrong on the command line of a program that has flags of its own.
    pub fn usage(flag: &str, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(USAGE, flag, "", why, fix)
    }

    /// The same under another code than that of a bad value.
    pub(crate) fn coded(self, code: &'static str) -> Self {
        Self { code, ..self }
    }

    pub(crate) fn with_exit(self, exit: u8) -> Self {
        Self { exit, ..self }
    }

    /// The stable code of the message, as the manual lists it; `Display` leaves it to the whole line.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Exit code of a program that stops for this: [`USAGE`] or [`CONFIG`].
    pub fn exit_code(&self) -> u8 {
        self.exit
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.place, &self.what].into_iter().filter(|part| !part.is_empty()) {
            write!(f, "{}: ", Line(part))?;
        }
        write!(f, "{}", Line(&self.why))?;
        if self.fix.is_empty() { Ok(()) } else { write!(f, " → {}", Line(&self.fix)) }
    }
}

impl std::error::Error for Error {}

/// Something of the user's, in double quotes, escaped and cut: safe on a terminal and in a line.
pub(crate) fn quote(text: &str) -> String {
    let cut = text.floor_char_boundary(ECHO);
    let shown: String = text[..cut]
        .chars()
        .flat_map(|c| if c == '\'' { vec![c] } else { c.escape_debug().collect() })
        .collect();
    if cut < text.len() { format!("\"{shown}…\" ({} bytes)", text.len()) } else { format!("\"{shown}\"") }
}

/// Anything wrong on the command line (sysexits `EX_USAGE`).
pub const USAGE: u8 = 64;
/// File, environment, certificate, key or combination (sysexits `EX_CONFIG`).
pub const CONFIG: u8 = 78;

/// Longest piece of the user's own text that a message repeats.
const ECHO: usize = 256;

/// Text with its control characters escaped, so that one message stays one line.
struct Line<'a>(&'a str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                fmt::Write::write_char(f, c)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_one_line_whatever_was_written() {
        let error = Error::new(CONFIG, "a\n.yaml:1:2", "server.net", "\u{1b}[31m\u{202e}", "write \"tcp\"");
        assert_eq!(error.to_string(), "a\\u{a}.yaml:1:2: server.net: \\u{1b}[31m\\u{202e} → write \"tcp\"");
    }

    #[test]
    fn echo_is_cut_at_256_bytes_between_characters() {
        let quoted = quote(&"é".repeat(500_000));
        assert!(quoted.len() < 300, "{}", quoted.len());
        assert!(quoted.ends_with("…\" (1000000 bytes)"), "{quoted}");
    }
}
