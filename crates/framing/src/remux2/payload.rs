//! What stands behind a remux2 header, as bytes and as values.
//!
//! Every `decode_payload` takes the whole payload of a frame, as the header announced it. A payload with bytes to
//! spare is as wrong as one that is too short: extensions have type bytes and options of their own.

use bytes::BufMut;

use super::{Code, Command, Credit, GoAway, MAX_META, MAX_TEXT, Open, Opened, Ping, Priority, Rst, Setting};
use crate::codec::{DecodeError, Encode};
use crate::reader::{self, Reader, Stop};
use crate::target::Target;

/// The most options an OPEN may carry.
pub const MAX_OPTIONS: usize = 16;
/// Bytes of one entry of SETTINGS.
const SETTING: usize = 6;
/// The bit of an option's type that forbids to skip it.
const CRITICAL: u8 = 0x80;

impl Open {
    /// Reads the payload of an OPEN; gives back where in it the first data begin.
    ///
    /// # Errors
    /// See [`OpenPayloadError::code`] for what to answer.
    pub fn decode_payload(payload: &[u8]) -> Result<(Self, usize), OpenPayloadError> {
        let split = reader::front(payload, |reader| {
            let (command, priority, meta_len) = (reader.u8()?, reader.u8()?, reader.u16()?);
            if usize::from(meta_len) > MAX_META {
                let (value, limit) = (meta_len.into(), MAX_META as u64);
                return Err(DecodeError::TooLong { field: "OPEN's target and options", value, limit }.into());
            }
            Ok((Command::try_from(command)?, priority, reader.take(meta_len.into())?))
        });
        let ((command, priority, meta), first_data) = split?.ok_or(DecodeError::Short { field: "OPEN" })?;
        if meta.is_empty() && command == Command::Stream {
            return Ok((Self { command, priority, target: None }, first_data));
        }
        let (target, critical) = reader::whole(meta, "OPEN's target and options", |reader| {
            Ok((Target::read(reader)?, skip_options(reader)?))
        })?;
        match critical {
            Some(option) => Err(OpenPayloadError::Critical { option }),
            None => Ok((Self { command, priority, target: Some(target) }, first_data)),
        }
    }
}

/// Reads past all options; gives back the type of the first critical one. This version knows none.
fn skip_options(reader: &mut Reader<'_>) -> Result<Option<u8>, Stop> {
    let mut critical = None;
    for _ in 0..MAX_OPTIONS {
        if reader.is_empty() {
            return Ok(critical);
        }
        let (option, len) = (reader.u8()?, reader.u8()?);
        reader.take(len.into())?;
        critical = critical.or((option & CRITICAL != 0).then_some(option));
    }
    if reader.is_empty() {
        return Ok(critical);
    }
    let limit = MAX_OPTIONS as u64;
    Err(DecodeError::TooLong { field: "OPEN's list of options", value: limit.saturating_add(1), limit }
        .into())
}

/// Command, priority and target; the first data are appended by the caller and need no copy here.
impl Encode for Open {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&[self.command as u8, self.priority]);
        match &self.target {
            None => out.put_u16(0),
            Some(target) => {
                out.put_u16(u16::try_from(target.encoded_len()).unwrap_or(u16::MAX));
                target.encode(out);
            }
        }
    }
}

/// Why an OPEN's payload can't be served.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenPayloadError {
    /// It carries an option that must not be skipped and that this version does not know.
    #[error("the request needs option {option:#04x}, which this version does not have")]
    Critical {
        /// The option's type.
        option: u8,
    },
    /// It is not what an OPEN looks like.
    #[error(transparent)]
    Payload(#[from] DecodeError),
}

impl OpenPayloadError {
    /// What to reset the stream with. [`Code::PROTOCOL`] means that the peer itself is broken, anything else that
    /// this one request can't be served.
    pub fn code(self) -> Code {
        match self {
            Self::Critical { .. } => Code::UNKNOWN_CRITICAL,
            Self::Payload(error) => error.code(),
        }
    }
}

impl Opened {
    /// Reads the payload of an OPENED.
    ///
    /// # Errors
    /// The payload is not 4 bytes, or 4 bytes and an address.
    pub fn decode_payload(payload: &[u8]) -> Result<Self, DecodeError> {
        reader::whole(payload, "OPENED", |reader| {
            let dial_us = reader.u32()?;
            let bound = if reader.is_empty() { None } else { Some(Target::read(reader)?) };
            Ok(Self { dial_us, bound })
        })
    }
}

