//! The command line: words, then `--name value` pairs.

use std::collections::BTreeMap;
use std::str::FromStr;

/// What was typed.
#[derive(Debug, Default)]
pub(crate) struct Args {
    words: Vec<String>,
    flags: BTreeMap<String, String>,
}

impl Args {
    pub(crate) fn read(given: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Self::default();
        let mut given = given.peekable();
        while let Some(word) = given.next() {
            match word.strip_prefix("--") {
                Some(name) => {
                    let value = given.next().ok_or_else(|| format!("--{name} needs a value"))?;
                    args.flags.insert(name.to_owned(), value);
                }
                None => args.words.push(word),
            }
        }
        Ok(args)
    }

    pub(crate) fn word(&self, at: usize) -> Option<&str> {
        self.words.get(at).map(String::as_str)
    }

    /// A flag that must be there.
    pub(crate) fn need<T: FromStr>(&self, name: &str) -> Result<T, String> {
        self.get(name)?.ok_or_else(|| format!("--{name} is missing"))
    }

    /// A flag with a default.
    pub(crate) fn or<T: FromStr>(&self, name: &str, default: T) -> Result<T, String> {
        Ok(self.get(name)?.unwrap_or(default))
    }

    pub(crate) fn get<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(text) = self.flags.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("--{name} {text}: not understood"))
    }
}
