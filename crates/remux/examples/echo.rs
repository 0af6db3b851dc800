//! A client and a server in one process, over an in-memory pipe: the dialer opens streams, the listener echoes them.
//!
//! ```text
//! cargo run -p remux --example echo
//! ```

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use remux::session::Open;
use remux::{ByteStream, Config, Connected, Dialer, Listener, PeerFacts, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = Arc::new(Listener::new(Config::default()));

    // Anything that yields a byte stream is a way to connect; here the other end goes straight to the listener.
    let serving = listener.clone();
    let dialer = Dialer::new(
        move || {
            let serving = serving.clone();
            async move {
                let (near, far) = tokio::io::duplex(64 * 1024);
                serving.serve(Connected::new(ByteStream::new(far), Wire::Remux2, PeerFacts::default()));
                Ok(Connected::new(ByteStream::new(near), Wire::Remux2, PeerFacts::default()))
            }
        },
        Config::default(),
    );

    let accepting = listener.clone();
    let server = tokio::spawn(async move {
        while let Some(stream) = accepting.accept().await {
            println!("server: stream {} asks for {:?}", stream.id(), stream.request().target);
            let (mut from, mut to) = stream.into_split();
            tokio::io::copy(&mut from, &mut to).await?;
            to.shutdown().await?;
        }
        Ok::<(), std::io::Error>(())
    });

    for n in 1..=3 {
        let mut stream = dialer.open(Open::connect("echo.example:7".parse()?)).await?;
        stream.write_all(format!("hello {n}").as_bytes()).await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        println!(
            "client: stream {} on connection {} answered {answer:?}",
            stream.id(),
            stream.connection_id()
        );
    }

    dialer.drain(Duration::from_secs(1)).await;
    listener.drain(Duration::from_secs(1)).await;
    server.await??;
    Ok(())
}
