//! Requests over every way a client and its server can be joined: bytes, ends and resets arrive as what they were.

mod common;

use std::io::ErrorKind;

use common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes that show where they belong.
fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i.wrapping_mul(31) ^ (i >> 8)).to_le_bytes()[0]).collect()
}

#[tokio::test]
async fn bytes_pass_both_ways_over_every_transport_and_first_data_go_with_the_request() {
    let data = pattern(600_000);
    for way in Way::all() {
        let tunnel = Tunnel::over(way, &[], &[]).await;
        let (first, rest) = data.split_at(1000);
        let (application, code) = tunnel.connect(echo().await, first).await;
        assert_eq!(code, 0, "{way:?}");
        let (mut read, mut write) = application.into_split();
        let mut heard = vec![0; data.len()];
        let (sent, got) = tokio::join!(write.write_all(rest), read.read_exact(&mut heard));
        sent.unwrap();
        got.unwrap();
        assert!(heard == data, "{way:?}");
    }
}

#[tokio::test]
async fn destination_that_answers_after_the_end_of_input_is_heard_where_the_way_has_half_close() {
    for way in Way::all().into_iter().filter(Way::has_half_close) {
        let tunnel = Tunnel::over(way, &[], &[]).await;
        let (listener, address) = destination().await;
        let answering = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut question = String::new();
            socket.read_to_string(&mut question).await.unwrap();
            socket.write_all(format!("{question}? 42").as_bytes()).await.unwrap();
        });
        let (mut application, _) = tunnel.connect(address, b"life").await;
        application.shutdown().await.unwrap();
        let mut answer = String::new();
        application.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "life? 42", "{way:?}");
        answering.await.unwrap();
    }
}

#[tokio::test]
async fn application_goes_on_after_the_destination_has_ended_its_side() {
    for way in Way::all().into_iter().filter(Way::has_half_close) {
        let tunnel = Tunnel::over(way, &[], &[]).await;
        let (listener, address) = destination().await;
        let listening = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.write_all(b"I listen").await.unwrap();
            socket.shutdown().await.unwrap();
            let mut heard = Vec::new();
            socket.read_to_end(&mut heard).await.unwrap();
            heard
        });
        let (mut application, _) = tunnel.connect(address, b"").await;
        let mut heard = String::new();
        application.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "I listen", "{way:?}");
        application.write_all(&pattern(200_000)).await.unwrap();
        application.shutdown().await.unwrap();
        assert!(listening.await.unwrap() == pattern(200_000), "{way:?}");
    }
}

/// The classic wire says "end of session" for both directions at once, so the application's own end has to wait.
#[tokio::test]
async fn classic_wire_passes_the_destinations_end_on_and_loses_nothing_before_it() {
    let tunnel = Tunnel::over(Way { wire: "classic", ..POOL }, &[], &[]).await;
    let (listener, address) = destination().await;
    let answering = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut question = [0; 8];
        socket.read_exact(&mut question).await.unwrap();
        socket.write_all(&pattern(300_000)).await.unwrap();
    });
    let (mut application, _) = tunnel.connect(address, b"question").await;
    application.shutdown().await.unwrap();
    let mut heard = Vec::new();
    application.read_to_end(&mut heard).await.unwrap();
    assert!(heard == pattern(300_000));
    answering.await.unwrap();
}

#[tokio::test]
async fn reset_of_the_destination_is_a_reset_for_the_application() {
    for way in Way::all().into_iter().filter(Way::has_reset) {
        let tunnel = Tunnel::over(way, &[], &[]).await;
        let (mut application, theirs) = joined(&tunnel).await;
        reset(theirs);
        assert_eq!(read_error(&mut application).await, ErrorKind::ConnectionReset, "{way:?}");
    }
}

#[tokio::test]
async fn reset_of_the_application_is_a_reset_for_the_destination() {
    for way in Way::all().into_iter().filter(Way::has_reset) {
        let tunnel = Tunnel::over(way, &[], &[]).await;
        let (application, mut theirs) = joined(&tunnel).await;
        reset(application);
        assert_eq!(read_error(&mut theirs).await, ErrorKind::ConnectionReset, "{way:?}");
    }
}

#[tokio::test]
async fn server_that_ends_at_once_is_a_reset_at_both_ends_and_never_a_clean_end() {
    for way in Way::all().into_iter().filter(Way::has_reset) {
        let tunnel = Tunnel::over(way, &[], &[]).await;
        let (mut application, mut theirs) = joined(&tunnel).await;
        tunnel.server.force();
        assert_eq!(read_error(&mut application).await, ErrorKind::ConnectionReset, "{way:?}");
        assert_eq!(read_error(&mut theirs).await, ErrorKind::ConnectionReset, "{way:?}");
    }
}

#[tokio::test]
async fn destination_nobody_listens_at_resets_an_application_that_was_told_of_success() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for way in Way::all().into_iter().filter(Way::has_reset) {
        let tunnel = Tunnel::over(way, &[], &[]).await;
        let (mut application, code) = tunnel.connect(closed, b"").await;
        assert_eq!(code, 0, "eager");
        assert_eq!(read_error(&mut application).await, ErrorKind::ConnectionReset, "{way:?}");
    }
}

/// An application and the destination's end of it, both with nothing under way.
async fn joined(tunnel: &Tunnel) -> (TcpStream, TcpStream) {
    let (listener, address) = destination().await;
    let (application, code) = tunnel.connect(address, b"x").await;
    assert_eq!(code, 0);
    let (mut theirs, _) = listener.accept().await.unwrap();
    assert_eq!(theirs.read_u8().await.unwrap(), b'x');
    (application, theirs)
}
