//! What the operator chooses about the log.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::dingtalk;
use crate::Redaction;

/// The log of a process. The default is that of the original: text at `info` into [`DEFAULT_PATH`].
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Config {
    /// The least level that is written. Debug costs two lines a stream.
    pub level: Level,
    /// Where lines go.
    pub path: LogPath,
    /// How lines look. Text has no access lines.
    pub format: Format,
    /// When the file is changed for a new one, and how many are kept.
    pub rotation: Rotation,
    /// How much of destinations is shown. Process-wide: [`crate::set_redaction`].
    pub redaction: Redaction,
    /// Where alerts go, and who carries them there; none by default.
    pub alerts: Option<dingtalk::Robot>,
}

/// When the log file is changed for a new one. A limit of zero is no limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rotation {
    /// Bytes of one file; default 32 MiB. With the files kept, the bound of the disk space taken.
    pub max_bytes: u64,
    /// Age of one file; default 7 days.
    pub max_age: Duration,
    /// Old files kept beside the one in use, as `.1` (newest) to `.N`; default 10. Zero keeps none.
    pub max_files: u32,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { max_bytes: 32 * 1024 * 1024, max_age: Duration::from_hours(7 * 24), max_files: 10 }
    }
}

/// Where lines go.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum LogPath {
    /// Nobody asked: [`DEFAULT_PATH`], or stderr where that can't be opened, and a line that says so.
    #[default]
    Default,
    /// This file; it is an error if it can't be opened.
    File(PathBuf),
    /// Standard error. Written `-` in a setting.
    Stderr,
}

impl From<&str> for LogPath {
    fn from(text: &str) -> Self {
        match text {
            "" => Self::Default,
            "-" | "/dev/stderr" => Self::Stderr,
            path => Self::File(path.into()),
        }
    }
}

/// How lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// One flat object a line, UTC, with access lines: for programs.
    Json,
    /// The original's lines, local time: for people.
    #[default]
    Text,
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(UnknownFormat),
        }
    }
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// Each stream.
    Debug,
    /// What a user would notice.
    #[default]
    Info,
    /// May wake someone.
    Warn,
    /// We are broken.
    Error,
    /// And end.
    Fatal,
}

impl Level {
    /// The name in settings and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }

    /// The four letters of a text line.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Debug => "debg",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "erro",
            Self::Fatal => "fata",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Fatal]
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or(UnknownLevel)
    }
}

/// The text names no format.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("not one of text, json")]
pub struct UnknownFormat;

/// The text names no level.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("not one of debug, info, warn, error, fatal")]
pub struct UnknownLevel;

/// Where the log goes if nobody chose.
pub const DEFAULT_PATH: &str = "/var/log/tunnels.log";
