//! The supervisor of one container: starts its first process, writes its log, passes signals on, lets clients attach
//! themselves, tells its end.
//!
//! One thread, made so: its children live in a PID namespace of their own, and then the kernel refuses threads.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::Arc;

use anyhow::Context;
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::audience::{Audience, Fed};
use super::inside::{Inside, Stdin, Word};
use super::{Exit, Order, Progress, Supervised};
use crate::api::node_link::OutputStream;
use crate::kubelet::logs::format::Lines;
use crate::kubelet::logs::write::LogFile;
use crate::sys::{frame, handover, namespaces, readiness, reexec};

/// How much of a program's output is taken at once.
const CHUNK: usize = 64 << 10;
/// Pieces of input that wait for the program.
const INPUT: usize = 16;

/// The role `container`.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let supervised: Supervised = frame::from_stdin()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    namespaces::own_children().context("cannot make a PID namespace")?;
    runtime.block_on(async {
        let started = match start(&supervised.inside).await {
            Ok(started) => started,
            Err(error) => return tell(&Progress::Failed(format!("{error:#}"))),
        };
        tell(&Progress::Started(
            started.child.id().context("it is not waited for yet")?,
        ))?;
        let (input, fed) = mpsc::channel(INPUT);
        let audience = Audience::new((supervised.inside.stdin != Stdin::Nothing).then_some(input));
        let exit = accompany(started, &supervised, &audience, fed).await?;
        tell(&Progress::Exited(exit))?;
        audience.dismiss(exit.code).await;
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn tell(progress: &Progress) -> anyhow::Result<()> {
    Ok(frame::write(&mut std::io::stdout(), progress)?)
}

/// A program that runs, and our end of what it reads from.
struct Started {
    child: Child,
    input: Input,
}

enum Input {
    Nothing,
    Pipe(pipe::Sender),
    /// Output comes from here, too.
    Terminal(Arc<AsyncFd<File>>),
}

/// Starts the first process and waits until it has become the program.
async fn start(inside: &Inside) -> anyhow::Result<Started> {
    let (ours, theirs) = UnixStream::pair()?;
    let output = || match inside.stdin {
        Stdin::Terminal => Stdio::null(),
        Stdin::Nothing | Stdin::Pipe => Stdio::piped(),
    };
    let mut command = Command::from(reexec::command("container-init"));
    command
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(output())
        .stderr(output());
    let mut child = command.spawn().context("cannot start the container's process")?;
    // The command holds the other end of the socket, and its closing is what we wait for.
    drop(command);
    frame::write(&mut &ours, inside)?;
    let mut input = Input::Nothing;
    if inside.stdin == Stdin::Pipe {
        let (theirs, ours_end) = std::io::pipe()?;
        handover::send(&ours, &theirs)?;
        input = Input::Pipe(pipe::Sender::from_owned_fd(ours_end.into())?);
    }
    ours.set_nonblocking(true)?;
    let mut socket = tokio::net::UnixStream::from_std(ours)?;
    loop {
        match frame::receive::<Word>(&mut socket).await {
            None => return Ok(Started { child, input }),
            Some(Word::Terminal) => {
                let master = File::from(
                    socket
                        .async_io(Interest::READABLE, || handover::receive(&socket))
                        .await?,
                );
                rustix::io::ioctl_fionbio(&master, true)?;
                input = Input::Terminal(Arc::new(readiness::watch(master)?));
            }
            Some(Word::Failed(why)) => {
                child.wait().await?;
                return Err(anyhow::anyhow!(why));
            }
        }
    }
}

async fn accompany(
    started: Started,
    supervised: &Supervised,
    audience: &Audience,
    fed: mpsc::Receiver<Fed>,
) -> anyhow::Result<Exit> {
    let record = Record {
        log: RefCell::new(LogFile::open(&supervised.log)?),
        audience,
    };
    let Started { mut child, input } = started;
    let terminal = match &input {
        Input::Terminal(master) => Some(master.clone()),
        Input::Nothing | Input::Pipe(_) => None,
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let pid = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .context("it is not waited for yet")?;
    let life = async {
        let socket = UnixStream::from(frame::stdin()?);
        socket.set_nonblocking(true)?;
        let mut orders = tokio::net::UnixStream::from_std(socket)?;
        tokio::select! {
            status = child.wait() => return status,
            () = obey(&mut orders, pid, audience) => {}
        }
        // Nobody gives orders any more: the node is gone.
        child.start_kill()?;
        child.wait().await
    };
    let output = async {
        if let Some(master) = &terminal {
            copy_terminal(master, &record).await;
        } else {
            tokio::join!(
                copy(stdout, OutputStream::Stdout, &record),
                copy(stderr, OutputStream::Stderr, &record)
            );
        }
    };
    let lived = async { tokio::join!(life, output).0 };
    tokio::select! {
        status = lived => Ok(exit(status?)),
        () = feed(input, fed, supervised.stdin_once) => anyhow::bail!("it never ends"),
    }
}

async fn obey(orders: &mut tokio::net::UnixStream, pid: i32, audience: &Audience) {
    while let Some(order) = frame::receive(orders).await {
        match order {
            Order::Signal(signal) => {
                if let Ok(signal) = nix::sys::signal::Signal::try_from(signal) {
                    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
                }
            }
            Order::Attach { stdin } => {
                let receive = || handover::receive(&*orders);
                let Ok(socket) = orders.async_io(Interest::READABLE, receive).await else {
                    return;
                };
                // A socket that is none concerns its client only.
                let _ = audience.admit(socket, stdin);
            }
        }
    }
}

/// Gives the program what clients send; goes on for ever, because others may attach themselves.
async fn feed(input: Input, mut fed: mpsc::Receiver<Fed>, once: bool) {
    match input {
        Input::Pipe(pipe) => {
            let mut pipe = Some(pipe);
            while let Some(next) = fed.recv().await {
                let over = match (next, &mut pipe) {
                    (Fed::Bytes(bytes), Some(pipe)) => pipe.write_all(&bytes).await.is_err(),
                    (Fed::End, _) => once,
                    _ => false,
                };
                if over {
                    pipe = None;
                }
            }
        }
        Input::Terminal(master) => {
            while let Some(next) = fed.recv().await {
                // A terminal that nobody has open any more: the program has ended.
                let _ = feed_terminal(&master, next).await;
            }
        }
        Input::Nothing => {}
    }
    std::future::pending().await
}

async fn feed_terminal(master: &AsyncFd<File>, next: Fed) -> std::io::Result<()> {
    match next {
        Fed::Bytes(bytes) => {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let written = master
                    .async_io(Interest::WRITABLE, |mut file| file.write(rest))
                    .await?;
                rest = &rest[written..];
            }
            Ok(())
        }
        Fed::Size(columns, rows) => Ok(tcsetwinsize(
            master.get_ref(),
            Winsize {
                ws_col: columns,
                ws_row: rows,
                ws_xpixel: 0,
                ws_ypixel: 0,
            },
        )?),
        // Who types the end of input types it.
        Fed::End => Ok(()),
    }
}

/// Where output goes.
struct Record<'a> {
    log: RefCell<LogFile>,
    audience: &'a Audience,
}

impl Record<'_> {
    async fn add(&self, lines: &mut Lines, which: OutputStream, bytes: &[u8]) {
        let framed = lines.frame(bytes, which, daemon::clock::wall());
        // A full disk loses lines, not the program.
        let _ = self.log.borrow_mut().append(&framed);
        self.audience.tell(which, bytes).await;
        // The other stream and orders have their turn.
        tokio::task::yield_now().await;
    }

    fn finish(&self, lines: &mut Lines, which: OutputStream) {
        let _ = self
            .log
            .borrow_mut()
            .append(&lines.finish(which, daemon::clock::wall()));
    }
}

