//! Joins two endpoints until both directions have ended, and keeps every end honest.
//!
//! ```text
//!            bytes                 finish
//!   Reading ──────▶ Writing   Reading ──────▶ Finishing ──▶ Done      (each direction by itself)
//!      ▲               │
//!      └───────────────┘      any failure: the other endpoint is reset, never finished
//! ```
//! A clean end travels as a half-close, anything else as a reset (RST on sockets): a cut download never looks
//! complete.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use framing::remux2::Code;
use remux::StreamError;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use crate::carrier::Explained;

/// One side of a flow.
pub(crate) trait Endpoint {
    /// The next bytes, `None` at a clean end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>>;

    /// Takes bytes from the front of `chunk`; ready when none are left.
    fn poll_write(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<Result<(), Broken>>;

    /// Pushes out what was written; called when there is nothing more to write for now.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;

    /// Passes a clean end on: no more bytes will be written.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;

    /// Ready once this side has failed, where that is known without reading from it; a socket says it in its turn.
    fn poll_broken(&mut self, _cx: &mut Context<'_>) -> Poll<Broken> {
        Poll::Pending
    }

    /// Its clean end was the end of both directions: nothing written from now on would arrive.
    fn is_over(&self) -> bool {
        false
    }

    /// Ends both directions at once; the far end sees a reset.
    fn reset(self, why: &Broken);

    /// Lets go after both directions have ended cleanly.
    fn close(self);
}

/// Why an endpoint can't go on.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    /// One word for the access line: `reset`, `truncated`, `refused`, `timeout`, …
    pub(crate) end: &'static str,
    /// The code that tells the other hop.
    pub(crate) code: Code,
    /// What happened, for people; may quote the peer.
    pub(crate) text: String,
}

impl Broken {
    /// This process ends and takes the flow along.
    pub(crate) fn stopped() -> Self {
        Self::new("stopped", Code::DRAIN, "the flow was still open when this process had to end")
    }

    pub(crate) fn new(end: &'static str, code: Code, text: impl Into<String>) -> Self {
        Self { end, code, text: text.into() }
    }
}

/// What a relay did.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Bytes from the near to the far endpoint.
    pub(crate) up: u64,
    /// Bytes from the far to the near endpoint.
    pub(crate) down: u64,
    /// When the far endpoint's first byte came.
    pub(crate) first_byte: Option<Instant>,
    /// Which side broke and how; `None` after two clean ends.
    pub(crate) broken: Option<(Side, Broken)>,
}

impl Report {
    /// A flow that broke before a byte could move.
    pub(crate) fn of(broken: Broken) -> Self {
        Self { broken: Some((Side::Far, broken)), ..Self::default() }
    }

    /// One word for how the flow ended: `fin` after two clean ends.
    pub(crate) fn end(&self) -> &'static str {
        self.broken.as_ref().map_or("fin", |(_, broken)| broken.end)
    }

    /// The same for people: the failure's text, or `fin`.
    pub(crate) fn cause(&self) -> &str {
        self.broken.as_ref().map_or("fin", |(_, broken)| broken.text.as_str())
    }
}

/// The two sides of a relay.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    /// The side that asked: the application at a client, the stream at a server.
    Near,
    /// The side that was asked.
    Far,
}

/// How long a flow may be quiet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quiet {
    /// Both directions open and no byte either way.
    pub(crate) open: Duration,
    /// One direction ended, or its source was lost with bytes still to deliver, and no byte moved.
    pub(crate) half_closed: Duration,
}

/// Copies both ways, `early` first, until both directions have ended, one endpoint breaks, or `stop` is ready.
///
/// Cancel safety: dropping the future drops both endpoints, which resets them.
pub(crate) async fn relay<N: Endpoint, F: Endpoint>(
    mut near: N,
    mut far: F,
    early: Bytes,
    quiet: Quiet,
    stop: impl Future<Output = ()>,
) -> Report {
    let mut stop = pin!(stop);
    let mut up = Direction::starting_with(early);
    let mut down = Direction::starting_with(Bytes::new());
    let mut report = Report::default();
    let mut idle = pin!(tokio::time::sleep(quiet.open));
    let mut seen = 0;

    let outcome = poll_fn(|cx| {
        if stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err((Side::Near, Broken::stopped())));
        }
        let up_done = match up.poll(cx, &mut near, &mut far) {
            Poll::Ready(Err((from, broken))) => return Poll::Ready(Err((from.side(Side::Near), broken))),
            poll => poll.is_ready(),
        };
        let down_done = match down.poll(cx, &mut far, &mut near) {
            Poll::Ready(Err((from, broken))) => return Poll::Ready(Err((from.side(Side::Far), broken))),
            poll => poll.is_ready(),
        };
        if down.bytes > 0 && report.first_byte.is_none() {
            report.first_byte = Some(Instant::now());
        }
        if up_done && (down_done || near.is_over()) || down_done && far.is_over() {
            return Poll::Ready(Ok(()));
        }
        let mut lost = false;
        for (side, source) in [(Side::Near, up.source(cx, &mut near)), (Side::Far, down.source(cx, &mut far))]
        {
            match source {
                Source::Fine => {}
                Source::Lost => lost = true,
                Source::Broken(broken) => return Poll::Ready(Err((side, broken))),
            }
        }
        let moved = up.bytes + down.bytes + u64::from(up_done) + u64::from(down_done) + u64::from(lost);
        let progress = std::mem::replace(&mut seen, moved) != moved;
        let limit = if up_done || down_done || lost { quiet.half_closed } else { quiet.open };
        if progress {
            idle.as_mut().reset(Instant::now() + limit);
        }
        ready!(idle.as_mut().poll(cx));
        let text = format!("no byte either way for {} s", limit.as_secs());
        Poll::Ready(Err((Side::Far, Broken::new("timeout", Code::IDLE, text))))
    })
    .await;

    report.up = up.bytes;
    report.down = down.bytes;
    match outcome {
        Ok(()) => {
            near.close();
            far.close();
        }
        Err((side, broken)) => {
            near.reset(&broken);
            far.reset(&broken);
            report.broken = Some((side, broken));
        }
    }
    report
}

