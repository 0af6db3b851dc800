//! A socket whose network is simulated: delay, split writes, back-pressure, FIN, RST, cuts and black holes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;
use simnet::{Arrival, Duplex, Link};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::relay::Armed;

/// One end of a simulated connection; dropped, it closes as the kernel does: RST while armed or with bytes unread,
/// else what was written still arrives, and then FIN.
#[derive(Debug)]
pub(super) struct SimSocket {
    network: Network,
    side: usize,
    /// When something arrives next.
    timer: Option<Pin<Box<Sleep>>>,
}

/// What lies between the two ends.
#[derive(Clone, Debug)]
pub(super) struct Network(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    duplex: Duplex,
    ends: [End; 2],
}

#[derive(Debug, Default)]
struct End {
    armed: bool,
    /// Read to its end: cleanly, or by a cut.
    ended: bool,
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Two sockets and the network between them.
pub(super) fn pair(duplex: Duplex) -> (SimSocket, SimSocket, Network) {
    let network = Network(Arc::new(Mutex::new(State { duplex, ends: Default::default() })));
    let end = |side| SimSocket { network: network.clone(), side, timer: None };
    (end(0), end(1), network.clone())
}

impl Network {
    /// Breaks it now: both ends see a reset, bytes on the way are lost.
    pub(super) fn cut(&self) {
        let mut state = self.0.lock();
        state.duplex.ab.cut();
        state.settle();
    }
}

impl State {
    fn out(&mut self, side: usize) -> &mut Link {
        if side == 0 { &mut self.duplex.ab } else { &mut self.duplex.ba }
    }

    /// Carries a cut to the other direction and tells both ends.
    fn settle(&mut self) {
        self.duplex.settle();
        if self.is_cut() {
            for end in &mut self.ends {
                end.wake();
            }
        }
    }

    fn is_cut(&self) -> bool {
        self.duplex.ab.is_cut() || self.duplex.ba.is_cut()
    }

    fn reset(&mut self) {
        self.duplex.ab.cut();
        self.duplex.ba.cut();
        self.settle();
    }
}

impl End {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

impl SimSocket {
    /// Waits for something to arrive; ready when that is now.
    fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = self.network.0.lock().out(1 - self.side).poll_timeout();
        let Some(due) = due else { return Poll::Pending };
        let timer = self.timer.insert(Box::pin(sleep_until(due.into())));
        timer.as_mut().poll(cx)
    }
}

impl AsyncRead for SimSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let side = self.side;
        loop {
            {
                let mut state = self.network.0.lock();
                if state.ends[side].ended {
                    return Poll::Ready(Ok(()));
                }
                let arrival = state.out(1 - side).receive(now(), buf.remaining());
                state.settle();
                match arrival {
                    Some(Arrival::Data(data)) => {
                        buf.put_slice(&data);
                        state.ends[1 - side].wake();
                        return Poll::Ready(Ok(()));
                    }
                    Some(Arrival::End) => {
                        state.ends[side].ended = true;
                        return Poll::Ready(Ok(()));
                    }
                    Some(Arrival::Cut) => {
                        state.ends[side].ended = true;
                        return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                    }
                    None => state.ends[side].reader = Some(cx.waker().clone()),
                }
            }
            std::task::ready!(self.poll_arrival(cx));
        }
    }
}

impl AsyncWrite for SimSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let side = self.side;
        let mut state = self.network.0.lock();
        if state.ends[1 - side].closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if state.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let part = state.out(side).room().min(bytes.len());
        if part == 0 {
            state.ends[side].writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.out(side).send(now(), Bytes::copy_from_slice(&bytes[..part]));
        state.settle();
        state.ends[1 - side].wake();
        Poll::Ready(Ok(part))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.network.0.lock();
        state.out(self.side).finish(now());
        state.settle();
        state.ends[1 - self.side].wake();
        Poll::Ready(Ok(()))
    }
}

impl Armed for SimSocket {
    fn arm_reset(&self) -> io::Result<()> {
        self.network.0.lock().ends[self.side].armed = true;
        Ok(())
    }

    fn disarm_reset(&self) -> io::Result<()> {
        self.network.0.lock().ends[self.side].armed = false;
        Ok(())
    }

    fn has_failed(&self) -> bool {
        self.network.0.lock().is_cut()
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        let mut state = self.network.0.lock();
        state.ends[self.side].closed = true;
        let unread = matches!(state.out(1 - self.side).receive(now(), 1), Some(Arrival::Data(_)));
        if state.ends[self.side].armed || unread {
            state.reset();
        } else {
            state.out(self.side).finish(now());
        }
        state.ends[1 - self.side].wake();
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
