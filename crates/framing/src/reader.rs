//! A cursor over received bytes: each step yields a value, asks for more bytes, or ends the matter.

use crate::codec::DecodeError;

/// Reads one value from the front of a byte string that may still grow.
pub(crate) fn front<'a, T>(
    input: &'a [u8],
    parse: impl FnOnce(&mut Reader<'a>) -> Result<T, Stop>,
) -> Result<Option<(T, usize)>, DecodeError> {
    let mut reader = Reader { input, rest: input };
    match parse(&mut reader) {
        Ok(value) => Ok(Some((value, reader.used()))),
        Err(Stop::More) => Ok(None),
        Err(Stop::Never(error)) => Err(error),
    }
}

/// Reads a value that is the whole of a complete payload, called `field` in errors.
pub(crate) fn whole<'a, T>(
    payload: &'a [u8],
    field: &'static str,
    parse: impl FnOnce(&mut Reader<'a>) -> Result<T, Stop>,
) -> Result<T, DecodeError> {
    match front(payload, parse)? {
        None => Err(DecodeError::Short { field }),
        Some((value, used)) if used == payload.len() => Ok(value),
        Some(_) => Err(DecodeError::Trailing { field }),
    }
}

/// The cursor itself.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    input: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// How many bytes were read so far.
    pub(crate) fn used(&self) -> usize {
        self.input.len().saturating_sub(self.rest.len())
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Stop> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Stop> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Stop> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or(Stop::More)?;
        self.rest = rest;
        Ok(*array)
    }

    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], Stop> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Stop::More)?;
        self.rest = rest;
        Ok(taken)
    }

    /// All that is left.
    pub(crate) fn remainder(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// One byte that has a single right value.
    pub(crate) fn exactly(&mut self, value: u8, field: &'static str) -> Result<(), Stop> {
        match self.u8()? {
            found if found == value => Ok(()),
            found => Err(DecodeError::Invalid { field, value: found.into() }.into()),
        }
    }

    /// At most `limit` bytes up to a NUL, which is read and left out.
    pub(crate) fn until_nul(&mut self, limit: usize, field: &'static str) -> Result<&'a [u8], Stop> {
        let nul = self.rest.iter().take(limit.saturating_add(1)).position(|&byte| byte == 0);
        if nul.is_none() && self.rest.len() > limit {
            // The length stays the same however much has arrived: a verdict must not change with the chunks.
            let value = limit.saturating_add(1).try_into().unwrap_or(u64::MAX);
            return Err(
                DecodeError::TooLong { field, value, limit: limit.try_into().unwrap_or(u64::MAX) }.into()
            );
        }
        let text = self.take(nul.ok_or(Stop::More)?)?;
        self.exactly(0, field)?;
        Ok(text)
    }
}

/// Why a value could not be read.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The bytes end before the value does.
    More,
    /// No further byte can mend it.
    Never(DecodeError),
}

impl From<DecodeError> for Stop {
    fn from(error: DecodeError) -> Self {
        Self::Never(error)
    }
}
