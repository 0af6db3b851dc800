//! The relay of TCP.
//!
//! ```text
//!  A ─▶ read ─▶ Lane: size, time ─▶ queue ─▶ write ─▶ B        and the same from B to A
//! ```
//!
//! **A black hole** stops reading and writing and closes nothing. What the two kernels at this relay have room for
//! they still acknowledge: that a sender's data stay unacknowledged needs a link that drops packets, and root.
//! New connections get nothing at all, as when every SYN is lost: the listener's backlog is cut to one and that one
//! is taken by a connection of our own, so the kernel drops each SYN and the caller's kernel backs off for real.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use crate::control::{Control, Now};
use crate::plan::Lane;

pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Relays for ever.
pub(crate) async fn run(
    listener: TcpListener,
    to: SocketAddr,
    seed: u64,
    control: Control,
) -> io::Result<()> {
    let mut watch = control.watch();
    let mut plug = Plug::default();
    // Where plugs come from: after the dark one of them may stand in the backlog.
    let mut plugs = HashSet::new();
    let mut count = 0_u64;
    let mut admit = |near: TcpStream| {
        control.counts.connections.fetch_add(1, Ordering::Relaxed);
        let (control, connection) = (control.clone(), count);
        count = count.wrapping_add(1);
        tokio::spawn(async move { relay(near, to, seed, connection, &control).await });
    };
    loop {
        let dark = watch.borrow_and_update().plan.is_dark();
        if dark && plug.is_out() {
            // Who stands in the backlog came before the dark, and there has to be a place for the plug.
            while let Some(Ok((near, _))) = at_once(listener.accept()).await {
                admit(near);
            }
        }
        plugs.extend(plug.set(dark, &listener)?);
        tokio::select! {
            biased;
            changed = watch.changed() => if changed.is_err() { return Ok(()) },
            accepted = listener.accept(), if !dark => match accepted {
                // A plug that the light found in the backlog.
                Ok((_, peer)) if plugs.remove(&peer) => {}
                Ok((near, _)) => admit(near),
                // Out of descriptors, most likely: callers wait in the backlog meanwhile.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            plugged = plug.connecting() => plug = plugged.unwrap_or_default(),
        }
    }
}

/// What a future has to say without waiting.
async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = future => Some(done),
        () = std::future::ready(()) => None,
    }
}

/// A connection of our own that takes the only place in the backlog, so that the kernel drops every SYN.
#[derive(Default)]
enum Plug {
    #[default]
    Out,
    Entering(Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>),
    In {
        _socket: TcpStream,
    },
}

impl Plug {
    /// Where the new plug comes from, if there has to be one.
    fn set(&mut self, dark: bool, listener: &TcpListener) -> io::Result<Option<SocketAddr>> {
        match (dark, &self) {
            (true, Self::Out) => {
                SockRef::from(listener).listen(0)?;
                let to = listener.local_addr()?;
                let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
                socket.bind(SocketAddr::new(to.ip(), 0))?;
                let from = socket.local_addr()?;
                *self = Self::Entering(Box::pin(socket.connect(to)));
                return Ok(Some(from));
            }
            (false, Self::Entering(_) | Self::In { .. }) => {
                *self = Self::Out;
                SockRef::from(listener).listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
            }
            _ => {}
        }
        Ok(None)
    }

    fn is_out(&self) -> bool {
        matches!(self, Self::Out)
    }

    async fn connecting(&mut self) -> io::Result<Self> {
        match self {
            Self::Entering(connect) => Ok(Self::In { _socket: connect.await? }),
            Self::Out | Self::In { .. } => std::future::pending().await,
        }
    }
}