/// Copies a stream of the program. All holders of the stream are in the container's PID namespace, so it ends with the
/// container.
async fn copy(stream: Option<impl AsyncRead + Unpin>, which: OutputStream, record: &Record<'_>) {
    let Some(mut stream) = stream else { return };
    let mut lines = Lines::default();
    let mut chunk = vec![0; CHUNK];
    while let Ok(size @ 1..) = stream.read(&mut chunk).await {
        record.add(&mut lines, which, &chunk[..size]).await;
    }
    record.finish(&mut lines, which);
}

/// Copies what is written to the terminal, which has one stream. Fails when nobody has it open any more.
async fn copy_terminal(master: &AsyncFd<File>, record: &Record<'_>) {
    let mut lines = Lines::default();
    let mut chunk = vec![0; CHUNK];
    while let Ok(size @ 1..) = master
        .async_io(Interest::READABLE, |mut file| file.read(&mut chunk))
        .await
    {
        record.add(&mut lines, OutputStream::Stdout, &chunk[..size]).await;
    }
    record.finish(&mut lines, OutputStream::Stdout);
}

fn exit(status: ExitStatus) -> Exit {
    let signal = status.signal();
    Exit {
        code: status.code().or(signal.map(|signal| 128 + signal)).unwrap_or(255),
        signal,
    }
}
