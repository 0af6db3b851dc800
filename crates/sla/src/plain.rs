//! The system's errors in the words of a person.

use std::io;

/// What the system said, in lower case and without its number: `connection refused`.
///
/// An error that did not come from the system keeps its own words.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let words = match (error.raw_os_error(), text.strip_prefix(RESOLVER)) {
        (Some(_), _) => text.split(" (os error").next().unwrap_or_default(),
        (None, Some(words)) => words,
        (None, None) => return text,
    };
    let mut letters = words.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// What the standard library says before the words of the resolver.
const RESOLVER: &str = "failed to lookup address information: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_the_system_is_left_out_and_words_of_others_stay() {
        assert_eq!(plain(&io::Error::from_raw_os_error(111)), "connection refused");
        assert_eq!(plain(&io::Error::other("Said (os error 7)")), "Said (os error 7)");
        let unknown = io::Error::other(format!("{RESOLVER}Name or service not known"));
        assert_eq!(plain(&unknown), "name or service not known");
        assert_eq!(plain(&io::ErrorKind::BrokenPipe.into()), "broken pipe");
    }
}
