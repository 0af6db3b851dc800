//! Things to hit that do nothing: the sink that takes the server's place, and the destinations behind it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::tls;

/// Completes TLS and throws away what comes. What the attacker costs the machine by itself is measured against this.
pub(crate) async fn serve(listen: SocketAddr, pki: PathBuf) -> Result<(), String> {
    let acceptor = TlsAcceptor::from(tls::server(&pki)?);
    let listener = bind(listen).await?;
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // As long as the server would wait, so that as many connections stand.
            let Ok(Ok(mut stream)) = timeout(Duration::from_secs(10), acceptor.accept(tcp)).await else {
                return;
            };
            let _ = copy(&mut stream, &mut sink()).await;
        });
    }
}

/// Destinations: one that echoes, one that never reads, one that sends for ever, one that answers no SYN. Prints their
/// addresses.
pub(crate) async fn destinations(at: std::net::IpAddr) -> Result<(), String> {
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(bind(SocketAddr::new(at, 0)).await?);
    }
    // Room for one connection that nobody accepts, and it is taken: the kernel drops every further SYN.
    let told = |error: std::io::Error| error.to_string();
    let nowhere = socket2::Socket::new(
        socket2::Domain::for_address(SocketAddr::new(at, 0)),
        socket2::Type::STREAM,
        None,
    );
    let nowhere = nowhere.map_err(told)?;
    nowhere.bind(&SocketAddr::new(at, 0).into()).map_err(told)?;
    nowhere.listen(0).map_err(told)?;
    let address = nowhere.local_addr().map_err(told)?.as_socket().ok_or("no address")?;
    let _taken = TcpStream::connect(address).await.map_err(told)?;
    println!("listening {address}");
    let mut tasks = tokio::task::JoinSet::new();
    for (which, listener) in listeners.into_iter().enumerate() {
        tasks.spawn(async move {
            loop {
                let Ok((tcp, _)) = listener.accept().await else { continue };
                tokio::spawn(behave(which, tcp));
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

async fn behave(which: usize, mut tcp: TcpStream) {
    let _ = tcp.set_nodelay(true);
    match which {
        0 => {
            let (mut input, mut output) = tcp.split();
            let _ = copy(&mut input, &mut output).await;
        }
        1 => {
            // The kernel must not be where the bytes go.
            let _ = socket2::SockRef::from(&tcp).set_recv_buffer_size(4096);
            // Its end is noticed by asking now and then, without reading.
            loop {
                sleep(Duration::from_secs(1)).await;
                if tcp.take_error().ok().flatten().is_some() {
                    return;
                }
                let mut byte = [0];
                if matches!(timeout(Duration::from_millis(1), tcp.peek(&mut byte)).await, Ok(Ok(0) | Err(_)))
                {
                    return;
                }
            }
        }
        _ => {
            // Nor must it fill megabytes there for each reader that stops: that work would be the destination's.
            let _ = socket2::SockRef::from(&tcp).set_send_buffer_size(16 << 10);
            while tcp.write_all(&[0x33; 16 << 10]).await.is_ok() {}
        }
    }
}

async fn bind(at: SocketAddr) -> Result<TcpListener, String> {
    let told = |error: std::io::Error| format!("{at}: {error}");
    let listener = TcpListener::bind(at).await.map_err(told)?;
    println!("listening {}", listener.local_addr().map_err(told)?);
    Ok(listener)
}

/// Asks a SOCKS port for a connection and waits for its word that it has one.
pub(crate) async fn ask(socks: SocketAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(socks).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&[5, 1, 0]).await?;
    let mut greeting = [0; 2];
    stream.read_exact(&mut greeting).await?;
    let std::net::IpAddr::V4(ip) = to.ip() else {
        return Err(std::io::Error::other("an IPv4 destination, please"));
    };
    let [high, low] = to.port().to_be_bytes();
    let [a, b, c, d] = ip.octets();
    stream.write_all(&[5, 1, 0, 1, a, b, c, d, high, low]).await?;
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).await?;
    Ok(stream)
}

/// 64 bytes there and back, as a browser's small request is one, and a clean end.
pub(crate) async fn exchange(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(&[0x77; 64]).await?;
    let mut answer = [0; 64];
    stream.read_exact(&mut answer).await?;
    stream.shutdown().await?;
    stream.read_to_end(&mut Vec::new()).await.map(|_| ())
}
