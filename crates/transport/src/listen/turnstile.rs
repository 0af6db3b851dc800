//! Steps of handshakes, a few at a time and each source in its turn.
//!
//! ```text
//!            a place is free                    the step is done
//!  poll ────────────────────────▶ step ─────────────────────────▶ the next source's first one is woken
//!    │                              ▲
//!    └─ none: wait in the line of its source ─┘ its turn
//! ```
//!
//! A step is one poll of the handshake: half a millisecond of arithmetic or next to nothing. Without this, a hundred that
//! come at once would all stand before everybody else's work; with it there is room for that between any two of them, and a
//! source that has one waits for one of each other source, however many those have.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::limits::Source;

/// Shared by all handshakes of a server.
#[derive(Debug)]
pub(super) struct Turnstile(Mutex<Lines>);

impl Turnstile {
    /// For half of the processors, at least one.
    pub(super) fn new() -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::of(cores.div_ceil(2))
    }

    fn of(places: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Lines {
            free: places,
            turns: VecDeque::new(),
            waiting: HashMap::new(),
            next: 0,
        })))
    }

    /// The same future, whose polls take turns.
    pub(super) fn pace<F: Future>(self: &Arc<Self>, source: Option<Source>, inner: Pin<Box<F>>) -> Paced<F> {
        Paced { turnstile: self.clone(), source, inner, state: State::Outside }
    }
}

/// Who waits: a line for each source, and the sources in the order of their turns.
#[derive(Debug)]
struct Lines {
    free: usize,
    /// Each source that has a line, once.
    turns: VecDeque<Option<Source>>,
    waiting: HashMap<Option<Source>, VecDeque<(u64, Waker)>>,
    next: u64,
}

impl Lines {
    fn wait(&mut self, source: Option<Source>, waker: &Waker) -> u64 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let line = self.waiting.entry(source).or_default();
        if line.is_empty() {
            self.turns.push_back(source);
        }
        line.push_back((number, waker.clone()));
        number
    }

    /// Still in the line? Then it is woken by this waker.
    fn renew(&mut self, source: Option<Source>, number: u64, waker: &Waker) -> bool {
        let entry =
            self.waiting.get_mut(&source).and_then(|line| line.iter_mut().find(|entry| entry.0 == number));
        entry.is_some_and(|entry| {
            entry.1.clone_from(waker);
            true
        })
    }

    /// Takes it out of its line; false if its turn had come already.
    fn cancel(&mut self, source: Option<Source>, number: u64) -> bool {
        let Some(line) = self.waiting.get_mut(&source) else { return false };
        let before = line.len();
        line.retain(|entry| entry.0 != number);
        let was_there = line.len() < before;
        if line.is_empty() {
            self.waiting.remove(&source);
            self.turns.retain(|other| *other != source);
        }
        was_there
    }

    /// A place is free again: the first one of the next source has its turn, and the place.
    fn leave(&mut self) -> Option<Waker> {
        while let Some(source) = self.turns.pop_front() {
            let Some(line) = self.waiting.get_mut(&source) else { continue };
            let first = line.pop_front();
            if line.is_empty() {
                self.waiting.remove(&source);
            } else {
                self.turns.push_back(source);
            }
            if let Some((_, waker)) = first {
                return Some(waker);
            }
        }
        self.free = self.free.saturating_add(1);
        None
    }
}

/// A handshake whose polls take turns. Once woken it must be polled or dropped: its place is nobody else's meanwhile.
#[derive(Debug)]
pub(super) struct Paced<F> {
    turnstile: Arc<Turnstile>,
    source: Option<Source>,
    inner: Pin<Box<F>>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Outside,
    /// In the line of its source, or its turn has come and nobody polled yet.
    Waiting(u64),
}

impl<F: Future> Future for Paced<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let mut lines = this.turnstile.0.lock();
        match this.state {
            State::Outside if lines.free > 0 => lines.free -= 1,
            State::Outside => {
                this.state = State::Waiting(lines.wait(this.source, cx.waker()));
                return Poll::Pending;
            }
            State::Waiting(number) if lines.renew(this.source, number, cx.waker()) => return Poll::Pending,
            State::Waiting(_) => {}
        }
        drop(lines);
        this.state = State::Outside;
        // Given back however the step ends.
        let _place = Place(&this.turnstile);
        this.inner.as_mut().poll(cx)
    }
}

