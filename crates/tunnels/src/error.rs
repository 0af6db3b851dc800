//! Why a client or server can't run, with the exit code that says whose fault it is.

use sla::code;

use crate::config;

/// Why a client or server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text is no address of the net it was given for.
    #[error("{} {_0}", code::BAD_VALUE)]
    Address(#[from] transport::AddressError),
    /// An address can't be listened on.
    #[error("{0}")]
    Bind(#[from] transport::BindError),
    /// A listener broke while it was in use; what ran has ended in good order.
    #[error("{} cannot listen on {address} any longer: {} → start the program again", code::LISTENER, sla::plain(.error))]
    Listener {
        /// Where it listened.
        address: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A setting, or what it names, is wrong.
    #[error("{} {_0}", _0.code())]
    Config(#[from] config::Error),
    /// A certificate, key or CA can't be used.
    #[error("{0}")]
    Certificate(#[from] transport::LoadError),
    /// The log can't be opened.
    #[error("{} {_0}", code::LOG_FILE)]
    Log(#[from] sla::subscriber::InitError),
    /// Tasks of this program panicked, three within a minute: it ended in good order, to be started anew.
    #[error(
        "{} three tasks of this program panicked within a minute, so it ends → let the service manager start it again, and report the task_panicked lines",
        code::PANICS
    )]
    Panicked,
    /// The runtime or a signal handler can't be set up.
    #[error("{} the process can't be set up: {}", code::PROCESS, lacking(_0))]
    Process(#[from] std::io::Error),
}

impl Error {
    /// The exit code of a program that ends for this (sysexits): 64 usage, 69 unavailable, 70 a fault of
    /// this program, 71 system, 78 configuration.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Address(_) => config::USAGE,
            Self::Bind(_) | Self::Listener { .. } => 69,
            Self::Config(error) => error.exit_code(),
            Self::Certificate(_) | Self::Log(_) => config::CONFIG,
            Self::Panicked => 70,
            Self::Process(_) => 71,
        }
    }
}

/// What the system would not give, with advice where whoever asked for it had none.
fn lacking(error: &std::io::Error) -> String {
    let words = sla::plain(error);
    if words.contains(" → ") {
        return words;
    }
    format!(
        "{words} → look at the limits of its unit or shell (LimitNOFILE=, TasksMax=, MemoryMax=; ulimit -a)"
    )
}
