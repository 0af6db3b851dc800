//! Makes, swallows and judges self-describing traffic: what was lost, changed, mixed up or ended dishonestly.
//!
//! ```text
//!   judge generate ──SOCKS5──▶ client ══▶ server ──TCP──▶ judge sink
//!        │                                                   │
//!        ▼  a line for every flow's begin and end            ▼
//!     ledger ─────────────────▶ judge verdict ◀────────── ledger
//! ```
//! Generator and sink are processes of their own, so whatever happens to the programs between them is seen from
//! outside. Nothing here shares code with them. Pure: [`pattern`], [`damage`], [`check`], [`plan`], [`mix`], [`ledger`],
//! [`verdict`]; with sockets: [`flow`], [`socks`], [`generate`], [`sink`]; with /proc: [`settle`].

pub mod check;
pub mod damage;
pub mod flags;
pub mod flow;
pub mod generate;
pub mod ledger;
pub mod mix;
pub mod pattern;
pub mod plan;
pub mod settle;
pub mod sink;
pub mod socks;
pub mod verdict;
