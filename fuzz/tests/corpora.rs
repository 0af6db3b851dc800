//! Every committed input again: the corpora, whatever the fuzzer ever found, and what was written by hand.

use std::any::Any;
use std::panic::catch_unwind;

use fuzz::{TARGETS, Target, folders, inputs};

#[test]
fn every_input_the_fuzzer_keeps_or_found_is_judged_well() {
    for target in TARGETS {
        let mut count = 0;
        for folder in folders(target).iter().filter(|folder| folder.is_dir()) {
            for (path, input) in inputs(folder).expect("the corpus can be read") {
                judge(target, &input).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
                count += 1;
            }
        }
        println!("{}: {count} inputs", target.name);
        assert!(count > 0, "{} has no corpus: run `scripts/fuzz --minimise {}`", target.name, target.name);
    }
}

#[test]
fn short_inputs_are_judged_well() {
    let all = (0..=u16::MAX).map(u16::to_be_bytes);
    for target in TARGETS.into_iter().filter(|target| target.name != "tls") {
        for input in all.clone() {
            judge(target, &input).unwrap_or_else(|why| panic!("{} of {input:?}: {why}", target.name));
        }
    }
}

/// A folder whose name no target bears would never be read.
#[test]
fn every_folder_of_inputs_and_every_program_belongs_to_a_target() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for kind in ["corpus", "found", "written", "dict", "targets"] {
        for entry in std::fs::read_dir(root.join(kind)).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            assert!(fuzz::target(name).is_some(), "{} belongs to no target", path.display());
        }
    }
    for target in TARGETS {
        assert!(root.join(format!("targets/{}.rs", target.name)).is_file(), "{} has no program", target.name);
    }
}

fn judge(target: Target, input: &[u8]) -> Result<(), String> {
    catch_unwind(|| (target.judge)(input)).map_err(|panic| words(&*panic))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default()
}
