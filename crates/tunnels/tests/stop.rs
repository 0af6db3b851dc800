//! What a stop does to flows that were told of a clean end.

mod common;

use std::time::Duration;

use common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// The application has been told that all was taken: what then waits in the stream's queue is the client's to deliver.
#[tokio::test]
async fn upload_whose_last_bytes_still_wait_when_the_client_is_told_to_stop_arrives_whole() {
    let road = Road::new().await;
    let tunnel = Tunnel::over(POOL, &[], &[("server.addr", &road.address)]).await;
    road.leads_to(&tunnel.address);
    let (listener, address) = destination().await;
    let (mut application, _) = tunnel.connect(address, b"").await;
    let (mut destination, _) = listener.accept().await.unwrap();
    destination.shutdown().await.unwrap();
    assert_eq!(application.read(&mut [0]).await.unwrap(), 0, "the other direction has ended");

    road.close();
    // More than a window, so that credit is waited for; less than a window and a queue, so that the client takes all of it.
    let upload = vec![7; 400 << 10];
    application.write_all(&upload).await.unwrap();
    application.shutdown().await.unwrap();
    tunnel.client.begin();
    sleep(Duration::from_millis(500)).await;
    road.open();

    let mut received = Vec::new();
    destination.read_to_end(&mut received).await.expect("a clean end");
    assert_eq!(received.len(), upload.len());
}

/// A way from client to server on which bytes to the server can be held up.
struct Road {
    address: String,
    server: watch::Sender<Option<String>>,
    is_open: watch::Sender<bool>,
}

impl Road {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (server, mut known) = watch::channel(None::<String>);
        let (is_open, opens) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = known.wait_for(Option::is_some).await.expect("it is told").clone();
                let server = TcpStream::connect(server.expect("some")).await.expect("the server listens");
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(pass(from_client, to_server, opens.clone()));
                tokio::spawn(pass(from_server, to_client, watch::channel(true).1));
            }
        });
        Self { address, server, is_open }
    }

    fn leads_to(&self, server: &str) {
        self.server.send_replace(Some(server.to_owned()));
    }

    fn close(&self) {
        self.is_open.send_replace(false);
    }

    fn open(&self) {
        self.is_open.send_replace(true);
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut opens: watch::Receiver<bool>) {
    let mut chunk = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        let open = opens.wait_for(|open| *open).await.is_ok();
        if !open || to.write_all(&chunk[..count]).await.is_err() {
            return;
        }
    }
}
