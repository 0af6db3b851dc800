//! A connection of the remux2 wire: frames one after another, each payload read as its header says.

use framing::remux2::{
    Credit, GoAway, HEADER, Header, Kind, Open, Opened, Ping, Priority, Rst, Setting, TypeByte,
};
use framing::{Encode, Host, Target};

/// An OPEN to an IPv6 address: command, priority, length, address type, address, port.
const V6_OPEN: usize = 4 + 1 + 16 + 2;

/// Judges one input.
pub fn run(input: &[u8]) {
    let mut rest = input;
    while let Some((front, behind)) = rest.split_first_chunk::<HEADER>() {
        let header = Header::from_bytes(*front);
        assert_eq!(header.to_bytes(), *front);
        // A length beyond the end is cut: payloads cut short are worth reading, too.
        let (payload, behind) = behind.split_at(usize::from(header.length).min(behind.len()));
        if let TypeByte::Known(kind) = header.type_byte() {
            assert_eq!(Header::new(kind, header.flags, header.stream, header.length), header);
            read(kind, payload);
        }
        rest = behind;
    }
}

fn read(kind: Kind, payload: &[u8]) {
    match kind {
        Kind::Open => match Open::decode_payload(payload) {
            Ok((open, data_at)) => {
                assert!(data_at <= payload.len());
                let again = open.to_vec();
                // An IPv6 address that was spelled as a name is shorter in letters than in bytes.
                let spelled = matches!(&open.target, Some(Target { host: Host::V6(_), .. }));
                assert!(again.len() <= data_at || spelled && again.len() == V6_OPEN);
                assert_eq!(Open::decode_payload(&again), Ok((open, again.len())));
            }
            Err(error) => crate::codec::fails(error.code()),
        },
        Kind::Opened => {
            crate::codec::payload(payload, Opened::decode_payload);
        }
        Kind::Credit => {
            crate::codec::payload(payload, Credit::decode_payload);
        }
        Kind::Rst => {
            let rst = crate::codec::payload(payload, Rst::decode_payload);
            rst.into_iter().for_each(|rst| crate::codec::fails(rst.code));
        }
        Kind::Ping => {
            crate::codec::payload(payload, Ping::decode_payload);
        }
        Kind::GoAway => {
            let away = crate::codec::payload(payload, GoAway::decode_payload);
            away.into_iter().for_each(|away| crate::codec::fails(away.code));
        }
        Kind::Settings => {
            if let Ok(settings) = Setting::decode_all(payload) {
                assert!(settings.flat_map(|setting| setting.to_vec()).eq(payload.iter().copied()));
            }
        }
        Kind::Priority => {
            crate::codec::payload(payload, Priority::decode_payload);
        }
        Kind::Data | Kind::Dgram | Kind::Pad => {}
    }
}
