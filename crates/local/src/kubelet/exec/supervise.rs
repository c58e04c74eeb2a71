//! The supervisor of a command in a container: makes the terminal if there is one, starts the first process, passes
//! the exit code on. One thread: its children live in the container's PID namespace.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, Stdio};

use anyhow::Context;
use rustix::pty::OpenptFlags;
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use super::{Input, Inside, Supervised};
use crate::sys::{frame, handover, namespaces, readiness, reexec};

/// The role `exec`.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let supervised: Supervised = frame::from_stdin()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let status = runtime.block_on(async {
        if supervised.terminal {
            with_terminal(&supervised.inside).await
        } else {
            let stdin = Stdio::from(frame::stdin()?);
            let stdout = Stdio::from(std::io::stdout().as_fd().try_clone_to_owned()?);
            let stderr = std::io::stderr().as_fd().try_clone_to_owned()?;
            let mut child = start(&supervised.inside, stdin, stdout, &stderr)?;
            // Our own ends must not keep the client waiting for the end of output.
            let null = File::open("/dev/null")?;
            nix::unistd::dup2_stdin(&null)?;
            let status = child.wait().await?;
            anyhow::Ok(status)
        }
    })?;
    let code = status
        .code()
        .or(status.signal().map(|signal| 128 + signal))
        .unwrap_or(255);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(255)))
}

fn start(inside: &Inside, stdin: Stdio, stdout: Stdio, stderr: &OwnedFd) -> anyhow::Result<Child> {
    let (ours, theirs) = UnixStream::pair()?;
    namespaces::join_children(inside.container).context("the container has ended")?;
    let mut command = Command::from(reexec::command("exec-init"));
    command
        .stdin(stdin)
        .stdout(stdout)
        .stderr(Stdio::from(OwnedFd::from(theirs)));
    let child = command.spawn().context("cannot start the command's process")?;
    frame::write(&mut &ours, inside)?;
    handover::send(&ours, stderr)?;
    Ok(child)
}

/// The terminal is one of the container's own, so that programs in it find its name.
async fn with_terminal(inside: &Inside) -> anyhow::Result<std::process::ExitStatus> {
    let multiplexer = format!("/proc/{}/root/dev/pts/ptmx", inside.container);
    let master = OpenOptions::new()
        .read(true)
        .write(true)
        .open(multiplexer)
        .context("the container has ended")?;
    rustix::pty::unlockpt(&master)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    let (stdin, stdout) = (Stdio::from(slave.try_clone()?), Stdio::from(slave.try_clone()?));
    let mut child = start(inside, stdin, stdout, &slave)?;
    drop(slave);
    rustix::io::ioctl_fionbio(&master, true)?;
    let master = readiness::watch(master)?;
    let mut input = pipe::Receiver::from_owned_fd(frame::stdin()?)?;
    let mut output = pipe::Sender::from_owned_fd(std::io::stdout().as_fd().try_clone_to_owned()?)?;
    tokio::select! {
        // Ends when nobody has the terminal open: when the command, whose session it is, has ended.
        result = to_client(&master, &mut output) => result?,
        result = from_client(&mut input, &master) => result?,
    }
    Ok(child.wait().await?)
}

async fn to_client(master: &AsyncFd<File>, output: &mut pipe::Sender) -> std::io::Result<()> {
    let mut chunk = vec![0; 8 << 10];
    while let Ok(size @ 1..) = master
        .async_io(Interest::READABLE, |mut file| file.read(&mut chunk))
        .await
    {
        output.write_all(&chunk[..size]).await?;
    }
    Ok(())
}

/// Never ends well: the client may type no more, but the command may still write.
async fn from_client(input: &mut pipe::Receiver, master: &AsyncFd<File>) -> std::io::Result<()> {
    while let Some(next) = frame::receive::<Input>(input).await {
        match next {
            Input::Bytes(bytes) => {
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let written = master
                        .async_io(Interest::WRITABLE, |mut file| file.write(rest))
                        .await?;
                    rest = &rest[written..];
                }
            }
            Input::Size(columns, rows) => {
                let size = Winsize {
                    ws_col: columns,
                    ws_row: rows,
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                };
                tcsetwinsize(master.get_ref(), size)?;
            }
        }
    }
    std::future::pending().await
}
