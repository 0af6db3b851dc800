//! Two drivers over an in-memory pipe, under a clock that stands still while anything can run.
//!
//! ```text
//!  client ══ duplex ══ pump (may stop, may be cut) ══ duplex ══ server
//! ```

mod backpressure;
mod ends;
mod retry;
mod streams;
mod told;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use framing::Target;
use sla::ConnectionId;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::driver::{ConnEvent, Connection, Observer, start};
use super::{ByteStream, Connected, PeerFacts, Stream};
use crate::budget::Budget;
use crate::config::{Role, SessionConfig, Wire};
use crate::error::ConnectionError;
use crate::session::Open;

/// One end of a connection under test.
struct End {
    connection: Connection,
    incoming: mpsc::UnboundedReceiver<Stream>,
    task: JoinHandle<ConnectionError>,
}

impl End {
    fn over(role: Role, wire: Wire, config: SessionConfig, pipe: DuplexStream) -> Self {
        let (streams, incoming) = mpsc::unbounded_channel();
        let id = ConnectionId(match role {
            Role::Client => 0xc,
            Role::Server => 0x5,
        });
        let connected = Connected::new(ByteStream::new(pipe), wire, PeerFacts::default());
        let observer = Arc::new(Listening { streams });
        let (connection, driver) =
            start(role, connected, id, config, Arc::<Budget>::default().into(), observer);
        Self { connection, incoming, task: tokio::spawn(driver) }
    }

    fn open(&self) -> Stream {
        self.connection.open(request()).unwrap()
    }

    async fn accept(&mut self) -> Stream {
        self.incoming.recv().await.unwrap()
    }

    /// A stream of which the other end is in the caller's hands as well.
    async fn stream_to(&self, other: &mut Self) -> (Stream, Stream) {
        let ours = self.open();
        (ours, other.accept().await)
    }
}

struct Listening {
    streams: mpsc::UnboundedSender<Stream>,
}

impl Observer for Listening {
    fn on_event(&self, _: ConnectionId, event: ConnEvent) {
        if let ConnEvent::Incoming(stream) = event {
            let _ = self.streams.send(stream);
        }
    }
}

/// Both ends and the line between them.
struct World {
    client: End,
    server: End,
    /// False: the line passes nothing on.
    flows: watch::Sender<bool>,
    /// Aborting it cuts the line.
    line: JoinSet<()>,
}

impl World {
    fn new(wire: Wire) -> Self {
        Self::with(wire, SessionConfig::default(), SessionConfig::default())
    }

    fn with(wire: Wire, client: SessionConfig, server: SessionConfig) -> Self {
        let (client_pipe, client_line) = tokio::io::duplex(PIPE);
        let (server_pipe, server_line) = tokio::io::duplex(PIPE);
        let (flows, flowing) = watch::channel(true);
        let mut line = JoinSet::new();
        let (client_in, client_out) = tokio::io::split(client_line);
        let (server_in, server_out) = tokio::io::split(server_line);
        line.spawn(pump(client_in, server_out, flowing.clone()));
        line.spawn(pump(server_in, client_out, flowing));
        Self {
            client: End::over(Role::Client, wire, client, client_pipe),
            server: End::over(Role::Server, wire, server, server_pipe),
            flows,
            line,
        }
    }

    async fn stream(&mut self) -> (Stream, Stream) {
        let ours = self.client.open();
        (ours, self.server.accept().await)
    }

    /// Nothing more arrives anywhere, as after a pulled plug that both kernels noticed.
    fn cut(&mut self) {
        self.line.abort_all();
    }
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut flowing: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; PIPE];
    loop {
        if flowing.wait_for(|flows| *flows).await.is_err() {
            return;
        }
        let Ok(count @ 1..) = from.read(&mut buffer).await else { break };
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// Answers every stream with what it says, until each ends.
fn echo(mut incoming: mpsc::UnboundedReceiver<Stream>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut flows = JoinSet::new();
        while let Some(stream) = incoming.recv().await {
            flows.spawn(async move {
                let (mut from, mut to) = stream.into_split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
        flows.join_all().await;
    })
}

fn request() -> Open {
    Open::connect("destination.example:443".parse::<Target>().unwrap())
}

/// Bytes that differ by place and by stream.
fn pattern(seed: usize, length: usize) -> Bytes {
    let mut state = u32::try_from(seed).unwrap().wrapping_mul(2_654_435_761).max(1);
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..length).map(next).collect::<Vec<u8>>().into()
}

/// Time enough for everything that needs no more input to happen.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

const PIPE: usize = 64 * 1024;
