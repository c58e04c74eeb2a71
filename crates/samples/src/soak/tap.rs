//! `soak-load tap ADDRESS WORD SECONDS`: listens for a while to what passes between this pod and an address, and tells how
//! many packets there were and how many of them had that word in them. Needs `NET_RAW`.
//!
//! What the pod's own programs say to each other never has that address in it, so it does not count.

use std::io::Read;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};

/// `ETH_P_ALL`, in the order of the network.
const EVERYTHING: i32 = 0x0300;
const ETHERNET: usize = 14;
const LONGEST: u64 = 60;
/// The end is noticed this late.
const PATIENCE: Duration = Duration::from_millis(100);

pub(super) fn run(address: &str, word: &str, seconds: &str) -> Result<ExitCode> {
    let address: Ipv4Addr = address.parse().context("ADDRESS is one of IPv4")?;
    let seconds: u64 = seconds.parse().context("SECONDS is a number")?;
    ensure!(
        seconds <= LONGEST && !word.is_empty(),
        "at most {LONGEST} seconds, and a word"
    );
    let mut socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(EVERYTHING)))
        .context("packets can't be listened to")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let (mut packets, mut readable) = (0_u64, 0_u64);
    let mut frame = vec![0; 64 << 10];
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(seconds) {
        let length = match socket.read(&mut frame) {
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        };
        if !concerns(&frame[..length], address) {
            continue;
        }
        packets += 1;
        readable += u64::from(contains(&frame[..length], word.as_bytes()));
    }
    println!("{}", json!({"packets": packets, "readable": readable}));
    Ok(ExitCode::SUCCESS)
}

/// Whether it is IPv4 from or to that address.
fn concerns(frame: &[u8], address: Ipv4Addr) -> bool {
    let Some(packet) = frame.get(ETHERNET..ETHERNET + 20) else {
        return false;
    };
    let octets = address.octets();
    frame[12..ETHERNET] == [8, 0] && (packet[12..16] == octets || packet[16..20] == octets)
}

fn contains(frame: &[u8], word: &[u8]) -> bool {
    frame.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_an_address_are_told_from_others() {
        let mut frame = [0; 40];
        frame[12] = 8;
        frame[26..30].copy_from_slice(&[10, 0, 0, 1]);
        frame[30..34].copy_from_slice(&[10, 0, 0, 2]);
        for (address, expected) in [("10.0.0.1", true), ("10.0.0.2", true), ("10.0.0.3", false)] {
            assert_eq!(concerns(&frame, address.parse().unwrap()), expected, "{address}");
        }
        assert!(!concerns(&frame[..20], Ipv4Addr::LOCALHOST));
        assert!(contains(b"GET / host: backend:9090", b"backend:9090") && !contains(b"x", b"backend"));
    }
}
