//! Who was accepted and waits for a place, in the order of their coming; those that are known go first.
//!
//! What waits here costs a descriptor and no more. When there are too many, whoever has most of them here loses its newest.

use std::collections::{HashMap, VecDeque};

use crate::limits::Source;

/// A bounded queue of guests, each with the source it came from.
#[derive(Debug)]
pub(super) struct Lobby<T> {
    most: usize,
    known: Queue<T>,
    strangers: Queue<T>,
}

type Queue<T> = VecDeque<(Option<Source>, T)>;

impl<T> Lobby<T> {
    /// For at most `most` guests.
    pub(super) const fn new(most: usize) -> Self {
        Self { most, known: VecDeque::new(), strangers: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len().saturating_add(self.strangers.len())
    }

    pub(super) fn has_known(&self) -> bool {
        !self.known.is_empty()
    }

    /// Takes one in; returned is who has to leave for it, if anybody: maybe itself.
    pub(super) fn enter(&mut self, is_known: bool, source: Option<Source>, guest: T) -> Option<T> {
        let queue = if is_known { &mut self.known } else { &mut self.strangers };
        queue.push_back((source, guest));
        if self.len() <= self.most {
            return None;
        }
        let crowded = if self.strangers.is_empty() { &mut self.known } else { &mut self.strangers };
        let mut counts = HashMap::new();
        for (source, _) in crowded.iter() {
            *counts.entry(*source).or_insert(0_usize) += 1;
        }
        let newest = crowded.iter().enumerate().max_by_key(|(at, (source, _))| (counts.get(source), *at));
        let at = newest.map(|(at, _)| at)?;
        crowded.remove(at).map(|(_, guest)| guest)
    }

    /// The first one for whom there is room, by what `has_room` says of its source.
    pub(super) fn leave(&mut self, has_room: impl Fn(Option<Source>) -> bool) -> Option<(Option<Source>, T)> {
        for queue in [&mut self.known, &mut self.strangers] {
            if queue.front().is_some_and(|(source, _)| has_room(*source)) {
                return queue.pop_front();
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn known_guests_go_first_and_each_kind_in_its_order() {
        let mut lobby = Lobby::new(9);
        for (is_known, host, guest) in [(false, 1, "a"), (true, 2, "b"), (false, 3, "c"), (true, 4, "d")] {
            assert_eq!(lobby.enter(is_known, source(host), guest), None);
        }
        assert_eq!((lobby.len(), lobby.has_known()), (4, true));
        let order: Vec<_> = std::iter::from_fn(|| lobby.leave(|_| true).map(|(_, guest)| guest)).collect();
        assert_eq!(order, ["b", "d", "a", "c"]);
    }

    #[test]
    fn nobody_leaves_without_room() {
        let mut lobby = Lobby::new(9);
        lobby.enter(true, source(1), "known");
        lobby.enter(false, source(2), "stranger");
        assert_eq!(lobby.leave(|_| false), None);
        assert_eq!(lobby.leave(|other| other == source(2)), Some((source(2), "stranger")));
        assert_eq!(lobby.len(), 1);
    }

    #[test]
    fn full_lobby_turns_away_the_newest_of_the_source_that_has_most_there() {
        let mut lobby = Lobby::new(4);
        for (host, guest) in [(1, "first"), (7, "crowd 1"), (7, "crowd 2"), (2, "second")] {
            assert_eq!(lobby.enter(false, source(host), guest), None);
        }
        assert_eq!(lobby.enter(false, source(3), "third"), Some("crowd 2"));
        assert_eq!(lobby.enter(true, source(4), "known"), Some("third"), "all have one now");
        assert_eq!(lobby.enter(false, source(5), "late"), Some("late"));
    }

    #[test]
    fn known_guests_turn_each_other_away_only_when_no_stranger_is_left() {
        let mut lobby = Lobby::new(2);
        lobby.enter(false, source(1), "stranger");
        lobby.enter(true, source(2), "known");
        assert_eq!(lobby.enter(true, source(2), "again"), Some("stranger"));
        assert_eq!(lobby.enter(true, source(3), "third"), Some("again"));
    }

    fn source(host: u8) -> Option<Source> {
        Some(Source::from(IpAddr::from([198, 51, 100, host])))
    }
}
