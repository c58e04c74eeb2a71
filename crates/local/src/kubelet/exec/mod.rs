//! Commands in running containers: for `kubectl exec`, for probes and for hooks.
//!
//! Like a container, a command has a supervisor (in the node's namespaces, which passes terminal bytes and the exit
//! code on) and a first process that joins the container and becomes the command. Killing the supervisor kills it.

pub(crate) mod inside;
pub(crate) mod supervise;

use std::process::Stdio;

use anyhow::Context;
use bytes::Bytes;
use daemon::Tasks;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot};

use super::container::inside::Program;
use crate::api::node_link::{Exec, ExecOptions, OutputStream};
use crate::sys::{frame, reexec};

/// A running container, as far as commands in it are concerned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    /// Its first process, in the node's PID namespace.
    pub(crate) pid: u32,
    /// Its own program: environment, user and directory are the command's too.
    pub(crate) program: Program,
}

/// What the supervisor of a command is told first, on its standard input.
#[derive(Debug, Serialize, Deserialize)]
struct Supervised {
    inside: Inside,
    terminal: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Inside {
    container: u32,
    program: Program,
    terminal: bool,
}

/// What comes on standard input when the command has a terminal.
#[derive(Debug, Serialize, Deserialize)]
enum Input {
    Bytes(Vec<u8>),
    /// Columns and rows.
    Size(u16, u16),
}

async fn spawn(target: &Target, command: &[String], terminal: bool) -> anyhow::Result<(Child, ChildStdin)> {
    let mut program = target.program.clone();
    program.argv = command.to_vec();
    if terminal {
        program
            .environment
            .entry("TERM".to_owned())
            .or_insert_with(|| "xterm".to_owned());
    }
    let inside = Inside {
        container: target.pid,
        program,
        terminal,
    };
    let mut supervisor = Command::from(reexec::command("exec"));
    supervisor
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = supervisor.spawn().context("cannot start the command's process")?;
    let mut input = child.stdin.take().context("it was piped")?;
    input
        .write_all(&frame::encode(&Supervised { inside, terminal })?)
        .await?;
    Ok((child, input))
}

/// Runs a command to its end: exit code, and the beginning of what it wrote.
pub(crate) async fn collect(
    target: &Target,
    command: &[String],
    longest: usize,
) -> anyhow::Result<(i32, String)> {
    let (mut child, input) = spawn(target, command, false).await?;
    drop(input);
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let (written, complained) = tokio::join!(
        beginning(stdout.as_mut(), longest),
        beginning(stderr.as_mut(), longest)
    );
    let status = child.wait().await?;
    let text = String::from_utf8_lossy(&[written, complained].concat()).into_owned();
    Ok((status.code().unwrap_or(137), text))
}

async fn beginning(stream: Option<&mut (impl AsyncRead + Unpin)>, longest: usize) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(stream) = stream else { return kept };
    let mut chunk = vec![0; 4096];
    while let Ok(size @ 1..) = stream.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..size.min(longest - kept.len())]);
    }
    kept
}

/// Runs a command for a client: streams both ways, until it ends or the client drops it.
pub(crate) async fn start(target: &Target, options: &ExecOptions, tasks: &Tasks) -> anyhow::Result<Exec> {
    let (mut child, input) = spawn(target, &options.command, options.tty).await?;
    let (stdin, from_client) = mpsc::channel::<Bytes>(16);
    let (to_client, output) = mpsc::channel(16);
    let (resize, sizes) = mpsc::channel(4);
    let (ended, exit) = oneshot::channel();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    if options.tty {
        tasks.spawn("exec input", feed_terminal(input, from_client, sizes));
    } else {
        tasks.spawn("exec input", feed(input, from_client));
    }
    tasks.spawn("exec", async move {
        let life = async {
            tokio::join!(
                forward(stdout, OutputStream::Stdout, &to_client),
                forward(stderr, OutputStream::Stderr, &to_client)
            );
            child.wait().await.ok().and_then(|status| status.code())
        };
        // A command that has closed both streams may run for long, too.
        tokio::select! {
            code = life => drop(ended.send(code.unwrap_or(137))),
            // The client has gone: dropping the child kills the command.
            () = to_client.closed() => {}
        }
    });
    Ok(Exec {
        stdin: options.stdin.then_some(stdin),
        output,
        resize,
        exit,
    })
}

async fn forward(
    stream: Option<impl AsyncRead + Unpin>,
    which: OutputStream,
    client: &mpsc::Sender<(OutputStream, Bytes)>,
) {
    let Some(mut stream) = stream else { return };
    let mut chunk = vec![0; 32 << 10];
    while let Ok(size @ 1..) = stream.read(&mut chunk).await {
        if client
            .send((which, Bytes::copy_from_slice(&chunk[..size])))
            .await
            .is_err()
        {
            return;
        }
    }
}

async fn feed(mut input: ChildStdin, mut from_client: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = from_client.recv().await {
        if input.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn feed_terminal(
    mut input: ChildStdin,
    mut from_client: mpsc::Receiver<Bytes>,
    mut sizes: mpsc::Receiver<(u16, u16)>,
) {
    loop {
        let next = tokio::select! {
            Some((columns, rows)) = sizes.recv() => Input::Size(columns, rows),
            Some(bytes) = from_client.recv() => Input::Bytes(bytes.to_vec()),
            else => return,
        };
        let Ok(framed) = frame::encode(&next) else { return };
        if input.write_all(&framed).await.is_err() {
            return;
        }
    }
}
