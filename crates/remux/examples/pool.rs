//! A pool of multiplexed connections over any byte stream: here over plain TCP on loopback.
//!
//! `cargo run -p remux --example pool` starts an echo server and a client, makes 40 requests one after another and ten at
//! once, and shows how few connections they took.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use remux::{ByteStream, Config, ConnectError, Connected, Dialer, Listener, PeerFacts, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = serve().await?;
    let connect = move || async move {
        let socket = TcpStream::connect(server).await.map_err(|error| {
            ConnectError::new(format!("tcp {server}: {error} -> is the server running?")).with_source(error)
        })?;
        socket.set_nodelay(true).map_err(|error| ConnectError::new(format!("tcp {server}: {error}")))?;
        Ok(Connected::new(ByteStream::new(socket), Wire::Remux2, PeerFacts::default()))
    };
    let dialer = Dialer::builder(Config::default()).name(server.to_string()).build(connect);

    let start = Instant::now();
    for number in 0..40 {
        request(&dialer, number).await?;
    }
    println!("40 requests in a row: {:?}, {:?}", start.elapsed(), dialer.stats());

    let start = Instant::now();
    let requests: Vec<_> = (0..10)
        .map(|number| {
            let dialer = dialer.clone();
            tokio::spawn(async move { request(&dialer, number).await.map_err(|error| error.to_string()) })
        })
        .collect();
    for request in requests {
        request.await??;
    }
    println!("10 at once: {:?}, {:?}", start.elapsed(), dialer.stats());

    dialer.drain(Duration::from_secs(1)).await;
    Ok(())
}

/// Says something and reads it back to the end.
async fn request(dialer: &Dialer, number: u32) -> Result<(), Box<dyn Error>> {
    let mut stream = dialer.dial().await?;
    let text = format!("request {number}");
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert_eq!(answer, text);
    Ok(())
}

/// An echo server: a listener of streams over a listener of sockets.
async fn serve() -> std::io::Result<SocketAddr> {
    let sockets = TcpListener::bind("127.0.0.1:0").await?;
    let address = sockets.local_addr()?;
    let streams = Arc::new(Listener::new(Config::default()));
    let acceptor = streams.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = sockets.accept().await {
            let _ = socket.set_nodelay(true);
            acceptor.serve(Connected::new(ByteStream::new(socket), Wire::Remux2, PeerFacts::default()));
        }
    });
    tokio::spawn(async move {
        while let Some(stream) = streams.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(stream);
                if tokio::io::copy(&mut read, &mut write).await.is_ok() {
                    let _ = write.shutdown().await;
                }
            });
        }
    });
    Ok(address)
}
