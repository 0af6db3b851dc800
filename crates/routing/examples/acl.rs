//! Judges addresses as a server would.
//!
//! ```text
//! cargo run -p routing --example acl -- --allow 10.2.0.0/16:443 --deny 1.1.1.1:25 10.2.3.4:443 10.2.3.4:80 1.1.1.1:25
//! ```

use std::net::SocketAddr;

use routing::{Acl, Grant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut allow, mut deny, mut addresses) =
        (Vec::<Grant>::new(), Vec::<Grant>::new(), Vec::<SocketAddr>::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--allow" => allow.push(arguments.next().unwrap_or_default().parse()?),
            "--deny" => deny.push(arguments.next().unwrap_or_default().parse()?),
            address => addresses.push(address.parse()?),
        }
    }
    if addresses.is_empty() {
        addresses =
            ["93.184.216.34:80", "10.2.3.4:443", "[::1]:22"].into_iter().flat_map(str::parse).collect();
    }
    let acl = Acl::new(&allow, &deny);
    for address in addresses {
        match acl.check(address) {
            Ok(permitted) => println!("{permitted} permitted"),
            Err(denied) => println!("{denied}"),
        }
    }
    Ok(())
}
