//! Places at a key, so many at a time, and a line before them.

use std::hash::Hash;
use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The lines of all keys. A key is known as long as somebody stands in its line or has a place.
pub(crate) struct Turns<K: Eq + Hash> {
    places: usize,
    lines: DashMap<K, Arc<Semaphore>>,
}

impl<K: Clone + Eq + Hash> Turns<K> {
    /// So many places at each key.
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places, lines: DashMap::new() })
    }

    /// Waits for a place at `key`.
    ///
    /// Cancel safety: dropping the future leaves the line.
    pub(crate) async fn take(self: &Arc<Self>, key: K) -> Turn<K> {
        let fresh = || Arc::new(Semaphore::new(self.places));
        let line = self.lines.entry(key.clone()).or_insert_with(fresh).clone();
        // Made before it waits: one that gives up waiting cleans up, too.
        let mut turn = Turn { turns: self.clone(), key, line: Some(line.clone()), place: None };
        // Only this type closes it, and never does.
        turn.place = line.acquire_owned().await.ok();
        turn
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// A place at a key, or in the line for it, until this is dropped; the key is forgotten with the last one.
pub(crate) struct Turn<K: Eq + Hash> {
    turns: Arc<Turns<K>>,
    key: K,
    line: Option<Arc<Semaphore>>,
    place: Option<OwnedSemaphorePermit>,
}

impl<K: Eq + Hash> Drop for Turn<K> {
    fn drop(&mut self) {
        self.place = None;
        self.line = None;
        // One reference is the table's own: nobody waits or has a place any more.
        self.turns.lines.remove_if(&self.key, |_, line| Arc::strong_count(line) == 1);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn turn_given_up_just_as_it_comes_leaves_nothing_behind() {
        let turns = Turns::new(2);
        let earlier = [turns.take("busy").await, turns.take("busy").await];
        {
            let mut waiting = pin!(turns.take("busy"));
            assert!(poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await);
            drop(turns.take("other").await);
            drop(earlier);
        }
        assert!(turns.is_empty());
    }
}
