//! A connection that passed the handshake and from then on says what it likes.
//!
//! ```text
//!  put(bytes) ─▶ buffer ──beat(): every 10 ms──▶ TLS ─▶ server
//!  watcher task ◀── frames are counted, the last words kept ◀─ TLS ◀─┘
//! ```

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use framing::remux2::{Code, Credit, GoAway, HEADER, Header, Kind, Rst};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::{TlsConnector, TlsStream};

use crate::ground::{Ground, OVER, end_of, over};
use crate::pki::EVIL;
use crate::tls;

pub(crate) type Wire = TlsStream<TcpStream>;

/// How often bytes leave.
pub(crate) const BEAT: Duration = Duration::from_millis(10);

/// What the watcher saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) resets: AtomicU64,
    pub(crate) opened: AtomicU64,
    pub(crate) data: AtomicU64,
    /// The highest stream the peer has opened.
    pub(crate) streams: AtomicU32,
    /// Codes of resets by stream, when someone wants to know.
    pub(crate) codes: Mutex<Vec<(u32, Code)>>,
    /// How many bytes each stream may have sent in all, where the peer said so.
    pub(crate) limits: Mutex<HashMap<u32, u32>>,
    /// Streams that got OPENED or DATA.
    pub(crate) served: Mutex<Vec<u32>>,
    is_over: AtomicBool,
    last_words: Mutex<Option<String>>,
}

pub(crate) struct Peer<'a> {
    ground: &'a Ground,
    out: WriteHalf<Wire>,
    buffer: Vec<u8>,
    next: Instant,
    /// The next unused stream id.
    pub(crate) id: u32,
    pub(crate) seen: Arc<Seen>,
    watcher: Option<JoinHandle<String>>,
    /// Keeps the reading half alive where nobody reads.
    unread: Option<ReadHalf<Wire>>,
}

/// A good handshake with the attacker's valid certificate, or how it ended.
pub(crate) async fn enter(ground: &Ground, lane: usize, alpn: &[u8]) -> Result<Wire, String> {
    let config = tls::client(&ground.pki, Some(EVIL), alpn)?;
    let wire = ground.within(async {
        let tcp = tls::dial(ground.to, ground.source(lane)).await?;
        TlsConnector::from(config).connect(tls::name(), tcp).await
    });
    wire.await.map(Into::into).map_err(|error| end_of(&error))
}

impl<'a> Peer<'a> {
    /// `first_id` is 1 for a client, 2 for a server. Frames are understood with `frames`, else bytes are only counted.
    pub(crate) fn new(ground: &'a Ground, wire: Wire, first_id: u32, frames: bool) -> Self {
        let (input, out) = tokio::io::split(wire);
        let seen = Arc::new(Seen::default());
        let watcher = tokio::spawn(watch(input, seen.clone(), frames));
        Self::make(ground, out, first_id, seen, Some(watcher), None)
    }

    /// One that never reads.
    pub(crate) fn deaf(ground: &'a Ground, wire: Wire, first_id: u32) -> Self {
        let (input, out) = tokio::io::split(wire);
        Self::make(ground, out, first_id, Arc::default(), None, Some(input))
    }

    fn make(
        ground: &'a Ground,
        out: WriteHalf<Wire>,
        id: u32,
        seen: Arc<Seen>,
        watcher: Option<JoinHandle<String>>,
        unread: Option<ReadHalf<Wire>>,
    ) -> Self {
        Self { ground, out, buffer: Vec::new(), next: Instant::now(), id, seen, watcher, unread }
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// A frame with any header, right or wrong.
    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
        self.put(&Header { kind, flags, length, stream }.to_bytes());
        self.put(payload);
    }

    pub(crate) fn say(&mut self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
        self.frame(kind as u8, flags, stream, payload);
    }

    /// Takes the next stream id.
    pub(crate) fn take_id(&mut self) -> u32 {
        let id = self.id;
        self.id = self.id.wrapping_add(2);
        id
    }

