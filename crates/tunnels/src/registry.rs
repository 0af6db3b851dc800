//! Who is connected to a server: live connections and what each identity holds.
//!
//! Many tasks share these two tables, so they are concurrent maps; no guard is held across an await.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use sla::code;
use tokio::sync::Semaphore;

/// The identities that hold something now.
pub(crate) struct Registry {
    identities: DashMap<Arc<str>, Arc<Identity>>,
    connections: AtomicUsize,
    streams: AtomicUsize,
    limits: Limits,
}

/// What one identity, and all of them together, may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections of the process.
    pub(crate) connections: usize,
    /// Connections of one identity.
    pub(crate) connections_per_identity: usize,
    /// Streams of one identity.
    pub(crate) streams_per_identity: usize,
    /// Streams of the process.
    pub(crate) streams: usize,
    /// Dials in progress of one identity.
    pub(crate) dials_per_identity: usize,
}

/// What one identity holds.
pub(crate) struct Identity {
    pub(crate) name: Arc<str>,
    /// Places that are held, or being asked for; changes only under the table's lock.
    places: AtomicUsize,
    connections: AtomicUsize,
    streams: AtomicUsize,
    pub(crate) dials: Arc<Semaphore>,
}

/// Why nothing more is given.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Full {
    #[error(
        "{} the server has its {_0} connections already → find out who opens them (conn_open in this log), or raise remux.conn.max.cnt",
        code::LIMIT_CONNECTIONS
    )]
    Connections(usize),
    #[error(
        "{} the identity has its {_0} connections already → close its other clients, or raise server.conn.identity.percent or remux.conn.max.cnt",
        code::LIMIT_CONNECTIONS
    )]
    IdentityConnections(usize),
    #[error(
        "{} the identity has its {_0} streams already → let its applications open less, or raise server.stream.identity.max.cnt",
        code::LIMIT_STREAMS
    )]
    IdentityStreams(usize),
    #[error(
        "{} the server has its {_0} streams already → wait for some to end, or raise server.stream.max.cnt",
        code::LIMIT_STREAMS
    )]
    Streams(usize),
}

impl Full {
    /// The limit itself.
    pub(crate) const fn limit(self) -> usize {
        match self {
            Self::Connections(limit) | Self::IdentityConnections(limit) => limit,
            Self::IdentityStreams(limit) | Self::Streams(limit) => limit,
        }
    }
}

impl Registry {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            identities: DashMap::new(),
            connections: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            limits,
        }
    }

    /// A place for one more connection of `name`; it is given back when the value is dropped.
    pub(crate) fn connection(self: &Arc<Self>, name: &str) -> Result<Held, Full> {
        let held = Held { registry: self.clone(), identity: self.identity(name), what: What::Connection };
        // Counted first and judged after: two at once can't both take the last place.
        let all = self.connections.fetch_add(1, Ordering::AcqRel);
        let own = held.identity.connections.fetch_add(1, Ordering::AcqRel);
        if own >= self.limits.connections_per_identity {
            return Err(Full::IdentityConnections(self.limits.connections_per_identity));
        }
        if all >= self.limits.connections {
            return Err(Full::Connections(self.limits.connections));
        }
        Ok(held)
    }

    /// A place for one more stream of `name`; it is given back when the value is dropped.
    pub(crate) fn stream(self: &Arc<Self>, name: &str) -> Result<Held, Full> {
        let held = Held { registry: self.clone(), identity: self.identity(name), what: What::Stream };
        let all = self.streams.fetch_add(1, Ordering::AcqRel);
        let own = held.identity.streams.fetch_add(1, Ordering::AcqRel);
        if own >= self.limits.streams_per_identity {
            return Err(Full::IdentityStreams(self.limits.streams_per_identity));
        }
        if all >= self.limits.streams {
            return Err(Full::Streams(self.limits.streams));
        }
        Ok(held)
    }

    /// The entry of `name`, which stays at least as long as the [`Held`] that is made of it.
    fn identity(&self, name: &str) -> Arc<Identity> {
        let taken = |identity: &Arc<Identity>| {
            identity.places.fetch_add(1, Ordering::AcqRel);
            identity.clone()
        };
        if let Some(identity) = self.identities.get(name) {
            return taken(&identity);
        }
        let name: Arc<str> = name.into();
        let fresh = || {
            Arc::new(Identity {
                name: name.clone(),
                places: AtomicUsize::new(0),
                connections: AtomicUsize::new(0),
                streams: AtomicUsize::new(0),
                dials: Arc::new(Semaphore::new(self.limits.dials_per_identity)),
            })
        };
        taken(&self.identities.entry(name.clone()).or_insert_with(fresh))
    }
}

