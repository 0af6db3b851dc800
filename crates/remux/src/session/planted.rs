//! What planted bugs do to a session; see [`crate::planted`].

use bytes::{Buf, Bytes};
use framing::remux2::{HEADER, Header, flags};

use super::Session;
use super::batch::Batch;
use super::stream::{RecvState, SendHalf};
use crate::planted::{Bug, strikes};

/// Puts a DATA frame of `n` bytes into the batch in a wrong way; false: it is to be put in the right one.
pub(super) fn spoil(send: &mut SendHalf, header: Header, n: usize, batch: &mut Batch) -> bool {
    // An end must not be lost by the way, and there must be room for two headers.
    if header.flags & flags::FIN != 0
        || n < 2
        || batch.record_room() < HEADER.saturating_add(n).saturating_mul(2)
    {
        return false;
    }
    let mut put = |payload: &Bytes| {
        let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
        batch.put_copy(&Header { length, ..header }.to_bytes());
        batch.put_copy(payload);
    };
    if strikes(Bug::DropFrame) {
        take(send, n);
    } else if strikes(Bug::DoubleFrame) {
        let payload = take(send, n);
        put(&payload);
        put(&payload);
    } else if strikes(Bug::SwapFrames) {
        let payload = take(send, n);
        put(&payload.slice(n / 2..));
        put(&payload.slice(..n / 2));
    } else {
        return false;
    }
    true
}

fn take(send: &mut SendHalf, n: usize) -> Bytes {
    let mut apart = Batch::new();
    send.take(n, &mut apart);
    apart.copy_to_bytes(apart.remaining())
}

/// The flags of a DATA frame, its FIN perhaps forgotten.
pub(super) fn without_end(bits: u8) -> u8 {
    if bits & flags::FIN != 0 && strikes(Bug::LostEnd) { bits & !flags::FIN } else { bits }
}

/// What is sent beyond the credit.
pub(super) fn overdraft() -> usize {
    usize::from(strikes(Bug::CreditPlusOne))
}

impl Session {
    /// A DATA frame's header, perhaps with another stream's id.
    pub(super) fn misdirected(&self, header: Header) -> Header {
        if header.flags & flags::FIN != 0 || header.length == 0 {
            return header;
        }
        let streams = self.table.keys().filter_map(|key| self.table.get(key));
        let mut others =
            streams.filter(|stream| stream.id.0 != header.stream && stream.recv.state == RecvState::Open);
        match others.next() {
            Some(other) if strikes(Bug::WrongStream) => Header { stream: other.id.0, ..header },
            _ => header,
        }
    }
}
