//! The remux2 wire: what its frames mean to a session, and how a session is put into frames.
//!
//! What a frame does, by the state of the stream it names (`-`: dropped, `P`: the connection ends with GOAWAY
//! PROTOCOL, `R code`: the stream is reset; a dropped frame for a stream that ended long ago costs a stray token):
//!
//! | frame | never opened | open | peer has finished | over, slot still here | over, freed |
//! |---|---|---|---|---|---|
//! | DATA | P | taken; beyond credit `R FLOW` | `R CLOSED` | - | - |
//! | DATA, empty, no flag | P | P | P | P | P |
//! | OPEN | taken or refused | P | P | P | P |
//! | OPENED | P | taken once if wanted, else stray | same | - | - |
//! | CREDIT | P | taken; wrong `R FLOW` | same | - | - |
//! | RST | P | ends it | ends it | - | - |
//! | PRIORITY | P | taken, every 100 ms at most | same | - | - |
//! | PING, SETTINGS, GOAWAY | stream must be 0, else P | | | | |
//! | PAD, 0x40-0x7F | dropped, counted | | | | |
//! | DGRAM, 0x0B-0x3F | P | | | | |
//! | 0x80-0xFF | GOAWAY UNKNOWN_CRITICAL | | | | |

mod receive;
mod transmit;
