//! `--name value` and nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

/// A command line after its command.
#[derive(Debug)]
pub struct Flags(BTreeMap<String, Vec<String>>);

/// Flags that take no value.
const SWITCHES: [&str; 1] = ["faulted"];

impl Flags {
    /// Reads it; `known` are the flags that the command has.
    ///
    /// # Errors
    ///
    /// A line for people.
    pub fn read(args: impl Iterator<Item = String>, known: &[&str]) -> Result<Self, String> {
        let mut flags: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut args = args.peekable();
        while let Some(arg) = args.next() {
            let name = arg.strip_prefix("--").filter(|name| known.contains(name));
            let name = name.ok_or_else(|| format!("unknown {arg:?}; there are --{}", known.join(" --")))?;
            let value = if SWITCHES.contains(&name) {
                String::new()
            } else {
                args.next().ok_or_else(|| format!("{arg} needs a value"))?
            };
            flags.entry(name.to_owned()).or_default().push(value);
        }
        Ok(Self(flags))
    }

    /// Whether it was given.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// All its values.
    pub fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Its value, if it was given.
    ///
    /// # Errors
    ///
    /// If it can't be read.
    pub fn get<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(text) = self.all(name).last() else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("--{name}: can't read {text:?}"))
    }

    /// Its value.
    ///
    /// # Errors
    ///
    /// If it is missing or can't be read.
    pub fn need<T: FromStr>(&self, name: &str) -> Result<T, String> {
        self.get(name)?.ok_or_else(|| format!("--{name} is missing"))
    }

    /// Its value as a path.
    ///
    /// # Errors
    ///
    /// If it is missing.
    pub fn path(&self, name: &str) -> Result<PathBuf, String> {
        self.need::<String>(name).map(PathBuf::from)
    }
}
