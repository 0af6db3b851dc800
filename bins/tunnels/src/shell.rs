//! Commands to copy: programs by a name that works here, paths in quotes where a shell needs them.

use std::env;
use std::path::{Path, PathBuf};

/// How to call a program that came with this one: by its bare name if the shell finds that very file, else by its path
/// beside us; by its bare name as well if it is nowhere.
pub(crate) fn program(name: &str) -> String {
    let Some(beside) = beside(name) else { return name.to_owned() };
    let found = env::var_os("PATH").and_then(|folders| {
        env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
    });
    match found {
        Some(found) if is_same(&found, &beside) => name.to_owned(),
        _ => path(&beside),
    }
}

/// A path as one word of a shell, and never a flag.
pub(crate) fn path(path: &Path) -> String {
    let text = path.display().to_string();
    let text = if text.starts_with('-') { format!("./{text}") } else { text };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_./-+:,@%=".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The other program's file in our folder, which is named as it was on our command line.
fn beside(name: &str) -> Option<PathBuf> {
    let called = env::args_os().next().map(PathBuf::from).filter(|called| called.is_file());
    let typed = called.and_then(|called| {
        called.parent().filter(|folder| !folder.as_os_str().is_empty()).map(|folder| folder.join(name))
    });
    let real = || Some(env::current_exe().ok()?.parent()?.join(name));
    typed.filter(|path| path.is_file()).or_else(real).filter(|path| path.is_file())
}

fn is_same(one: &Path, two: &Path) -> bool {
    match (one.canonicalize(), two.canonicalize()) {
        (Ok(one), Ok(two)) => one == two,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_one_word_and_no_flag() {
        for (given, shown) in [
            ("tunnel/server.yaml", "tunnel/server.yaml"),
            ("with space/server.yaml", "'with space/server.yaml'"),
            ("it's/$HOME", "'it'\\''s/$HOME'"),
            ("-d/server.yaml", "./-d/server.yaml"),
            ("~x", "'~x'"),
            ("größe", "'größe'"),
        ] {
            assert_eq!(path(Path::new(given)), shown);
        }
    }
}
