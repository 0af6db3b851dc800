//! One end of one flow on its socket.
//!
//! ```text
//!   writer: wait for its turn ─▶ write … ─▶ finish (FIN) ──┐
//!                                        └▶ abort (RST) ───┼─▶ end, or the watchdog: nothing moved for too long
//!   reader: read, check … ─▶ FIN or RST ───────────────────┘
//! ```

use std::io::ErrorKind;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::check::{Check, Hash};
use crate::ledger::{Ending, In, Out};
use crate::pattern::{Pattern, Place};
use crate::plan::{self, AFTER_END, Finish, Side};

/// One end's task.
#[derive(Debug)]
pub struct Task {
    /// The run's bytes.
    pub pattern: Pattern,
    /// The first byte this end writes.
    pub start: Place,
    /// What goes before the pattern (the generator's header).
    pub header: Vec<u8>,
    /// Bytes of it that are written already.
    pub written: usize,
    /// Bytes that come in before the other's payload: the header's length, at the sink.
    pub ahead: u64,
    /// What this end does.
    pub mine: Side,
    /// What the other does.
    pub other: Side,
    /// How long nothing may move, beyond what the plan says.
    pub patience: Duration,
}

/// Plays one end. `check` may have taken bytes already.
pub async fn play(stream: TcpStream, task: Task, mut check: Check) -> (Out, In) {
    let shared = Shared::default();
    shared.read.store(check.bytes().saturating_sub(task.ahead), Ordering::Relaxed);
    let mut writer = Writer::new(&task);
    let mut in_end = Ending::Timeout;
    let _ = stream.set_nodelay(true);
    if task.mine.stall_ms > 0 {
        // A stalled reader is one whose buffers are full.
        let _ = SockRef::from(&stream).set_recv_buffer_size(64 << 10);
    }
    let outcome = {
        let writing = async { if writer.run(&stream, &shared, &task).await { Ok(()) } else { Err(()) } };
        let reading = async {
            in_end = read(&stream, &shared, &task, &mut check).await;
            shared.set_ended(in_end);
            Ok(())
        };
        tokio::select! {
            biased;
            both = async { tokio::try_join!(writing, reading).is_ok() } => Some(both),
            () = shared.stands_still(&task) => None,
        }
    };
    if outcome == Some(false) && in_end == Ending::Timeout {
        in_end = Ending::Abort;
    }
    if outcome != Some(true) {
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
    drop(stream);
    let out = Out { bytes: writer.bytes, sha256: writer.hash.hex(), end: writer.end };
    let got = In { bytes: check.bytes(), sha256: check.sha256(), end: in_end, wrong: check.wrong() };
    (out, got)
}

/// Reads to the end.
async fn read(stream: &TcpStream, shared: &Shared, task: &Task, check: &mut Check) -> Ending {
    let mine = &task.mine;
    let mut buffer = vec![0; mine.read_chunk.max(1) as usize];
    let mut stall = (mine.stall_ms > 0).then(|| millis(mine.stall_ms));
    loop {
        let payload = check.bytes().saturating_sub(task.ahead);
        if payload >= mine.stall_at
            && let Some(pause) = stall.take()
        {
            sleep(pause).await;
        }
        match read_some(stream, &mut buffer).await {
            // The kernel tells of a reset once. If the writer was told, reading looks like a clean end.
            Ok(0) if shared.was_reset() => return Ending::Rst,
            Ok(0) => return Ending::Fin,
            Ok(count) => {
                check.take(&buffer[..count]);
                shared.has_read(check.bytes().saturating_sub(task.ahead));
            }
            Err(_) => return Ending::Rst,
        }
        if mine.read_pause_ms > 0 {
            sleep(millis(mine.read_pause_ms)).await;
        }
    }
}

/// Bytes from a socket.
///
/// # Errors
///
/// What the socket says; a reset mostly.
pub async fn read_some(stream: &TcpStream, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

struct Writer {
    bytes: u64,
    hash: Hash,
    end: Ending,
}

impl Writer {
    fn new(task: &Task) -> Self {
        let mut hash = Hash::new();
        hash.add(&task.header[..task.written]);
        Self { bytes: task.written as u64, hash, end: Ending::Timeout }
    }

    /// Writes to the end; `false` asks for a reset.
    async fn run(&mut self, stream: &TcpStream, shared: &Shared, task: &Task) -> bool {
        let mine = &task.mine;
        let header = task.header.len() as u64;
        let total = header + mine.bytes;
        let mut quiet = (mine.quiet_ms > 0).then(|| millis(mine.quiet_ms));
        let mut chunk = vec![0; mine.chunk.max(1) as usize];
        // The header tells the other what to do, so it never waits.
        while self.bytes < header {
            let size = chunk.len().min((header - self.bytes) as usize);
            if !self.write(stream, shared, task, &mut chunk[..size]).await {
                return true;
            }
        }
        match mine.after {
            AFTER_END => shared.wait(|shared| shared.ended()).await,
            bytes => shared.wait(|shared| shared.ended() || shared.read() >= bytes).await,
        }
        while self.bytes < total {
            let payload = self.bytes - header;
            if payload >= mine.quiet_at
                && let Some(pause) = quiet.take()
            {
                sleep(pause).await;
            }
            let mut room = total - self.bytes;
            if mine.lockstep {
                shared.wait(|shared| shared.ended() || shared.read() > payload).await;
                room = if shared.ended() { room } else { room.min(shared.read().saturating_sub(payload)) };
            }
            let size = chunk.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            if !self.write(stream, shared, task, &mut chunk[..size]).await {
                return true;
            }
            if mine.pause_ms > 0 {
                sleep(millis(mine.pause_ms)).await;
            }
        }
        match mine.finish {
            Finish::Fin => {}
            Finish::Last => shared.wait(Shared::ended).await,
            Finish::Full => shared.wait(|shared| shared.ended() || shared.read() >= task.other.bytes).await,
            Finish::Abort => {
                self.end = Ending::Abort;
                return false;
            }
        }
        if shared.was_reset() {
            self.end = Ending::Rst;
            return true;
        }
        self.end = match SockRef::from(stream).shutdown(Shutdown::Write) {
            Ok(()) => Ending::Fin,
            Err(_) => Ending::Rst,
        };
        true
    }

    /// Writes one chunk whole; `false` if the way is broken.
    async fn write(&mut self, stream: &TcpStream, shared: &Shared, task: &Task, chunk: &mut [u8]) -> bool {
        plan::fill(&task.pattern, Place { offset: self.bytes, ..task.start }, &task.header, chunk);
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let result = match stream.writable().await {
                Ok(()) => stream.try_write(rest),
                Err(error) => Err(error),
            };
            match result {
                Ok(count) => {
                    self.hash.add(&rest[..count]);
                    self.bytes += count as u64;
                    rest = &rest[count..];
                    shared.moved();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.end = Ending::Rst;
                    shared.set_reset();
                    return false;
                }
            }
        }
        true
    }
}

/// What the two halves and the watchdog know of each other.
#[derive(Debug, Default)]
struct Shared {
    /// Payload bytes read.
    read: AtomicU64,
    moves: AtomicU64,
    ended: AtomicBool,
    reset: AtomicBool,
    news: Notify,
}

impl Shared {
    fn has_read(&self, bytes: u64) {
        self.read.store(bytes, Ordering::Relaxed);
        self.moved();
        self.news.notify_waiters();
    }

    fn set_ended(&self, end: Ending) {
        if end != Ending::Fin {
            self.set_reset();
        }
        self.ended.store(true, Ordering::Relaxed);
        self.moved();
        self.news.notify_waiters();
    }

    fn set_reset(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }

    fn moved(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn was_reset(&self) -> bool {
        self.reset.load(Ordering::Relaxed)
    }

    async fn wait(&self, ready: impl Fn(&Self) -> bool) {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if ready(self) {
                return;
            }
            news.await;
        }
    }

    /// Ready when nothing has moved for longer than plan and patience allow.
    async fn stands_still(&self, task: &Task) {
        let limit = task.patience + Duration::from_millis(task.mine.waits_ms() + task.other.waits_ms());
        let mut seen = (self.moves.load(Ordering::Relaxed), tokio::time::Instant::now());
        while seen.1.elapsed() < limit {
            sleep(Duration::from_millis(500)).await;
            let moves = self.moves.load(Ordering::Relaxed);
            if moves != seen.0 {
                seen = (moves, tokio::time::Instant::now());
            }
        }
    }
}

fn millis(count: u32) -> Duration {
    Duration::from_millis(u64::from(count))
}
