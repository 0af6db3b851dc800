//! A seeded relay of TCP and UDP that breaks what passes through it, without root.
//!
//! ```text
//! faultbox tcp --listen 127.0.0.1:0 --to 127.0.0.1:443 --seed 7 --control /tmp/box 'delay 50ms' 'slice 7'
//! READY 127.0.0.1:40123
//! echo 'blackhole' | nc -U /tmp/box        ok
//! ```
//!
//! The commands are those of [`command`].

mod command;
mod control;
mod plan;
mod rng;
mod tcp;
mod udp;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::net::UdpSocket;

use crate::command::Kind;
use crate::control::Control;

#[tokio::main]
async fn main() -> ExitCode {
    let wish = match Wish::of(std::env::args().skip(1)) {
        Ok(wish) => wish,
        Err(error) => {
            eprintln!("faultbox: {error}\n{USAGE}");
            return ExitCode::from(64);
        }
    };
    match serve(wish).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("faultbox: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Wish {
    kind: Kind,
    listen: SocketAddr,
    to: SocketAddr,
    seed: u64,
    socket: Option<PathBuf>,
    faults: Vec<String>,
}

impl Wish {
    fn of(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let kind = match words.next().as_deref() {
            Some("tcp") => Kind::Tcp,
            Some("udp") => Kind::Udp,
            other => return Err(format!("{other:?} is neither tcp nor udp")),
        };
        let (mut listen, mut to, mut seed, mut socket, mut faults) = (None, None, 0, None, Vec::new());
        while let Some(word) = words.next() {
            let flag = matches!(word.as_str(), "--listen" | "--to" | "--seed" | "--control");
            let value =
                if flag { words.next().ok_or(format!("{word} needs a value"))? } else { String::new() };
            let address = || value.parse::<SocketAddr>().map_err(|error| format!("{word} {value}: {error}"));
            match word.as_str() {
                "--listen" => listen = Some(address()?),
                "--to" => to = Some(address()?),
                "--seed" => seed = value.parse().map_err(|error| format!("--seed {value}: {error}"))?,
                "--control" => socket = Some(PathBuf::from(value)),
                _ => faults.push(word),
            }
        }
        let missing = |what| format!("{what} is missing");
        Ok(Self {
            kind,
            listen: listen.ok_or(missing("--listen"))?,
            to: to.ok_or(missing("--to"))?,
            seed,
            socket,
            faults,
        })
    }
}

async fn serve(wish: Wish) -> std::io::Result<()> {
    let control = Control::new(wish.kind);
    for fault in &wish.faults {
        control.obey(fault).map_err(std::io::Error::other)?;
    }
    if let Some(path) = &wish.socket {
        control.clone().serve(path).await?;
    }
    match wish.kind {
        Kind::Tcp => {
            let listener = tcp::listen(wish.listen)?;
            println!("READY {}", listener.local_addr()?);
            tcp::run(listener, wish.to, wish.seed, control).await
        }
        Kind::Udp => {
            let socket = UdpSocket::bind(wish.listen).await?;
            println!("READY {}", socket.local_addr()?);
            udp::run(socket, wish.to, wish.seed, control).await
        }
    }
}

const USAGE: &str =
    "usage: faultbox tcp|udp --listen ADDRESS --to ADDRESS [--seed N] [--control SOCKET] ['FAULT'...]";
