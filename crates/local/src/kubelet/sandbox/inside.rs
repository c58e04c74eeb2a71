//! The process that holds a pod's namespaces: makes them, configures the network, and then only makes sockets in it
//! for the node, one for each byte it is sent.

use std::io::Read;
use std::process::ExitCode;

use anyhow::{Context, ensure};
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
        ensure!(
            is_of_pod(name),
            "forbidden sysctl: {name:?} is not of a pod but of the host"
        );
        network::sysctl(name, value).with_context(|| format!("cannot set sysctl {name}"))?;
    }
    Ok(())
}

/// Whether a sysctl has a value for each pod: those of the network and of System V and POSIX queues have. All others
/// are the host's, and a name that is none would lead to its files.
fn is_of_pod(name: &str) -> bool {
    let letters = |part: &str| {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        !part.is_empty() && part.bytes().all(fits)
    };
    let parts: Vec<&str> = name.split(['.', '/']).collect();
    parts.iter().all(|part| letters(part))
        && match parts[..] {
            ["net", _, ..] | ["fs", "mqueue", _] => true,
            ["kernel", one] => one == "sem" || one.starts_with("shm") || one.starts_with("msg"),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_changes_no_sysctl_of_the_host_and_no_file() {
        for own in [
            "net.ipv4.ip_local_port_range",
            "net/core/somaxconn",
            "kernel.shm_rmid_forced",
            "kernel.msgmax",
            "kernel.sem",
            "fs.mqueue.msg_max",
        ] {
            assert!(is_of_pod(own), "{own}");
        }
        for of_host in [
            "kernel.core_pattern",
            "vm.overcommit_memory",
            "fs.file-max",
            "/etc/passwd",
            ".etc.passwd",
            "net/../../etc/passwd",
            "net....kernel.core_pattern",
            "net",
            "net.",
            "",
        ] {
            assert!(!is_of_pod(of_host), "{of_host}");
        }
    }
}
