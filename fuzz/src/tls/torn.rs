//! A client that may come in, and somebody between it and the server.
//!
//! ```text
//!   client ──▶ changed at one place, cut off, or left alone ──▶ server
//!          ◀───────────────── left alone ────────────────────
//! ```
//! Left alone it comes in with its own name. Changed, it does so at most where nothing that counts was changed; and whatever
//! the server then reads is what the client wrote, from its first byte on.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use framing::Host;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use transport::{ALPN_REMUX2, Identity};

use super::ends::{CLIENT, Ends, SERVER};
use crate::draw::Draw;

pub(super) fn run(ends: &Ends, input: &[u8]) {
    let mut draw = Draw(input);
    let (what, at, size, news) = (draw.u8(), draw.u16() % 4096, draw.u8(), draw.u8());
    let change = match what % 7 {
        0 => None,
        1 => Some(Change::Flip(draw.u8().max(1))),
        2 => Some(Change::End),
        3 => Some(Change::Drop(usize::from(draw.u8()) + 1)),
        4 => Some(Change::Insert(draw.0.to_vec())),
        5 => Some(Change::Reset),
        _ => Some(Change::Replace(draw.0.to_vec())),
    };
    let meant = change.is_some();
    let wire = Rc::new(RefCell::new(Wire {
        to: Default::default(),
        ended: [false; 2],
        reset: false,
        size: usize::from(size) + 1,
        left: at.into(),
        change,
        moved: 0,
    }));
    let (let_in, came_in) = ends.runtime.block_on(meet(ends, &wire, news));
    let changed = meant && wire.borrow().change.is_none();
    if !changed {
        assert_eq!(let_in, Some(MESSAGE.to_vec()), "nobody touched it");
        assert!(came_in);
    }
    if let Some(got) = let_in {
        assert!(MESSAGE.starts_with(&got), "a byte that the client never wrote: {got:?}");
    }
}

