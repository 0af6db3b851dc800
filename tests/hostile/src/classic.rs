//! A client with a valid certificate that means harm, on the classic wire.

use std::io;

use framing::classic::Header;
use framing::eager::Request;
use framing::{Encode, Target};

use crate::ground::Ground;
use crate::peer::{self, Peer};

/// One connection of the attack `name`, up to its end, and how that looked.
pub(crate) async fn strike(name: &str, ground: &Ground, lane: usize) -> String {
    let mut peer = match peer::enter(ground, lane, b"remux/1").await {
        Ok(wire) if name == "session-never-read" => Peer::deaf(ground, wire, 1),
        Ok(wire) => Peer::new(ground, wire, 1, false),
        Err(end) => return end,
    };
    let result = act(name, ground, &mut peer).await;
    peer.end(result).await
}

async fn act(name: &str, ground: &Ground, peer: &mut Peer<'_>) -> io::Result<()> {
    let mut session = 0_u16;
    let mut next = || {
        session = session.wrapping_add(1);
        session
    };
    match name {
        "session-flood" => loop {
            for _ in 0..10 {
                begin(peer, next(), &ground.echo);
            }
            peer.beat().await?;
        },
        "session-ends" => loop {
            for _ in 0..5 {
                let id = next();
                begin(peer, id, &ground.echo);
                peer.put(&Header::end(id).to_bytes());
            }
            peer.beat().await?;
        },
        "session-tiny" => {
            let id = next();
            begin(peer, id, &ground.deaf);
            frame(peer, id, &[0; 1000]);
            loop {
                for _ in 0..2000 {
                    frame(peer, id, b"x");
                }
                peer.beat().await?;
            }
        }
        "session-unread" => {
            for _ in 0..250 {
                let id = next();
                begin(peer, id, &ground.deaf);
                // A little less than what stops the connection.
                for _ in 0..15 {
                    frame(peer, id, &[0x55; 16 << 10]);
                }
                peer.beat().await?;
            }
            peer.idle().await
        }
        "session-never-read" => {
            for _ in 0..250 {
                begin(peer, next(), &ground.endless);
                peer.beat().await?;
            }
            peer.idle().await
        }
        "session-half-request" => loop {
            frame(peer, next(), &[5, 1]);
            for _ in 0..2 {
                peer.beat().await?;
            }
        },
        "session-bad-request" => loop {
            frame(peer, next(), &[4, 1, 0, 80, 127, 0, 0, 1, 0]);
            peer.beat().await?;
        },
        other => Err(io::Error::other(format!("no attack is named {other}"))),
    }
}

fn begin(peer: &mut Peer<'_>, session: u16, target: &Target) {
    frame(peer, session, &Request::connect(target.clone()).to_vec());
}

fn frame(peer: &mut Peer<'_>, session: u16, data: &[u8]) {
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
    peer.put(&Header { session, length }.to_bytes());
    peer.put(data);
}
