//! Who is connected to a server: live connections and what each identity holds.
//!
//! Many tasks share these two tables, so they are concurrent maps; no guard is held across an await.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use parking_lot::Mutex;
#[cfg(feature = "planted")]
use remux::planted;
use sla::code;
use tokio::sync::Semaphore;

/// The identities that hold something now.
pub(crate) struct Registry {
    identities: DashMap<Arc<str>, Arc<Identity>>,
    connections: AtomicUsize,
    streams: AtomicUsize,
}

/// What one identity, and all of them together, may hold. They may differ from one moment to the next: over a limit that has
/// become less, nothing is taken away, and nothing more is given.
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
    /// Places for dials, and how many there are in all.
    dials: Mutex<(usize, Arc<Semaphore>)>,
}

impl Identity {
    /// The places for dials, `limit` of them. After a change, dials under way keep their old ones.
    pub(crate) fn dials(&self, limit: usize) -> Arc<Semaphore> {
        let mut dials = self.dials.lock();
        if dials.0 != limit {
            *dials = (limit, Arc::new(Semaphore::new(limit)));
        }
        dials.1.clone()
    }
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
    pub(crate) fn new() -> Self {
        Self { identities: DashMap::new(), connections: AtomicUsize::new(0), streams: AtomicUsize::new(0) }
    }

    /// A place for one more connection of `name`; it is given back when the value is dropped.
    pub(crate) fn connection(self: &Arc<Self>, name: &str, limits: &Limits) -> Result<Held, Full> {
        let held = Held { registry: self.clone(), identity: self.identity(name), what: What::Connection };
        // Counted first and judged after: two at once can't both take the last place.
        let all = self.connections.fetch_add(1, Ordering::AcqRel);
        let own = held.identity.connections.fetch_add(1, Ordering::AcqRel);
        if own >= limits.connections_per_identity {
            return Err(Full::IdentityConnections(limits.connections_per_identity));
        }
        if all >= limits.connections {
            return Err(Full::Connections(limits.connections));
        }
        Ok(held)
    }

    /// A place for one more stream of `name`; it is given back when the value is dropped.
    pub(crate) fn stream(self: &Arc<Self>, name: &str, limits: &Limits) -> Result<Held, Full> {
        let held = Held { registry: self.clone(), identity: self.identity(name), what: What::Stream };
        let all = self.streams.fetch_add(1, Ordering::AcqRel);
        let own = held.identity.streams.fetch_add(1, Ordering::AcqRel);
        if own >= limits.streams_per_identity {
            return Err(Full::IdentityStreams(limits.streams_per_identity));
        }
        if all >= limits.streams {
            return Err(Full::Streams(limits.streams));
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
                dials: Mutex::new((0, Arc::new(Semaphore::new(0)))),
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
        #[cfg(feature = "planted")]
        if matches!(self.what, What::Stream) && planted::strikes(planted::Bug::LeakedPermit) {
            return;
        }
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

    const LIMITS: Limits = Limits {
        connections: 3,
        connections_per_identity: 2,
        streams_per_identity: 3,
        streams: 4,
        dials_per_identity: 1,
    };

    fn registry() -> Arc<Registry> {
        Arc::new(Registry::new())
    }

    #[test]
    fn changed_limits_count_for_what_is_asked_next_and_take_nothing_away() {
        let registry = registry();
        let held: Vec<_> = (0..3).map(|_| registry.stream("a", &LIMITS).unwrap()).collect();
        let less = Limits { streams_per_identity: 1, ..LIMITS };
        assert_eq!(registry.stream("a", &less).unwrap_err(), Full::IdentityStreams(1));
        let more = Limits { streams_per_identity: 4, ..LIMITS };
        assert!(registry.stream("a", &more).is_ok());
        drop(held);
        assert!(registry.stream("a", &less).is_ok());
    }

    #[test]
    fn changed_limit_of_dials_counts_at_once() {
        let registry = registry();
        let held = registry.stream("a", &LIMITS).unwrap();
        let under_way = held.identity.dials(1).try_acquire_owned().unwrap();
        assert!(held.identity.dials(1).try_acquire_owned().is_err());
        let raised = held.identity.dials(2);
        assert!(raised.try_acquire_many_owned(2).is_ok());
        drop(under_way);
    }

    #[test]
    fn identity_over_its_share_of_connections_is_refused_and_others_are_not() {
        let registry = registry();
        let _held = [registry.connection("a", &LIMITS).unwrap(), registry.connection("a", &LIMITS).unwrap()];
        assert_eq!(registry.connection("a", &LIMITS).unwrap_err(), Full::IdentityConnections(2));
        assert!(registry.connection("b", &LIMITS).is_ok());
    }

    #[test]
    fn connections_of_all_identities_are_limited_and_given_back() {
        let registry = registry();
        let held: Vec<_> =
            ["a", "b", "c"].iter().map(|name| registry.connection(name, &LIMITS).unwrap()).collect();
        assert_eq!(registry.connection("d", &LIMITS).unwrap_err(), Full::Connections(3));
        drop(held);
        assert!(registry.connection("d", &LIMITS).is_ok());
    }

    #[test]
    fn streams_are_limited_by_identity_and_in_all_and_given_back() {
        let registry = registry();
        let held: Vec<_> = (0..3).map(|_| registry.stream("a", &LIMITS).unwrap()).collect();
        assert_eq!(registry.stream("a", &LIMITS).unwrap_err(), Full::IdentityStreams(3));
        let _last = registry.stream("b", &LIMITS).unwrap();
        assert_eq!(registry.stream("b", &LIMITS).unwrap_err(), Full::Streams(4));
        drop(held);
        assert!(registry.stream("b", &LIMITS).is_ok());
    }

    #[test]
    fn identity_that_holds_nothing_is_forgotten() {
        let registry = registry();
        let held = (registry.connection("a", &LIMITS).unwrap(), registry.stream("a", &LIMITS).unwrap());
        assert_eq!(registry.identities.len(), 1);
        drop(held);
        assert_eq!(registry.identities.len(), 0);
        assert_eq!(registry.streams.load(Ordering::Acquire), 0);
    }

    #[test]
    fn identity_whose_places_are_given_back_side_by_side_is_forgotten() {
        let registry = registry();
        for _ in 0..2_000 {
            let held =
                [registry.connection("a", &LIMITS).unwrap(), registry.connection("a", &LIMITS).unwrap()];
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
