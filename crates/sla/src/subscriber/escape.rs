//! Strings of peers on their way into a line: nothing in them may move a cursor, end a line or turn text round.
//!
//! The same for both formats: a JSON encoder would leave DEL, C1 and bidi controls alone, and a reader of the
//! decoded value would hand them to a terminal.

use std::fmt::{self, Write};

/// Appends `text` with every character that is not plain to see as `\u{..}`.
pub(crate) fn push(out: &mut String, text: &str) {
    push_if(out, text, is_hostile);
}

/// The same for a value that other words follow: blanks and line art of our own format are escaped too.
pub(crate) fn push_word(out: &mut String, text: &str) {
    push_if(out, text, |c| is_hostile(c) || c.is_whitespace());
}

fn push_if(out: &mut String, text: &str, hostile: impl Fn(char) -> bool) {
    for c in text.chars() {
        if hostile(c) {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
}

/// Control characters (C0, DEL, C1), line and paragraph separators, and the bidi controls of Unicode's UAX 9.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A string that stops growing at its limit, so that a peer's 64 KiB are never copied.
pub(crate) struct Bounded {
    text: String,
    limit: usize,
    cut: bool,
}

impl Bounded {
    /// At most `limit` bytes, then a mark.
    pub(crate) fn new(limit: usize) -> Self {
        Self { text: String::new(), limit, cut: false }
    }

    /// What was written, with [`MARK`] where some of it is missing.
    pub(crate) fn finish(mut self) -> String {
        if self.cut {
            self.text.push(MARK);
        }
        self.text
    }
}

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.cut {
            return Err(fmt::Error);
        }
        let room = self.limit.saturating_sub(self.text.len());
        let kept = &part[..part.floor_char_boundary(room)];
        self.text.push_str(kept);
        self.cut = kept.len() < part.len();
        if self.cut { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Stands where a string was cut.
const MARK: char = '…';

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(text: &str) -> String {
        let mut out = String::new();
        push(&mut out, text);
        out
    }

    #[test]
    fn control_separator_and_bidi_characters_are_spelled_out() {
        assert_eq!(pushed("a\r\n\u{1b}[2J\0"), r"a\u{d}\u{a}\u{1b}[2J\u{0}");
        assert_eq!(pushed("\u{7f}\u{80}\u{9f}\u{2028}\u{2029}"), r"\u{7f}\u{80}\u{9f}\u{2028}\u{2029}");
        assert_eq!(
            pushed("\u{202e}gpj.exe\u{2066}\u{200f}\u{61c}"),
            r"\u{202e}gpj.exe\u{2066}\u{200f}\u{61c}"
        );
    }

    #[test]
    fn plain_text_of_any_script_stays() {
        for text in ["%s {} \\ \"", "日本語 grüße", ""] {
            assert_eq!(pushed(text), text);
        }
    }

    #[test]
    fn bounded_cuts_between_characters_and_marks_it() {
        let mut text = Bounded::new(5);
        assert!(write!(text, "ab").is_ok());
        assert!(write!(text, "éé").is_err());
        assert!(write!(text, "c").is_err());
        assert_eq!(text.finish(), "abé…");
        let mut whole = Bounded::new(4);
        assert!(write!(whole, "éé").is_ok());
        assert_eq!(whole.finish(), "éé");
    }
}
