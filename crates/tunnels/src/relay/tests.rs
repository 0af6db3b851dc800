//! Relays between endpoints that do as they are told, on a stopped clock.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;

const QUIET: Quiet = Quiet { open: Duration::from_secs(7440), half_closed: Duration::from_secs(240) };

#[tokio::test(start_paused = true)]
async fn flow_without_a_byte_is_reset_on_both_sides_after_its_idle_time() {
    let flow = Flow::new();
    let began = Instant::now();
    let (near, far, report) = flow.end().await;
    assert_eq!((began.elapsed().as_secs(), report.end()), (7440, "timeout"));
    assert_eq!((near, far), (End::Reset(Code::IDLE), End::Reset(Code::IDLE)));
}

#[tokio::test(start_paused = true)]
async fn byte_in_either_direction_starts_the_idle_time_anew() {
    let flow = Flow::new();
    let began = Instant::now();
    for line in [&flow.near, &flow.far] {
        sleep(QUIET.open - Duration::from_secs(1)).await;
        line.give(b"x");
    }
    assert_eq!(flow.end().await.2.end(), "timeout");
    assert_eq!(began.elapsed().as_secs(), 3 * 7440 - 2);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_nobody_takes_do_not_count_as_life() {
    let flow = Flow::new();
    flow.far.set_room(3);
    let began = Instant::now();
    let (near, far, report) = flow.end().await;
    assert_eq!((began.elapsed().as_secs(), report.up), (7440, 3));
    assert_eq!((near, far), (End::Reset(Code::IDLE), End::Reset(Code::IDLE)));
}

#[tokio::test(start_paused = true)]
async fn half_closed_flow_is_reset_after_its_shorter_time_without_a_byte() {
    for near_ends in [true, false] {
        let flow = Flow::new();
        let (ended, other) = if near_ends { (&flow.near, &flow.far) } else { (&flow.far, &flow.near) };
        ended.give_end();
        let began = Instant::now();
        sleep(QUIET.half_closed - Duration::from_secs(1)).await;
        assert!(other.is_finished(), "the end was passed on");
        other.give(b"still here");
        let (near, far, report) = flow.end().await;
        assert_eq!((began.elapsed().as_secs(), report.end()), (2 * 240 - 1, "timeout"));
        assert_eq!((near, far), (End::Reset(Code::IDLE), End::Reset(Code::IDLE)));
    }
}

#[tokio::test(start_paused = true)]
async fn flow_of_two_clean_ends_is_closed_and_never_reset() {
    let flow = Flow::new();
    flow.near.give(b"question");
    flow.near.give_end();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(flow.far.written(), b"early question");
    flow.far.give(b"answer");
    flow.far.give_end();
    let heard = flow.near.clone();
    let (near, far, report) = flow.end().await;
    assert_eq!((near, far), (End::Closed, End::Closed));
    assert_eq!((report.up, report.down, report.end(), report.cause()), (14, 6, "fin", "fin"));
    assert_eq!(heard.written(), b"answer");
    assert!(report.first_byte.is_some());
}

#[tokio::test(start_paused = true)]
async fn failure_of_either_side_resets_the_other_with_its_code_and_is_laid_at_its_door() {
    for (culprit, when) in [(Side::Near, "reading"), (Side::Far, "reading"), (Side::Far, "writing")] {
        let flow = Flow::new();
        let line = if culprit == Side::Near { &flow.near } else { &flow.far };
        match when {
            "reading" => line.fail(Code::DEST_RESET),
            _ => {
                line.fail_writes(Code::DEST_RESET);
                flow.near.give(b"x");
            }
        }
        let (near, far, report) = flow.end().await;
        assert_eq!((near, far), (End::Reset(Code::DEST_RESET), End::Reset(Code::DEST_RESET)), "{when}");
        assert_eq!(report.broken.unwrap().0, culprit, "{when}");
    }
}

#[tokio::test(start_paused = true)]
async fn reset_of_a_source_does_not_wait_for_a_side_that_takes_nothing() {
    let flow = Flow::new();
    flow.far.set_room(0);
    flow.near.give(b"stuck");
    let began = Instant::now();
    sleep(Duration::from_secs(5)).await;
    flow.near.fail(Code::CANCEL);
    let (_, far, report) = flow.end().await;
    assert_eq!((far, report.end()), (End::Reset(Code::CANCEL), "broken"));
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn source_lost_after_its_end_is_noticed_at_once() {
    let flow = Flow::new();
    flow.near.give_end();
    let began = Instant::now();
    sleep(Duration::from_secs(5)).await;
    flow.near.fail(Code::TRUNCATED);
    assert_eq!(flow.end().await.1, End::Reset(Code::TRUNCATED));
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn bytes_before_the_loss_of_their_source_are_delivered_if_they_are_taken_in_time() {
    for taken in [true, false] {
        let flow = Flow::new();
        flow.far.set_room(0);
        flow.near.give(b"last words");
        flow.near.fail(Code::TRUNCATED);
        let began = Instant::now();
        sleep(Duration::from_secs(100)).await;
        let far = flow.far.clone();
        if taken {
            far.set_room(1 << 20);
        }
        let end = flow.end().await.1;
        let heard = if taken { &b"early last words"[..] } else { &b""[..] };
        assert_eq!(far.written(), heard);
        let expected = if taken { (Code::TRUNCATED, 100) } else { (Code::IDLE, 240) };
        assert_eq!((end, began.elapsed().as_secs()), (End::Reset(expected.0), expected.1));
    }
}

#[tokio::test(start_paused = true)]
async fn loss_of_a_socket_whose_bytes_nobody_takes_is_noticed_and_they_are_delivered_if_taken_in_time() {
    for (in_hand, taken) in [(true, true), (true, false), (false, true), (false, false)] {
        let flow = Flow::new();
        // Bytes were read that can't be written; or there was no room to read any.
        flow.far.set_room(if in_hand { 0 } else { 6 });
        flow.far.must_be_asked_for_room(!in_hand);
        flow.near.give(b"last words");
        let began = Instant::now();
        sleep(Duration::from_secs(1)).await;
        flow.near.lose(Code::DEST_RESET);
        sleep(Duration::from_secs(99)).await;
        let far = flow.far.clone();
        if taken {
            far.set_room(1 << 20);
        }
        let end = flow.end().await.1;
        let heard: &[u8] = match (taken, in_hand) {
            (true, _) => b"early last words",
            (false, true) => b"",
            (false, false) => b"early ",
        };
        assert_eq!(far.written(), heard);
        let expected = if taken { (Code::DEST_RESET, 100) } else { (Code::IDLE, 241) };
        assert_eq!((end, began.elapsed().as_secs()), (End::Reset(expected.0), expected.1));
    }
}

#[tokio::test(start_paused = true)]
async fn reset_behind_bytes_that_nobody_takes_is_noticed_and_a_clean_end_waits_with_them() {
    for (reset, ends) in [(true, 240..243), (false, 7440..7442)] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let application = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let near = Plain::new(transport::Socket::from(listener.accept().await.unwrap().0), "application");
        let far = Line::new();
        far.set_room(0);
        far.must_be_asked_for_room(true);
        let began = Instant::now();
        let task = tokio::spawn(relay(near, Fake(far.clone()), Bytes::new(), QUIET, pending()));
        assert_eq!(application.try_write(b"last words").unwrap(), 10);
        sleep(Duration::from_secs(1)).await;
        if reset {
            socket2::SockRef::from(&application).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(application);
        task.await.unwrap();
        assert_eq!(far.end(), End::Reset(Code::IDLE));
        assert!(ends.contains(&began.elapsed().as_secs()), "{reset}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_relay_drops_both_sides_unfinished() {
    let flow = Flow::new();
    sleep(Duration::from_secs(1)).await;
    flow.task.abort();
    assert!(flow.task.await.unwrap_err().is_cancelled());
    assert_eq!((flow.near.end(), flow.far.end()), (End::Dropped, End::Dropped));
}

/// A relay between two lines, with `early ` in front.
struct Flow {
    near: Line,
    far: Line,
    task: JoinHandle<Report>,
}

impl Flow {
    fn new() -> Self {
        let (near, far) = (Line::new(), Line::new());
        let early = Bytes::from_static(b"early ");
        let task = tokio::spawn(relay(Fake(near.clone()), Fake(far.clone()), early, QUIET, pending()));
        Self { near, far, task }
    }

    async fn end(self) -> (End, End, Report) {
        let report = self.task.await.unwrap();
        (self.near.end(), self.far.end(), report)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Closed,
    Dropped,
    Reset(Code),
}

/// What the test holds of an endpoint.
#[derive(Clone)]
struct Line(Arc<Mutex<State>>);

struct State {
    /// Bytes to be read; `None` is the clean end.
    reads: VecDeque<Option<Bytes>>,
    failure: Option<Broken>,
    /// The failure is that of a socket: it is told by reads, and seen behind unread bytes.
    is_lost: bool,
    write_failure: Option<Broken>,
    /// Bytes it still takes.
    room: usize,
    /// Nothing is written to it before it says that it has room.
    asked_for_room: bool,
    written: Vec<u8>,
    finished: bool,
    end: Option<End>,
    wakers: Vec<Waker>,
}

impl Line {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            reads: VecDeque::new(),
            failure: None,
            is_lost: false,
            write_failure: None,
            room: 1 << 20,
            asked_for_room: false,
            written: Vec::new(),
            finished: false,
            end: None,
            wakers: Vec::new(),
        })))
    }

    fn give(&self, bytes: &'static [u8]) {
        self.change(|state| state.reads.push_back(Some(Bytes::from_static(bytes))));
    }

    fn give_end(&self) {
        self.change(|state| state.reads.push_back(None));
    }

    fn set_room(&self, room: usize) {
        self.change(|state| state.room = room);
    }

    fn must_be_asked_for_room(&self, must: bool) {
        self.change(|state| state.asked_for_room = must);
    }

    /// Fails as a socket does, and once everything given was read.
    fn lose(&self, code: Code) {
        self.change(|state| state.is_lost = true);
        self.fail(code);
    }

    /// Fails once everything given was read.
    fn fail(&self, code: Code) {
        self.change(|state| state.failure = Some(Broken::new("broken", code, "broken by the test")));
    }

    fn fail_writes(&self, code: Code) {
        self.change(|state| state.write_failure = Some(Broken::new("broken", code, "broken by the test")));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let wakers = {
            let mut state = self.0.lock();
            change(&mut state);
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn written(&self) -> Vec<u8> {
        self.0.lock().written.clone()
    }

    fn is_finished(&self) -> bool {
        self.0.lock().finished
    }

    fn end(&self) -> End {
        self.0.lock().end.unwrap()
    }
}

/// What the relay holds of it.
struct Fake(Line);

impl Fake {
    fn wait<T>(state: &mut State, cx: &Context<'_>) -> Poll<T> {
        state.wakers.push(cx.waker().clone());
        Poll::Pending
    }
}

impl Endpoint for Fake {
    fn poll_read(&mut self, cx: &mut Context<'_>, _: usize) -> Poll<Result<Option<Bytes>, Broken>> {
        let mut state = self.0.0.lock();
        match (state.reads.pop_front(), &state.failure) {
            (Some(read), _) => Poll::Ready(Ok(read)),
            (None, Some(failure)) => Poll::Ready(Err(failure.clone())),
            (None, None) => Self::wait(&mut state, cx),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<Result<(), Broken>> {
        let mut state = self.0.0.lock();
        if let Some(failure) = &state.write_failure {
            return Poll::Ready(Err(failure.clone()));
        }
        let taken = chunk.split_to(state.room.min(chunk.len()));
        state.room -= taken.len();
        state.written.extend_from_slice(&taken);
        if chunk.is_empty() { Poll::Ready(Ok(())) } else { Self::wait(&mut state, cx) }
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.0.0.lock().finished = true;
        Poll::Ready(Ok(()))
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        let mut state = self.0.0.lock();
        match state.room {
            0 if state.asked_for_room => Self::wait(&mut state, cx),
            _ => Poll::Ready(Ok(usize::MAX)),
        }
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let mut state = self.0.0.lock();
        match &state.failure {
            Some(failure) if !state.is_lost => Poll::Ready(failure.clone()),
            _ => Self::wait(&mut state, cx),
        }
    }

    fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.0.lock();
        if state.is_lost { Poll::Ready(()) } else { Self::wait(&mut state, cx) }
    }

    fn reset(self, why: &Broken) {
        self.0.0.lock().end = Some(End::Reset(why.code));
    }

    fn close(self) {
        self.0.0.lock().end = Some(End::Closed);
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.0.0.lock().end.get_or_insert(End::Dropped);
    }
}