impl Encode for Opened {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_u32(self.dial_us);
        if let Some(bound) = &self.bound {
            bound.encode(out);
        }
    }
}

impl Credit {
    /// Reads the payload of a CREDIT.
    ///
    /// # Errors
    /// The payload is not 8 bytes.
    pub fn decode_payload(payload: &[u8]) -> Result<Self, DecodeError> {
        reader::whole(payload, "CREDIT", |reader| Ok(Self { consumed: reader.u32()?, window: reader.u32()? }))
    }
}

impl Encode for Credit {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_u32(self.consumed);
        out.put_u32(self.window);
    }
}

impl Rst {
    /// Reads the payload of a RST. Bytes of the text that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// The payload has no code, or its text is longer than [`MAX_TEXT`].
    pub fn decode_payload(payload: &[u8]) -> Result<Self, DecodeError> {
        reader::whole(payload, "RST", |reader| Ok(Self { code: Code(reader.u16()?), text: text(reader)? }))
    }
}

/// A text longer than [`MAX_TEXT`] is cut.
impl Encode for Rst {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_u16(self.code.0);
        out.put_slice(cut(&self.text).as_bytes());
    }
}

impl GoAway {
    /// Reads the payload of a GOAWAY. Bytes of the text that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// The payload is shorter than 10 bytes, or its text is longer than [`MAX_TEXT`].
    pub fn decode_payload(payload: &[u8]) -> Result<Self, DecodeError> {
        reader::whole(payload, "GOAWAY", |reader| {
            let (last_id, code, drain_ms) = (reader.u32()?, Code(reader.u16()?), reader.u32()?);
            Ok(Self { last_id, code, drain_ms, text: text(reader)? })
        })
    }
}

/// A text longer than [`MAX_TEXT`] is cut.
impl Encode for GoAway {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_u32(self.last_id);
        out.put_u16(self.code.0);
        out.put_u32(self.drain_ms);
        out.put_slice(cut(&self.text).as_bytes());
    }
}

impl Ping {
    /// Reads the payload of a PING.
    ///
    /// # Errors
    /// The payload is not 8 bytes.
    pub fn decode_payload(payload: &[u8]) -> Result<Self, DecodeError> {
        reader::whole(payload, "PING", |reader| Ok(Self { opaque: reader.array()? }))
    }
}

impl Encode for Ping {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.opaque);
    }
}

impl Priority {
    /// Reads the payload of a PRIORITY.
    ///
    /// # Errors
    /// The payload is not one byte.
    pub fn decode_payload(payload: &[u8]) -> Result<Self, DecodeError> {
        reader::whole(payload, "PRIORITY", |reader| Ok(Self { priority: reader.u8()? }))
    }
}

impl Encode for Priority {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_u8(self.priority);
    }
}

impl Setting {
    /// Reads the payload of a SETTINGS: any number of entries, unknown and repeated ones too.
    ///
    /// # Errors
    /// The length is not a multiple of an entry's.
    pub fn decode_all(payload: &[u8]) -> Result<impl Iterator<Item = Self> + '_, DecodeError> {
        let (entries, rest) = payload.as_chunks::<SETTING>();
        if !rest.is_empty() {
            return Err(DecodeError::Short { field: "an entry of SETTINGS" });
        }
        Ok(entries.iter().map(|&[i0, i1, v0, v1, v2, v3]| Self {
            id: u16::from_be_bytes([i0, i1]),
            value: u32::from_be_bytes([v0, v1, v2, v3]),
        }))
    }
}

/// One entry; a payload is any number of them.
impl Encode for Setting {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_u16(self.id);
        out.put_u32(self.value);
    }
}

