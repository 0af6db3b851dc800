//! The front's side of a handshake, without any I/O.
//!
//! A [`Handshake`] is handed what came from the application and says what to answer and, once, how it ended. It reads
//! no clock and touches no socket; the `io` modules do both.
//!
//! ```text
//!                    first byte
//!        ┌───────────────┼────────────────┬──────────────┐
//!        │ 4             │ 5              │ a letter     │ anything else: refused without a word
//!        ▼               ▼                ▼
//!     Socks4         Greeting           Http
//!        │               │ 05 00           │
//!        │       05 02   ├────────────┐    │
//!        │               ▼            ▼    │         each arrow with bytes on it waits until they were sent;
//!        │             Login ──01 00▶ Request        what came in the meantime stays where it is
//!        │               │            │    │
//!        ▼               ▼            ▼    ▼
//!      Over: a Request (eager: after the success reply), or a Refusal with its reply
//! ```
//!
//! *Invariant:* a [`Request`] comes out only after a method was chosen and, where users are configured, a password
//! was found right. The verdict depends on the bytes, never on how they were cut.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use framing::connect::{Authorization, Head, HeadError, Response, Status};
use framing::remux2::Code;
use framing::socks::{Command, v4, v5};
use framing::{Decode, DecodeError, Encode, Target};

use crate::request::{Credential, Protocol, Request, failure, success};
use crate::users::Users;

/// One handshake.
///
/// Call [`handle_data`](Self::handle_data) with what has come, then [`poll_transmit`](Self::poll_transmit). If that
/// yields bytes, send them and begin again, with or without news; else ask [`poll_outcome`](Self::poll_outcome), and if
/// that has nothing either, read more.
#[derive(Debug)]
pub struct Handshake {
    reply: Reply,
    users: Users,
    auth_delay: Duration,
    guess: Guess,
    state: State,
    out: Bytes,
    outcome: Option<Result<Request, Refusal>>,
}

impl Handshake {
    /// A handshake of which no byte has come.
    pub fn new(config: &Config) -> Self {
        Self {
            reply: config.reply,
            users: config.users.clone(),
            auth_delay: config.auth_delay,
            guess: Guess::Free,
            state: State::Start,
            out: Bytes::new(),
            outcome: None,
        }
    }

    /// Takes what it understands off the front of `input`, up to the next reply. Once there is a request, the bytes
    /// behind it move into [`Request::early`], at most [`EARLY_MAX`] of them.
    ///
    /// Before that it never needs to see more than 8 KiB at once.
    pub fn handle_data(&mut self, input: &mut BytesMut) {
        while self.out.is_empty() && self.step(input) {}
    }

