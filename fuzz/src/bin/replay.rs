//! `replay TARGET PATH...`: judges the inputs of files and folders, without the fuzzer, and names the slowest.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(target) = arguments.next().and_then(|name| fuzz::target(&name)) else {
        let names: Vec<_> = fuzz::TARGETS.iter().map(|target| target.name).collect();
        eprintln!("replay TARGET PATH...; the targets are: {}", names.join(" "));
        return ExitCode::from(64);
    };
    let (mut count, mut slowest) = (0, (Duration::ZERO, String::new()));
    for path in arguments {
        let inputs = match fuzz::inputs(Path::new(&path)) {
            Ok(inputs) => inputs,
            Err(error) => {
                eprintln!("{path}: {error}");
                return ExitCode::from(66);
            }
        };
        for (path, input) in &inputs {
            let began = Instant::now();
            (target.judge)(input);
            if began.elapsed() > slowest.0 {
                slowest = (began.elapsed(), path.display().to_string());
            }
        }
        count += inputs.len();
    }
    let (time, path) = slowest;
    println!("{}: {count} inputs, every promise kept; the slowest took {time:.1?}: {path}", target.name);
    ExitCode::SUCCESS
}
