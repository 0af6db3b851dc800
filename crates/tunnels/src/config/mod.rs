//! One tree of settings, read from flags, environment and a YAML file, checked before anything starts.
//!
//! ```text
//!  argv ─▶ flags ─┐
//!  environment ───┼─▶ Source ── merge: flag > environment > file > default ──▶ rules ──▶ Client | Server
//!  YAML file ─────┘            (each value knows where it was written)
//! ```
//!
//! [`TABLE`] is the only list of settings; flags, variables, file keys, help and manual are made from it.
//! [`Client`] and [`Server`] are what the rest of the program sees. An [`Error`] is one line that names the
//! place (`file:line:col`, the flag or the variable), the setting, the cause and what to do.

mod address;
mod check;
mod environment;
mod error;
mod file;
mod flags;
mod identities;
mod identity;
mod later;
mod manual;
mod model;
mod reader;
mod rules;
mod secrets;
mod setting;
mod source;
mod table;
mod value;
mod yaml;

// What the parts below already have a type for is used as it is.
pub use eagersocks::{Reply, Users};
pub use routing::Grant;
pub use sla::subscriber::dingtalk::Endpoint;
pub use transport::{Address, Net};

pub(crate) use address::bad_host;
pub(crate) use error::quote;
pub use error::{CONFIG, Error, USAGE};
pub(crate) use file::explain;
pub use flags::{Invocation, invoke, usage, utf8, with_two_dashes};
pub use identity::{Identities, Revoked, Rights};
pub use manual::manual;
pub use model::{
    Alert, Carrier, Client, ClientTls, Log, Memory, Server, ServerTls, Sockets, StreamLimits, Wire,
};
pub use setting::{Kind, Roles, Setting, Unit};
pub use source::Source;
pub use table::TABLE;

/// Which end of the tunnel a program is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// tunnels-client
    Client,
    /// tunnels-server
    Server,
}

impl Role {
    /// `client` or `server`.
    pub fn name(self) -> &'static str {
        match self {
            Role::Client => "client",
            Role::Server => "server",
        }
    }

    /// The other end.
    pub fn other(self) -> Role {
        match self {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        }
    }
}
