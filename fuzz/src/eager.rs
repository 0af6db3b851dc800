//! The eager request and the address in it.

use std::net::SocketAddr;

use framing::{Decode, Encode, Host, Target, eager};

/// Judges one input.
pub fn run(input: &[u8]) {
    let Some((&cut, input)) = input.split_first() else { return };
    crate::codec::front::<eager::Request>(input, cut.into());
    crate::codec::front::<Target>(input, cut.into());
    if let Ok(Some((target, _))) = Target::decode(input) {
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
