//! A client with a valid certificate that means harm, without a mux: one eager request a connection.

use std::io;

use framing::eager::Request;
use framing::{Encode, Host, Target};

use crate::ground::Ground;
use crate::peer::{self, Peer};

/// One connection of the attack `name`, up to its end, and how that looked.
pub(crate) async fn strike(name: &str, ground: &Ground, lane: usize) -> String {
    let mut peer = match peer::enter(ground, lane, b"eagersocks/1").await {
        Ok(wire) if name == "eager-never-read" => Peer::deaf(ground, wire, 1),
        Ok(wire) => Peer::new(ground, wire, 1, false),
        Err(end) => return end,
    };
    let result = act(name, ground, &mut peer).await;
    peer.end(result).await
}

async fn act(name: &str, ground: &Ground, peer: &mut Peer<'_>) -> io::Result<()> {
    match name {
        "eager-denied" => {
            let target = Target::new(Host::V4([10, 9, 8, 7].into()), 80);
            peer.put(&Request::connect(target).to_vec());
        }
        "eager-half-request" => peer.put(&[5, 1]),
        "eager-bad-request" => peer.put(b"GET / HTTP/1.1\r\n\r\n"),
        "eager-never-read" => peer.put(&Request::connect(ground.endless.clone()).to_vec()),
        "eager-unread" => {
            peer.put(&Request::connect(ground.deaf.clone()).to_vec());
            loop {
                peer.put(&[0x55; 16 << 10]);
                peer.beat().await?;
            }
        }
        other => return Err(io::Error::other(format!("no attack is named {other}"))),
    }
    peer.idle().await
}