/// What the server read of one that it let in, and whether the client believes that it is in.
async fn meet(ends: &Ends, wire: &Rc<RefCell<Wire>>, news: u8) -> (Option<Vec<u8>>, bool) {
    let [near, far] = [CLIENT_END, SERVER_END].map(|me| End { wire: wire.clone(), me });
    let mut accept = pin!(accept(ends, far, news));
    let mut dial = pin!(dial(ends, near));
    let (mut let_in, mut came_in) = (None, None);
    let (mut moved, mut idle) = (0, 0);
    poll_fn(|cx| {
        // Whoever is over is not asked again; each is asked again and again until then.
        if let_in.is_none()
            && let Poll::Ready(got) = accept.as_mut().poll(cx)
        {
            let_in = Some(got);
        }
        if came_in.is_none()
            && let Poll::Ready(is_in) = dial.as_mut().poll(cx)
        {
            came_in = Some(is_in);
        }
        if let (Some(let_in), Some(came_in)) = (&mut let_in, came_in) {
            return Poll::Ready((let_in.take(), came_in));
        }
        let mut wire = wire.borrow_mut();
        idle = if wire.moved == moved { idle + 1 } else { 0 };
        moved = wire.moved;
        if idle > PATIENCE {
            // Each waits for the other: the one in between leaves.
            wire.ended = [true; 2];
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

async fn accept(ends: &Ends, far: End, news: u8) -> Option<Vec<u8>> {
    let mut stream = match ends.server.accept(far, "fuzz").await {
        Ok(stream) => stream,
        Err(error) => {
            super::is_told(&error.to_string());
            return None;
        }
    };
    assert_eq!(stream.identity(), &Identity::Dns(CLIENT.to_owned()));
    assert_eq!((stream.alpn(), stream.get_ref().me), (Some(ALPN_REMUX2), SERVER_END));
    match news {
        0 => ends.server.reload().expect("the files are there"),
        1..16 => ends.server.review(),
        _ => {}
    }
    stream.standing().check().expect("it is as good as it was");
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got).await;
    Some(got)
}

async fn dial(ends: &Ends, near: End) -> bool {
    let host: Host = format!("{SERVER}:443").parse::<framing::Target>().expect("a target").host;
    let mut stream = match ends.client.connect(near, Some(&host), "fuzz").await {
        Ok(stream) => stream,
        Err(error) => {
            super::is_told(&error.to_string());
            return false;
        }
    };
    assert_eq!(**stream.certificate(), *ends.server.certificate());
    assert_eq!((ends.server.authorities().len(), ends.server.revocation_lists().len()), (1, 0));
    let said = async {
        stream.write_all(MESSAGE).await?;
        stream.shutdown().await
    };
    let _ = said.await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
    true
}

/// What happens to the client's bytes.
enum Change {
    Flip(u8),
    /// No byte from here on.
    End,
    Drop(usize),
    Insert(Vec<u8>),
    /// The server can't read on.
    Reset,
    /// Other bytes from here on, then none.
    Replace(Vec<u8>),
}

/// Both directions, and the one in between.
struct Wire {
    /// Bytes on their way to each end.
    to: [BytesMut; 2],
    /// Nothing more comes to this end.
    ended: [bool; 2],
    reset: bool,
    /// The most that is read at once.
    size: usize,
    /// Bytes of the client until the change, which is gone once it was made.
    left: usize,
    change: Option<Change>,
    moved: usize,
}

impl Wire {
    fn write(&mut self, me: usize, bytes: &[u8]) {
        self.moved += bytes.len();
        let to = 1 - me;
        if self.ended[to] {
            return;
        }
        if me == SERVER_END {
            return self.to[to].extend_from_slice(bytes);
        }
        if bytes.len() > self.left
            && let Some(change) = self.change.take()
        {
            let (before, behind) = bytes.split_at(self.left);
            self.to[to].extend_from_slice(before);
            return self.alter(change, behind);
        }
        self.left = self.left.saturating_sub(bytes.len());
        self.to[to].extend_from_slice(bytes);
    }

    fn alter(&mut self, change: Change, bytes: &[u8]) {
        let to = &mut self.to[SERVER_END];
        match change {
            Change::Flip(bits) => {
                let mut bytes = bytes.to_vec();
                bytes[0] ^= bits;
                to.extend_from_slice(&bytes);
            }
            Change::End => self.ended[SERVER_END] = true,
            Change::Drop(n) => to.extend_from_slice(bytes.get(n..).unwrap_or_default()),
            Change::Insert(others) => {
                to.extend_from_slice(&others);
                to.extend_from_slice(bytes);
            }
            Change::Reset => self.reset = true,
            Change::Replace(others) => {
                to.extend_from_slice(&others);
                self.ended[SERVER_END] = true;
            }
        }
    }
}

/// One end of it. Nobody is woken: both ends are asked until they are over.
struct End {
    wire: Rc<RefCell<Wire>>,
    me: usize,
}

impl Drop for End {
    fn drop(&mut self) {
        self.wire.borrow_mut().ended = [true; 2];
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.wire.borrow_mut();
        if wire.reset && self.me == SERVER_END {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let n = wire.to[self.me].len().min(wire.size).min(buf.remaining());
        if n == 0 && !wire.ended[self.me] {
            return Poll::Pending;
        }
        buf.put_slice(&wire.to[self.me][..n]);
        wire.to[self.me].advance(n);
        wire.moved += n;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wire.borrow_mut().write(self.me, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = slices.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<_>>();
        self.wire.borrow_mut().write(self.me, &bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.borrow_mut().ended[1 - self.me] = true;
        Poll::Ready(Ok(()))
    }
}

const CLIENT_END: usize = 0;
const SERVER_END: usize = 1;
/// The first bytes of a connection: what must not come from anybody else.
const MESSAGE: &[u8] = b"\x07\0\0\0\0\0\0\0frames of the wire";
/// Turns in which no byte moves before it is clear that none will.
const PATIENCE: u32 = 8;
