//! The mixed port's handshake: whatever comes, in whatever pieces, there is one verdict, and nobody gets in by a trick.
//! Neither is the verdict another one where passwords wait for their turn, unless too many of them wait already.
//!
//! A request that got through is read again here, by hand and from the first byte: a method was chosen among those
//! offered, the password (if any) was the right one, and the request ended where the tunnel's bytes begin.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;
use std::time::Instant;

use bytes::BytesMut;
use eagersocks::{AuthLimit, Config, Handshake, Password, Protocol, Refusal, Reply, Request, Users};
use framing::remux2::Code;

/// Judges one input: a byte for the front and for how many wrong passwords came before, one for the cut, then what an
/// application sends.
pub fn run(input: &[u8]) {
    let Some((&[mode, size], input)) = input.split_first_chunk() else { return };
    let config = &FRONTS[usize::from(mode % 4)];
    let whole = drive(config, input, input.len(), None);
    assert_eq!(drive(config, input, size.into(), None), whole, "the verdict depends on the cut");

    let (wrong, guarded) = (mode / 4, drive(config, input, size.into(), Some(mode / 4)));
    match &guarded.1 {
        Some(Err(refusal)) if refusal.kind == "auth_limit" => {
            assert!(!config.users.is_empty() && wrong >= FULL && !refusal.wrong_password);
        }
        _ => {
            assert!(
                wrong < FULL || !is_judged(&whole.1),
                "a password was judged, and there was no room to wait"
            );
            assert_eq!(guarded, whole, "the verdict depends on the wait");
        }
    }

    let (sent, end, rest) = whole;
    assert!(sent.len() <= 64);
    match end {
        Some(Ok(request)) => {
            assert_ne!(request.target.port, 0);
            assert_eq!(request.is_answered(), config.reply == Reply::Eager);
            answers(&request);
            let secret = !config.users.is_empty();
            assert_eq!(request.credential.is_some(), secret);
            let end = match request.protocol {
                Protocol::Socks4 => read_socks4(input, false),
                Protocol::Socks4a => read_socks4(input, true),
                Protocol::Socks5 => {
                    assert!(sent.starts_with(if secret { &[5, 2, 1, 0] } else { &[5, 0] }));
                    read_socks5(input, secret)
                }
                _ => read_http(input),
            };
            assert!(!secret || !matches!(request.protocol, Protocol::Socks4 | Protocol::Socks4a));
            assert_eq!(
                end,
                Some(input.len() - rest.len()),
                "the tunnel does not begin where the request ends"
            );
            assert!(input.ends_with(&rest));
        }
        Some(Err(refusal)) => {
            assert!(refusal.reply.len() < 300 && !refusal.to_string().contains(char::is_control));
        }
        // All that is read before there is a verdict stays below the longest head and one read.
        None => assert!(input.len() < 8192 + 1024),
    }
}

/// Whether a password was found right or wrong, as far as the outcome tells.
fn is_judged(end: &Option<Result<Request, Refusal>>) -> bool {
    match end {
        Some(Ok(request)) => request.credential.is_some(),
        Some(Err(refusal)) => refusal.wrong_password,
        None => false,
    }
}

/// Success and failure can be told apart, and only where nothing was told before.
fn answers(request: &Request) {
    let (success, failure) = (request.reply_success(None), request.reply_failure(Code::DEST_REFUSED));
    assert_eq!((success.is_empty(), failure.is_empty()), (request.is_answered(), request.is_answered()));
    assert!(request.is_answered() || success != failure);
}

/// Where a SOCKS4 request ends: after the user, and after the name where there is one.
fn read_socks4(input: &[u8], named: bool) -> Option<usize> {
    let front = input.first_chunk::<8>()?;
    assert_eq!((front[0], front[1]), (4, 1));
    assert_eq!(named, front[4..7] == [0; 3] && front[7] != 0);
    let user = 8 + input[8..].iter().position(|&byte| byte == 0)? + 1;
    if !named {
        return Some(user);
    }
    Some(user + input[user..].iter().position(|&byte| byte == 0)? + 1)
}