/// One connection, from its accept to the end of both directions.
async fn relay(mut near: TcpStream, to: SocketAddr, seed: u64, connection: u64, control: &Control) {
    let mut orders = control.watch();
    // Resets and half-closes from before this connection are not about it.
    let born = *orders.borrow_and_update();
    let Ok(mut far) = TcpStream::connect(to).await else {
        let _ = SockRef::from(&near).set_linger(Some(Duration::ZERO));
        return;
    };
    for socket in [&near, &far] {
        let _ = socket.set_nodelay(true);
    }
    let direction = |up| Direction { up, born, watch: control.watch() };
    let (near_read, near_write) = near.split();
    let (far_read, far_write) = far.split();
    let (up_in, up_out) = mpsc::channel(QUEUE);
    let (down_in, down_out) = mpsc::channel(QUEUE);
    let counts = &control.counts;
    let ended = tokio::select! {
        biased;
        () = reset(&mut orders, born.resets) => Err(End::Reset),
        ended = async {
            tokio::try_join!(
                direction(true).read(near_read, Lane::new(seed, connection, true), up_in),
                direction(true).write(far_write, up_out, &counts.bytes_up),
                direction(false).read(far_read, Lane::new(seed, connection, false), down_in),
                direction(false).write(near_write, down_out, &counts.bytes_down),
            )
        } => ended.map(|_| ()),
    };
    if let Err(End::Reset) = ended {
        for socket in [&near, &far] {
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }
}

async fn reset(orders: &mut watch::Receiver<Now>, before: u64) {
    if orders.wait_for(|now| now.resets != before).await.is_err() {
        std::future::pending().await
    }
}

/// One direction of one connection.
struct Direction {
    up: bool,
    born: Now,
    watch: watch::Receiver<Now>,
}

enum Item {
    Piece {
        at: Instant,
        bytes: Vec<u8>,
    },
    Fin,
    /// The connection has had the bytes it was allowed.
    Limit,
}

/// How a connection ends before both ends closed it.
#[derive(Clone, Copy, Debug)]
enum End {
    Reset,
    Limit,
}

impl Direction {
    async fn read(
        mut self,
        mut from: ReadHalf<'_>,
        mut lane: Lane,
        queue: mpsc::Sender<Item>,
    ) -> Result<(), End> {
        let mut buffer = vec![0; READ];
        loop {
            let faults = self.light().await;
            let count = tokio::select! {
                biased;
                _ = self.watch.changed() => continue,
                count = from.read(&mut buffer) => count.map_err(|_| End::Reset)?,
            };
            let mut rest = buffer.get(..count).unwrap_or_default();
            if rest.is_empty() {
                let _ = queue.send(Item::Fin).await;
                return Ok(());
            }
            while !rest.is_empty() {
                let Some(piece) = lane.piece(Instant::now(), rest.len(), &faults) else {
                    let _ = queue.send(Item::Limit).await;
                    return Ok(());
                };
                let (now, later) = rest.split_at(piece.size);
                rest = later;
                if queue.send(Item::Piece { at: piece.at, bytes: now.to_vec() }).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    async fn write(
        mut self,
        mut to: WriteHalf<'_>,
        mut queue: mpsc::Receiver<Item>,
        count: &AtomicU64,
    ) -> Result<(), End> {
        let mut closed = false;
        let mut orders = self.watch.clone();
        loop {
            let item = tokio::select! {
                biased;
                () = half_close(&mut orders, self.up, &self.born), if !closed => {
                    closed = true;
                    let _ = to.shutdown().await;
                    continue;
                }
                item = queue.recv() => item,
            };
            match item {
                Some(Item::Piece { at, bytes }) if !closed => {
                    sleep_until(at.into()).await;
                    self.write_piece(&mut to, &bytes).await?;
                    count.fetch_add(u64::try_from(bytes.len()).unwrap_or(0), Ordering::Relaxed);
                }
                Some(Item::Piece { .. }) => {}
                Some(Item::Limit) => return Err(End::Limit),
                Some(Item::Fin) | None => {
                    self.light().await;
                    let _ = to.shutdown().await;
                    return Ok(());
                }
            }
        }
    }

    async fn write_piece(&mut self, to: &mut WriteHalf<'_>, bytes: &[u8]) -> Result<(), End> {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.light().await;
            let count = tokio::select! {
                biased;
                _ = self.watch.changed() => continue,
                count = to.write(rest) => count.map_err(|_| End::Reset)?,
            };
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Waits until this direction is no black hole.
    async fn light(&mut self) -> crate::plan::Faults {
        let up = self.up;
        let of = |now: &Now| if up { now.plan.up } else { now.plan.down };
        let faults = self.watch.wait_for(|now| !of(now).black_hole).await.ok().map(|now| of(&now));
        match faults {
            Some(faults) => faults,
            None => std::future::pending().await,
        }
    }
}

async fn half_close(watch: &mut watch::Receiver<Now>, up: bool, born: &Now) {
    let count = |now: &Now| if up { now.half_closes_up } else { now.half_closes_down };
    let before = count(born);
    if watch.wait_for(|now| count(now) != before).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Connections the kernel may hold for us while there is no black hole.
const BACKLOG: u32 = 1024;
/// Bytes of one read, and reads in the queue of one direction: 4 MiB at most wait for their time.
const READ: usize = 16 * 1024;
const QUEUE: usize = 256;