/// The rest of a payload as text for people. It is peers' text: a wrong byte in it must not cost a connection.
fn text(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let bytes = reader.remainder();
    if bytes.len() > MAX_TEXT {
        let value = bytes.len().try_into().unwrap_or(u64::MAX);
        return Err(DecodeError::TooLong { field: "the text", value, limit: MAX_TEXT as u64 });
    }
    // A replacement is longer than what it replaces.
    Ok(cut(&String::from_utf8_lossy(bytes)).to_owned())
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(meta: &[u8]) -> Result<(Open, usize), OpenPayloadError> {
        let mut payload = vec![1, 3];
        payload.put_u16(meta.len().try_into().unwrap());
        payload.put_slice(meta);
        payload.put_slice(b"first");
        Open::decode_payload(&payload)
    }

    const TARGET: [u8; 7] = [1, 127, 0, 0, 1, 0x1F, 0x90];

    #[test]
    fn options_are_skipped_and_first_data_found_behind_them() {
        let options = [&TARGET[..], &[0x01, 2, 9, 9], &[0x7F, 0]].concat();
        let (value, first_data) = open(&options).unwrap();
        assert_eq!(value.target, Some("127.0.0.1:8080".parse().unwrap()));
        assert_eq!(first_data, 4 + options.len());
    }

    #[test]
    fn critical_option_refuses_the_request_by_its_own_code() {
        let error = open(&[&TARGET[..], &[0x01, 0], &[0x80, 1, 7]].concat()).unwrap_err();
        assert_eq!(error, OpenPayloadError::Critical { option: 0x80 });
        assert_eq!(error.code(), Code::UNKNOWN_CRITICAL);
    }

    #[test]
    fn sixteen_options_pass_and_seventeen_do_not() {
        let with = |n: usize| open(&[&TARGET[..], &[0x01, 0].repeat(n)].concat());
        assert!(with(16).is_ok());
        assert_eq!(with(17).unwrap_err().code(), Code::PROTOCOL);
    }

    #[test]
    fn option_cut_short_by_the_announced_length_is_not_read_from_the_first_data() {
        for cut in [&[0x01][..], &[0x01, 3, 0, 0]] {
            let error = open(&[&TARGET[..], cut].concat()).unwrap_err();
            assert_eq!(error, DecodeError::Short { field: "OPEN's target and options" }.into());
        }
    }

    #[test]
    fn meta_of_512_bytes_passes_and_513_do_not() {
        let with =
            |n: u8| open(&[&TARGET[..], &[0x01, 255], &[0; 255], &[0x02, n], &vec![0; n.into()]].concat());
        assert_eq!(with(246).unwrap().1, 4 + 512);
        assert_eq!(with(247).unwrap_err().code(), Code::PROTOCOL);
    }

    #[test]
    fn only_a_plain_stream_may_leave_its_target_out() {
        let stream = Open { command: Command::Stream, priority: 3, target: None };
        assert_eq!(Open::decode_payload(&[0, 3, 0, 0, b'x']), Ok((stream, 4)));
        for command in 1..=4 {
            let error = Open::decode_payload(&[command, 3, 0, 0]).unwrap_err();
            assert_eq!(error.code(), Code::PROTOCOL);
        }
    }

    #[test]
    fn request_that_can_not_be_served_is_told_from_a_broken_peer() {
        assert_eq!(Open::decode_payload(&[5, 3, 0, 0]).unwrap_err().code(), Code::COMMAND_UNKNOWN);
        assert_eq!(open(&[2, 0, 0]).unwrap_err().code(), Code::ADDRESS_TYPE);
        assert_eq!(open(&[3, 1, b'/', 0, 80]).unwrap_err().code(), Code::SERVER_ERROR);
        assert_eq!(open(&[1, 127]).unwrap_err().code(), Code::PROTOCOL);
    }

    #[test]
    fn bytes_to_spare_are_refused() {
        assert_eq!(Credit::decode_payload(&[0; 9]), Err(DecodeError::Trailing { field: "CREDIT" }));
        let opened = [&[0, 0, 0, 1][..], &TARGET, &[0]].concat();
        assert_eq!(Opened::decode_payload(&opened), Err(DecodeError::Trailing { field: "OPENED" }));
        assert!(Setting::decode_all(&[0; 7]).is_err());
    }

    #[test]
    fn text_of_256_bytes_passes_and_257_do_not() {
        assert_eq!(Rst::decode_payload(&[b'a'; 2 + 256]).unwrap().text.len(), 256);
        assert!(Rst::decode_payload(&[b'a'; 2 + 257]).is_err());
    }

    #[test]
    fn text_that_is_no_utf8_is_mended_and_stays_within_its_limit() {
        let rst = Rst::decode_payload(&[0xFF; 2 + 256]).unwrap();
        assert_eq!(rst.text.chars().next(), Some('\u{FFFD}'));
        assert!(rst.text.len() <= MAX_TEXT);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let rst = Rst { code: Code::CANCEL, text: "ä".repeat(200) + "x" };
        assert_eq!(rst.to_vec().len(), 2 + 256);
        let rst = Rst { code: Code::CANCEL, text: format!("x{}", "ä".repeat(200)) };
        assert_eq!(rst.to_vec().len(), 2 + 255);
    }
}
