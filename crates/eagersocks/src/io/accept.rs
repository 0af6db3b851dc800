//! Drives a handshake over any byte stream: reads, writes and waits as the state machine says.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use framing::Target;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::eager::take_eager;
use crate::error::HandshakeError;
use crate::handshake::{Config, EARLY_MAX, Handshake, Refusal, early};
use crate::request::Request;
use crate::users::AuthLimit;

/// Learns what the application behind `socket` wants: SOCKS 4, 4a, 5 or HTTP CONNECT, whichever it speaks.
///
/// When it returns an error, the protocol's reply was sent and the socket is closed. Wrong passwords are delayed but
/// not counted: use [`handshake_from`] when users are configured.
///
/// # Errors
/// The request is not complete in time, or never served, or the socket failed.
///
/// # Cancel safety
/// Not safe: the socket is lost with the future, which closes it.
pub async fn handshake<S>(socket: S, config: &Config) -> Result<(S, Request), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    run(socket, config, None).await
}

/// [`handshake()`] that counts wrong passwords by `source` in `gate`; a source with too many of them waits for its turn
/// with each further one, right or wrong (see [`AuthLimit`]).
///
/// # Errors
/// As [`handshake()`].
///
/// # Cancel safety
/// As [`handshake()`].
pub async fn handshake_from<S>(
    socket: S,
    config: &Config,
    source: IpAddr,
    gate: &Gate,
) -> Result<(S, Request), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let gate = if config.users.is_empty() { None } else { Some((source, gate)) };
    run(socket, config, gate).await
}

/// Reads an eager request from the front of `stream`; the bytes behind it, as far as they have come, are the second
/// value and go first.
///
/// # Errors
/// The request is not complete within `deadline`, or is not one, or the stream failed.
///
/// # Cancel safety
/// Not safe: bytes already read are lost.
pub async fn accept_eager<S>(stream: &mut S, deadline: Duration) -> Result<(Target, Bytes), HandshakeError>
where
    S: AsyncRead + Unpin,
{
    let conversation = async {
        let mut input = BytesMut::new();
        loop {
            if let Some(target) = take_eager(&mut input)? {
                return Ok((target, early(&mut input)));
            }
            let received = input.len();
            if read(stream, &mut input).await? == 0 {
                return Err(HandshakeError::Closed { received });
            }
        }
    };
    timeout(deadline, conversation).await.unwrap_or(Err(HandshakeError::Deadline { limit: deadline }))
}

/// The [`AuthLimit`] that the handshakes of one listener share.
#[derive(Debug, Default)]
pub struct Gate {
    limit: Mutex<AuthLimit>,
    /// A right password came from a source that had been slowed: whoever waits looks again.
    cleared: Notify,
}

impl Gate {
    /// A gate nobody has to wait at yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, AuthLimit> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn taken, or until the source is not slowed any more.
    async fn wait(&self, source: IpAddr, turn: Instant) {
        loop {
            let mut cleared = pin!(self.cleared.notified());
            cleared.as_mut().enable();
            if !self.lock().is_slowed(Instant::now().into_std(), source) {
                return;
            }
            tokio::select! {
                () = sleep_until(turn) => return,
                () = cleared => {}
            }
        }
    }
}

type Source<'a> = Option<(IpAddr, &'a Gate)>;

async fn run<S>(mut socket: S, config: &Config, source: Source<'_>) -> Result<(S, Request), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limit = config.deadline;
    match timeout(limit, converse(&mut socket, config, source)).await {
        Ok(Ok(request)) => Ok((socket, request)),
        Ok(Err(HandshakeError::Refused(refusal))) => {
            refuse(&mut socket, &refusal).await;
            Err(HandshakeError::Refused(refusal))
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(HandshakeError::Deadline { limit }),
    }
}

/// Carries bytes between the socket and the state machine until there is an outcome.
async fn converse<S>(socket: &mut S, config: &Config, source: Source<'_>) -> Result<Request, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut handshake = Handshake::new(config);
    if source.is_some() {
        handshake.guard();
    }
    let mut input = BytesMut::with_capacity(READ_SIZE);
    let mut received = 0usize;
    loop {
        match advance(&mut handshake, &mut input, source) {
            Step::Send(reply) => {
                socket.write_all(&reply).await?;
                socket.flush().await?;
            }
            Step::End(outcome) => return Ok(outcome?),
            Step::Wait(turn) => {
                if let Some((source, gate)) = source {
                    gate.wait(source, turn).await;
                }
                handshake.judge();
            }
            Step::Read => match read(socket, &mut input).await? {
                0 => return Err(HandshakeError::Closed { received }),
                n => received = received.saturating_add(n),
            },
        }
    }
}

/// One step of the state machine. With a gate, judging a password and counting it are one step under one lock:
/// a thousand guesses side by side are counted like a thousand in a row.
fn advance(handshake: &mut Handshake, input: &mut BytesMut, source: Source<'_>) -> Step {
    let now = Instant::now();
    let mut limit = source.map(|(_, gate)| gate.lock());
    handshake.handle_data(input);
    if let (Some((source, gate)), Some(limit)) = (source, &mut limit) {
        if handshake.is_waiting_for_judgement() {
            match limit.turn(now.into_std(), source) {
                Ok(wait) if !wait.is_zero() => return Step::Wait(now.checked_add(wait).unwrap_or(now)),
                Ok(_) => handshake.judge(),
                Err(full) => handshake.turn_away(full),
            }
            handshake.handle_data(input);
        }
        if handshake.take_proven() && limit.handle_success(now.into_std(), source) {
            gate.cleared.notify_waiters();
        }
    }
    if let Some(reply) = handshake.poll_transmit() {
        return Step::Send(reply);
    }
    let Some(outcome) = handshake.poll_outcome() else { return Step::Read };
    if let (Some((source, _)), Some(limit), Err(Refusal { wrong_password: true, .. })) =
        (source, &mut limit, &outcome)
    {
        limit.handle_failure(now.into_std(), source);
    }
    Step::End(outcome)
}

enum Step {
    Send(Bytes),
    End(Result<Request, Refusal>),
    /// A password waits for its turn.
    Wait(Instant),
    Read,
}

/// Appends one read to `buffer`, which never outgrows [`EARLY_MAX`].
async fn read<S: AsyncRead + Unpin>(socket: &mut S, buffer: &mut BytesMut) -> std::io::Result<usize> {
    buffer.reserve(READ_SIZE);
    let room = EARLY_MAX.saturating_sub(buffer.len()).min(READ_SIZE);
    socket.read_buf(&mut buffer.limit(room)).await
}

/// Reply, FIN, and a moment to take in what the peer still sends: unread bytes would turn the close into a reset that
/// overtakes the reply.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut S, refusal: &Refusal) {
    sleep(refusal.delay).await;
    let farewell = async {
        socket.write_all(&refusal.reply).await?;
        socket.shutdown().await?;
        let mut rest = [0; 1024];
        for _ in 0..LINGER_READS {
            if socket.read(&mut rest).await? == 0 {
                break;
            }
        }
        std::io::Result::Ok(())
    };
    // Whatever goes wrong now, the peer is gone and the refusal is what gets reported.
    let _ = timeout(LINGER, farewell).await;
}

/// Holds a request with a TLS ClientHello behind it.
const READ_SIZE: usize = 4096;
const LINGER: Duration = Duration::from_secs(1);
const LINGER_READS: usize = 64;