    /// Sends what was put and waits for the next beat; an error says that the connection, or the time, is over.
    pub(crate) async fn beat(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.buffer);
        self.ground.tally.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        // One that is never read from still has to notice its end: the write says it.
        let out = &mut self.out;
        self.ground.within(async { out.write_all(&bytes).await.and(out.flush().await) }).await?;
        self.next = (self.next + BEAT).max(Instant::now());
        sleep_until(self.next).await;
        if self.seen.is_over.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if self.ground.is_on() { Ok(()) } else { Err(over()) }
    }

    /// Beats without a word until the peer or the time ends it.
    pub(crate) async fn idle(&mut self) -> io::Result<()> {
        loop {
            self.beat().await?;
            self.next += 9 * BEAT;
        }
    }

    /// How it ended: the peer's last words, if there were any.
    pub(crate) async fn end(mut self, result: io::Result<()>) -> String {
        if let Err(error) = &result
            && error.to_string() == OVER
            && !self.seen.is_over.load(Ordering::Acquire)
        {
            if let Some(watcher) = &self.watcher {
                watcher.abort();
            }
            return OVER.to_owned();
        }
        let written = result.err().map_or_else(|| "fin".to_owned(), |error| end_of(&error));
        match self.watcher.take() {
            Some(mut watcher) => match timeout(Duration::from_secs(3), &mut watcher).await {
                Ok(Ok(read)) => read,
                _ => {
                    watcher.abort();
                    written
                }
            },
            None => {
                // What was never read may hold the reason.
                drop(self.out);
                let Some(input) = self.unread.take() else { return written };
                match timeout(Duration::from_secs(3), watch(input, self.seen, true)).await {
                    Ok(read) => read,
                    Err(_) => written,
                }
            }
        }
    }
}

/// Reads to the end and says what it was.
async fn watch(mut input: impl AsyncRead + Unpin, seen: Arc<Seen>, frames: bool) -> String {
    let mut buffer = vec![0; 64 << 10];
    let mut held = 0_usize;
    let end = loop {
        match input.read(buffer.get_mut(held..).unwrap_or_default()).await {
            Ok(0) => break "fin".to_owned(),
            Err(error) => break end_of(&error),
            Ok(count) if !frames => {
                seen.data.fetch_add(count as u64, Ordering::Relaxed);
            }
            Ok(count) => {
                held += count;
                let used = understand(buffer.get(..held).unwrap_or_default(), &seen);
                buffer.copy_within(used..held, 0);
                held -= used;
            }
        }
    };
    seen.is_over.store(true, Ordering::Release);
    let last_words = seen.last_words.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    last_words.unwrap_or(end)
}

/// Whole frames at the front of `bytes`; how many bytes they are.
fn understand(bytes: &[u8], seen: &Seen) -> usize {
    let mut at = 0;
    while let Some(header) = bytes.get(at..).and_then(|rest| rest.first_chunk::<HEADER>()) {
        let header = Header::from_bytes(*header);
        let (start, end) = (at + HEADER, at + HEADER + usize::from(header.length));
        let Some(payload) = bytes.get(start..end) else { break };
        at = end;
        match header.kind {
            kind if kind == Kind::Data as u8 => {
                seen.data.fetch_add(u64::from(header.length), Ordering::Relaxed);
                lock(&seen.served).push(header.stream);
            }
            kind if kind == Kind::Credit as u8 => {
                if let Ok(Credit { consumed, window }) = Credit::decode_payload(payload) {
                    lock(&seen.limits).insert(header.stream, consumed.wrapping_add(window));
                }
            }
            kind if kind == Kind::Open as u8 => {
                seen.streams.fetch_max(header.stream, Ordering::AcqRel);
            }
            kind if kind == Kind::Opened as u8 => {
                seen.opened.fetch_add(1, Ordering::Relaxed);
                lock(&seen.served).push(header.stream);
            }
            kind if kind == Kind::Rst as u8 => {
                seen.resets.fetch_add(1, Ordering::Relaxed);
                let code = Rst::decode_payload(payload).map_or(Code::PROTOCOL, |rst| rst.code);
                let mut codes = lock(&seen.codes);
                if codes.len() < MOST_CODES {
                    codes.push((header.stream, code));
                }
            }
            kind if kind == Kind::GoAway as u8 => {
                let words = GoAway::decode_payload(payload).map_or_else(
                    |error| format!("GOAWAY unreadable: {error}"),
                    |away| format!("GOAWAY {}: {}", away.code, away.text),
                );
                *lock(&seen.last_words) = Some(words);
            }
            _ => {}
        }
    }
    let mut served = lock(&seen.served);
    served.dedup();
    served.truncate(MOST_CODES);
    at
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Resets that are remembered one by one.
const MOST_CODES: usize = 100_000;