    /// Bytes to be sent before anything else happens.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        (!self.out.is_empty()).then(|| std::mem::take(&mut self.out))
    }

    /// The end of the handshake, once, and not before its last reply was taken.
    pub fn poll_outcome(&mut self) -> Option<Result<Request, Refusal>> {
        if self.out.is_empty() { self.outcome.take() } else { None }
    }

    /// From now on a password is not judged before [`judge`](Self::judge) says so.
    pub fn guard(&mut self) {
        self.guess = Guess::Guarded;
    }

    /// Whether a password has come and waits to be judged.
    pub fn is_waiting_for_judgement(&self) -> bool {
        self.guess == Guess::Waiting
    }

    /// Lets the next [`handle_data`](Self::handle_data) judge the password.
    pub fn judge(&mut self) {
        self.guess = Guess::Free;
    }

    /// Refuses without having looked at the password.
    pub fn turn_away(&mut self, why: impl fmt::Display) {
        let reply = match self.state {
            // Not a challenge: the password may be right, and nobody is to type another one.
            State::Http => wire(&Response::refusal(Status::Unavailable)),
            _ => wire(&v5::AuthReply { accepted: false }),
        };
        self.state = State::Over;
        self.guess = Guess::Free;
        self.outcome = Some(Err(Refusal { delay: self.auth_delay, ..refuse("auth_limit", why, reply) }));
    }

    /// Whether a password was found right since the last call.
    pub fn take_proven(&mut self) -> bool {
        let proven = self.guess == Guess::Right;
        if proven {
            self.guess = Guess::Free;
        }
        proven
    }

    /// Whether the password that has come has to wait.
    fn hold(&mut self) -> bool {
        let held = matches!(self.guess, Guess::Guarded | Guess::Waiting);
        if held {
            self.guess = Guess::Waiting;
        }
        held
    }

    /// Handles one message; whether there may be another one right now.
    fn step(&mut self, input: &mut BytesMut) -> bool {
        let next = match &self.state {
            State::Start => self.handle_first_byte(input),
            State::Socks4 => self.handle_socks4(input),
            State::Greeting => self.handle_greeting(input),
            State::Login => self.handle_login(input),
            State::Request { credential } => self.handle_request(input, credential.clone()),
            State::Http => self.handle_http(input),
            State::Over => return false,
        };
        match next {
            Ok(None) => return false,
            Ok(Some(state)) => self.state = state,
            Err(refusal) => {
                self.state = State::Over;
                self.outcome = Some(Err(refusal));
            }
        }
        true
    }

    fn handle_first_byte(&mut self, input: &BytesMut) -> Next {
        let state = match input.first() {
            None => return Ok(None),
            Some(&v4::VERSION) if self.users.is_empty() => State::Socks4,
            Some(&v4::VERSION) => {
                return Err(refuse(
                    "no_method",
                    "SOCKS4 carries no password, and users are configured",
                    v4_refused(),
                ));
            }
            Some(&v5::VERSION) => State::Greeting,
            Some(byte) if byte.is_ascii_alphabetic() => State::Http,
            Some(byte) => {
                let detail = format!("neither SOCKS nor HTTP: the first byte is {byte:#04x}");
                return Err(refuse("bad_protocol", detail, Bytes::new()));
            }
        };
        Ok(Some(state))
    }

    fn handle_socks4(&mut self, input: &mut BytesMut) -> Next {
        let refused = |error| refuse(kind(error), error, v4_refused());
        let Some(request) = take::<v4::Request>(input).map_err(refused)? else { return Ok(None) };
        check(request.command(), request.target())
            .map_err(|(kind, detail, _)| refuse(kind, detail, v4_refused()))?;
        let protocol = if request.is_4a() { Protocol::Socks4a } else { Protocol::Socks4 };
        self.accept(protocol, request.target().clone(), None, input)
    }

    fn handle_greeting(&mut self, input: &mut BytesMut) -> Next {
        let refused = |error| refuse(kind(error), error, v5_method(v5::Method::UNACCEPTABLE));
        let Some(v5::Greeting { methods }) = take(input).map_err(refused)? else { return Ok(None) };
        let (method, state) = match self.users.is_empty() {
            true => (v5::Method::NONE, State::Request { credential: None }),
            false => (v5::Method::PASSWORD, State::Login),
        };
        if !methods.contains(method) {
            let detail = match state {
                State::Login => "the application offers no password, and users are configured",
                _ => "the application insists on authentication, and no users are configured",
            };
            return Err(refuse("no_method", detail, v5_method(v5::Method::UNACCEPTABLE)));
        }
        self.out = v5_method(method);
        Ok(Some(state))
    }

    fn handle_login(&mut self, input: &mut BytesMut) -> Next {
        let no = || wire(&v5::AuthReply { accepted: false });
        let delay = self.auth_delay;
        let refused = |error| Refusal { delay, ..refuse("auth_malformed", error, no()) };
        let Some((v5::Auth { credential }, used)) = v5::Auth::decode(input).map_err(refused)? else {
            return Ok(None);
        };
        if self.hold() {
            return Ok(None);
        }
        input.advance(used);
        let credential = self.verify(&credential, no)?;
        self.out = wire(&v5::AuthReply { accepted: true });
        Ok(Some(State::Request { credential: Some(credential) }))
    }

    fn handle_request(&mut self, input: &mut BytesMut, credential: Option<Credential>) -> Next {
        let reply = |code| wire(&v5::Reply::failure(code));
        let refused = |error: DecodeError| refuse(kind(error), error, reply(error.code()));
        let Some(v5::Request { command, target }) = take(input).map_err(refused)? else { return Ok(None) };
        check(command, &target).map_err(|(kind, detail, code)| refuse(kind, detail, reply(code)))?;
        self.accept(Protocol::Socks5, target, credential, input)
    }

    fn handle_http(&mut self, input: &mut BytesMut) -> Next {
        let refused = |error: HeadError| {
            let reply = wire(&Response::refusal(error.status()));
            refuse(http_kind(error), format!("http request refused: {error}"), reply)
        };
        let Some((head, used)) = Head::parse(input).map_err(refused)? else { return Ok(None) };
        let guesses = !self.users.is_empty() && head.authorization != Authorization::Absent;
        if guesses && self.hold() {
            return Ok(None);
        }
        input.advance(used);
        let credential = match (self.users.is_empty(), &head.authorization) {
            (true, _) => None,
            (false, Authorization::Basic(credential)) => Some(self.verify(credential, challenge)?),
            (false, Authorization::Unusable) => return Err(self.wrong_password(None, challenge())),
            // A browser learns only from this answer that it has to ask its user: no guess, so it does not count.
            (false, Authorization::Absent) => {
                let refusal =
                    refuse("auth_missing", "no password given, and users are configured", challenge());
                return Err(Refusal { delay: self.auth_delay, ..refusal });
            }
        };
        self.accept(Protocol::HttpConnect, head.target, credential, input)
    }

    fn verify(
        &mut self,
        credential: &framing::Credential,
        reply: impl Fn() -> Bytes,
    ) -> Result<Credential, Refusal> {
        let found = self.users.verify(credential.user(), credential.password());
        let proven = found.ok_or_else(|| self.wrong_password(Some(credential), reply()))?;
        self.guess = Guess::Right;
        Ok(proven)
    }

    /// Names a user only if there is one of that name: people type passwords into the wrong field.
    fn wrong_password(&self, credential: Option<&framing::Credential>, reply: Bytes) -> Refusal {
        let user = credential.and_then(|credential| self.users.named(credential.user())).cloned();
        let detail = match &user {
            Some(user) => format!("wrong password for user {user:?}"),
            None => "unknown user or unusable credentials".to_owned(),
        };
        let refusal = refuse("auth_failed", detail, reply);
        Refusal { delay: self.auth_delay, wrong_password: true, user, ..refusal }
    }

    fn accept(
        &mut self,
        protocol: Protocol,
        target: Target,
        credential: Option<Credential>,
        input: &mut BytesMut,
    ) -> Next {
        let early = early(input);
        let answered = self.reply == Reply::Eager;
        if answered {
            self.out = success(protocol, None);
        }
        self.outcome =
            Some(Ok(Request { command: Command::Connect, target, credential, early, protocol, answered }));
        Ok(Some(State::Over))
    }
}

