//! A process without free descriptors must neither spin nor stop listening. Runs itself again under a low limit,
//! because the limit is the whole process's.

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use tokio::net::TcpStream;
use transport::{Acceptor, Address, ListenOptions, Net};

#[test]
fn accept_pauses_while_descriptors_are_out_and_goes_on_afterwards() {
    if std::env::var_os(UNDER_LIMIT).is_some() {
        return starve();
    }
    let status = Command::new("sh")
        .args(["-c", "ulimit -n 48 && exec \"$0\" --exact \"$1\" --test-threads 1"])
        .arg(std::env::current_exe().expect("the test binary"))
        .arg("accept_pauses_while_descriptors_are_out_and_goes_on_afterwards")
        .env(UNDER_LIMIT, "1")
        .status()
        .expect("sh");
    assert!(status.success(), "see the child's words above");
}

/// Set for the process that runs under the low limit.
const UNDER_LIMIT: &str = "TRANSPORT_TEST_UNDER_LIMIT";

fn starve() {
    // Paused time: a pause costs nothing, and a spin would never let the clock move.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("tokio");
    runtime.block_on(async {
        let address = Address::to_listen(Net::Tcp, "127.0.0.1:0").expect("address");
        let acceptor = Acceptor::bind(Net::Tcp, &address, ListenOptions::default()).await.expect("bind");
        let _client = TcpStream::connect(acceptor.local_addr().expect("address")).await.expect("connect");
        let mut hoard = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            hoard.push(file);
            assert!(hoard.len() < 64, "the limit is not in force");
        }
        let starved = tokio::time::timeout(Duration::from_secs(30), acceptor.accept()).await;
        assert!(starved.is_err(), "there was a descriptor after all");
        hoard.clear();
        let incoming = tokio::time::timeout(Duration::from_secs(30), acceptor.accept()).await;
        incoming.expect("no more pause than a second").expect("accept");
    });
}
