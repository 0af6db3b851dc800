//! Every wire format of TunneLS: bytes to values and back.

mod codec;
pub mod remux2;
mod target;

pub use codec::{Decode, DecodeError, Encode};
pub use target::{Host, Name, Target, TargetError};
