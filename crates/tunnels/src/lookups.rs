//! Names into addresses, by the system's name service.
//!
//! ```text
//!  dial ──▶ place of its identity ──▶ place of the process ──▶ a thread asks ──▶ addresses
//!   └─ given up: the thread goes on, and both places with it, until the service has answered
//! ```
//! A question that gets no answer can't be taken back, and its thread is held for as long as the service likes: so there
//! are only so many, of which an identity has a share, whatever has become of its connections meanwhile.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::turns::{Turn, Turns};

/// The look-ups of a server.
pub(crate) struct Lookups {
    service: Arc<NameService>,
    shares: Arc<Turns<Arc<str>>>,
    all: Arc<Semaphore>,
}

/// Blocks for as long as it likes.
type NameService = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// The right to one look-up.
pub(crate) struct Places {
    _own: Turn<Arc<str>>,
    _of_all: Option<OwnedSemaphorePermit>,
}

impl Lookups {
    /// By the system's name service.
    pub(crate) fn new() -> Self {
        let system = |name: &str, port: u16| (name, port).to_socket_addrs().map(first);
        Self::by(Arc::new(system), SHARE, AT_ONCE)
    }

    fn by(service: Arc<NameService>, share: usize, at_once: usize) -> Self {
        Self { service, shares: Turns::new(share), all: Arc::new(Semaphore::new(at_once)) }
    }

    /// Waits until `identity` may look up a name: in its own line first, so that its names never fill that of all.
    ///
    /// Cancel safety: dropping the future leaves the lines.
    pub(crate) async fn wait(&self, identity: &str) -> Places {
        let own = self.shares.take(identity.into()).await;
        // Only this type closes it, and never does.
        Places { _own: own, _of_all: self.all.clone().acquire_owned().await.ok() }
    }

    /// The addresses of `name`.
    ///
    /// Cancel safety: a look-up that was given up goes on and keeps its places; one that has not begun never does.
    pub(crate) async fn find(&self, places: Places, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let (service, name) = (self.service.clone(), name.to_owned());
        let mut thread = JoinSet::new();
        thread.spawn_blocking(move || {
            let _places = places;
            service(&name, port)
        });
        match thread.join_next().await {
            Some(Ok(found)) => found,
            Some(Err(error)) => Err(io::Error::other(error)),
            None => Ok(Vec::new()),
        }
    }
}

/// As many of a name's addresses as are judged and dialled.
fn first(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    found.take(ADDRESSES).collect()
}

/// Addresses of one name that are judged; a name with more is not trusted to be honest.
const ADDRESSES: usize = 64;
/// Look-ups of one identity.
pub(crate) const SHARE: usize = 32;
/// Look-ups of all: each is a thread.
pub(crate) const AT_ONCE: usize = 256;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::{Condvar, Mutex};
    use std::task::Poll;

    use tokio::runtime::Builder;
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

    use super::*;

    #[tokio::test]
    async fn look_ups_that_hang_are_their_identitys_share_however_often_it_comes_back_and_others_go_on() {
        let (lookups, mut service) = Service::with_places(2, 3);
        for _ in 0..2 {
            service.is_left_waiting_by(&lookups, "mallory").await;
        }
        assert!(is_pending(lookups.wait("mallory")).await, "nothing of it is left but what hangs");
        let places = lookups.wait("alice").await;
        assert_eq!(lookups.find(places, "known", 80).await.unwrap(), [ADDRESS]);
        service.answers();
        drop(lookups.wait("mallory").await);
    }

    #[tokio::test]
    async fn look_ups_of_all_are_bounded_and_go_on_as_places_are_given_back() {
        let (lookups, mut service) = Service::with_places(2, 3);
        for identity in ["mallory", "mallory", "malory"] {
            service.is_left_waiting_by(&lookups, identity).await;
        }
        assert!(is_pending(lookups.wait("alice")).await);
        service.answers();
        let places = lookups.wait("alice").await;
        assert_eq!(lookups.find(places, "known", 80).await.unwrap(), [ADDRESS]);
    }

    #[test]
    fn look_up_that_was_given_up_before_it_began_never_begins() {
        let one_thread = Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        one_thread.block_on(async {
            let (lookups, mut service) = Service::with_places(9, 9);
            service.is_left_waiting_by(&lookups, "mallory").await;
            let places = lookups.wait("mallory").await;
            assert!(is_pending(lookups.find(places, "given up", 80)).await);
            service.answers();
            let places = lookups.wait("alice").await;
            lookups.find(places, "known", 80).await.unwrap();
            assert_eq!(service.asked.recv().await.unwrap(), "known");
        });
    }

    #[test]
    fn name_with_many_addresses_is_judged_by_its_first_64() {
        let many = (0..100).map(|n| SocketAddr::from(([192, 0, 2, n], 80)));
        let found = first(many);
        assert_eq!((found.len(), found[63]), (64, SocketAddr::from(([192, 0, 2, 63], 80))));
    }

    /// Tells what it is asked, and has no answer about `silent` until it is told to.
    struct Service {
        asked: UnboundedReceiver<String>,
        speaks: Arc<(Mutex<bool>, Condvar)>,
    }

    impl Service {
        fn with_places(share: usize, at_once: usize) -> (Lookups, Self) {
            let (tell, asked) = unbounded_channel();
            let speaks = Arc::<(Mutex<bool>, Condvar)>::default();
            let waits = speaks.clone();
            let service = Arc::new(move |name: &str, _: u16| answer(name, &tell, &waits));
            (Lookups::by(service, share, at_once), Self { asked, speaks })
        }

        /// A look-up without an answer whose stream, and all that it had, is gone.
        async fn is_left_waiting_by(&mut self, lookups: &Lookups, identity: &str) {
            let places = lookups.wait(identity).await;
            let mut look_up = pin!(lookups.find(places, "silent", 80));
            tokio::select! {
                biased;
                found = &mut look_up => panic!("{found:?}"),
                asked = self.asked.recv() => assert_eq!(asked.unwrap(), "silent"),
            }
        }

        fn answers(&self) {
            *self.speaks.0.lock().unwrap() = true;
            self.speaks.1.notify_all();
        }
    }

    /// A runtime waits for its threads.
    impl Drop for Service {
        fn drop(&mut self) {
            self.answers();
        }
    }

    fn answer(
        name: &str,
        tell: &UnboundedSender<String>,
        (speaks, told): &(Mutex<bool>, Condvar),
    ) -> io::Result<Vec<SocketAddr>> {
        let _ = tell.send(name.to_owned());
        if name == "silent" {
            drop(told.wait_while(speaks.lock().unwrap(), |speaks| !*speaks).unwrap());
        }
        Ok(vec![ADDRESS])
    }

    const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 80);

    async fn is_pending<T>(future: impl Future<Output = T>) -> bool {
        let mut future = pin!(future);
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }
}
