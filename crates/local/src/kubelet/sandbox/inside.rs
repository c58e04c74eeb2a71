//! The process that holds a pod's namespaces: makes them, configures the network, and then only makes sockets in it
//! for the node, one for each byte it is sent.

use std::io::Read;
use std::process::ExitCode;

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};

use super::{Progress, Sandboxed};
use crate::kubelet::network;
use crate::sys::{frame, handover, namespaces};

/// The role `pod`.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let pod: Sandboxed = frame::from_stdin()?;
    let mut input = std::fs::File::from(frame::stdin()?);
    let mut output = std::io::stdout();
    let prepared = prepare(&pod, &mut input, &mut output);
    let progress = match &prepared {
        Ok(()) => Progress::Ready,
        Err(error) => Progress::Failed(format!("{error:#}")),
    };
    frame::write(&mut output, &progress)?;
    prepared?;
    // Until the node lets go.
    while input.read(&mut [0])? > 0 {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        handover::send(&input, &socket)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn prepare(pod: &Sandboxed, input: &mut impl Read, output: &mut impl std::io::Write) -> anyhow::Result<()> {
    let _ = nix::unistd::setsid();
    namespaces::own_pod().context("cannot make the pod's namespaces")?;
    frame::write(output, &Progress::Made)?;
    // The node now moves our end of the link here.
    input.read_exact(&mut [0]).context("the node is gone")?;
    nix::unistd::sethostname(&pod.hostname).context("cannot set the host name")?;
    network::configure_pod(pod.address).context("cannot configure eth0")?;
    network::sysctl("net.ipv4.ip_unprivileged_port_start", "0").context("cannot open low ports")?;
    for (name, value) in &pod.sysctls {
        network::sysctl(name, value).with_context(|| format!("cannot set sysctl {name}"))?;
    }
    Ok(())
}
