//! Where settings come from, and which one wins.

use super::error::Error;
use super::model::{Client, Server};
use super::{CONFIG, Role};

/// Flags, environment and file of one program, as it was started.
#[derive(Clone, Debug)]
pub struct Source {
    role: Role,
}

impl Source {
    /// Settings by name and value; nothing is read from anywhere else.
    ///
    /// # Errors
    /// A name that does not exist, or a value of the wrong kind.
    pub fn from_pairs<'a>(
        role: Role,
        _pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        Ok(Self { role })
    }

    /// The same places, read again.
    ///
    /// # Errors
    /// Whatever is wrong with them now.
    pub fn reread(&self) -> Result<Self, Error> {
        Ok(self.clone())
    }

    /// The client they describe.
    ///
    /// # Errors
    /// A value or a combination that is refused.
    pub fn client(self) -> Result<Client, Error> {
        Err(Error::new(CONFIG, self.role.name(), "", "not read yet", ""))
    }

    /// The server they describe.
    ///
    /// # Errors
    /// A value or a combination that is refused.
    pub fn server(self) -> Result<Server, Error> {
        Err(Error::new(CONFIG, self.role.name(), "", "not read yet", ""))
    }
}
