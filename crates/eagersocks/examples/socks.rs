//! A tiny direct proxy: SOCKS 4, 4a, 5 and HTTP CONNECT in, plain TCP out.
//!
//! ```text
//! cargo run -p eagersocks --example socks -- 127.0.0.1:1080 &
//! curl -x socks5h://127.0.0.1:1080 https://example.com/
//! ```
//!
//! It answers strictly, after its dial, so that a refused destination is told as such.

use std::io;
use std::net::SocketAddr;

use eagersocks::{Accepted, Config, Reply, Request, listen_socks};
use framing::remux2::Code;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:1080".to_owned());
    let listener = listen_socks(address, Config { reply: Reply::Strict, ..Config::default() }).await?;
    println!("listening on {}", listener.local_addr()?);
    let mut flows = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => { flows.spawn(serve(accepted?)); }
            Some(_) = flows.join_next() => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

async fn serve(accepted: Accepted) {
    let peer = accepted.peer;
    match accepted.handshake().await {
        Ok((socket, request)) => match relay(socket, &request).await {
            Ok((up, down)) => {
                println!("{peer} {} {}: {up} up, {down} down", request.protocol, request.target)
            }
            Err(error) => println!("{peer} {} {}: {error}", request.protocol, request.target),
        },
        Err(error) => println!("{peer} {}: {error}", error.kind()),
    }
}

async fn relay(mut application: TcpStream, request: &Request) -> io::Result<(u64, u64)> {
    let mut destination = match TcpStream::connect(request.target.to_string()).await {
        Ok(destination) => destination,
        Err(error) => {
            application.write_all(&request.reply_failure(code_of(&error))).await?;
            application.shutdown().await?;
            return Err(error);
        }
    };
    let bound: Option<SocketAddr> = destination.local_addr().ok();
    application.write_all(&request.reply_success(bound)).await?;
    destination.write_all(&request.early).await?;
    let (up, down) = copy_bidirectional(&mut application, &mut destination).await?;
    Ok((up + request.early.len() as u64, down))
}

fn code_of(error: &io::Error) -> Code {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Code::DEST_REFUSED,
        io::ErrorKind::HostUnreachable => Code::HOST_UNREACHABLE,
        io::ErrorKind::NetworkUnreachable => Code::NET_UNREACHABLE,
        io::ErrorKind::TimedOut => Code::DIAL_TIMEOUT,
        _ => Code::DNS_FAIL,
    }
}
