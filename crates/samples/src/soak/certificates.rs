//! `soak-load certificates AUTHORITY`: a TLS handshake a second as another sidecar would begin it, but without a
//! certificate; a line of JSON whenever the server shows another one than before.
//!
//! What is told is the sum of the leaf and of the last certificate of the chain. Whether the server goes on afterwards
//! does not matter: its certificate was seen by then.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::net::TcpStream;

use crate::compat::tls;

const PAUSE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run(authority: &str) -> Result<ExitCode> {
    crate::block_on(async {
        let mut last = None;
        let mut second = tokio::time::interval(PAUSE);
        loop {
            second.tick().await;
            let shown = tokio::time::timeout(PATIENCE, shown(authority)).await;
            // A server that is not there yet, or busy, is asked again.
            let Ok(Ok(shown)) = shown else { continue };
            if last.as_ref() != Some(&shown) {
                println!("{}", json!({"certificate": shown.0, "last": shown.1}));
                last = Some(shown);
            }
        }
    })
}

async fn shown(authority: &str) -> Result<(String, String)> {
    let stream = TcpStream::connect(authority).await?;
    let name = ServerName::try_from("outbound_.9090_._.backend.soak.svc.cluster.local")?;
    let seen = Arc::new(tls::Seen::default());
    // The handshake may fail afterwards.
    let _ = tls::observer(&seen)?.connect(name, stream).await;
    let chain = seen.chain();
    let sum = |certificate: Option<&Vec<u8>>| {
        let bytes = certificate.context("the server showed nothing")?;
        // FNV-1a: only sameness matters.
        let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        anyhow::Ok(format!("{sum:016x}"))
    };
    Ok((sum(chain.first())?, sum(chain.last())?))
}
