//! Nobody waits for an event in vain: each one of the table is told by some part of the product.

use std::path::Path;

use sla::fields::EVENTS;

#[test]
fn every_event_is_told_by_some_part_of_the_product() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut sources = String::new();
    collect(&root.join("crates"), &mut sources);
    collect(&root.join("bins"), &mut sources);
    let silent: Vec<_> =
        EVENTS.iter().map(|event| event.name).filter(|name| !sources.contains(&teller(name))).collect();
    assert!(silent.is_empty(), "in docs/logs.md, and nobody tells them: {silent:?}");
}

/// The code that makes an event happen.
fn teller(event: &str) -> String {
    match event {
        "conn_open" | "conn_close" => "Conn::open(".to_owned(),
        "sess_open" | "sess_close" => "Sess::open(".to_owned(),
        "sock_open" | "sock_close" => "Sock::open(".to_owned(),
        "dial_failed" | "server_down" | "server_up" => "Health::new(".to_owned(),
        // Sentences of anybody, and of libraries.
        "note" | "fatal" | "foreign" => String::new(),
        name => format!("event::{name}("),
    }
}

/// The text of all sources below, without tests, examples and the events themselves.
fn collect(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() {
            if !["tests", "examples", "event"].contains(&name.as_ref()) {
                collect(&path, into);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" {
            into.push_str(&std::fs::read_to_string(&path).expect("a source"));
        }
    }
}
