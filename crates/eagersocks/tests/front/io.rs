//! The tokio half: deadlines, delays and closes, over pipes and under a paused clock.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{bytes, config};
use eagersocks::{
    Config, Gate, HandshakeError, Protocol, Reply, Request, accept_eager, dial, handshake, handshake_from,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

type Outcome = Result<(DuplexStream, Request), HandshakeError>;

const CONVERSATION: &str = "05 01 00  05 01 00 03 09 'localhost' 4a42";

fn front(config: Config) -> (DuplexStream, JoinHandle<Outcome>) {
    let (application, socket) = duplex(1 << 20);
    (application, tokio::spawn(async move { handshake(socket, &config).await }))
}

async fn rest(mut application: DuplexStream) -> Vec<u8> {
    let mut all = Vec::new();
    application.read_to_end(&mut all).await.unwrap();
    all
}

#[tokio::test(start_paused = true)]
async fn request_with_early_data_and_half_close_is_served() {
    let (mut application, front) = front(config(false, Reply::Eager));
    application.write_all(&bytes(CONVERSATION)).await.unwrap();
    application.write_all(b"early").await.unwrap();
    application.shutdown().await.unwrap();
    let (mut socket, request) = front.await.unwrap().unwrap();
    assert_eq!(request.target.to_string(), "localhost:19010");
    assert_eq!((&request.early[..], request.protocol), (&b"early"[..], Protocol::Socks5));
    assert_eq!(socket.read(&mut [0; 8]).await.unwrap(), 0, "the half-close is still there to be seen");
    drop(socket);
    assert_eq!(rest(application).await, bytes("0500 05 00 00 01 00000000 0000"));
}

#[tokio::test(start_paused = true)]
async fn silence_after_any_number_of_bytes_ends_at_the_deadline() {
    let conversation = bytes(CONVERSATION);
    for n in 0..conversation.len() {
        let began = Instant::now();
        let (mut application, front) = front(config(false, Reply::Eager));
        application.write_all(&conversation[..n]).await.unwrap();
        let error = front.await.unwrap().unwrap_err();
        assert!(matches!(error, HandshakeError::Deadline { .. }), "{n}: {error}");
        assert_eq!(began.elapsed().as_secs(), 10, "{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_byte_a_second_meets_the_same_deadline() {
    let began = Instant::now();
    let (mut application, front) = front(config(false, Reply::Eager));
    let drip = tokio::spawn(async move {
        for byte in bytes(CONVERSATION) {
            if application.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
    });
    assert!(matches!(front.await.unwrap(), Err(HandshakeError::Deadline { .. })));
    assert_eq!(began.elapsed().as_secs(), 10);
    drip.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn close_in_the_middle_is_told_with_the_bytes_that_came() {
    let (mut application, front) = front(config(false, Reply::Eager));
    application.write_all(&[5, 1]).await.unwrap();
    drop(application);
    let error = front.await.unwrap().unwrap_err();
    assert!(matches!(error, HandshakeError::Closed { received: 2 }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn refusal_is_answered_at_once_and_waits_at_most_a_second_for_the_end() {
    let began = Instant::now();
    let (mut application, front) = front(config(false, Reply::Eager));
    application.write_all(&bytes("05 01 00 05 02 00 01 c0000201 0050")).await.unwrap();
    let mut reply = [0; 12];
    application.read_exact(&mut reply).await.unwrap();
    assert_eq!(reply.as_slice(), bytes("0500 05 07 00 01 00000000 0000"));
    assert_eq!(application.read(&mut reply).await.unwrap(), 0, "FIN follows the reply");
    assert_eq!(began.elapsed(), Duration::ZERO);
    let error = front.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), "command");
    assert_eq!(began.elapsed(), Duration::from_secs(1), "the application never closed");
}

#[tokio::test(start_paused = true)]
async fn flood_behind_a_refused_request_is_not_read_for_ever() {
    let (mut application, front) = front(config(false, Reply::Eager));
    application.write_all(&bytes("16 0301")).await.unwrap();
    let flood = tokio::spawn(async move {
        for _ in 0..10_000 {
            if application.write_all(&[0; 4096]).await.is_err() {
                return true;
            }
        }
        false
    });
    assert_eq!(front.await.unwrap().unwrap_err().kind(), "bad_protocol");
    assert!(flood.await.unwrap(), "all of 40 MB was read");
}

fn login(password: &str) -> Vec<u8> {
    let login =
        format!("05 01 02  01 03 'ann' {:02x} '{password}'  05 01 00 01 c0000201 0050", password.len());
    bytes(&login)
}

async fn attempt(
    gate: Arc<Gate>,
    source: &str,
    password: &str,
) -> (Result<Request, HandshakeError>, Vec<u8>) {
    let source: IpAddr = source.parse().unwrap();
    let (mut application, socket) = duplex(4096);
    application.write_all(&login(password)).await.unwrap();
    let front = tokio::spawn(async move {
        handshake_from(socket, &config(true, Reply::Eager), source, &gate).await.map(|(_, request)| request)
    });
    application.shutdown().await.unwrap();
    let heard = rest(application).await;
    (front.await.unwrap(), heard)
}

#[tokio::test(start_paused = true)]
async fn wrong_password_is_answered_after_200_ms_and_a_right_one_gets_in_after_any_number() {
    let gate = Arc::new(Gate::new());
    for _ in 0..12 {
        let began = Instant::now();
        let (outcome, heard) = attempt(gate.clone(), "192.0.2.1", "guess").await;
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), heard), ("auth_failed", bytes("0502 0101")));
        assert_eq!(began.elapsed(), Duration::from_millis(200));
        let HandshakeError::Refused(refusal) = error else { panic!("{error}") };
        assert_eq!(refusal.user.as_deref(), Some("ann"));
    }
    let request = attempt(gate, "192.0.2.1", "secret").await.0.unwrap();
    assert_eq!(request.credential.unwrap().user.as_ref(), "ann");
}

#[tokio::test(start_paused = true)]
async fn guesses_side_by_side_are_judged_one_by_one_and_too_many_not_at_all() {
    let gate = Arc::new(Gate::new());
    let began = Instant::now();
    let all: Vec<_> = (0..40)
        .map(|n| {
            let gate = gate.clone();
            tokio::spawn(async move {
                let (outcome, heard) = attempt(gate, "192.0.2.1", &format!("guess{n}")).await;
                (outcome.unwrap_err(), heard, began.elapsed())
            })
        })
        .collect();
    let (mut judged, mut turned_away) = (Vec::new(), 0);
    for one in all {
        let (error, heard, after) = one.await.unwrap();
        assert_eq!(heard, bytes("0502 0101"), "each has the protocol's answer");
        match error.kind() {
            "auth_failed" => judged.push(after.as_millis()),
            "auth_limit" => turned_away += 1,
            other => panic!("{other}"),
        }
    }
    judged.sort_unstable();
    let want: Vec<u128> = [200; 5].into_iter().chain((2..=26).map(|n| n * 200)).collect();
    assert_eq!((judged, turned_away), (want, 10));
}

#[tokio::test(start_paused = true)]
async fn right_password_among_wrong_ones_waits_for_its_turn_and_takes_the_others_along() {
    let gate = Arc::new(Gate::new());
    for _ in 0..5 {
        attempt(gate.clone(), "192.0.2.1", "guess").await.0.unwrap_err();
    }
    let began = Instant::now();
    let wrong = tokio::spawn(attempt(gate.clone(), "192.0.2.1", "guess"));
    tokio::task::yield_now().await;
    let right: Vec<_> = (0..20)
        .map(|_| {
            let gate = gate.clone();
            tokio::spawn(async move {
                attempt(gate, "192.0.2.1", "secret").await.0.unwrap();
                began.elapsed()
            })
        })
        .collect();
    for one in right {
        assert_eq!(one.await.unwrap(), Duration::from_millis(200), "the first right one opens for all");
    }
    wrong.await.unwrap().0.unwrap_err();
    let elsewhere = Instant::now();
    attempt(gate, "192.0.2.2", "secret").await.0.unwrap();
    assert_eq!(elsewhere.elapsed(), Duration::ZERO, "others are not concerned");
}

#[tokio::test(start_paused = true)]
async fn browser_with_the_right_password_is_not_asked_for_another_one_when_too_many_wait() {
    let gate = Arc::new(Gate::new());
    let ask = |password: &str| {
        let (gate, token) = (gate.clone(), format!("ann:{password}"));
        tokio::spawn(async move {
            let (mut application, socket) = duplex(4096);
            let token = basic(&token);
            let head = format!(
                "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nProxy-Authorization: Basic {token}\r\n\r\n"
            );
            application.write_all(head.as_bytes()).await.unwrap();
            let source = "192.0.2.1".parse().unwrap();
            let front = tokio::spawn(async move {
                let config = config(true, Reply::Eager);
                handshake_from(socket, &config, source, &gate).await.map(|(_, request)| request)
            });
            application.shutdown().await.unwrap();
            let heard = rest(application).await;
            (front.await.unwrap().is_ok(), String::from_utf8(heard).unwrap()[9..12].to_owned())
        })
    };
    let wrong: Vec<_> = (0..31).map(|_| ask("guess")).collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(ask("secret").await.unwrap(), (false, "503".to_owned()), "too many wait");
    let mut answers = Vec::new();
    for one in wrong {
        answers.push(one.await.unwrap().1);
    }
    assert_eq!(answers.iter().filter(|answer| *answer == "407").count(), 30);
    assert_eq!(ask("secret").await.unwrap(), (true, "200".to_owned()));
}

/// RFC 4648 base64, for one line.
fn basic(text: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let sum = chunk.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let value = (sum >> (18 - 6 * digit)) & 63;
            out.push(if digit <= chunk.len() { DIGITS[value as usize] as char } else { '=' });
        }
    }
    out
}

#[tokio::test(start_paused = true)]
async fn eager_request_travels_with_its_data_and_is_never_answered() {
    let (mut client, mut server) = duplex(4096);
    let target = "localhost:19010".parse().unwrap();
    dial(&mut client, &target, b"Hello").await.unwrap();
    let (asked, early) = accept_eager(&mut server, Duration::from_secs(10)).await.unwrap();
    assert_eq!((asked, &early[..]), (target, &b"Hello"[..]));
    drop(server);
    assert!(rest(client).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn eager_request_that_stops_half_way_ends_at_the_deadline() {
    let (mut client, mut server) = duplex(4096);
    client.write_all(&[5, 1, 0, 1]).await.unwrap();
    let error = accept_eager(&mut server, Duration::from_secs(10)).await.unwrap_err();
    assert_eq!(error.kind(), "deadline");
    client.write_all(&[5, 2]).await.unwrap();
    drop(client);
}
