//! A server that has turned on its clients.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use framing::Encode;
use framing::remux2::{
    Code, Command, Credit, GoAway, Header, Kind, MAX_PAYLOAD, Open, Ping, Rst, Setting, flags, setting,
};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::ground::{Ground, end_of};
use crate::peer::Peer;
use crate::tls;

/// What it can do to them.
pub(crate) const TURNS: &[&str] = &[
    "refuses-tcp-politely",
    "rst-storm",
    "tls-silence",
    "tls-garbage",
    "mute",
    "never-answers",
    "pings-only",
    "reset-all",
    "refuse-all",
    "goaway-loop",
    "opens-streams",
    "ping-flood",
    "settings-flood",
    "settings-lies",
    "pad-flood",
    "stray-flood",
    "credit-overflow",
    "credit-taken-back",
    "opened-lies",
    "endless-text",
    "oversize",
    "data-beyond-credit",
    "data-unopened",
    "tiny-frames",
    "allows-nothing",
];

/// Serves until the time is over.
pub(crate) async fn serve(turn: &'static str, listen: SocketAddr, ground: Arc<Ground>) -> Result<(), String> {
    let listener = TcpListener::bind(listen).await.map_err(|error| format!("{listen}: {error}"))?;
    println!("listening {}", listener.local_addr().map_err(|error| error.to_string())?);
    let acceptor = TlsAcceptor::from(tls::server(&ground.pki)?);
    while ground.is_on() {
        let Ok((tcp, _)) = ground.within(listener.accept()).await else { break };
        let (ground, acceptor) = (ground.clone(), acceptor.clone());
        tokio::spawn(async move {
            ground.tally.connections.fetch_add(1, Ordering::Relaxed);
            let began = tokio::time::Instant::now();
            let how = meet(turn, tcp, &acceptor, &ground).await;
            ground.tally.end(&how, began.elapsed());
        });
    }
    Ok(())
}

async fn meet(turn: &str, mut tcp: TcpStream, acceptor: &TlsAcceptor, ground: &Ground) -> String {
    match turn {
        "refuses-tcp-politely" => return "fin".to_owned(),
        "rst-storm" => {
            let _ = socket2::SockRef::from(&tcp).set_linger(Some(Duration::ZERO));
            return "rst".to_owned();
        }
        "tls-silence" => {
            ground.pause(Duration::from_secs(3600)).await;
            return "silence".to_owned();
        }
        "tls-garbage" => {
            let _ = tcp.write_all(&[0x42; 4096]).await;
            ground.pause(Duration::from_secs(1)).await;
            return "garbage".to_owned();
        }
        _ => {}
    }
    let _ = tcp.set_nodelay(true);
    match ground.within(acceptor.accept(tcp)).await {
        Err(error) => end_of(&error),
        Ok(stream) => {
            let mut peer = Peer::new(ground, stream.into(), 2, true);
            let result = act(turn, ground, &mut peer).await;
            peer.end(result).await
        }
    }
}

async fn act(turn: &str, ground: &Ground, peer: &mut Peer<'_>) -> io::Result<()> {
    if turn == "mute" {
        return peer.idle().await;
    }
    let settings = match turn {
        "allows-nothing" => vec![Setting { id: setting::MAX_STREAMS, value: 0 }],
        "settings-lies" => vec![
            Setting { id: setting::MAX_FRAME, value: 1 },
            Setting { id: setting::MAX_AGE_MS, value: 0 },
            Setting { id: setting::MAX_REUSE, value: 0 },
            Setting { id: setting::MIN_PING_MS, value: u32::MAX },
            Setting { id: setting::INITIAL_WINDOW, value: u32::MAX },
        ],
        _ => vec![],
    };
    let settings: Vec<u8> = settings.iter().flat_map(Encode::to_vec).collect();
    peer.say(Kind::Settings, 0, 0, &settings);
    // The turns below are about a stream that the client has opened.
    while peer.seen.streams.load(Ordering::Acquire) == 0 {
        peer.beat().await?;
    }
    let mut last = 0;
    let strokes = std::iter::repeat(()).enumerate();
    for (stroke, ()) in strokes {
        let id = peer.seen.streams.load(Ordering::Acquire);
        let is_new = id != std::mem::replace(&mut last, id);
        match turn {
            "pings-only" if stroke % 100 == 0 => {
                peer.say(Kind::Ping, 0, 0, &Ping { opaque: [1; 8] }.to_vec());
            }
            "reset-all" | "refuse-all" if is_new => {
                let bits = if turn == "refuse-all" { flags::REFUSED_SAFE } else { 0 };
                let why = Rst { code: Code::REFUSED, text: "no".to_owned() };
                for id in (1..=id).step_by(2) {
                    peer.say(Kind::Rst, bits, id, &why.to_vec());
                }
            }
            "goaway-loop" => {
                let away = GoAway { last_id: 0, code: Code::DRAIN, drain_ms: 0, text: "later".to_owned() };
                peer.say(Kind::GoAway, 0, 0, &away.to_vec());
                peer.beat().await?;
                return Ok(());
            }
            "opens-streams" => {
                for _ in 0..10 {
                    let id = peer.take_id();
                    let asked =
                        Open { command: Command::Connect, priority: 3, target: Some(ground.echo.clone()) };
                    peer.say(Kind::Open, 0, id, &asked.to_vec());
                }
            }
            "ping-flood" => (0..10).for_each(|_| peer.say(Kind::Ping, 0, 0, &[7; 8])),
            "settings-flood" => peer.say(Kind::Settings, 0, 0, &[]),
            "pad-flood" => peer.say(Kind::Pad, 0, 0, &[0; MAX_PAYLOAD]),
            "stray-flood" => {
                if stroke == 0 {
                    peer.say(Kind::Rst, 0, 1, &[0, 1]);
                }
                (0..50).for_each(|_| peer.say(Kind::Data, 0, 1, &[0; 300]));
            }
            "credit-overflow" if is_new => {
                peer.say(Kind::Credit, 0, id, &Credit { consumed: 0, window: u32::MAX }.to_vec());
            }
            "credit-taken-back" if is_new => {
                peer.say(Kind::Credit, 0, id, &Credit { consumed: 0, window: 1 }.to_vec());
            }
            "opened-lies" => (0..50).for_each(|_| {
                peer.say(Kind::Opened, 0, id, &[0, 0, 0, 1, 1, 10, 0, 0, 1, 0, 80]);
            }),
            "endless-text" => {
                peer.say(Kind::Rst, 0, id, &[b'x'; 2 + 300]);
            }
            "oversize" => peer.put(&Header::new(Kind::Data, 0, id, u16::MAX).to_bytes()),
            "data-beyond-credit" => {
                (0..20).for_each(|_| peer.say(Kind::Data, 0, id, &[0x55; MAX_PAYLOAD]));
            }
            "data-unopened" => peer.say(Kind::Data, 0, id + 2, b"x"),
            "tiny-frames" => (0..2000).for_each(|_| peer.say(Kind::Data, 0, id, b"x")),
            _ => {}
        }
        peer.beat().await?;
    }
    Ok(())
}
