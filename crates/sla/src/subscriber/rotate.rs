//! The log file: appended to, changed for a new one by size and age, and owned by one process.
//!
//! ```text
//!  path ──link──▶ path.1 ──▶ path.2 … path.N ──▶ gone
//!    ▲
//!  path.new (locked) ──rename── at no moment is there no file, or one without a lock
//! ```
//!
//! The lock (`flock`) is on the file itself, so that a folder we may not write to is no hindrance. Two programs
//! on one host that were given one path would rename it away from each other; the second to come gets
//! [`OpenError::Locked`] instead. A file that was moved or removed under us (logrotate, an operator) is noticed
//! within a second of the next line.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::config::Rotation;

/// An open log file.
#[derive(Debug)]
pub(crate) struct LogFile {
    /// Where it really is: links are followed once, at the start.
    path: PathBuf,
    rotation: Rotation,
    file: Option<Current>,
    /// Rotation failed; not again before this.
    retry: Option<Instant>,
}

/// The file of the moment.
#[derive(Debug)]
struct Current {
    file: File,
    /// Pipes and devices are neither locked nor rotated nor looked after.
    regular: bool,
    size: u64,
    born: SystemTime,
    checked: Instant,
    /// A line was cut by an error: the next one needs a fresh start.
    torn: bool,
}

/// What became of some lines.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Lines that are not, or not wholly, in the file.
    pub(crate) lost: u64,
    /// The last thing that went wrong; with no line lost, it was the change of files.
    pub(crate) error: Option<io::Error>,
}

impl LogFile {
    /// Opens or makes the file, and takes it for this process alone.
    pub(crate) fn open(path: &Path, rotation: Rotation, now: Instant) -> Result<Self, OpenError> {
        let current = Current::open(path, now)?;
        let path = fs::canonicalize(path).map_err(OpenError::Io)?;
        Ok(Self { path, rotation, file: Some(current), retry: None })
    }

    /// Appends lines (each gets its end here). Never stops half-way for good: what fails is counted, and the
    /// next call tries again.
    pub(crate) fn write<'a>(
        &mut self,
        lines: impl IntoIterator<Item = &'a str>,
        now: Instant,
        wall: SystemTime,
    ) -> Written {
        let mut written = Written::default();
        if let Err(error) = self.look_after(now) {
            written.error = Some(error);
        }
        let mut chunk = Chunk::default();
        for line in lines {
            if self.is_due(chunk.bytes.len(), line.len() + 1, now, wall) {
                self.append(&mut chunk, &mut written);
                if let Err(error) = self.rotate(now) {
                    written.error = Some(error);
                }
            }
            chunk.push(line);
            if chunk.bytes.len() >= CHUNK {
                self.append(&mut chunk, &mut written);
            }
        }
        self.append(&mut chunk, &mut written);
        written
    }

    /// Lets go of the file and opens its path anew: somebody moved it away on purpose.
    pub(crate) fn reopen(&mut self, now: Instant) -> Result<(), OpenError> {
        // Its lock must go first: the path may still be the same file.
        self.file = None;
        self.file = Some(Current::open(&self.path, now)?);
        Ok(())
    }

    fn append(&mut self, chunk: &mut Chunk, written: &mut Written) {
        let result = match &mut self.file {
            Some(current) => current.append(&chunk.bytes),
            None => Err((0, ErrorKind::NotFound.into())),
        };
        if let Err((done, error)) = result {
            written.lost += chunk.lines_beyond(done);
            written.error = Some(error);
        }
        *chunk = Chunk::default();
    }

    /// Whether a line of `more` bytes, after `pending` ones not yet in the file, belongs into a new file.
    fn is_due(&self, pending: usize, more: usize, now: Instant, wall: SystemTime) -> bool {
        let Some(current) = self.file.as_ref().filter(|current| current.regular) else { return false };
        if self.retry.is_some_and(|retry| now < retry) {
            return false;
        }
        let Rotation { max_bytes, max_age, .. } = self.rotation;
        let size = current.size + pending as u64;
        let is_big = max_bytes > 0 && size + more as u64 > max_bytes;
        let age = wall.duration_since(current.born).unwrap_or_default();
        let is_old = !max_age.is_zero() && age >= max_age;
        // An empty file is never changed for another.
        size > 0 && (is_big || is_old)
    }

    /// Changes the file for a new one. On an error the old one stays in use.
    fn rotate(&mut self, now: Instant) -> io::Result<()> {
        self.retry = Some(now + RETRY);
        let fresh = self.beside("new");
        remove(&fresh)?;
        let next = Current::open(&fresh, now).map_err(io::Error::from)?;
        let kept = self.shift();
        if let Err(error) = kept.and_then(|()| fs::rename(&fresh, &self.path)) {
            let _ = remove(&fresh);
            return Err(error);
        }
        self.file = Some(next);
        self.retry = None;
        Ok(())
    }

    /// Moves `.1` to `.2` and so on, gives the current file the name `.1`, and removes what is too old.
    fn shift(&self) -> io::Result<()> {
        let keep = self.rotation.max_files;
        // Those beyond the bound may be more than one where the bound was lowered.
        let mut old = keep.max(1);
        while remove(&self.numbered(old))? {
            old += 1;
        }
        for number in (1..keep).rev() {
            ignore_missing(fs::rename(self.numbered(number), self.numbered(number + 1)))?;
        }
        if keep == 0 {
            return Ok(());
        }
        // Some file systems have no hard links: there is then a moment without the file.
        fs::hard_link(&self.path, self.numbered(1)).or_else(|_| fs::rename(&self.path, self.numbered(1)))
    }

    /// Once a second: is the path still our file? How long is it really (others may cut it)?
    fn look_after(&mut self, now: Instant) -> io::Result<()> {
        if let Some(current) = &mut self.file {
            if !current.regular || now.saturating_duration_since(current.checked) < CHECK {
                return Ok(());
            }
            current.checked = now;
            current.size = current.file.metadata()?.len();
            if fs::metadata(&self.path).is_ok_and(|there| current.is(&there)) {
                return Ok(());
            }
        }
        self.reopen(now).map_err(io::Error::from)
    }

    fn beside(&self, extension: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(extension);
        name.into()
    }

    fn numbered(&self, number: u32) -> PathBuf {
        self.beside(&number.to_string())
    }
}

