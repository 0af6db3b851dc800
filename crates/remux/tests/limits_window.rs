//! A window grows no further than its cap, whatever the reader takes.

mod session_world;

use remux::{SessionConfig, WindowConfig, Wire};
use session_world::*;

#[test]
fn window_grows_to_its_cap_and_no_further() {
    let window = WindowConfig { max: 1 << 20, ..WindowConfig::default() };
    let config = SessionConfig { window, ..SessionConfig::default() };
    let mut pair = Pair::with(Wire::Remux2, SessionConfig::default(), config);
    let id = pair.client.session.open(pair.now, connect(b"")).unwrap();
    for _ in 0..2000 {
        let room = pair.client.session.send_room(id).unwrap();
        pair.client.write(pair.now, id, &vec![0; room]);
        pair.step();
        pair.server.read(pair.now, id);
        pair.now += millis(2);
    }
    let growth = pair.server.session.charged().1;
    assert_eq!(growth, (1 << 20) - (256 << 10), "beyond the 256 KiB it starts with");
}
