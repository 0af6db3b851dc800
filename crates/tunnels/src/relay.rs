//! Joins two endpoints until both directions have ended, and keeps every end honest.
//!
//! ```text
//!            bytes                 finish
//!   Reading ──────▶ Writing   Reading ──────▶ Finishing ──▶ Done      (each direction by itself)
//!      ▲               │
//!      └───────────────┘      any failure: the other endpoint is reset, never finished
//!
//!   Reading ◀── room? ──▶ Held
//! ```
//! A clean end travels as a half-close, anything else as a reset (RST on sockets): a cut download never looks
//! complete.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use framing::remux2::Code;
use remux::StreamError;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, Sleep};

use crate::carrier::{Explained, Vigil};

/// One side of a flow.
pub(crate) trait Endpoint {
    /// The next bytes, at most `room` of them; `None` at a clean end.
    fn poll_read(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<Result<Option<Bytes>, Broken>>;

    /// Bytes this side would take now, at least one, where it knows; nothing is read for it before. While this side
    /// takes nothing, `from` shall hold no buffer.
    fn poll_room(&mut self, _cx: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        Poll::Ready(Ok(usize::MAX))
    }

    /// Nothing will be read from this side for a while.
    fn rest(&mut self) {}

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

    /// Ready once this side was lost while nobody reads from it, where that can be seen; what came before may be unread.
    fn poll_lost(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
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
        let text = format!(
            "{} the flow was still open when the program that carried it had to end → raise drain.max.sec if flows need longer to finish",
            sla::code::LIMIT_DRAIN
        );
        Self::new("stopped", Code::DRAIN, text)
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

/// Copies both ways, `early` first, until both directions have ended, one endpoint breaks, or `stop` is ready: then as that says.
///
/// Cancel safety: dropping the future drops both endpoints, which resets them.
pub(crate) async fn relay<N: Endpoint, F: Endpoint>(
    mut near: N,
    mut far: F,
    early: Bytes,
    quiet: Quiet,
    stop: impl Future<Output = Broken>,
) -> Report {
    let mut stop = pin!(stop);
    let mut up = Direction::starting_with(early);
    let mut down = Direction::starting_with(Bytes::new());
    let mut report = Report::default();
    let mut idle = pin!(tokio::time::sleep(quiet.open));
    let mut seen = 0;

    let outcome = poll_fn(|cx| {
        if let Poll::Ready(broken) = stop.as_mut().poll(cx) {
            return Poll::Ready(Err((Side::Near, broken)));
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
        let (limit, setting) = match up_done || down_done || lost {
            true => (quiet.half_closed, "stream.half.max.sec"),
            false => (quiet.open, "stream.idle.max.sec"),
        };
        if progress {
            idle.as_mut().reset(Instant::now() + limit);
        }
        ready!(idle.as_mut().poll(cx));
        let text = format!(
            "{} no byte either way for {} s → switch on keep-alives in the application, or raise {setting}",
            sla::code::LIMIT_IDLE,
            limit.as_secs()
        );
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
    /// As [`State::Reading`], but nothing is read until the other side has room.
    Held,
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
        let owes = match self.state {
            State::Reading => return Source::Fine,
            State::Held | State::Writing(_) => true,
            State::Finishing | State::Done => false,
        };
        if owes && from.poll_lost(cx).is_ready() {
            return Source::Lost;
        }
        match from.poll_broken(cx) {
            Poll::Pending => Source::Fine,
            Poll::Ready(broken) if owes && broken.code == Code::TRUNCATED => Source::Lost,
            Poll::Ready(broken) => Source::Broken(broken),
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
                State::Reading | State::Held => {
                    let room = match to.poll_room(cx) {
                        Poll::Ready(room) => room.map_err(|broken| (Culprit::To, broken))?,
                        Poll::Pending => {
                            from.rest();
                            self.state = State::Held;
                            return Poll::Pending;
                        }
                    };
                    self.state = State::Reading;
                    match from.poll_read(cx, room) {
                        Poll::Ready(Ok(Some(chunk))) => self.state = State::Writing(chunk),
                        Poll::Ready(Ok(None)) => self.state = State::Finishing,
                        Poll::Ready(Err(broken)) => return Poll::Ready(Err((Culprit::From, broken))),
                        Poll::Pending => {
                            return match to.poll_flush(cx) {
                                Poll::Ready(Err(broken)) => Poll::Ready(Err((Culprit::To, broken))),
                                _ => Poll::Pending,
                            };
                        }
                    }
                }
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
    vigil: Option<Vigil>,
    /// When to look next whether the socket lives, while nobody reads from it.
    look: Option<Pin<Box<Sleep>>>,
}

/// What a flow needs of a socket besides bytes.
pub(crate) trait Armed {
    /// From now on any close is a reset, even of a process that is killed.
    fn arm_reset(&self) -> std::io::Result<()>;

    /// From now on closing sends what is queued and ends orderly.
    fn disarm_reset(&self) -> std::io::Result<()>;

    /// Has an error ended it that no read or write has told yet?
    fn has_failed(&self) -> bool;
}

impl Armed for transport::Socket {
    fn arm_reset(&self) -> std::io::Result<()> {
        Self::arm_reset(self)
    }

    fn disarm_reset(&self) -> std::io::Result<()> {
        Self::disarm_reset(self)
    }

    fn has_failed(&self) -> bool {
        Self::has_failed(self)
    }
}

impl Armed for transport::Stream {
    fn arm_reset(&self) -> std::io::Result<()> {
        Self::arm_reset(self)
    }

    fn disarm_reset(&self) -> std::io::Result<()> {
        Self::disarm_reset(self)
    }

    fn has_failed(&self) -> bool {
        self.socket().has_failed()
    }
}

impl Armed for Explained<transport::Stream> {
    fn arm_reset(&self) -> std::io::Result<()> {
        self.get_ref().arm_reset()
    }

    fn disarm_reset(&self) -> std::io::Result<()> {
        self.get_ref().disarm_reset()
    }

    fn has_failed(&self) -> bool {
        self.get_ref().has_failed()
    }
}

impl<S> Plain<S> {
    /// `who` names the other end in messages: `application`, `destination`, `server`.
    pub(crate) fn new(socket: S, who: &'static str) -> Self {
        Self { socket, buffer: BytesMut::new(), ask: 4 << 10, who, vigil: None, look: None }
    }

    /// The same, kept an eye on where the other end is a machine of ours that may vanish.
    pub(crate) fn watched(self, vigil: Option<Vigil>) -> Self {
        Self { vigil, ..self }
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
        let words = sla::plain(error);
        let text = match self.who {
            "destination" => format!(
                "{} the destination broke off: {words} → its own log says why",
                sla::code::TARGET_BROKE
            ),
            _ if sla::code::split(&words).is_some() => words,
            who => format!("{who}: {words}"),
        };
        Broken::new(end, code, text)
    }
}

impl<S: AsyncRead + AsyncWrite + Armed + Unpin> Endpoint for Plain<S> {
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let Some(vigil) = &mut self.vigil else { return Poll::Pending };
        let silence = ready!(vigil.poll(cx));
        let text = format!("{}: acknowledged nothing for {} s", self.who, silence.as_secs());
        Poll::Ready(Broken::new("timeout", Code::TRUNCATED, text))
    }

    fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A socket with unread bytes wakes nobody for an error.
        while !self.socket.has_failed() {
            let look = self.look.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK)));
            ready!(look.as_mut().poll(cx));
            look.as_mut().reset(Instant::now() + LOOK);
        }
        Poll::Ready(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<Result<Option<Bytes>, Broken>> {
        self.buffer.reserve(self.ask);
        let mut limited = (&mut self.buffer).limit(self.ask.min(room));
        let read = pin!(self.socket.read_buf(&mut limited)).poll(cx);
        match read {
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(None)),
            Poll::Ready(Ok(n)) => {
                // A chunk keeps the whole buffer alive for as long as it waits somewhere: a short one gets its own.
                let chunk = if n >= self.ask - self.ask / 4 {
                    self.buffer.split().freeze()
                } else {
                    let chunk = Bytes::copy_from_slice(&self.buffer);
                    self.buffer.clear();
                    chunk
                };
                if n >= self.ask {
                    self.ask = (self.ask * 2).min(64 << 10);
                }
                Poll::Ready(Ok(Some(chunk)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.broken(&error))),
            Poll::Pending => {
                // A quiet flow holds no buffer.
                self.rest();
                self.poll_broken(cx).map(Err)
            }
        }
    }

    fn rest(&mut self) {
        self.buffer = BytesMut::new();
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
        #[cfg(feature = "planted")]
        if remux::planted::strikes(remux::planted::Bug::FinForReset) {
            let _ = self.socket.disarm_reset();
        }
        drop(self.socket);
    }

    fn close(self) {
        // Fails only on a socket that has gone already.
        let _ = self.socket.disarm_reset();
    }
}

/// A socket that nobody reads from is looked at this often.
const LOOK: Duration = Duration::from_secs(1);

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
    fn poll_read(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<Result<Option<Bytes>, Broken>> {
        let read = ready!(self.stream.poll_read_chunk(cx, CHUNK.min(room)))
            .map_err(|error| stream_broken(&error))?;
        self.ended = read.is_none();
        Poll::Ready(Ok(read))
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        self.stream.poll_write_room(cx).map_err(|error| stream_broken(&error))
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
mod tests;
