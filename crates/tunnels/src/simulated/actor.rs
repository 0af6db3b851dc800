//! Who talks through the tunnel: an application at its one end, a destination at the other, and what each saw.

use std::io;
use std::ops::Range;
use std::time::Duration;

use simnet::Rng;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::sleep;

use super::socket::SimSocket;
use crate::relay::Armed;

/// What one end of a flow does with its direction, decided by the seed.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// Bytes it sends before it ends.
    pub(super) sends: u64,
    /// Of them, those an application sends together with its request, before any answer.
    pub(super) early: u64,
    /// The most it writes at once.
    pub(super) piece: usize,
    /// It waits so long before every piece.
    pub(super) pause: Duration,
    /// It resets after having sent so many bytes.
    pub(super) aborts_at: Option<u64>,
    /// It ends its direction only after the other one has ended.
    pub(super) ends_last: bool,
    /// It reads nothing for so long.
    pub(super) deaf: Duration,
}

/// How a flow looked from one end.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Seen {
    /// Bytes its socket took.
    pub(super) sent: u64,
    /// All bytes and the end were sent.
    pub(super) finished: bool,
    /// Bytes that came, up to the first wrong one.
    pub(super) received: u64,
    /// The first byte that is not the sender's at that place.
    pub(super) wrong_at: Option<u64>,
    /// The other direction came to a clean end.
    pub(super) clean_end: bool,
    /// What the front answered before any byte of the flow: `false` when it refused.
    pub(super) granted: bool,
}

/// The byte at `offset` of a direction (0 up, 1 down) of a flow.
fn byte(flow: usize, direction: u64, offset: u64) -> u8 {
    let word = Rng::new(((flow as u64) << 40) ^ (direction << 39) ^ (offset / 8)).bits();
    word.to_le_bytes()[(offset % 8) as usize]
}

/// The bytes of a part of a direction.
pub(super) fn bytes(flow: usize, direction: u64, part: Range<u64>) -> Vec<u8> {
    part.map(|offset| byte(flow, direction, offset)).collect()
}

/// Sends and receives by the script until both directions have ended or one was reset.
pub(super) async fn talk(socket: SimSocket, flow: usize, direction: u64, script: &Script, seen: &mut Seen) {
    seen.granted = true;
    let aborts = script.aborts_at.is_some();
    let (mut reads, mut writes) = tokio::io::split(socket);
    let heard = tokio::sync::Notify::new();
    let (mut sent, mut finished) = (script.early, false);
    let send = async {
        let end = script.aborts_at.unwrap_or(script.sends).min(script.sends);
        while sent < end {
            sleep(script.pause).await;
            let size = (script.piece as u64).min(end - sent);
            // Counted as the socket takes them: a reset may strike within a piece.
            let piece = bytes(flow, direction, sent..sent + size);
            let mut rest = piece.as_slice();
            while !rest.is_empty() {
                let taken = writes.write(rest).await?;
                rest = &rest[taken..];
                sent += taken as u64;
            }
        }
        if aborts {
            return Err(io::Error::other("the script resets"));
        }
        if script.ends_last {
            heard.notified().await;
        }
        writes.shutdown().await?;
        finished = true;
        Ok(())
    };
    let receive = async {
        sleep(script.deaf).await;
        let result = hear(&mut reads, flow, 1 - direction, seen).await;
        heard.notify_one();
        result
    };
    let ended = tokio::try_join!(send, receive);
    (seen.sent, seen.finished) = (sent, finished);
    let socket = reads.unsplit(writes);
    if ended.is_err() {
        let _ = socket.arm_reset();
    }
}

async fn hear(
    reads: &mut (impl AsyncRead + Unpin),
    flow: usize,
    direction: u64,
    seen: &mut Seen,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = reads.read(&mut buffer).await?;
        if count == 0 {
            seen.clean_end = true;
            return Ok(());
        }
        for &got in &buffer[..count] {
            if got != byte(flow, direction, seen.received) {
                seen.wrong_at = Some(seen.received);
                return Err(io::ErrorKind::InvalidData.into());
            }
            seen.received += 1;
        }
    }
}

/// The three ways in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Inbound {
    Socks4a,
    Socks5,
    Connect,
}

impl Inbound {
    pub(super) const ALL: [Self; 3] = [Self::Socks4a, Self::Socks5, Self::Connect];

    /// Asks for `port` of the simulated destination and sends `early` along; `Ok(false)` when it was refused in the protocol's words.
    pub(super) async fn ask<S>(self, socket: &mut S, port: u16, early: &[u8]) -> io::Result<bool>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let [high, low] = port.to_be_bytes();
        match self {
            Self::Socks4a => {
                let mut request = vec![4, 1, high, low, 0, 0, 0, 1, b'u', 0];
                request.extend_from_slice(HOST.as_bytes());
                request.push(0);
                request.extend_from_slice(early);
                socket.write_all(&request).await?;
                let mut reply = [0; 8];
                socket.read_exact(&mut reply).await?;
                Ok(reply[1] == 0x5A)
            }
            Self::Socks5 => {
                socket.write_all(&[5, 1, 0]).await?;
                let mut method = [0; 2];
                socket.read_exact(&mut method).await?;
                let mut request = vec![5, 1, 0, 3, HOST.len() as u8];
                request.extend_from_slice(HOST.as_bytes());
                request.extend_from_slice(&[high, low]);
                request.extend_from_slice(early);
                socket.write_all(&request).await?;
                let mut reply = [0; 4];
                socket.read_exact(&mut reply).await?;
                let rest = if reply[3] == 4 { 18 } else { 6 };
                socket.read_exact(&mut [0; 18][..rest]).await?;
                Ok(reply[1] == 0)
            }
            Self::Connect => {
                let head = format!("CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n");
                socket.write_all(&[head.as_bytes(), early].concat()).await?;
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(socket.read_u8().await?);
                }
                Ok(head.starts_with(b"HTTP/1.1 200"))
            }
        }
    }
}

const HOST: &str = "destination.example";