/// One direction of a relay.
struct Direction {
    state: State,
    bytes: u64,
}

enum State {
    Reading,
    Writing(Bytes),
    Finishing,
    Done,
}

/// What is known of a direction's source that is not being read from: its bytes can't be passed on just now, or have
/// ended.
enum Source {
    Fine,
    /// Lost with its connection; what came before is still to be delivered, if anybody takes it.
    Lost,
    Broken(Broken),
}

/// Who failed, seen from a direction.
enum Culprit {
    From,
    To,
}

impl Culprit {
    fn side(self, from: Side) -> Side {
        match (self, from) {
            (Self::From, side) => side,
            (Self::To, Side::Near) => Side::Far,
            (Self::To, Side::Far) => Side::Near,
        }
    }
}

/// Bytes one direction may move before other tasks get a turn.
const TURN: usize = 1 << 20;

impl Direction {
    fn starting_with(early: Bytes) -> Self {
        let state = if early.is_empty() { State::Reading } else { State::Writing(early) };
        Self { state, bytes: 0 }
    }

    /// Looks after a source that [`Self::poll`] is not reading from, so that its failure doesn't wait for a far side that
    /// takes nothing.
    fn source(&self, cx: &mut Context<'_>, from: &mut impl Endpoint) -> Source {
        if matches!(self.state, State::Reading) {
            return Source::Fine;
        }
        match from.poll_broken(cx) {
            Poll::Pending => Source::Fine,
            Poll::Ready(broken) => match self.state {
                State::Writing(_) if broken.code == Code::TRUNCATED => Source::Lost,
                _ => Source::Broken(broken),
            },
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Endpoint,
        to: &mut impl Endpoint,
    ) -> Poll<Result<(), (Culprit, Broken)>> {
        let mut turn = TURN;
        loop {
            match &mut self.state {
                State::Reading => match from.poll_read(cx) {
                    Poll::Ready(Ok(Some(chunk))) => self.state = State::Writing(chunk),
                    Poll::Ready(Ok(None)) => self.state = State::Finishing,
                    Poll::Ready(Err(broken)) => return Poll::Ready(Err((Culprit::From, broken))),
                    Poll::Pending => {
                        return match to.poll_flush(cx) {
                            Poll::Ready(Err(broken)) => Poll::Ready(Err((Culprit::To, broken))),
                            _ => Poll::Pending,
                        };
                    }
                },
                State::Writing(chunk) => {
                    let before = chunk.len();
                    let poll = to.poll_write(cx, chunk);
                    let moved = before.saturating_sub(chunk.len());
                    self.bytes = self.bytes.saturating_add(moved as u64);
                    ready!(poll).map_err(|broken| (Culprit::To, broken))?;
                    self.state = State::Reading;
                    turn = turn.saturating_sub(moved);
                    if turn == 0 {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                State::Finishing => {
                    ready!(to.poll_finish(cx)).map_err(|broken| (Culprit::To, broken))?;
                    self.state = State::Done;
                }
                State::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// A socket, or TLS over one, as an endpoint.
///
/// Its reset is armed from the start (linger 0): whatever way the process ends, an unfinished flow is an RST.
#[derive(Debug)]
pub(crate) struct Plain<S> {
    socket: S,
    buffer: BytesMut,
    /// Bytes to ask for next: doubles while reads fill it, so a quiet flow costs little and a fast one few calls.
    ask: usize,
    /// What to call the other end in messages.
    who: &'static str,
}

/// What [`Plain`] needs of a socket besides bytes.
pub(crate) trait Armed {
    /// From now on closing sends what is queued and ends orderly.
    fn disarm_reset(&self);
}

impl Armed for transport::Socket {
    fn disarm_reset(&self) {
        // Fails only on a socket that has gone already.
        let _ = Self::disarm_reset(self);
    }
}

impl Armed for Explained<transport::Stream> {
    fn disarm_reset(&self) {
        Armed::disarm_reset(self.get_ref());
    }
}

impl Armed for transport::Stream {
    fn disarm_reset(&self) {
        let _ = Self::disarm_reset(self);
    }
}

impl<S> Plain<S> {
    /// `who` names the other end in messages: `application`, `destination`, `server`.
    pub(crate) fn new(socket: S, who: &'static str) -> Self {
        Self { socket, buffer: BytesMut::new(), ask: 4 << 10, who }
    }

    fn broken(&self, error: &std::io::Error) -> Broken {
        use std::io::ErrorKind;
        let (end, code) = match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                ("reset", Code::DEST_RESET)
            }
            ErrorKind::UnexpectedEof => ("truncated", Code::TRUNCATED),
            ErrorKind::TimedOut => ("timeout", Code::IDLE),
            // The server would not have us.
            ErrorKind::PermissionDenied => ("refused", Code::TRUNCATED),
            _ => ("error", Code::SERVER_ERROR),
        };
        Broken::new(end, code, format!("{}: {error}", self.who))
    }
}

impl<S: AsyncRead + AsyncWrite + Armed + Unpin> Endpoint for Plain<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>> {
        self.buffer.reserve(self.ask);
        let read = pin!(self.socket.read_buf(&mut self.buffer)).poll(cx);
        match read {
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(None)),
            Poll::Ready(Ok(n)) => {
                if n >= self.ask {
                    self.ask = (self.ask * 2).min(64 << 10);
                }
                Poll::Ready(Ok(Some(self.buffer.split().freeze())))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.broken(&error))),
            Poll::Pending => {
                // A quiet flow holds no buffer.
                self.buffer = BytesMut::new();
                Poll::Pending
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<Result<(), Broken>> {
        while !chunk.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, chunk)) {
                Ok(0) => {
                    let error = std::io::ErrorKind::WriteZero.into();
                    return Poll::Ready(Err(self.broken(&error)));
                }
                Ok(n) => drop(chunk.split_to(n.min(chunk.len()))),
                Err(error) => return Poll::Ready(Err(self.broken(&error))),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(|error| self.broken(&error))
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match ready!(Pin::new(&mut self.socket).poll_shutdown(cx)) {
            // The far end may have closed already: then there is nobody left to tell.
            Err(error) if error.kind() == std::io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            outcome => Poll::Ready(outcome.map_err(|error| self.broken(&error))),
        }
    }

    fn reset(self, _why: &Broken) {
        drop(self.socket);
    }

    fn close(self) {
        self.socket.disarm_reset();
    }
}

/// A stream of the pool as an endpoint.
#[derive(Debug)]
pub(crate) struct Muxed {
    stream: remux::Stream,
    ended: bool,
}

impl Muxed {
    pub(crate) fn new(stream: remux::Stream) -> Self {
        Self { stream, ended: false }
    }
}

/// The most one read takes from a stream's queue.
const CHUNK: usize = 64 << 10;

impl Endpoint for Muxed {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>> {
        let read = ready!(self.stream.poll_read_chunk(cx, CHUNK)).map_err(|error| stream_broken(&error))?;
        self.ended = read.is_none();
        Poll::Ready(Ok(read))
    }

    fn is_over(&self) -> bool {
        // The classic wire has no half-close: one end is the end of both directions.
        self.ended && self.stream.wire() == remux::Wire::Classic
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<Result<(), Broken>> {
        while !chunk.is_empty() {
            let room = ready!(self.stream.poll_write_room(cx)).map_err(|error| stream_broken(&error))?;
            let part = chunk.split_to(room.min(chunk.len()));
            self.stream.write_chunk(part).map_err(|error| stream_broken(&error))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.stream.finish();
        Poll::Ready(Ok(()))
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        self.stream.poll_closed(cx).map(|error| stream_broken(&error))
    }

    fn reset(mut self, why: &Broken) {
        self.stream.reset(why.code, &why.text);
    }

    fn close(self) {}
}

/// A stream's failure in the relay's words.
pub(crate) fn stream_broken(error: &StreamError) -> Broken {
    match error {
        StreamError::Reset { code, text, .. } | StreamError::Aborted { code, text } => {
            let end = match *code {
                Code::DEST_RESET | Code::CANCEL | Code::CLOSED => "reset",
                Code::RULE_REFUSED => "denied",
                Code::TRUNCATED => "truncated",
                Code::IDLE => "timeout",
                Code::DRAIN => "stopped",
                _ => "refused",
            };
            let text = if text.is_empty() { code.explain().to_owned() } else { text.clone() };
            Broken::new(end, *code, text)
        }
        other => Broken::new("truncated", Code::TRUNCATED, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
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
        write_failure: Option<Broken>,
        /// Bytes it still takes.
        room: usize,
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
                write_failure: None,
                room: 1 << 20,
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

        /// Fails once everything given was read.
        fn fail(&self, code: Code) {
            self.change(|state| state.failure = Some(Broken::new("broken", code, "broken by the test")));
        }

        fn fail_writes(&self, code: Code) {
            self.change(|state| {
                state.write_failure = Some(Broken::new("broken", code, "broken by the test"))
            });
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
        fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>> {
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

        fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
            let mut state = self.0.0.lock();
            match &state.failure {
                Some(failure) => Poll::Ready(failure.clone()),
                None => Self::wait(&mut state, cx),
            }
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
}
