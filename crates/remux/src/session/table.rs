//! The streams of a connection: slots, and the ways from an id to its slot.
//!
//! ```text
//!  id ──▶ [ (id, slot) (id, slot) (gone) (id, slot) … ]  in rising order ──▶ slots [ Stream | free | Stream | … ]
//! ```
//!
//! Ids rise, so their list is sorted by itself. As long as they are dense the place of an id is computed; else it is
//! searched for by halves. No hashing: nothing a peer chooses makes a look-up slow.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::StreamId;
use super::stream::Stream;

/// A slot's number; only meaningful together with the id of the stream in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Key(u32);

#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Option<Stream>>,
    free: Vec<Key>,
    local: Ids,
    remote: Ids,
}

impl Table {
    /// `step`: by how much ids usually rise.
    pub(super) const fn new(step: u32) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), local: Ids::new(step), remote: Ids::new(step) }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len().saturating_sub(self.free.len())
    }

    /// Puts a stream in; its id is above all earlier ones of its side.
    pub(super) fn insert(&mut self, stream: Stream) -> Key {
        let (id, local) = (stream.id, stream.local);
        let key = match self.free.pop() {
            Some(key) => key,
            None => {
                self.slots.push(None);
                Key(u32::try_from(self.slots.len().saturating_sub(1)).unwrap_or(u32::MAX))
            }
        };
        if let Some(slot) = self.slots.get_mut(key.0 as usize) {
            *slot = Some(stream);
        }
        self.side(local).insert(id.0, key);
        key
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Stream> {
        let stream = self.slots.get_mut(key.0 as usize)?.take()?;
        self.side(stream.local).remove(stream.id.0);
        self.free.push(key);
        Some(stream)
    }

    pub(super) fn find(&self, id: StreamId, local: bool) -> Option<Key> {
        if local { self.local.find(id.0) } else { self.remote.find(id.0) }
    }

    pub(super) fn get(&self, key: Key) -> Option<&Stream> {
        self.slots.get(key.0 as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Stream> {
        self.slots.get_mut(key.0 as usize)?.as_mut()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = Key> + use<> {
        (0..u32::try_from(self.slots.len()).unwrap_or(u32::MAX)).map(Key)
    }

    fn side(&mut self, local: bool) -> &mut Ids {
        if local { &mut self.local } else { &mut self.remote }
    }
}

/// Ids of one side that are in use, in rising order.
#[derive(Debug)]
struct Ids {
    step: u32,
    entries: VecDeque<(u32, Option<Key>)>,
    gone: usize,
}

impl Ids {
    const fn new(step: u32) -> Self {
        Self { step, entries: VecDeque::new(), gone: 0 }
    }

    fn insert(&mut self, id: u32, key: Key) {
        self.entries.push_back((id, Some(key)));
    }

    fn find(&self, id: u32) -> Option<Key> {
        self.entries.get(self.place(id)?)?.1
    }

    fn place(&self, id: u32) -> Option<usize> {
        let first = self.entries.front()?.0;
        let guess = id.checked_sub(first)?.checked_div(self.step)? as usize;
        if self.entries.get(guess).is_some_and(|entry| entry.0 == id) {
            return Some(guess);
        }
        self.entries.binary_search_by_key(&id, |entry| entry.0).ok()
    }

    fn remove(&mut self, id: u32) {
        let Some(entry) = self.place(id).and_then(|place| self.entries.get_mut(place)) else { return };
        entry.1 = None;
        self.gone = self.gone.saturating_add(1);
        while let Some((_, None)) = self.entries.front() {
            self.entries.pop_front();
            self.gone = self.gone.saturating_sub(1);
        }
        if self.gone > self.entries.len() / 2 && self.gone > 32 {
            self.entries.retain(|entry| entry.1.is_some());
            self.gone = 0;
        }
    }
}

/// Ids that ended a short while ago: frames for them were under way and are no fault of the peer's.
///
/// At most 64 are remembered; when more end within the time, every id up to the highest one pushed out counts as fresh.
#[derive(Debug, Default)]
pub(super) struct Ended {
    recent: VecDeque<(StreamId, Instant)>,
    watermark: Option<(StreamId, Instant)>,
}

impl Ended {
    pub(super) fn push(&mut self, id: StreamId, now: Instant, round_trip: Duration) {
        let keep = round_trip.saturating_mul(2).max(KEEP);
        let until = now.checked_add(keep).unwrap_or(now);
        let pushed_out = if self.recent.len() < MOST { None } else { self.recent.pop_front() };
        if let Some((old, old_until)) = pushed_out.filter(|&(_, until)| until > now) {
            self.watermark = Some(match self.watermark {
                Some((mark, mark_until)) => (mark.max(old), mark_until.max(old_until)),
                None => (old, old_until),
            });
        }
        self.recent.push_back((id, until));
    }

    /// Whether a frame for the ended stream `id` may still have been under way.
    pub(super) fn is_fresh(&self, id: StreamId, now: Instant) -> bool {
        let marked = self.watermark.is_some_and(|(mark, until)| id <= mark && now < until);
        marked || self.recent.iter().any(|&(other, until)| other == id && now < until)
    }
}

/// Ids remembered one by one.
const MOST: usize = 64;
/// The least time for which they are.
const KEEP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_whether_dense_or_not_and_after_many_are_gone() {
        let mut ids = Ids::new(2);
        let mut model = Vec::new();
        let mut id = 1_u32;
        for n in 0..500_u32 {
            id += if n % 7 == 0 { 2 + 2 * n } else { 2 };
            ids.insert(id, Key(n));
            model.push((id, n));
        }
        for round in [3, 2, 5] {
            let (gone, kept): (Vec<_>, Vec<_>) = model.iter().partition(|(_, n)| n % round == 0);
            gone.iter().for_each(|&(id, _)| ids.remove(id));
            for &(id, n) in &kept {
                assert_eq!(ids.find(id), Some(Key(n)));
                assert_eq!(ids.find(id + 1), None);
            }
            for &(id, _) in &gone {
                assert_eq!(ids.find(id), None);
            }
            model = kept;
        }
        assert!(
            ids.entries.len() <= 2 * model.len() + 33,
            "{} entries for {}",
            ids.entries.len(),
            model.len()
        );
    }

    #[test]
    fn ended_id_is_fresh_for_two_round_trips_and_at_least_a_second() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut ended = Ended::default();
        ended.push(StreamId(1), start, Duration::from_millis(10));
        ended.push(StreamId(3), start, Duration::from_secs(2));
        assert!(ended.is_fresh(StreamId(1), at(999)));
        assert!(!ended.is_fresh(StreamId(1), at(1000)));
        assert!(ended.is_fresh(StreamId(3), at(3999)));
        assert!(!ended.is_fresh(StreamId(3), at(4000)));
        assert!(!ended.is_fresh(StreamId(5), start), "an id that did not end here is not known");
    }

    #[test]
    fn more_than_64_ended_ids_become_a_watermark_that_runs_out() {
        let start = Instant::now();
        let mut ended = Ended::default();
        for id in 0..200 {
            ended.push(StreamId(1 + 2 * id), start, Duration::ZERO);
        }
        assert_eq!(ended.recent.len(), 64);
        assert!((0..200).all(|id| ended.is_fresh(StreamId(1 + 2 * id), start)));
        let later = start + Duration::from_secs(1);
        assert!((0..200).all(|id| !ended.is_fresh(StreamId(1 + 2 * id), later)));
    }
}
