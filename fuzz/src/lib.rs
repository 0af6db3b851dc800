//! What must hold for any bytes a stranger sends: one body a parser or machine.
//!
//! The same bodies run in three places: under libFuzzer (`scripts/fuzz`), over the committed corpora and every input
//! that was ever found (`cargo test`, `tests/corpora.rs`), and one by one with a backtrace (`replay TARGET FILE`).
//! A body panics where a promise is broken; it reads no clock, and draws every decision from its input.

mod classic;
mod codec;
mod connect;
mod draw;
mod eager;
mod frames;
mod handshake;
mod pair;
mod remux2;
mod session;
mod socks;
mod tls;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use classic::run as classic;
pub use connect::run as connect;
pub use eager::run as eager;
pub use frames::run as frames;
pub use handshake::run as handshake;
pub use pair::{run as pair, run_mutant as mutant};
pub use remux2::run as remux2;
pub use session::run as session;
pub use socks::run as socks;
pub use tls::run as tls;

/// A body with its name, which is also that of its corpus.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As in `targets/NAME.rs` and `corpus/NAME`.
    pub name: &'static str,
    /// Judges one input; panics where a promise is broken.
    pub judge: fn(&[u8]),
}

/// All there are.
pub const TARGETS: [Target; 11] = [
    Target { name: "classic", judge: classic },
    Target { name: "connect", judge: connect },
    Target { name: "eager", judge: eager },
    Target { name: "frames", judge: frames },
    Target { name: "handshake", judge: handshake },
    Target { name: "mutant", judge: mutant },
    Target { name: "pair", judge: pair },
    Target { name: "remux2", judge: remux2 },
    Target { name: "session", judge: session },
    Target { name: "socks", judge: socks },
    Target { name: "tls", judge: tls },
];

/// The target of that name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

/// The inputs at `path`: the file itself, or each file of a folder in the order of their names.
///
/// # Errors
/// A file or folder can't be read.
pub fn inputs(path: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut paths = vec![path.to_owned()];
    if path.is_dir() {
        paths = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        paths.sort();
    }
    paths.into_iter().map(|path| fs::read(&path).map(|bytes| (path, bytes))).collect()
}

/// The folders with a target's committed inputs: the fuzzer's corpus, what it found, and what was written by hand because
/// only a broken decoder would tell it from the rest.
pub fn folders(target: Target) -> [PathBuf; 3] {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["corpus", "found", "written"].map(|kind| root.join(kind).join(target.name))
}
