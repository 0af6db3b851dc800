//! Every message that somebody may have to act on, as the real programs say it. The golden file is `docs/errors.md`.
//!
//! To add a situation:
//! 1. write a row in `start.rs` (the program ends) or `running.rs` (it goes on); a new code first gets its line in `sla::code`;
//! 2. `TUNNELS_BLESS=1 cargo test -p client -p server -p tunnels-cli situation`, then read your row in `docs/errors.md`: does it
//!    alone let a stranger mend the fault?

mod lab;
mod page;
mod peers;
mod running;
mod start;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;

use lab::{Lab, Said};
use page::Row;

/// One way in which things go wrong, in words, and how it is brought about.
pub(crate) type Situation = (&'static str, fn(&Lab) -> Said);

#[test]
fn each_situation_says_what_the_manual_shows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    let shown = std::fs::read_to_string(&path).unwrap_or_default();
    let situations: Vec<Situation> = start::SITUATIONS.iter().chain(running::SITUATIONS).copied().collect();
    let (mut rows, mut faults) = (Vec::new(), Vec::new());
    for (words, said) in play(&situations) {
        match said {
            Ok(Said::Impossible(why)) => {
                println!("not possible here, taken over from the manual: {words}: {why}");
                rows.extend(page::row_of(&shown, words));
            }
            Ok(said) => match Row::new(words, &said) {
                Ok(row) => rows.push(row),
                Err(fault) => faults.push(fault),
            },
            Err(panic) => faults.push(format!("{words}: {panic}")),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let page = page::render(&rows);
    if std::env::var_os("TUNNELS_BLESS").is_some() {
        std::fs::write(&path, &page).expect("write the manual");
    }
    let differing: Vec<&str> =
        page.lines().filter(|line| !shown.lines().any(|other| other == *line)).collect();
    assert!(
        page == shown || std::env::var_os("TUNNELS_BLESS").is_some(),
        "docs/errors.md does not show these lines, or shows more; TUNNELS_BLESS=1 rewrites it:\n{}",
        differing.join("\n")
    );
}

/// Codes are written in one place: a message takes its code from there, so manual and programs can't drift apart.
#[test]
fn codes_are_written_in_the_registry_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut strays = Vec::new();
    let mut folders = vec![root.join("crates"), root.join("bins")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("folder") {
            let path = entry.expect("entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() && name != "tests" && name != "target" {
                folders.push(path);
            } else if name.ends_with(".rs")
                && !name.ends_with("tests.rs")
                && !path.ends_with("sla/src/code.rs")
            {
                let text = std::fs::read_to_string(&path).expect("source");
                let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
                let lines = product.lines().filter(|line| !line.trim_start().starts_with("//"));
                let codes = sla::code::ALL.iter().map(|(code, _)| *code);
                strays.extend(
                    codes
                        .filter(|code| lines.clone().any(|line| line.contains(code)))
                        .map(|code| format!("{code} in {}", path.display())),
                );
            }
        }
    }
    assert!(strays.is_empty(), "{strays:#?}");
}

type Outcome = (&'static str, Result<Said, String>);

/// Brings them about, several at a time, and gives their outcomes in the order of the table.
fn play(situations: &[Situation]) -> Vec<Outcome> {
    let waiting: Mutex<VecDeque<(usize, Situation)>> =
        Mutex::new(situations.iter().copied().enumerate().collect());
    let done: Mutex<Vec<(usize, Outcome)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((place, (words, make))) = next(&waiting) {
                    let began = std::time::Instant::now();
                    let said =
                        std::panic::catch_unwind(|| make(&Lab::new())).map_err(|panic| lab::words(&*panic));
                    if began.elapsed().as_secs() >= 5 {
                        println!("{:.1} s: {words}", began.elapsed().as_secs_f32());
                    }
                    done.lock().expect("no panic").push((place, (words, said)));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no panic");
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

fn next<T>(waiting: &Mutex<VecDeque<T>>) -> Option<T> {
    waiting.lock().expect("no panic").pop_front()
}

/// Most of them wait for the network or for a time limit.
const AT_ONCE: usize = 8;