/// What a front expects and how it answers.
#[derive(Clone, Debug)]
pub struct Config {
    /// When success is told. Default [`Reply::Eager`].
    pub reply: Reply,
    /// Who may come in; empty (the default) is everyone. With users, SOCKS4 and SOCKS5 without a password are
    /// refused.
    pub users: Users,
    /// From accept to the complete request, one deadline and not one per read. Default 10 s. More lets a stalled
    /// peer hold a socket for longer.
    pub deadline: Duration,
    /// How long the answer to a wrong or missing password is held back. Default 200 ms. Less lets one connection
    /// after the other guess faster, more makes a mistyped password feel like a broken proxy.
    pub auth_delay: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            reply: Reply::default(),
            users: Users::default(),
            deadline: Duration::from_secs(10),
            auth_delay: Duration::from_millis(200),
        }
    }
}

/// When an application is told that its destination is reached.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Reply {
    /// Before anything is dialled: saves a round trip, and a failure can only be shown as a reset.
    #[default]
    Eager,
    /// When it is: the caller sends [`Request::reply_success`] or [`Request::reply_failure`].
    Strict,
}

/// A request that is never served: what to say, when, and why. Send the reply, then FIN.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Refusal {
    /// The protocol's answer; empty where none is defined.
    pub reply: Bytes,
    /// How long to hold it back.
    pub delay: Duration,
    /// One word for counters: `address_type`, `auth_failed`, `auth_limit`, `auth_malformed`, `auth_missing`, `bad_protocol`,
    /// `command`, `malformed`, `method`, `name`, `no_method`, `port`, `too_long`, `web_page`, `web_request`.
    pub kind: &'static str,
    /// What was wrong; holds no unescaped byte of the peer.
    pub detail: String,
    /// Whether it counts for [`AuthLimit`](crate::AuthLimit).
    pub wrong_password: bool,
    /// The configured user whose password was wrong.
    pub user: Option<Arc<str>>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Refusal {}

