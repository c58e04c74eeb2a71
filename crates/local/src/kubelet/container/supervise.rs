//! The supervisor of one container: starts its first process, writes its log, passes signals on, tells its end.
//!
//! One thread, made so: its children live in a PID namespace of their own, and then the kernel refuses threads.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus, Stdio};

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::inside::Inside;
use super::{Exit, Order, Progress, Supervised};
use crate::api::node_link::OutputStream;
use crate::kubelet::logs::format::Lines;
use crate::kubelet::logs::write::LogFile;
use crate::sys::{frame, namespaces, reexec};

/// How much of a program's output is taken at once.
const CHUNK: usize = 64 << 10;

/// The role `container`.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let supervised: Supervised = frame::from_stdin()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    namespaces::own_children().context("cannot make a PID namespace")?;
    runtime.block_on(async {
        let mut child = match start(&supervised.inside).await {
            Ok(child) => child,
            Err(error) => return tell(&Progress::Failed(format!("{error:#}"))),
        };
        tell(&Progress::Started(
            child.id().context("it is not waited for yet")?,
        ))?;
        let exit = accompany(&mut child, &supervised).await?;
        tell(&Progress::Exited(exit))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn tell(progress: &Progress) -> anyhow::Result<()> {
    Ok(frame::write(&mut std::io::stdout(), progress)?)
}

/// Starts the first process and waits until it has become the program.
async fn start(inside: &Inside) -> anyhow::Result<Child> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::from(reexec::command("container-init"));
    command
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start the container's process")?;
    // The command holds the other end of the socket, and its closing is what we wait for.
    drop(command);
    frame::write(&mut &ours, inside)?;
    ours.set_nonblocking(true)?;
    let mut socket = tokio::net::UnixStream::from_std(ours)?;
    match frame::receive::<String>(&mut socket).await {
        None => Ok(child),
        Some(why) => {
            child.wait().await?;
            Err(anyhow::anyhow!(why))
        }
    }
}

async fn accompany(child: &mut Child, supervised: &Supervised) -> anyhow::Result<Exit> {
    let log = std::cell::RefCell::new(LogFile::open(&supervised.log)?);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let pid = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .context("it is not waited for yet")?;
    let life = async {
        let mut orders = tokio::net::unix::pipe::Receiver::from_owned_fd(frame::stdin()?)?;
        tokio::select! {
            status = child.wait() => return status,
            () = obey(&mut orders, pid) => {}
        }
        // Nobody gives orders any more: the node is gone.
        child.start_kill()?;
        child.wait().await
    };
    let (status, (), ()) = tokio::join!(
        life,
        copy(stdout, OutputStream::Stdout, &log),
        copy(stderr, OutputStream::Stderr, &log)
    );
    Ok(exit(status?))
}

async fn obey(orders: &mut (impl AsyncRead + Unpin), pid: i32) {
    while let Some(Order(signal)) = frame::receive(orders).await {
        if let Ok(signal) = nix::sys::signal::Signal::try_from(signal) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
        }
    }
}

/// Copies a stream of the program to the log. All holders of the stream are in the container's PID namespace, so it
/// ends with the container.
async fn copy(
    stream: Option<impl AsyncRead + Unpin>,
    which: OutputStream,
    log: &std::cell::RefCell<LogFile>,
) {
    let Some(mut stream) = stream else { return };
    let mut lines = Lines::default();
    let mut chunk = vec![0; CHUNK];
    while let Ok(size @ 1..) = stream.read(&mut chunk).await {
        let framed = lines.frame(&chunk[..size], which, daemon::clock::wall());
        // A full disk loses lines, not the program.
        let _ = log.borrow_mut().append(&framed);
        // The other stream and orders have their turn.
        tokio::task::yield_now().await;
    }
    let _ = log
        .borrow_mut()
        .append(&lines.finish(which, daemon::clock::wall()));
}

fn exit(status: ExitStatus) -> Exit {
    let signal = status.signal();
    Exit {
        code: status.code().or(signal.map(|signal| 128 + signal)).unwrap_or(255),
        signal,
    }
}