/// A place that is taken until this is dropped.
pub(crate) struct Held {
    registry: Arc<Registry>,
    pub(crate) identity: Arc<Identity>,
    what: What,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Held({:?} of {})", self.what, self.identity.name)
    }
}

#[derive(Clone, Copy, Debug)]
enum What {
    Connection,
    Stream,
}

impl Drop for Held {
    fn drop(&mut self) {
        match self.what {
            What::Connection => {
                self.registry.connections.fetch_sub(1, Ordering::AcqRel);
                self.identity.connections.fetch_sub(1, Ordering::AcqRel)
            }
            What::Stream => {
                self.registry.streams.fetch_sub(1, Ordering::AcqRel);
                self.identity.streams.fetch_sub(1, Ordering::AcqRel)
            }
        };
        // An identity that holds nothing is forgotten.
        let is_last =
            |_: &Arc<str>, identity: &Arc<Identity>| identity.places.fetch_sub(1, Ordering::AcqRel) == 1;
        self.registry.identities.remove_if(&self.identity.name, is_last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> Arc<Registry> {
        let limits = Limits {
            connections: 3,
            connections_per_identity: 2,
            streams_per_identity: 3,
            streams: 4,
            dials_per_identity: 1,
        };
        Arc::new(Registry::new(limits))
    }

    #[test]
    fn identity_over_its_share_of_connections_is_refused_and_others_are_not() {
        let registry = registry();
        let _held = [registry.connection("a").unwrap(), registry.connection("a").unwrap()];
        assert_eq!(registry.connection("a").unwrap_err(), Full::IdentityConnections(2));
        assert!(registry.connection("b").is_ok());
    }

    #[test]
    fn connections_of_all_identities_are_limited_and_given_back() {
        let registry = registry();
        let held: Vec<_> = ["a", "b", "c"].iter().map(|name| registry.connection(name).unwrap()).collect();
        assert_eq!(registry.connection("d").unwrap_err(), Full::Connections(3));
        drop(held);
        assert!(registry.connection("d").is_ok());
    }

    #[test]
    fn streams_are_limited_by_identity_and_in_all_and_given_back() {
        let registry = registry();
        let held: Vec<_> = (0..3).map(|_| registry.stream("a").unwrap()).collect();
        assert_eq!(registry.stream("a").unwrap_err(), Full::IdentityStreams(3));
        let _last = registry.stream("b").unwrap();
        assert_eq!(registry.stream("b").unwrap_err(), Full::Streams(4));
        drop(held);
        assert!(registry.stream("b").is_ok());
    }

    #[test]
    fn identity_that_holds_nothing_is_forgotten() {
        let registry = registry();
        let held = (registry.connection("a").unwrap(), registry.stream("a").unwrap());
        assert_eq!(registry.identities.len(), 1);
        drop(held);
        assert_eq!(registry.identities.len(), 0);
        assert_eq!(registry.streams.load(Ordering::Acquire), 0);
    }

    #[test]
    fn identity_whose_places_are_given_back_side_by_side_is_forgotten() {
        let registry = registry();
        for _ in 0..2_000 {
            let held = [registry.connection("a").unwrap(), registry.connection("a").unwrap()];
            std::thread::scope(|scope| {
                for place in held {
                    scope.spawn(|| drop(place));
                }
            });
            assert_eq!(registry.identities.len(), 0);
        }
        assert_eq!(registry.connections.load(Ordering::Acquire), 0);
    }
}
