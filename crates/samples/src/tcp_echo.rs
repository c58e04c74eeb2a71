//! Stands in for Istio's tcp-echo-server: each line comes back with a word in front of it.
//!
//! `tcp-echo PORTS WORD`, for example `tcp-echo 9000,9001 hello`. Lines and silence are bounded.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::server::{self, Peer, Stop};

const LONGEST_LINE: u64 = 1 << 20;
/// Longest silence of a connection.
const SILENCE: Duration = Duration::from_secs(3600);

pub(crate) fn run(arguments: Vec<String>) -> anyhow::Result<ExitCode> {
    let [ports, word] = arguments.as_slice() else {
        bail!("usage: tcp-echo PORT[,PORT...] WORD");
    };
    let ports = ports
        .split(',')
        .map(|port| {
            port.trim()
                .parse()
                .with_context(|| format!("{port:?} is not a port"))
        })
        .collect::<anyhow::Result<Vec<u16>>>()?;
    let word = word.clone();
    server::run(async move {
        let listeners = server::listen(&ports).await?;
        let connection = move |stream, _peer: Peer| {
            let word = word.clone();
            async move {
                // An error is the other side's: it went away.
                let _ = tokio::time::timeout(SILENCE * 24, echo(stream, &word)).await;
            }
        };
        server::accept(listeners, Stop::on_signal()?, connection).await;
        Ok(())
    })
}

async fn echo(stream: TcpStream, word: &str) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let mut rest = (&mut lines).take(LONGEST_LINE);
        match tokio::time::timeout(SILENCE, rest.read_until(b'\n', &mut line)).await {
            // The end, also in the middle of a line: the original answers whole lines only.
            Ok(Ok(_)) if !line.ends_with(b"\n") => return Ok(()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => return Ok(()),
        }
        println!("request: {}", String::from_utf8_lossy(&line).trim_end());
        let answer = [word.as_bytes(), b" ", &line].concat();
        println!("response: {}", String::from_utf8_lossy(&answer).trim_end());
        tokio::time::timeout(SILENCE, write.write_all(&answer)).await??;
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn lines_come_back_with_the_word_and_half_a_line_does_not() {
        let told = crate::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let mut client = TcpStream::connect(listener.local_addr()?).await?;
            let (server, _) = listener.accept().await?;
            client.write_all(b"world\n\nhalf").await?;
            client.shutdown().await?;
            echo(server, "one").await?;
            let mut told = String::new();
            client.read_to_string(&mut told).await?;
            Ok(told)
        });
        assert_eq!(told.unwrap(), "one world\none \n");
    }
}
