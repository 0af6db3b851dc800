//! Settings by name, as the types the rules want.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sla::code;

use super::Role;
use super::error::Error;
use super::setting::{Kind, Setting};
use super::source::{Origin, Source};
use super::table::TABLE;
use super::value::{Complaint, Value};

/// Looks settings up by name and turns them into what the model wants.
pub(super) struct Reader<'a> {
    source: &'a Source,
    warnings: RefCell<Vec<String>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self { source, warnings: RefCell::default() }
    }

    pub(super) fn text(&self, name: &str) -> String {
        match self.value(name) {
            Some(Value::Text(text)) => text,
            _ => String::new(),
        }
    }

    pub(super) fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(Value::List(items)) => items,
            _ => Vec::new(),
        }
    }

    pub(super) fn origin(&self, name: &str) -> Origin<'a> {
        self.source.value(self.setting(name)).1
    }

    /// A path as it is meant: relative ones in a file start at that file.
    pub(super) fn resolved(&self, name: &str, path: &Path) -> PathBuf {
        match self.origin(name) {
            Origin::File { file, .. } => file.folder().join(path),
            _ => path.to_owned(),
        }
    }

    pub(super) fn bad_value(
        &self,
        name: &str,
        item: Option<usize>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Error {
        self.source.bad_value(self.setting(name), item, why, fix)
    }

    pub(super) fn clash(
        &self,
        name: &str,
        item: Option<usize>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Error {
        self.source.clash(self.setting(name), item, why, fix)
    }

    pub(super) fn role(&self) -> Role {
        self.source.role()
    }

    /// Whether there is neither a file nor a program that gave settings: only a command line and an environment.
    pub(super) fn is_without_file(&self) -> bool {
        self.source.is_without_file()
    }

    pub(super) fn file_open_to_others(&self) -> Option<(&Path, u32)> {
        self.source.file_open_to_others()
    }

    pub(super) fn warn(&self, warning: String) {
        self.warnings.borrow_mut().push(warning);
    }

    pub(super) fn take_warnings(&self) -> Vec<String> {
        self.warnings.take()
    }

    /// The row; a name that is not in the table is a slip of ours, which the tests find.
    pub(super) fn setting(&self, name: &str) -> &'static Setting {
        debug_assert!(Setting::find(name).is_some(), "{name} is not in the table");
        Setting::find(name).unwrap_or(&TABLE[0])
    }

    pub(super) fn value(&self, name: &str) -> Option<Value> {
        self.source.value(self.setting(name)).0
    }

    pub(super) fn is_given(&self, name: &str) -> bool {
        !matches!(self.origin(name), Origin::Default)
    }

    pub(super) fn parse<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<T, Error> {
        self.text(name).parse().map_err(|error: T::Err| {
            let complaint = Complaint::from_message(&error.to_string());
            self.bad_value(name, None, complaint.why, complaint.fix)
        })
    }

    pub(super) fn switch(&self, name: &str) -> bool {
        self.value(name) == Some(Value::Switch(true))
    }

    pub(super) fn whole(&self, name: &str) -> u64 {
        self.maybe(name).unwrap_or(0)
    }

    pub(super) fn maybe(&self, name: &str) -> Option<u64> {
        match self.value(name) {
            Some(Value::Whole(number)) => Some(number),
            _ => None,
        }
    }

    pub(super) fn count(&self, name: &str) -> u32 {
        u32::try_from(self.whole(name)).unwrap_or(u32::MAX)
    }

    pub(super) fn size(&self, name: &str) -> usize {
        usize::try_from(self.whole(name)).unwrap_or(usize::MAX)
    }

    pub(super) fn seconds(&self, name: &str) -> Duration {
        Duration::from_secs(self.whole(name))
    }

    /// The path of a file that need not be named.
    pub(super) fn maybe_file(&self, name: &str) -> Option<PathBuf> {
        let path = self.text(name);
        (!path.is_empty()).then(|| self.resolved(name, Path::new(&path)))
    }

    /// The path of a file that must be named.
    pub(super) fn file(&self, name: &str, what: &str) -> Result<PathBuf, Error> {
        let path = self.text(name);
        if path.is_empty() {
            debug_assert!(matches!(self.setting(name).kind, Kind::File));
            let fix = "name the PEM file; tunnels init makes certificates for both ends";
            let why = format!("no file is named for {what}");
            return Err(self.bad_value(name, None, why, fix).coded(code::MISSING));
        }
        Ok(self.resolved(name, Path::new(&path)))
    }
}
