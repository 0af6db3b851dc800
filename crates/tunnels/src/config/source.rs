//! Where settings come from, and which one wins.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sla::code;

use super::error::Error;
use super::file::{Entry, File};
use super::model::{Client, Server};
use super::rules;
use super::setting::{Setting, nearest};
use super::table::TABLE;
use super::value::Value;
use super::{CONFIG, Role, USAGE};

/// Flags, environment and file of one program, as it was started.
///
/// Displayed, it is a YAML file with every setting the program takes, and where each value comes from; secrets
/// are shown as `***`.
#[derive(Clone)]
pub struct Source {
    role: Role,
    spoken: Spoken,
    path: Option<PathBuf>,
    file: Option<File>,
    entries: Vec<Entry>,
}

/// What was said outside of files.
#[derive(Clone, Default)]
pub(super) struct Spoken {
    /// Flags, or the pairs of an embedding program.
    pub(super) flags: Vec<(&'static Setting, Value)>,
    /// Environment.
    pub(super) variables: Vec<(&'static Setting, Value)>,
    /// `flags` are pairs given by code.
    pub(super) from_code: bool,
}

impl Source {
    /// Settings by name and value; nothing is read from anywhere else.
    ///
    /// # Errors
    /// A name that does not exist, or a value of the wrong kind.
    pub fn from_pairs<'a>(
        role: Role,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        let mut flags = Vec::new();
        for (name, text) in pairs {
            let Some(setting) = Setting::find(name).filter(|setting| setting.taken_by(role)) else {
                let known = TABLE.iter().filter(|setting| setting.taken_by(role)).map(|setting| setting.name);
                let fix =
                    nearest(name, known).map_or_else(String::new, |near| format!("did you mean {near}?"));
                return Err(Error::new(
                    CONFIG,
                    "",
                    name,
                    format!("the {} has no such setting", role.name()),
                    fix,
                )
                .coded(code::UNKNOWN_NAME));
            };
            let value = Value::from_text(setting.kind, text)
                .map_err(|complaint| Error::new(CONFIG, "", name, complaint.why, complaint.fix))?;
            flags.retain(|(other, _): &(&Setting, _)| other.name != name);
            flags.push((setting, value));
        }
        Self::load(role, Spoken { flags, variables: Vec::new(), from_code: true }, None)
    }

    /// Only a file, for a program of either role.
    ///
    /// # Errors
    /// The file cannot be read, or holds something that is no setting of that program.
    pub fn from_file(role: Role, path: &Path) -> Result<Self, Error> {
        Self::load(role, Spoken::default(), Some(path.to_owned()))
    }

    pub(super) fn load(role: Role, spoken: Spoken, path: Option<PathBuf>) -> Result<Self, Error> {
        let file = path.as_deref().map(File::read).transpose()?;
        let entries = file.as_ref().map(|file| file.entries(Some(role))).transpose()?.unwrap_or_default();
        Ok(Self { role, spoken, path, file, entries })
    }

    /// The same flags and environment, and the file as it is now.
    ///
    /// # Errors
    /// Whatever is wrong with the file now.
    pub fn reread(&self) -> Result<Self, Error> {
        Self::load(self.role, self.spoken.clone(), self.path.clone())
    }

    /// Which program this is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The file, if there is one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The client they describe.
    ///
    /// # Errors
    /// A value or a combination that is refused, or a file of users or secrets that can't be used.
    pub fn client(self) -> Result<Client, Error> {
        rules::client(Arc::new(self))
    }

    /// The server they describe.
    ///
    /// # Errors
    /// A value or a combination that is refused, or a file of secrets that can't be used.
    pub fn server(self) -> Result<Server, Error> {
        rules::server(Arc::new(self))
    }

    /// Whether anybody gave the setting of that name.
    pub(super) fn is_given(&self, name: &str) -> bool {
        Setting::find(name).is_some_and(|setting| !matches!(self.value(setting).1, Origin::Default))
    }

    /// The value in force, and who gave it; `None` = nobody, and the default is no fixed value.
    pub(super) fn value(&self, setting: &'static Setting) -> (Option<Value>, Origin<'_>) {
        let spoken = |list: &[(&'static Setting, Value)]| {
            list.iter().find(|(other, _)| other.name == setting.name).map(|(_, value)| value.clone())
        };
        if let Some(value) = spoken(&self.spoken.flags) {
            let origin = if self.spoken.from_code { Origin::Code } else { Origin::Flag };
            return (Some(value), origin);
        }
        if let Some(value) = spoken(&self.spoken.variables) {
            return (Some(value), Origin::Variable);
        }
        if let (Some(file), Some(entry)) =
            (&self.file, self.entries.iter().find(|entry| entry.setting.name == setting.name))
        {
            return (Some(entry.value.clone()), Origin::File { file, steps: &entry.steps });
        }
        let default = setting.default_value(self.role);
        (default.and_then(|text| Value::from_text(setting.kind, text).ok()), Origin::Default)
    }

    /// An error about a value: its own fault, so the exit code is that of the place it was written in.
    pub(super) fn bad_value(
        &self,
        setting: &'static Setting,
        item: Option<usize>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Error {
        let exit = match self.value(setting).1 {
            Origin::Flag => USAGE,
            // Nothing at all was said: the command line is what is incomplete.
            Origin::Default if self.is_without_file() => USAGE,
            _ => CONFIG,
        };
        self.error(exit, setting, item, why, fix)
    }

    /// An error about a combination of values, or about what a value points to.
    pub(super) fn clash(
        &self,
        setting: &'static Setting,
        item: Option<usize>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Error {
        self.error(CONFIG, setting, item, why, fix).coded(code::CONFLICT)
    }

    /// Whether there is neither a file nor a program that gave settings.
    pub(super) fn is_without_file(&self) -> bool {
        self.file.is_none() && !self.spoken.from_code
    }

    /// Names of the settings that `fresh` has another value for, and that only a restart brings into effect.
    pub(super) fn restart_needed(&self, fresh: &Source) -> Vec<&'static str> {
        // SIGHUP reads the same certificate files again, it doesn't go to others.
        let fixed = |setting: &&Setting| !setting.reloadable || setting.name.starts_with("tls.");
        TABLE
            .iter()
            .filter(|setting| setting.used_by(self.role))
            .filter(fixed)
            .filter(|setting| self.value(setting).0 != fresh.value(setting).0)
            .map(|setting| setting.name)
            .collect()
    }

    /// The configuration file, if others may read it: its name and their permission bits.
    pub(super) fn file_open_to_others(&self) -> Option<(&Path, u32)> {
        let file = self.file.as_ref()?;
        (file.open_bits() != 0).then(|| (file.name(), file.open_bits()))
    }

    fn error(
        &self,
        exit: u8,
        setting: &'static Setting,
        item: Option<usize>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Error {
        let flag = format!("--{}", setting.name);
        match self.value(setting).1 {
            Origin::Code => Error::new(exit, "", setting.name, why, fix),
            Origin::Default if self.spoken.from_code => Error::new(exit, "", setting.name, why, fix),
            Origin::Default => match &self.file {
                Some(file) => Error::new(exit, file.name().display(), setting.name, why, fix),
                None => Error::new(exit, flag, "", why, fix),
            },
            Origin::File { file, steps } => {
                // An item of a list written as one text has no place of its own.
                let steps: Vec<usize> =
                    steps.iter().copied().chain(item.filter(|_| file.is_list(steps))).collect();
                Error::new(exit, file.place(&steps), setting.name, why, fix)
            }
            Origin::Flag => Error::new(exit, flag, "", why, fix),
            Origin::Variable => Error::new(exit, setting.variable(), setting.name, why, fix),
        }
    }
}

/// Who gave a value.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    Code,
    Default,
    File { file: &'a File, steps: &'a [usize] },
    Flag,
    Variable,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({}, {:?})", self.role.name(), self.path)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for setting in TABLE.iter().filter(|setting| setting.taken_by(self.role)) {
            let (value, origin) = self.value(setting);
            match value {
                Some(value) => write!(f, "{}: {}  # ", setting.name, Shown(&value, setting.secret))?,
                None => write!(f, "# {}: {}  # ", setting.name, setting.default)?,
            }
            match origin {
                Origin::Code => f.write_str("code")?,
                Origin::Default => f.write_str("default")?,
                Origin::File { file, steps } => write!(f, "file {}", file.place(steps))?,
                Origin::Flag => write!(f, "flag --{}", setting.name)?,
                Origin::Variable => write!(f, "environment {}", setting.variable())?,
            }
            f.write_str(if setting.used_by(self.role) { "\n" } else { ", not used here\n" })?;
        }
        Ok(())
    }
}

/// A value in YAML.
struct Shown<'a>(&'a Value, bool);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: &str| {
            if self.1 && !text.is_empty() && !text.starts_with("file:") {
                return "\"***\"".to_owned();
            }
            // JSON's strings are YAML's.
            serde_json::Value::from(text).to_string()
        };
        match self.0 {
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(|item| text(item)).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Value::Switch(on) => on.fmt(f),
            Value::Text(one) => f.write_str(&text(one)),
            Value::Whole(number) => number.fmt(f),
        }
    }
}