impl<F> Drop for Paced<F> {
    fn drop(&mut self) {
        if let State::Waiting(number) = self.state {
            let was_waiting = self.turnstile.0.lock().cancel(self.source, number);
            if !was_waiting {
                drop(Place(&self.turnstile));
            }
        }
    }
}

/// The right to one step.
struct Place<'a>(&'a Turnstile);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let next = self.0.0.lock().leave();
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use super::*;

    #[test]
    fn sources_take_turns_however_many_handshakes_each_has() {
        let turnstile = Turnstile::of(1);
        let story = Arc::new(Mutex::new(Vec::new()));
        let mut held = guest(&turnstile, 9, "first", &story, 2);
        let place = turnstile.0.lock().take();
        assert!(place, "somebody is at it");
        let mut guests: Vec<_> =
            (0..3).map(|n| guest(&turnstile, 1, ["a1", "a2", "a3"][n], &story, 1)).collect();
        guests.push(guest(&turnstile, 2, "b1", &story, 1));
        guests.push(guest(&turnstile, 3, "c1", &story, 1));
        for guest in &mut guests {
            assert!(guest.poll().is_pending(), "the only place is taken");
        }
        assert!(held.poll().is_pending());
        drop(Place(&turnstile));
        guests.push(held);
        while let Some(at) = guests.iter().position(Guest::is_woken) {
            if guests[at].poll().is_ready() {
                guests.remove(at);
            }
        }
        assert_eq!(*story.lock(), ["a1", "b1", "c1", "first", "a2", "a3", "first"]);
        assert_eq!(turnstile.0.lock().free, 1);
    }

    #[test]
    fn who_leaves_the_line_is_passed_over_and_a_turn_that_nobody_takes_goes_to_the_next() {
        let turnstile = Turnstile::of(1);
        let story = Arc::new(Mutex::new(Vec::new()));
        assert!(turnstile.0.lock().take());
        let mut guests: Vec<_> =
            (0..4).map(|n| guest(&turnstile, n, ["a", "b", "c", "d"][usize::from(n)], &story, 1)).collect();
        for guest in &mut guests {
            assert!(guest.poll().is_pending());
        }
        drop(guests.remove(1));
        drop(Place(&turnstile));
        assert!(guests[0].is_woken());
        drop(guests.remove(0));
        assert!(guests[0].is_woken(), "the turn of the one that is gone");
        assert!(guests[0].poll().is_ready());
        assert!(guests[1].poll().is_ready());
        assert_eq!(*story.lock(), ["c", "d"]);
        let lines = turnstile.0.lock();
        assert_eq!((lines.free, lines.turns.len(), lines.waiting.len()), (1, 0, 0));
    }

    #[test]
    fn step_that_panics_gives_its_place_back() {
        let turnstile = Turnstile::of(1);
        let mut paced = turnstile.pace(None, Box::pin(async { panic!("planted") }));
        let waker = Waker::noop();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = Pin::new(&mut paced).poll(&mut Context::from_waker(waker));
        }));
        assert!(result.is_err());
        assert_eq!(turnstile.0.lock().free, 1);
    }

    impl Lines {
        fn take(&mut self) -> bool {
            let is_free = self.free > 0;
            self.free -= usize::from(is_free);
            is_free
        }
    }

    type Step = Paced<Box<dyn Future<Output = ()> + Unpin>>;

    struct Guest {
        paced: Step,
        flag: Arc<Flag>,
    }

    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    impl Guest {
        fn is_woken(&self) -> bool {
            self.flag.0.load(Ordering::Relaxed)
        }

        fn poll(&mut self) -> Poll<()> {
            self.flag.0.store(false, Ordering::Relaxed);
            let waker = Waker::from(self.flag.clone());
            Pin::new(&mut self.paced).poll(&mut Context::from_waker(&waker))
        }
    }

    /// One that needs `steps` and tells of each.
    fn guest(
        turnstile: &Arc<Turnstile>,
        host: u8,
        name: &'static str,
        story: &Arc<Mutex<Vec<&'static str>>>,
        steps: usize,
    ) -> Guest {
        let story = story.clone();
        let mut left = steps;
        let inner: Box<dyn Future<Output = ()> + Unpin> = Box::new(poll_fn(move |cx| {
            story.lock().push(name);
            left -= 1;
            if left == 0 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        let source = Some(Source::from(IpAddr::from([198, 51, 100, host])));
        Guest { paced: turnstile.pace(source, Box::pin(inner)), flag: Arc::new(Flag(AtomicBool::new(false))) }
    }
}