/// Where a SOCKS5 request ends, after what has to come before it.
fn read_socks5(input: &[u8], secret: bool) -> Option<usize> {
    let mut rest = input;
    let mut take = |n: u8| -> Option<&[u8]> {
        let (taken, behind) = rest.split_at_checked(n.into())?;
        rest = behind;
        Some(taken)
    };
    let &[5, methods] = take(2)? else { panic!("no greeting") };
    assert!(take(methods)?.contains(if secret { &2 } else { &0 }), "a method that was not offered");
    if secret {
        let &[1, user] = take(2)? else { panic!("no password came") };
        assert_eq!(take(user)?, b"ann");
        let &[password] = take(1)? else { panic!("no password came") };
        assert_eq!(take(password)?, b"secret");
    }
    let &[5, 1, _, kind] = take(4)? else { panic!("no request to connect") };
    match kind {
        1 => take(4)?,
        4 => take(16)?,
        _ => {
            let &[length] = take(1)? else { panic!("no name") };
            take(length)?
        }
    };
    take(2)?;
    let left = rest.len();
    Some(input.len() - left)
}

/// Where a head ends: at the first empty line.
fn read_http(input: &[u8]) -> Option<usize> {
    assert!(input.starts_with(b"CONNECT "));
    Some(input.windows(4).position(|four| four == b"\r\n\r\n")? + 4)
}

type Verdict = (Vec<u8>, Option<Result<Request, Refusal>>, Vec<u8>);

/// Feeds `input` in pieces of `size`. The cut decides how much is early, so that is moved to the third part. With
/// `wrong` a password waits for its turn, after as many wrong ones from the same source.
fn drive(config: &Config, input: &[u8], size: usize, wrong: Option<u8>) -> Verdict {
    let mut handshake = Handshake::new(config);
    let (mut unread, mut sent, mut end) = (BytesMut::new(), Vec::new(), None);
    let mut pieces = input.chunks(size.max(1));
    let mut room = wrong.map(WaitingRoom::after);
    if room.is_some() {
        handshake.guard();
    }
    let mut proven = false;
    while end.is_none() {
        handshake.handle_data(&mut unread);
        if let Some(room) = room.as_mut().filter(|_| handshake.is_waiting_for_judgement()) {
            let waiting = unread.clone();
            handshake.handle_data(&mut unread);
            assert!(handshake.is_waiting_for_judgement() && unread == waiting, "it did not wait");
            assert!(handshake.poll_transmit().is_none() && handshake.poll_outcome().is_none());
            room.admit(&mut handshake);
            handshake.handle_data(&mut unread);
        }
        proven |= handshake.take_proven();
        assert!(!handshake.take_proven(), "proven twice");
        if let Some(bytes) = handshake.poll_transmit() {
            sent.extend_from_slice(&bytes);
            continue;
        }
        end = handshake.poll_outcome();
        if end.is_none() {
            let Some(piece) = pieces.next() else { break };
            unread.extend_from_slice(piece);
        }
    }
    let mut rest = Vec::new();
    if let Some(Ok(request)) = &mut end {
        assert_eq!(proven, request.credential.is_some(), "somebody came in by another door");
        rest.extend_from_slice(&std::mem::take(&mut request.early));
        rest.extend_from_slice(&unread);
        pieces.for_each(|piece| rest.extend_from_slice(piece));
    }
    (sent, end, rest)
}

/// Where a listener lets passwords wait.
struct WaitingRoom {
    limit: AuthLimit,
    now: Instant,
}

impl WaitingRoom {
    /// After `n` passwords, all wrong and all at once; those that there was no room for were not judged.
    fn after(n: u8) -> Self {
        let mut room = Self { limit: AuthLimit::new(), now: Instant::now() };
        for _ in 0..n {
            if room.limit.turn(room.now, SOURCE).is_ok() {
                room.limit.handle_failure(room.now, SOURCE);
            }
        }
        room
    }

    fn admit(&mut self, handshake: &mut Handshake) {
        match self.limit.turn(self.now, SOURCE) {
            Ok(_) => handshake.judge(),
            Err(full) => handshake.turn_away(full),
        }
    }
}

/// After so many wrong passwords at once there is no room to wait for another one: five that are free, and five seconds' worth.
const FULL: u8 = 30;
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

static FRONTS: LazyLock<[Config; 4]> = LazyLock::new(|| {
    [(false, Reply::Eager), (false, Reply::Strict), (true, Reply::Eager), (true, Reply::Strict)].map(
        |(users, reply)| {
            let users = users.then(|| ("ann".to_owned(), Password::new("secret")));
            Config { users: Users::new(users).expect("a good user"), reply, ..Config::default() }
        },
    )
});