impl Current {
    fn open(path: &Path, now: Instant) -> Result<Self, OpenError> {
        // Opening a pipe would wait for its reader, perhaps for ever.
        if fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo()) {
            return Err(OpenError::Pipe);
        }
        for _ in 0..ATTEMPTS {
            let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
            let meta = file.metadata()?;
            if !meta.is_file() {
                return Ok(Self::new(file, &meta, now));
            }
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => return Err(OpenError::Locked),
                // A file system without locks: better a log than none.
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
            let current = Self::new(file, &meta, now);
            // Between open and lock its owner may have changed it for a new one.
            if current.is(&fs::metadata(path)?) {
                return Ok(current);
            }
        }
        Err(OpenError::Locked)
    }

    fn new(file: File, meta: &Metadata, now: Instant) -> Self {
        let born = meta.created().or_else(|_| meta.modified()).unwrap_or_else(|_| SystemTime::now());
        Self { file, regular: meta.is_file(), size: meta.len(), born, checked: now, torn: false }
    }

    fn is(&self, other: &Metadata) -> bool {
        self.file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (other.dev(), other.ino()))
    }

    /// Writes all of `bytes`, or says how many of them it wrote.
    fn append(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.torn {
            self.file.write_all(b"\n").map_err(|error| (0, error))?;
            self.torn = false;
        }
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return Err(self.tear(bytes, done, ErrorKind::WriteZero.into())),
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.tear(bytes, done, error)),
            }
        }
        self.size += done as u64;
        Ok(())
    }

    fn tear(&mut self, bytes: &[u8], done: usize, error: io::Error) -> (usize, io::Error) {
        self.size += done as u64;
        self.torn = done.checked_sub(1).and_then(|last| bytes.get(last)).is_some_and(|&byte| byte != b'\n');
        (done, error)
    }
}

/// Lines that are written with one system call.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
}

impl Chunk {
    fn push(&mut self, line: &str) {
        self.bytes.extend_from_slice(line.as_bytes());
        self.bytes.push(b'\n');
        self.ends.push(self.bytes.len());
    }

    /// Lines that are not wholly among the first `done` bytes.
    fn lines_beyond(&self, done: usize) -> u64 {
        self.ends.iter().filter(|&&end| end > done).count() as u64
    }
}

/// Removes a file; whether there was one.
fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Why a log file can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("another process logs to this file")]
    Locked,
    #[error("it is a pipe")]
    Pipe,
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io(error) => error,
            other => Self::new(ErrorKind::ResourceBusy, other.to_string()),
        }
    }
}

/// Destinations are nobody's business but the operator's and the log reader group's.
const MODE: u32 = 0o640;
/// Bytes of one write.
const CHUNK: usize = 64 * 1024;
/// How often the path is looked at.
const CHECK: Duration = Duration::from_secs(1);
/// After a failed change of files.
const RETRY: Duration = Duration::from_secs(60);
/// Opens that may lose the race with a rotation.
const ATTEMPTS: usize = 5;

#[cfg(test)]
mod tests;
