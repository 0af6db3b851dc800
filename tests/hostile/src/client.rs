//! A client with a valid certificate that means harm, on the remux2 wire.

use std::io;
use std::sync::atomic::Ordering;

use framing::Encode;
use framing::remux2::{Code, Command, Credit, GoAway, Kind, Open, Ping, Rst, Setting, flags, setting};
use framing::{Host, Target};

use crate::ground::Ground;
use crate::peer::{self, Peer, lock};

/// One connection of the attack `name`, up to its end, and how that looked.
pub(crate) async fn strike(name: &str, ground: &Ground, lane: usize) -> String {
    let mut peer = match peer::enter(ground, lane, b"remux/2").await {
        Ok(wire) if matches!(name, "never-read" | "never-read-pings") => Peer::deaf(ground, wire, 1),
        Ok(wire) => Peer::new(ground, wire, 1, true),
        Err(end) => return end,
    };
    let result = act(name, ground, &mut peer).await;
    peer.end(result).await
}

async fn act(name: &str, ground: &Ground, peer: &mut Peer<'_>) -> io::Result<()> {
    match name {
        "no-settings" => return peer.idle().await,
        "before-settings" => {
            open(peer, &ground.echo, b"");
            return peer.idle().await;
        }
        _ => {}
    }
    peer.say(Kind::Settings, 0, 0, &[]);
    match name {
        "idle-connections" => peer.idle().await,
        "stream-flood" => {
            repeat(peer, 10, |peer| {
                open(peer, &ground.echo, b"");
            })
            .await
        }
        "rapid-reset" => {
            repeat(peer, 5, |peer| {
                let id = open(peer, &ground.echo, b"x");
                reset(peer, id);
            })
            .await
        }
        "slow-rapid-reset" => {
            // Within every limit of one connection: as costly as it may be.
            loop {
                let id = open(peer, &ground.echo, b"x");
                reset(peer, id);
                for _ in 0..11 {
                    peer.beat().await?;
                }
            }
        }
        "provoked-resets" => {
            repeat(peer, 2, |peer| {
                let id = peer.take_id();
                peer.say(Kind::Open, 0, id, &[1, 3, 0, 3, 1, 127, 0]);
            })
            .await
        }
        "data-beyond-credit" => loop {
            let id = open(peer, &ground.deaf, b"");
            for _ in 0..17 {
                peer.say(Kind::Data, 0, id, &[0x55; 16_376]);
            }
            peer.beat().await?;
        },
        "credit-overflow" => {
            repeat(peer, 2, |peer| {
                let id = open(peer, &ground.echo, b"");
                credit(peer, id, 0, u32::MAX);
            })
            .await
        }
        "credit-unsent" => {
            repeat(peer, 2, |peer| {
                let id = open(peer, &ground.echo, b"");
                credit(peer, id, 1 << 30, 1 << 20);
            })
            .await
        }
        "credit-taken-back" => {
            repeat(peer, 2, |peer| {
                let id = open(peer, &ground.echo, b"");
                credit(peer, id, 0, 1);
            })
            .await
        }
        "credit-unchanged" => {
            let id = open(peer, &ground.echo, b"");
            repeat(peer, 200, |peer| credit(peer, id, 0, 256 << 10)).await
        }
        "credit-crumbs" => {
            let id = open(peer, &ground.endless, b"");
            let mut window = 256 << 10;
            repeat(peer, 50, |peer| {
                window += 1;
                credit(peer, id, 0, window);
            })
            .await
        }
        "tiny-frames" => {
            let id = open(peer, &ground.deaf, &[0; 1000]);
            repeat(peer, 2000, |peer| peer.say(Kind::Data, 0, id, b"x")).await
        }
        "empty-data" => {
            let id = open(peer, &ground.echo, b"");
            repeat(peer, 1, |peer| peer.say(Kind::Data, 0, id, b"")).await
        }
        "ping-flood" => {
            let ping = Ping { opaque: [7; 8] }.to_vec();
            repeat(peer, 10, |peer| peer.say(Kind::Ping, 0, 0, &ping)).await
        }
        "settings-flood" => {
            let window = Setting { id: setting::INITIAL_WINDOW, value: 1 << 30 }.to_vec();
            repeat(peer, 1, |peer| peer.say(Kind::Settings, 0, 0, &window)).await
        }
        "pad-flood" => repeat(peer, 1, |peer| peer.say(Kind::Pad, 0, 0, &[0; 16_376])).await,
        "unknown-flood" => repeat(peer, 50, |peer| peer.frame(0x55, 0, 0, b"")).await,
        "priority-flood" => {
            let id = open(peer, &ground.echo, b"");
            repeat(peer, 50, |peer| peer.say(Kind::Priority, 0, id, &[5])).await
        }
        "stray-flood" => {
            let id = open(peer, &ground.echo, b"");
            reset(peer, id);
            repeat(peer, 50, |peer| peer.say(Kind::Data, 0, id, &[0; 300])).await
        }
        "goaway-flood" => {
            let away = GoAway { last_id: 9, code: Code::DRAIN, drain_ms: 0, text: "bye".repeat(80) }.to_vec();
            repeat(peer, 50, |peer| peer.say(Kind::GoAway, 0, 0, &away)).await
        }
        "oversize" => {
            peer.put(&framing::remux2::Header::new(Kind::Data, 0, 1, u16::MAX).to_bytes());
            peer.idle().await
        }
        "out-of-state" => {
            let turn = ground.tally.connections.load(Ordering::Relaxed) % 8;
            out_of_state(ground, peer, turn);
            peer.idle().await
        }
        "unread-streams" => {
            // As many streams as there may be, each kept as full as its credit allows, and their destination reads nothing.
            let mut streams = Vec::new();
            loop {
                if streams.len() < 256 {
                    streams.push((open(peer, &ground.deaf, b""), 0_u32));
                }
                fill(peer, &mut streams, 32);
                peer.beat().await?;
            }
        }
        "never-read" | "never-read-pings" => {
            let window = Setting { id: setting::INITIAL_WINDOW, value: 1 << 30 }.to_vec();
            peer.say(Kind::Settings, 0, 0, &window);
            for _ in 0..250 {
                open(peer, &ground.endless, b"");
                peer.beat().await?;
            }
            if name == "never-read" {
                return peer.idle().await;
            }
            let ping = Ping { opaque: [7; 8] }.to_vec();
            loop {
                peer.say(Kind::Ping, 0, 0, &ping);
                for _ in 0..20 {
                    peer.beat().await?;
                }
            }
        }
        "dial-denied" => {
            let mut id = 0_u8;
            loop {
                for _ in 0..2 {
                    id = id.wrapping_add(1);
                    open(peer, &Target::new(Host::V4([10, 9, 8, id].into()), 80), b"");
                }
                peer.beat().await?;
            }
        }
        "dial-refused" => {
            repeat(peer, 2, |peer| {
                open(peer, &Target::new(Host::V4([127, 0, 0, 1].into()), 1), b"");
            })
            .await
        }
        "dial-nowhere" => {
            repeat(peer, 2, |peer| {
                open(peer, &ground.nowhere, b"");
            })
            .await
        }
        "open-and-finish" => {
            repeat(peer, 2, |peer| {
                let id = peer.take_id();
                let asked =
                    Open { command: Command::Connect, priority: 3, target: Some(ground.echo.clone()) };
                peer.say(Kind::Open, flags::FIN, id, &asked.to_vec());
            })
            .await
        }
        other => Err(io::Error::other(format!("no attack is named {other}"))),
    }
}

