//! The relay of UDP: one socket towards the server for each peer, forgotten after a minute of silence.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::time::{sleep_until, timeout};

use crate::control::Control;
use crate::plan::{Copy, Lane};

/// Relays for ever.
pub(crate) async fn run(near: UdpSocket, to: SocketAddr, seed: u64, control: Control) -> io::Result<()> {
    let near = Arc::new(near);
    let watch = control.watch();
    let mut peers: HashMap<SocketAddr, Peer> = HashMap::new();
    let mut buffer = vec![0; DATAGRAM_MAX];
    let mut count = 0_u64;
    loop {
        // An ICMP error of an earlier datagram is no reason to stop.
        let Ok((size, from)) = near.recv_from(&mut buffer).await else { continue };
        peers.retain(|_, peer| !peer.back.is_finished());
        let peer = match peers.entry(from) {
            std::collections::hash_map::Entry::Occupied(peer) => peer.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                control.counts.connections.fetch_add(1, Ordering::Relaxed);
                let far = Arc::new(UdpSocket::bind(any(to)).await?);
                far.connect(to).await?;
                let lane = Lane::new(seed, count, false);
                let back = tokio::spawn(back(far.clone(), near.clone(), from, lane, control.clone()));
                let lane = Lane::new(seed, count, true);
                count = count.wrapping_add(1);
                place.insert(Peer { far, lane, back })
            }
        };
        let data = buffer.get(..size).unwrap_or_default();
        let faults = watch.borrow().plan.up;
        let copies = peer.lane.datagram(Instant::now(), size, &faults);
        control.counts.bytes_up.fetch_add(u64::try_from(size).unwrap_or(0), Ordering::Relaxed);
        control.counts.lost.fetch_add(u64::from(copies.is_empty()), Ordering::Relaxed);
        for copy in copies {
            let (far, data) = (peer.far.clone(), broken(data, &copy));
            deliver(copy.at, async move { far.send(&data).await });
        }
    }
}

struct Peer {
    far: Arc<UdpSocket>,
    lane: Lane,
    back: tokio::task::JoinHandle<()>,
}

async fn back(far: Arc<UdpSocket>, near: Arc<UdpSocket>, to: SocketAddr, mut lane: Lane, control: Control) {
    let watch = control.watch();
    let mut buffer = vec![0; DATAGRAM_MAX];
    while let Ok(received) = timeout(FORGET, far.recv(&mut buffer)).await {
        let Ok(size) = received else { continue };
        let data = buffer.get(..size).unwrap_or_default();
        let faults = watch.borrow().plan.down;
        let copies = lane.datagram(Instant::now(), size, &faults);
        control.counts.bytes_down.fetch_add(u64::try_from(size).unwrap_or(0), Ordering::Relaxed);
        control.counts.lost.fetch_add(u64::from(copies.is_empty()), Ordering::Relaxed);
        for copy in copies {
            let (near, data) = (near.clone(), broken(data, &copy));
            deliver(copy.at, async move { near.send_to(&data, to).await });
        }
    }
}

fn broken(data: &[u8], copy: &Copy) -> Vec<u8> {
    let mut data = data.get(..copy.keep).unwrap_or_default().to_vec();
    if let Some(bit) = copy.flip_bit
        && let Some(byte) = data.get_mut(bit / 8)
    {
        *byte ^= 1 << (bit % 8);
    }
    data
}

fn deliver(at: Instant, send: impl Future<Output = io::Result<usize>> + Send + 'static) {
    tokio::spawn(async move {
        if at > Instant::now() {
            sleep_until(at.into()).await;
        }
        // A datagram that can't be sent is lost, as datagrams are.
        let _ = send.await;
    });
}

fn any(like: SocketAddr) -> SocketAddr {
    if like.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() }
}

const DATAGRAM_MAX: usize = 65_536;
const FORGET: Duration = Duration::from_secs(60);
