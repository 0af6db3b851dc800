//! Strangers: they have no certificate the server trusts, and never get as far as a frame.

use std::io;
use std::time::Duration;

use rand::{Rng, RngExt};
use rustls::ClientConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::ground::Ground;
use crate::pki::{EXPIRED, STRANGER};
use crate::tls;

/// One connection of the attack `name`, up to its end.
pub(crate) async fn strike(name: &str, ground: &Ground, lane: usize) -> io::Result<()> {
    let mut tcp = ground.within(tls::dial(ground.to, ground.source(lane))).await?;
    let mut dice = ground.dice(lane);
    match name {
        "silent" => {}
        "slow-loris" => {
            for byte in hello(ground)? {
                ground.within(tcp.write_all(&[byte])).await?;
                // The server may end it at any time: listening takes the second that a byte has.
                if let Ok(end) = tokio::time::timeout(Duration::from_secs(1), to_end(&mut tcp, ground)).await
                {
                    return end;
                }
            }
        }
        "stalled-after-hello" => ground.within(tcp.write_all(&hello(ground)?)).await?,
        "stalled-before-finished" => {
            let flight = second_flight(&mut tcp, ground).await?;
            let half = flight.len() / 2;
            ground.within(tcp.write_all(flight.get(..half).unwrap_or_default())).await?;
        }
        "connect-flood" => return Ok(()),
        "hello-flood" => {
            ground.within(tcp.write_all(&hello(ground)?)).await?;
            let mut answer = [0; 4096];
            ground.within(tcp.read(&mut answer)).await?;
            return Ok(());
        }
        "garbage" => {
            let mut bytes = vec![0; dice.random_range(1..4096)];
            dice.fill_bytes(&mut bytes);
            ground.within(tcp.write_all(&bytes)).await?;
        }
        "plain-http" => {
            ground.within(tcp.write_all(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")).await?;
        }
        "truncated-hello" => {
            let hello = hello(ground)?;
            let cut = dice.random_range(0..hello.len());
            ground.within(tcp.write_all(hello.get(..cut).unwrap_or_default())).await?;
            ground.within(tcp.shutdown()).await?;
        }
        "fragmented-hello" => {
            // Every byte of the ClientHello in a TLS record of its own.
            let records: Vec<u8> = hello(ground)?
                .get(5..)
                .unwrap_or_default()
                .iter()
                .flat_map(|byte| [22, 3, 1, 0, 1, *byte])
                .collect();
            ground.within(tcp.write_all(&records)).await?;
        }
        "no-certificate" => return handshake(tcp, ground, None).await,
        "wrong-ca" => return handshake(tcp, ground, Some(STRANGER)).await,
        "expired" => return handshake(tcp, ground, Some(EXPIRED)).await,
        "server-as-client" => return handshake(tcp, ground, Some("server")).await,
        other => return Err(io::Error::other(format!("no attack is named {other}"))),
    }
    to_end(&mut tcp, ground).await
}

/// Reads until the peer ends the connection.
async fn to_end(tcp: &mut TcpStream, ground: &Ground) -> io::Result<()> {
    let mut sink = [0; 4096];
    while ground.within(tcp.read(&mut sink)).await? > 0 {}
    Ok(())
}

/// A whole handshake, in so far as the server takes part, and then nothing.
async fn handshake(tcp: TcpStream, ground: &Ground, who: Option<&str>) -> io::Result<()> {
    let config = tls::client(&ground.pki, who, b"remux/2").map_err(io::Error::other)?;
    let mut stream = ground.within(TlsConnector::from(config).connect(tls::name(), tcp)).await?;
    // In TLS 1.3 a client is done before the server has judged it.
    let mut sink = [0; 4096];
    while ground.within(stream.read(&mut sink)).await? > 0 {}
    Ok(())
}

fn hello(ground: &Ground) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    connection(ground)?.write_tls(&mut bytes)?;
    Ok(bytes)
}

/// Goes through the handshake up to where only the client's last flight is missing, and gives that back.
async fn second_flight(tcp: &mut TcpStream, ground: &Ground) -> io::Result<Vec<u8>> {
    let mut tls = connection(ground)?;
    let mut first = Vec::new();
    tls.write_tls(&mut first)?;
    ground.within(tcp.write_all(&first)).await?;
    let mut part = [0; 4096];
    while tls.is_handshaking() {
        let count = ground.within(tcp.read(&mut part)).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut fresh = part.get(..count).unwrap_or_default();
        while !fresh.is_empty() {
            tls.read_tls(&mut fresh)?;
            tls.process_new_packets().map_err(io::Error::other)?;
        }
    }
    let mut flight = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut flight)?;
    }
    Ok(flight)
}

fn connection(ground: &Ground) -> io::Result<ClientConnection> {
    let config = tls::client(&ground.pki, Some(STRANGER), b"remux/2").map_err(io::Error::other)?;
    ClientConnection::new(config, tls::name()).map_err(io::Error::other)
}