/// `count` strokes a beat, until it is over.
async fn repeat(peer: &mut Peer<'_>, count: u32, mut stroke: impl FnMut(&mut Peer<'_>)) -> io::Result<()> {
    loop {
        for _ in 0..count {
            stroke(peer);
        }
        peer.beat().await?;
    }
}

/// Sends at most `frames` full frames, where there is credit for them.
fn fill(peer: &mut Peer<'_>, streams: &mut [(u32, u32)], mut frames: u32) {
    const FULL: u32 = 16_376;
    for (id, sent) in streams {
        let limit = lock(&peer.seen.limits).get(id).copied().unwrap_or(256 << 10);
        while frames > 0 && limit.wrapping_sub(*sent) >= FULL {
            peer.say(Kind::Data, 0, *id, &[0x55; FULL as usize]);
            *sent = sent.wrapping_add(FULL);
            frames -= 1;
        }
    }
}

/// One frame that its state does not allow.
fn out_of_state(ground: &Ground, peer: &mut Peer<'_>, which: u64) {
    let asked = Open { command: Command::Connect, priority: 3, target: Some(ground.echo.clone()) }.to_vec();
    match which {
        0 => peer.say(Kind::Open, 0, 2, &asked),
        1 => {
            peer.say(Kind::Open, 0, 5, &asked);
            peer.say(Kind::Open, 0, 3, &asked);
        }
        2 => peer.say(Kind::Data, 0, 99, b"for a stream that never was"),
        3 => peer.say(Kind::Dgram, 0, 1, b"datagram"),
        4 => peer.frame(0x0B, 0, 0, b"reserved"),
        5 => peer.frame(0x80, 0, 0, b"critical"),
        6 => {
            peer.say(Kind::Open, 0, 1, &asked);
            peer.say(Kind::Credit, 0, 1, &[0; 9]);
        }
        _ => peer.say(Kind::Rst, 0, 0, &[0, 1]),
    }
}

pub(crate) fn open(peer: &mut Peer<'_>, target: &Target, first: &[u8]) -> u32 {
    let id = peer.take_id();
    let asked = Open { command: Command::Connect, priority: 3, target: Some(target.clone()) };
    let mut payload = asked.to_vec();
    payload.extend_from_slice(first);
    peer.say(Kind::Open, flags::WANT_OPENED, id, &payload);
    id
}

fn reset(peer: &mut Peer<'_>, id: u32) {
    peer.say(Kind::Rst, 0, id, &Rst { code: Code::CANCEL, text: String::new() }.to_vec());
}

fn credit(peer: &mut Peer<'_>, id: u32, consumed: u32, window: u32) {
    peer.say(Kind::Credit, 0, id, &Credit { consumed, window }.to_vec());
}
