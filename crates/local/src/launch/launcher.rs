//! The launcher: holds the state directory and the host's sockets, starts the node, and ends it.
//!
//! One thread only: after `own_cluster` the kernel refuses more, and the parent-death signal of `init` is tied to
//! the thread that made it.

use std::convert::Infallible;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context;
use daemon::clock;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::control::{NodeSettings, Report};
use super::home::{Home, Lock};
use super::{Outcome, Settings};
use crate::kubelet::host_sockets;
use crate::nodes::Layout;
use crate::sys::{frame, handover, namespaces, reexec};

/// How long the node may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long the node may take to end its pods, before the kernel ends them.
const STOP_LIMIT: Duration = Duration::from_secs(35);

/// The port that a first cluster on this machine gets.
const USUAL_PORT: u16 = 7443;

/// The role `launcher`.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    // A Ctrl-C at the terminal is for the caller, who then tells us.
    let _ = nix::unistd::setsid();
    let settings: Settings = frame::from_stdin()?;
    match prepare(&settings) {
        Ok(prepared) => serve(&settings, prepared),
        Err(error) => {
            say(&Outcome::Failed(format!("{error:#}")));
            Err(error)
        }
    }
}

struct Prepared {
    listener: TcpListener,
    home: Home,
    nodes: Layout,
    _lock: Lock,
}

fn prepare(settings: &Settings) -> anyhow::Result<Prepared> {
    let home = Home::new(&settings.home);
    let lock = home.lock()?;
    let listener = bind(settings.port, home.port())?;
    home.remember_port(listener.local_addr()?.port())?;
    let nodes = settings.nodes.clone().unwrap_or_else(|| home.nodes());
    nodes.check().map_err(anyhow::Error::msg)?;
    home.remember_nodes(&nodes)?;
    namespaces::own_cluster()?;
    Ok(Prepared {
        listener,
        home,
        nodes,
        _lock: lock,
    })
}

/// The port that was asked for, or the one that kubeconfigs name, or a free one when there is neither.
fn bind(asked: Option<u16>, before: Option<u16>) -> anyhow::Result<TcpListener> {
    let at = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    if let Some(port) = asked {
        return at(port).with_context(|| format!("cannot listen on 127.0.0.1:{port}; choose another --port"));
    }
    match before {
        Some(port) => at(port).with_context(|| {
            format!("cannot listen on 127.0.0.1:{port}, which the kubeconfig names; free it, or choose another --port")
        }),
        None => at(USUAL_PORT).or_else(|_| at(0)).context("cannot listen on 127.0.0.1"),
    }
}

fn serve(settings: &Settings, prepared: Prepared) -> anyhow::Result<ExitCode> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut init = reexec::command("init");
    init.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stdout(Stdio::null());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut init = tokio::process::Command::from(init).spawn().context("cannot start the node")?;
        let node_settings = NodeSettings { home: settings.home.clone(), images: settings.images.clone(), nodes: prepared.nodes.clone() };
        frame::write(&mut &ours, &node_settings)?;
        handover::send(&ours, &prepared.listener)?;
        let (sockets, their_end) = tokio::net::UnixStream::pair()?;
        let their_end = their_end.into_std()?;
        handover::send(&ours, &their_end)?;
        drop(their_end);
        let address = prepared.listener.local_addr()?;
        // The node has its own descriptor; a port that nobody accepts on must not stay open here.
        drop(prepared.listener);
        ours.set_nonblocking(true)?;
        let mut node = Node { control: tokio::net::UnixStream::from_std(ours)?, lifeline: lifeline(settings.detach)? };

        // Never ends: that the node has gone is for others to notice.
        let mut host_sockets = std::pin::pin!(async {
            let _ = host_sockets::serve(sockets).await;
            std::future::pending::<Infallible>().await
        });
        let outcome = tokio::select! {
            never = &mut host_sockets => match never {},
            report = clock::timeout(START_LIMIT, frame::receive(&mut node.control)) => match report {
                Ok(Some(Report::Ready)) => Outcome::Ready { kubeconfig: prepared.home.kubeconfig(), address },
                Ok(Some(Report::Failed(why))) => Outcome::Failed(why),
                // Its last words are in the log, where the caller finds them.
                Ok(None) => { init.wait().await?; return Ok(ExitCode::FAILURE) }
                Err(_) => Outcome::Failed(format!("the node does not serve after {} s", START_LIMIT.as_secs())),
            },
            told = told_to_stop(node.lifeline.as_mut()) => { told?; Outcome::Failed("stopped while it started".to_owned()) }
        };
        say(&outcome);
        if matches!(outcome, Outcome::Failed(_)) {
            stop(node, &mut init).await?;
            return Ok(ExitCode::FAILURE);
        }
        tokio::select! {
            never = &mut host_sockets => match never {},
            status = init.wait() => { status?; Ok(ExitCode::FAILURE) }
            told = told_to_stop(node.lifeline.as_mut()) => { told?; stop(node, &mut init).await?; Ok(ExitCode::SUCCESS) }
        }
    })
}

/// The launcher's ends of the wires to the node and to the caller.
struct Node {
    control: tokio::net::UnixStream,
    /// Ends with the caller, unless the cluster is to outlive it.
    lifeline: Option<tokio::net::unix::pipe::Receiver>,
}

async fn told_to_stop(lifeline: Option<&mut tokio::net::unix::pipe::Receiver>) -> std::io::Result<()> {
    tokio::select! {
        signal = daemon::drain::signal() => signal,
        () = end_of(lifeline) => Ok(()),
    }
}

async fn end_of(input: Option<&mut (impl AsyncRead + Unpin)>) {
    match input {
        Some(input) => while input.read_u8().await.is_ok() {},
        None => std::future::pending().await,
    }
}

fn lifeline(detach: bool) -> std::io::Result<Option<tokio::net::unix::pipe::Receiver>> {
    if detach {
        return Ok(None);
    }
    let receiver = tokio::net::unix::pipe::Receiver::from_owned_fd(frame::stdin()?)?;
    Ok(Some(receiver))
}

/// Closing the control socket tells the node; what is left afterwards is killed with PID 1.
async fn stop(node: Node, init: &mut tokio::process::Child) -> std::io::Result<()> {
    drop(node);
    if clock::timeout(STOP_LIMIT, init.wait()).await.is_err() {
        init.kill().await?;
    }
    Ok(())
}

fn say(outcome: &Outcome) {
    // The caller may have gone; then its lifeline tells us next.
    let mut output = std::io::stdout();
    let _ = frame::write(&mut output, outcome).and_then(|()| output.flush());
    // Nobody reads more, and a detached cluster must not hold its caller's pipe open.
    if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdout(null);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(listener: &TcpListener) -> u16 {
        listener.local_addr().unwrap().port()
    }

    #[test]
    fn the_port_that_kubeconfigs_name_is_kept_or_complained_about() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = format!("{:#}", bind(None, Some(port(&held))).unwrap_err());
        assert!(error.contains("which the kubeconfig names"), "{error}");
        let free = port(&held);
        drop(held);
        assert_eq!(port(&bind(None, Some(free)).unwrap()), free);
    }

    #[test]
    fn a_port_that_was_asked_for_is_not_exchanged_for_another() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = format!("{:#}", bind(Some(port(&held)), None).unwrap_err());
        assert!(error.contains("--port"), "{error}");
    }
}
