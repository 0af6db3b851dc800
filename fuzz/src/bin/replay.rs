//! `replay TARGET PATH...`: judges the inputs of files and folders, without the fuzzer.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(target) = arguments.next().and_then(|name| fuzz::target(&name)) else {
        let names: Vec<_> = fuzz::TARGETS.iter().map(|target| target.name).collect();
        eprintln!("replay TARGET PATH...; the targets are: {}", names.join(" "));
        return ExitCode::from(64);
    };
    let mut count = 0;
    for path in arguments {
        let inputs = match fuzz::inputs(Path::new(&path)) {
            Ok(inputs) => inputs,
            Err(error) => {
                eprintln!("{path}: {error}");
                return ExitCode::from(66);
            }
        };
        for (_, input) in &inputs {
            (target.judge)(input);
        }
        count += inputs.len();
    }
    println!("{}: {count} inputs, every promise kept", target.name);
    ExitCode::SUCCESS
}
