//! Who may do what on this server, now: one set of rules that a reload replaces as a whole.
//!
//! ```text
//!                      Rules ── a reload puts others in their place
//!                        │ asked by                      │ wakes
//!    handshake ──────────┤ is this identity let in?      ├──▶ live connections: judged again (transport::Standing)
//!    new connection ─────┤ is there room for it?         │
//!    new stream, dial ───┘ room? destination open?       └──▶ running streams: destination still open?
//! ```

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use framing::remux2::Code;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use routing::Acl;
use sla::{code, event};
use tokio::sync::watch;
use transport::{Admission, Certificate, Inadmissible};

use crate::config::{self, Identities, Rights};
use crate::registry::Limits;
use crate::relay::Broken;
use crate::unreached;

/// The rules in force.
pub(crate) struct Policy {
    rules: watch::Sender<Arc<Rules>>,
    look: Look,
}

/// Tells the addresses of this machine as they are now.
type Look = fn() -> io::Result<Vec<IpAddr>>;

/// One set of them, worked out.
struct Rules {
    config: config::Server,
    /// Closed to everybody without a grant.
    interfaces: Vec<IpAddr>,
    /// The server's own.
    limits: Limits,
    /// Of everybody who is listed.
    acls: HashMap<String, Acl>,
    /// Of everybody who is not listed.
    others: Acl,
}

impl Policy {
    /// The rules of a configuration, for a server that listens at `own`.
    ///
    /// # Errors
    /// The system does not tell this machine's addresses, which are to be closed.
    pub(crate) fn new(config: &config::Server, own: &[SocketAddr]) -> io::Result<Self> {
        Self::looking(interfaces, config, own)
    }

    fn looking(look: Look, config: &config::Server, own: &[SocketAddr]) -> io::Result<Self> {
        let interfaces =
            look().map_err(|error| io::Error::other(format!("{} → {NETLINK}", unlisted(&error))))?;
        let rules = Rules::new(config.clone(), interfaces, own);
        Ok(Self { rules: watch::Sender::new(Arc::new(rules)), look })
    }

    /// From now on those of `fresh`. What is no longer allowed ends: see [`Terms::closed`].
    pub(crate) fn replace(&self, mut fresh: config::Server, own: &[SocketAddr]) {
        let old = self.rules.borrow().clone();
        // Needs a restart.
        fresh.remux.conn_max = old.config.remux.conn_max;
        // Those that no file named were given by a program, which no file takes away.
        if fresh.identities.file.is_none() && old.config.identities.file.is_none() {
            fresh.identities.clone_from(&old.config.identities);
        }
        self.enforce(fresh, &old, own);
    }

    /// From now on those in force with other identities.
    pub(crate) fn replace_identities(&self, identities: Identities, own: &[SocketAddr]) {
        let old = self.rules.borrow().clone();
        self.enforce(config::Server { identities, ..old.config.clone() }, &old, own);
    }

    fn enforce(&self, config: config::Server, old: &Rules, own: &[SocketAddr]) {
        let interfaces = (self.look)().unwrap_or_else(|error| {
            event::config_warning(&format!(
                "{} {}; those of before stay closed → {NETLINK}",
                code::PROCESS,
                unlisted(&error)
            ));
            old.interfaces.clone()
        });
        self.rules.send_replace(Arc::new(Rules::new(config, interfaces, own)));
    }

    /// What `identity` may do, from now on as long as the value is kept.
    pub(crate) fn terms(&self, identity: &str) -> Terms {
        Terms { rules: self.rules.subscribe(), identity: identity.into() }
    }
}

impl Rules {
    fn new(config: config::Server, interfaces: Vec<IpAddr>, own: &[SocketAddr]) -> Self {
        let identities = &config.identities;
        let acl =
            Acl::new(&config.allow, &config.deny).with_own(interfaces.iter().copied(), own.iter().copied());
        let acl_of = |rights: &Rights| acl.for_identity(&rights.allow, &rights.deny, rights.only.as_deref());
        let acls = identities.listed.iter().map(|(name, rights)| (name.clone(), acl_of(rights))).collect();
        let others = identities.others.as_ref().map_or_else(|| acl.clone(), acl_of);
        Self { limits: limits(&config), interfaces, acls, others, config }
    }

    fn acl(&self, identity: &str) -> Option<&Acl> {
        self.config.identities.rights(identity)?;
        Some(self.acls.get(identity).unwrap_or(&self.others))
    }

