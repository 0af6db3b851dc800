//! Where a flow may go: the destination policy of a server, without any I/O.
//!
//! A server that dials for others is a door into the network it stands in. So it dials the public Internet only, and
//! what else is open is written down as *grants*. Names are resolved by the caller; what is judged is each address
//! they resolved to, and only a [`Permitted`] address, which nobody but the policy can make, should ever be dialled.
//!
//! | word | meaning |
//! |---|---|
//! | grant | a network and a range of ports: `10.2.0.0/16:443` |
//! | closed range | a network that is denied until a grant opens it: loopback, private, link-local, metadata … |
//! | own | the server's own interface addresses (closed), and its listeners (never open) |
//!
//! Start with [`Acl`] and [`Grant`]:
//!
//! ```
//! use routing::{Acl, Grant};
//!
//! let office: Grant = "10.2.0.0/16:443".parse()?;
//! let acl = Acl::new(&[office], &[]);
//!
//! assert!(acl.check("93.184.216.34:80".parse()?).is_ok());
//! assert!(acl.check("10.2.3.4:443".parse()?).is_ok());
//!
//! let denied = acl.check("169.254.169.254:80".parse()?).unwrap_err();
//! assert!(denied.to_string().starts_with("169.254.169.254:80 denied: link-local range 169.254.0.0/16"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! *Invariant:* nothing here resolves, dials, waits or reads a clock.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod acl;
mod grant;
mod ranges;

pub use acl::{Acl, Denied, Permitted, Rule};
pub use grant::{Grant, GrantError};
