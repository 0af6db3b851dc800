//! A whole tunnel inside a program of your own: a server and a client on loopback, one request through both.
//!
//! `cargo run -p tunnels --example embed`

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tunnels::{Client, Server, Shutdown, config, pki};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let papers = pki::throwaway()?;
    let text = |path: &std::path::Path| path.display().to_string();

    let server = Server::bind(config::Server::from_pairs([
        ("server.addr", "127.0.0.1:0"),
        ("server.allow", "127.0.0.0/8"),
        ("tls.client.ca", &text(&papers.ca)),
        ("tls.server.cert", &text(&papers.server_cert)),
        ("tls.server.key", &text(&papers.server_key)),
    ])?)
    .await?;
    let client = Client::bind(config::Client::from_pairs([
        ("server.addr", server.address().as_str()),
        ("client.addr", "127.0.0.1:0"),
        ("tls.client.ca", &text(&papers.ca)),
        ("tls.client.cert", &text(&papers.client_cert)),
        ("tls.client.key", &text(&papers.client_key)),
    ])?)
    .await?;
    let socks = client.address();
    let shutdown = Shutdown::new();
    let running =
        (tokio::spawn(server.serve(shutdown.clone())), tokio::spawn(client.serve(shutdown.clone())));

    // A destination, and an application that reaches it through the tunnel by SOCKS5.
    let destination = TcpListener::bind("127.0.0.1:0").await?;
    let port = destination.local_addr()?.port();
    let answer = tokio::spawn(async move {
        let (mut socket, _) = destination.accept().await?;
        let mut asked = [0; 5];
        socket.read_exact(&mut asked).await?;
        socket.write_all(&asked.map(|byte| byte.to_ascii_uppercase())).await
    });
    let mut application = TcpStream::connect(&socks).await?;
    application.write_all(&[5, 1, 0]).await?;
    application.read_exact(&mut [0; 2]).await?;
    application.write_all(&[5, 1, 0, 1, 127, 0, 0, 1]).await?;
    application.write_all(&port.to_be_bytes()).await?;
    application.read_exact(&mut [0; 10]).await?;
    application.write_all(b"hello").await?;
    let mut heard = String::new();
    application.read_to_string(&mut heard).await?;
    println!("through {socks}: {heard}");
    assert_eq!(heard, "HELLO");
    answer.await??;
    drop(application);

    shutdown.begin();
    running.0.await??;
    running.1.await??;
    Ok(())
}
