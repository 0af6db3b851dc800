//! The eager request and the address in it.

use std::net::SocketAddr;

use bytes::BytesMut;
use eagersocks::Command;
use framing::{Decode, Encode, Host, Target, eager};

/// Judges one input.
pub fn run(input: &[u8]) {
    let Some((&cut, input)) = input.split_first() else { return };
    let request = crate::codec::front::<eager::Request>(input, cut.into());
    taken(input, request);
    if let Some(target) = crate::codec::front::<Target>(input, cut.into()) {
        // Put together from its parts it is the same, and as long as it says.
        let parts = match &target.host {
            Host::V4(ip) => SocketAddr::from((*ip, target.port)).into(),
            Host::V6(ip) => SocketAddr::from((*ip, target.port)).into(),
            Host::Name(_) => Target::new(target.host.clone(), target.port),
        };
        assert_eq!(parts, target);
        assert_eq!(target.to_vec().len(), target.encoded_len());
        let request = eager::Request::connect(target);
        assert_eq!(
            eager::Request::decode(&request.to_vec()),
            Ok(Some((request.clone(), request.to_vec().len())))
        );
    }
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(target) = text.parse::<Target>()
    {
        assert_eq!(target.to_string().parse(), Ok(target));
    }
}

/// What the far end makes of it: a target that can be dialled and the application's bytes, or a refusal in one line.
fn taken(input: &[u8], request: Option<eager::Request>) {
    let mut rest = BytesMut::from(input);
    match (eagersocks::take_eager(&mut rest), request) {
        (Ok(Some(target)), Some(request)) => {
            assert!(request.command == Command::Connect && target.port != 0 && target == request.target);
            let (again, used) = (eagersocks::eager_bytes(&target, &rest), input.len() - rest.len());
            let mut read = BytesMut::from(&again[..]);
            assert_eq!(eagersocks::take_eager(&mut read), Ok(Some(target)));
            assert!(read == rest && input.ends_with(&rest) && used <= eager::MAX_LEN);
        }
        (Ok(None), None) => assert!(rest == input && input.len() < eager::MAX_LEN),
        (Err(refusal), request) => {
            assert!(refusal.reply.is_empty() && !refusal.detail.contains(char::is_control));
            let served = |asked: &eager::Request| asked.command == Command::Connect && asked.target.port != 0;
            assert!(!request.as_ref().is_some_and(served), "refused: {request:?}");
        }
        (verdict, request) => panic!("{verdict:?} of {request:?}"),
    }
}