    fn limits(&self, identity: &str) -> Limits {
        let mut limits = self.limits;
        if let Some(rights) = self.config.identities.rights(identity) {
            let own = |own: Option<usize>, limit: &mut usize| *limit = own.unwrap_or(*limit);
            own(rights.connections, &mut limits.connections_per_identity);
            own(rights.streams, &mut limits.streams_per_identity);
            own(rights.dials, &mut limits.dials_per_identity);
        }
        limits
    }
}

impl Admission for Policy {
    fn admit(&self, certificate: &Certificate) -> Result<(), Inadmissible> {
        let rules = self.rules.borrow().clone();
        let identities = &rules.config.identities;
        let file = identities.file.as_deref().map(|file| file.display().to_string());
        let list = file.as_deref().unwrap_or("the server's identities");
        if let Some(entry) = identities.revocation(certificate) {
            let text = format!("{list} has {entry} under revoked → nothing to do if that is meant");
            return Err(Inadmissible::Revoked(text));
        }
        let identity = certificate.identity().to_string();
        if identities.rights(&identity).is_some() {
            return Ok(());
        }
        let near = identities
            .nearest(&identity)
            .map_or_else(String::new, |near| format!(" (\"{near}\" is much like it)"));
        Err(Inadmissible::Unlisted(format!(
            "is not in {list}{near} → if it is to be let in, add it below identities and send SIGHUP"
        )))
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Policy")
    }
}

/// What one identity may do, by the rules in force at each moment.
pub(crate) struct Terms {
    rules: watch::Receiver<Arc<Rules>>,
    identity: Arc<str>,
}

impl Terms {
    /// Whose.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// What it may hold now.
    pub(crate) fn limits(&self) -> Limits {
        self.rules.borrow().limits(&self.identity)
    }

    /// Where it may go now.
    ///
    /// # Errors
    /// It is not let in any more; its connection is about to be cut.
    pub(crate) fn acl(&mut self) -> Result<Acl, Broken> {
        let rules = self.rules.borrow_and_update();
        let acl = rules.acl(&self.identity).cloned();
        acl.ok_or_else(|| Broken::new("denied", Code::AUTH, "the identity is not let in any more"))
    }

    /// Waits until a reload has closed a destination that [`Terms::acl`] had open, and tells the log.
    pub(crate) async fn closed(&mut self, target: &str, address: Option<SocketAddr>) -> Broken {
        loop {
            if self.rules.changed().await.is_err() {
                // No rules will come after these.
                std::future::pending::<()>().await;
            }
            let judged =
                self.acl().map(|acl| address.map_or(Ok(()), |address| acl.check(address).map(|_| ())));
            match judged {
                Ok(Ok(())) => {}
                Ok(Err(denied)) => {
                    let broken = unreached::denied(&denied);
                    event::acl_denied(Some(&self.identity), target, &broken.text);
                    return broken;
                }
                // Its connection is being cut, which is a reset on every wire, where the end of one stream need not be.
                Err(broken) => {
                    tokio::time::sleep(UNCUT).await;
                    return broken;
                }
            }
        }
    }
}

/// After this nobody has cut the connection: it is a plain one.
const UNCUT: Duration = Duration::from_secs(1);

fn interfaces() -> io::Result<Vec<IpAddr>> {
    let ip = |interface: InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::from(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| a.ip().into()))
    };
    Ok(getifaddrs()?.filter_map(ip).collect())
}

/// Without them clients could reach what runs on this machine by its public addresses.
fn unlisted(error: &io::Error) -> String {
    format!(
        "this machine's own addresses, which are closed to clients, can't be listed: {}",
        sla::plain(error)
    )
}

const NETLINK: &str = "let this program use AF_NETLINK (RestrictAddressFamilies= of its unit)";

fn limits(config: &config::Server) -> Limits {
    Limits {
        connections: config.remux.conn_max,
        connections_per_identity: share(config.remux.conn_max, config.identity_share_percent),
        streams_per_identity: config.streams_per_identity,
        streams: config.streams_max,
        dials_per_identity: config.dials_per_identity,
    }
}

/// `percent` of `whole`, at least 1.
fn share(whole: usize, percent: u8) -> usize {
    (whole.saturating_mul(percent.into()) / 100).max(1)
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
