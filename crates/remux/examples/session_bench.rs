//! What a session costs beside crypto and syscalls: nanoseconds per frame, bytes moved between two sessions in memory.
//!
//! `cargo run --release -p remux --no-default-features --example session_bench`

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use remux::session::{Batch, Event, Open, Recv, Session, StreamId};
use remux::{Budget, Role, SendConfig, SessionConfig, WindowConfig, Wire};

fn main() {
    println!("wire     streams  message      sender    receiver   per frame");
    for wire in [Wire::Remux2, Wire::Classic] {
        for (streams, message) in
            [(1, 65_536), (8, 65_536), (64, 65_536), (250, 65_536), (64, 16_376), (64, 1024), (64, 64)]
        {
            let (send, receive) = run(wire, streams, message);
            println!("{:8} {streams:7} {message:8} {send:8.0} ns {receive:8.0} ns", wire.name());
        }
    }
}

/// Nanoseconds per frame to put it into a batch, and to take it in and hand it out.
fn run(wire: Wire, streams: usize, message: usize) -> (f64, f64) {
    let mut now = Instant::now();
    let limits = remux::LimitConfig { opens: remux::Rate::per_second(10_000, 1), ..Default::default() };
    let config = SessionConfig {
        limits,
        window: WindowConfig { initial: 16 << 20, ..WindowConfig::default() },
        sending: SendConfig::default(),
        ..SessionConfig::default()
    };
    let budget = || Arc::new(Budget::new(1 << 40));
    let mut client = Session::new(Role::Client, wire, config.clone(), budget(), now);
    let mut server = Session::new(Role::Server, wire, config, budget(), now);
    let target = || "example.net:443".parse().expect("a target");
    let ids: Vec<StreamId> =
        (0..streams).map(|_| client.open(now, Open::connect(target())).expect("open")).collect();
    let (mut batch, mut input) = (Batch::new(), BytesMut::new());
    let data = Bytes::from(vec![7; message]);
    let (mut sending, mut receiving) = (Duration::ZERO, Duration::ZERO);
    let mut start = client.stats().frames_out;
    let end = Instant::now() + Duration::from_millis(700);
    let mut warm = false;
    while Instant::now() < end {
        if !warm && end - Instant::now() < Duration::from_millis(600) {
            (sending, receiving, start, warm) =
                (Duration::ZERO, Duration::ZERO, client.stats().frames_out, true);
        }
        now += Duration::from_micros(100);
        let t0 = Instant::now();
        for &id in &ids {
            // A stream of small messages sends one and waits; a bulk stream fills its queue.
            let most = if message < 16_000 { 1 } else { usize::MAX };
            let mut n = 0;
            while n < most && client.send_room(id).is_ok_and(|room| room >= message) {
                client.send(now, id, data.clone()).expect("room");
                n += 1;
            }
        }
        client.poll_transmit(now, &mut batch);
        while client.poll_event().is_some() {}
        let t1 = Instant::now();
        // What a record layer would do: it copies while it seals. Not counted.
        input.reserve(256 << 10);
        while batch.has_remaining() {
            let chunk = batch.chunk();
            input.extend_from_slice(chunk);
            let n = chunk.len();
            batch.advance(n);
        }
        let t2 = Instant::now();
        server.handle_data(now, &mut input).expect("good frames");
        let mut ready = Vec::new();
        while let Some(event) = server.poll_event() {
            match event {
                Event::Incoming { id, .. } | Event::Readable(id) => ready.push(id),
                _ => {}
            }
        }
        for id in ready {
            while let Recv::Data(chunk) = server.recv(now, id) {
                server.release(now, id, chunk.len());
            }
        }
        let t3 = Instant::now();
        sending += t1 - t0;
        receiving += t3 - t2;
        server.poll_transmit(now, &mut batch);
        let mut back = BytesMut::new();
        while batch.has_remaining() {
            let chunk = batch.chunk();
            back.extend_from_slice(chunk);
            let n = chunk.len();
            batch.advance(n);
        }
        client.handle_data(now, &mut back).expect("good frames");
    }
    let frames = (client.stats().frames_out - start) as f64;
    (sending.as_nanos() as f64 / frames, receiving.as_nanos() as f64 / frames)
}
