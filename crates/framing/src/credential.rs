//! A user's name and password, as RFC 1929 and HTTP Basic carry them.

use std::fmt;

/// A name of 1 to 255 bytes and a password of 0 to 255. `Debug` shows neither password nor its length.
///
/// RFC 1929 asks for a password of at least one byte; clients in use send empty ones.
#[derive(Clone, Eq, PartialEq)]
pub struct Credential {
    user: Box<[u8]>,
    password: Box<[u8]>,
}

impl Credential {
    /// Takes both parts, or `None` when the name is empty or one of them is longer than 255 bytes.
    pub fn new(user: &[u8], password: &[u8]) -> Option<Self> {
        let fits = (1..=255).contains(&user.len()) && password.len() <= 255;
        fits.then(|| Self { user: user.into(), password: password.into() })
    }

    /// The name; not trusted, not yet escaped.
    pub fn user(&self) -> &[u8] {
        &self.user
    }

    /// The password. Compare it in constant time.
    pub fn password(&self) -> &[u8] {
        &self.password
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential(\"{}\", …)", self.user.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_holds_no_password() {
        let credential = Credential::new(b"alice\n", b"sesame").unwrap();
        assert_eq!(format!("{credential:?}"), "Credential(\"alice\\n\", …)");
    }

    #[test]
    fn parts_that_have_no_wire_form_are_refused() {
        assert_eq!(Credential::new(b"", b"sesame"), None);
        assert_eq!(Credential::new(&[b'a'; 256], b""), None);
        assert_eq!(Credential::new(b"a", &[b'a'; 256]), None);
        assert!(Credential::new(&[b'a'; 255], &[b'a'; 255]).is_some());
    }
}
