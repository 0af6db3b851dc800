//! One request on both wires, in hex: `cargo run -p framing --example frames [host:port]`.

use framing::remux2::{self, Command, Kind, Open, flags};
use framing::{Decode, Encode, Target, classic, eager};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target: Target = std::env::args().nth(1).unwrap_or_else(|| "example.net:443".to_owned()).parse()?;
    let first_data = b"hello";

    // remux2: header, OPEN with the target, first data.
    let open = Open { command: Command::Connect, priority: 3, target: Some(target.clone()) };
    let mut payload = open.to_vec();
    payload.extend_from_slice(first_data);
    let header = remux2::Header::new(Kind::Open, flags::FIN, 1, u16::try_from(payload.len())?);
    show("remux2 header", &header.to_bytes());
    show("remux2 OPEN", &payload);

    let (read, data_at) = Open::decode_payload(&payload)?;
    let asked = read.target.map_or_else(|| "no target".to_owned(), |target| target.to_string());
    println!("  read back: {:?} {asked} with {} bytes of data\n", read.command, payload.len() - data_at);

    // classic: header, eager request, first data.
    let mut data = eager::Request::connect(target).to_vec();
    data.extend_from_slice(first_data);
    let header = classic::Header { session: 1, length: u16::try_from(data.len())? };
    show("classic header", &header.to_bytes());
    show("classic data", &data);
    show("classic end", &classic::Header::end(1).to_bytes());

    let Some((request, used)) = eager::Request::decode(&data)? else {
        return Err("the request is cut short".into());
    };
    println!(
        "  read back: {:?} {} with {} bytes of data",
        request.command,
        request.target,
        data.len() - used
    );
    Ok(())
}

fn show(what: &str, bytes: &[u8]) {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{what:>16}: {}", hex.join(" "));
}