/// The most application bytes taken along with a request.
pub const EARLY_MAX: usize = 64 * 1024;

/// The state to go on in; `None`: the message is not complete yet.
type Next = Result<Option<State>, Refusal>;

#[derive(Clone, Debug)]
enum State {
    /// No byte has come.
    Start,
    /// A SOCKS4 request comes.
    Socks4,
    /// SOCKS5: the offered methods come.
    Greeting,
    /// SOCKS5: name and password come.
    Login,
    /// SOCKS5: the request comes, by someone who may ask.
    Request { credential: Option<Credential> },
    /// The head of an HTTP request comes.
    Http,
    /// There is an outcome.
    Over,
}

/// What becomes of a password.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Guess {
    /// It is judged as it comes.
    Free,
    /// It will have to wait.
    Guarded,
    /// It has come and waits, still in the input.
    Waiting,
    /// It was found right, and nobody asked yet.
    Right,
}

/// What every request must fulfil, whatever its protocol: kind, detail and code of the fault.
pub(crate) fn check(command: Command, target: &Target) -> Result<(), (&'static str, &'static str, Code)> {
    match command {
        Command::Connect if target.port == 0 => Err(("port", "the port is 0", Code::SERVER_ERROR)),
        Command::Connect => Ok(()),
        Command::Bind => Err(("command", "BIND is not supported", Code::COMMAND_UNKNOWN)),
        Command::UdpAssociate => Err(("command", "UDP ASSOCIATE is not supported", Code::COMMAND_UNKNOWN)),
    }
}

pub(crate) fn refuse(kind: &'static str, detail: impl fmt::Display, reply: Bytes) -> Refusal {
    let detail = detail.to_string();
    Refusal { reply, delay: Duration::ZERO, kind, detail, wrong_password: false, user: None }
}

pub(crate) const fn kind(error: DecodeError) -> &'static str {
    match error {
        DecodeError::AddressType { .. } => "address_type",
        DecodeError::Command { .. } => "command",
        DecodeError::Name { .. } | DecodeError::Unresolvable { .. } => "name",
        DecodeError::TooLong { .. } => "too_long",
        _ => "malformed",
    }
}

const fn http_kind(error: HeadError) -> &'static str {
    match error {
        HeadError::FromWebPage => "web_page",
        HeadError::NotConnect => "method",
        HeadError::NotForProxy => "web_request",
        HeadError::PortZero => "port",
        HeadError::TooLong | HeadError::TooManyFields => "too_long",
        _ => "malformed",
    }
}

/// Takes application bytes off the front. None at all are a fresh value: an empty slice of the read buffer would keep it
/// alive as long as the request.
pub(crate) fn early(input: &mut BytesMut) -> Bytes {
    let length = input.len().min(EARLY_MAX);
    if length == 0 { Bytes::new() } else { input.split_to(length).freeze() }
}

/// Reads one message off the front.
pub(crate) fn take<T: Decode>(input: &mut BytesMut) -> Result<Option<T>, DecodeError> {
    let Some((message, used)) = T::decode(input)? else { return Ok(None) };
    input.advance(used);
    Ok(Some(message))
}

fn wire(message: &impl Encode) -> Bytes {
    message.to_vec().into()
}

fn v4_refused() -> Bytes {
    failure(Protocol::Socks4, Code::REFUSED)
}

fn v5_method(method: v5::Method) -> Bytes {
    wire(&v5::MethodReply { method })
}

fn challenge() -> Bytes {
    wire(&Response::refusal(Status::AuthenticationRequired))
}
