//! Peers that mean harm, one by one: named attacks on a real server or client, and plain things to compare with.
//!
//! ```text
//! hostile list
//! hostile pki DIR --name HOST                                      certificates for all that follow
//! hostile attack NAME --to ADDR --pki DIR --echo ADDR --deaf ADDR --endless ADDR
//!                     [--nowhere ADDR] [--from IP,IP…] [--for SECS] [--lanes N] [--seed N]
//! hostile matrix --to ADDR --pki DIR --own IP [--names NAME,…] [--rounds N] [--seed N]
//! hostile server TURN --listen ADDR --pki DIR [--for SECS]         a server that has turned on its clients
//! hostile sink --listen ADDR --pki DIR                             takes the server's place, and does nothing
//! hostile destinations --ip IP                                     echo, deaf, endless, nowhere: four ports
//! hostile probe --socks ADDR --to ADDR [--every MS] [--for SECS]   the well-behaved user
//! ```
//! Each prints JSON when it is done; those that listen say `listening ADDR` first.

mod args;
mod attacks;
mod classic;
mod client;
mod eager;
mod ground;
mod matrix;
mod peer;
mod pki;
mod probe;
mod prober;
mod server;
mod sink;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use args::Args;
use ground::{Ground, Tally};
use tokio::time::Instant;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Args::read(std::env::args().skip(1)) {
        Ok(args) => run(&args).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostile: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(args: &Args) -> Result<(), String> {
    let named = || args.word(1).ok_or_else(|| "which one? see hostile list".to_owned());
    match args.word(0) {
        Some("list") => {
            for attack in attacks::ATTACKS {
                println!("{:?} {}", attack.group, attack.name);
            }
            server::TURNS.iter().for_each(|turn| println!("Server {turn}"));
        }
        Some("pki") => pki::write(Path::new(named()?), &args.need::<String>("name")?)?,
        Some("attack") => {
            let name = named()?;
            let attack = attacks::ATTACKS.iter().find(|attack| attack.name == name);
            let attack = *attack.ok_or_else(|| format!("no attack is named {name}; see hostile list"))?;
            let ground = Arc::new(ground(args)?);
            attacks::run(attack, args.or("lanes", attack.lanes)?, ground.clone()).await;
            println!("{}", ground.tally.to_json());
        }
        Some("matrix") => {
            let names: String = args.or("names", String::new())?;
            let names: Vec<String> =
                names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            let ground = ground(args)?;
            let answers =
                matrix::run(&ground, args.need("own")?, ground.to.port(), &names, args.or("rounds", 1)?)
                    .await?;
            println!("{answers}");
        }
        Some("server") => {
            let name = named()?;
            let turn = server::TURNS.iter().find(|turn| **turn == name);
            let turn = *turn.ok_or_else(|| format!("no turn is named {name}; see hostile list"))?;
            let ground = Arc::new(ground(args)?);
            server::serve(turn, args.need("listen")?, ground.clone()).await?;
            println!("{}", ground.tally.to_json());
        }
        Some("sink") => sink::serve(args.need("listen")?, args.need::<PathBuf>("pki")?).await?,
        Some("destinations") => sink::destinations(args.need("ip")?).await?,
        Some("probe") => {
            let every = Duration::from_millis(args.or("every", 10)?);
            let time = Duration::from_secs_f64(args.or("for", 5.0)?);
            println!("{}", probe::run(args.need("socks")?, args.need("to")?, every, time).await);
        }
        _ => return Err("one of list, pki, attack, matrix, server, sink, destinations, probe".to_owned()),
    }
    Ok(())
}

fn ground(args: &Args) -> Result<Ground, String> {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let from: String = args.or("from", String::new())?;
    let from =
        from.split(',').filter(|ip| !ip.is_empty()).map(str::parse::<IpAddr>).collect::<Result<_, _>>();
    let target = |name| Ok::<_, String>(args.or::<SocketAddr>(name, nowhere)?.into());
    Ok(Ground {
        to: args.or("to", nowhere)?,
        from: from.map_err(|error| format!("--from: {error}"))?,
        pki: args.need("pki")?,
        echo: target("echo")?,
        deaf: target("deaf")?,
        endless: target("endless")?,
        nowhere: target("nowhere")?,
        seed: args.or("seed", 1)?,
        until: Instant::now() + Duration::from_secs_f64(args.or("for", 10.0)?),
        tally: Tally::default(),
    })
}
