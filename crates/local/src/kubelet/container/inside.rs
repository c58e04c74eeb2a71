//! The first process of a container: enters the pod, builds its root, gives up what it may not have, and becomes the
//! container's program.
//!
//! Standard input is a socket to the supervisor: settings come over it (and the program's own standard input), and a
//! failure or the container's terminal goes back. When the program takes over, the socket closes by itself, and that
//! says: started.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, anyhow};
use rustix::pty::OpenptFlags;
use serde::{Deserialize, Serialize};

use super::credentials::Credentials;
use super::root::{PROGRAMS, Root};
use crate::sys::{frame, handover, namespaces};

/// What a container's process is made of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Inside {
    /// The process that holds the pod's namespaces; none for pods in the node's network.
    pub(crate) pod: Option<u32>,
    pub(crate) root: Root,
    pub(crate) stdin: Stdin,
    pub(crate) program: Program,
}

/// What the program reads from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stdin {
    #[default]
    Nothing,
    /// A pipe, which the supervisor sends after the settings.
    Pipe,
    /// A terminal, for output as well.
    Terminal,
}

/// What the first process tells the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Word {
    /// The next byte brings the terminal's other end.
    Terminal,
    Failed(String),
}

/// What is executed, and as whom.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) argv: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) workdir: PathBuf,
    pub(crate) credentials: Credentials,
}

/// The role `container-init`.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let supervisor = UnixStream::from(frame::stdin()?);
    let inside: Inside = frame::from_stdin()?;
    let error = match enter(&inside, &supervisor) {
        Ok(()) => inside.program.execute(),
        Err(error) => error,
    };
    frame::write(&mut &supervisor, &Word::Failed(format!("{error:#}")))?;
    Ok(ExitCode::from(128))
}

fn enter(inside: &Inside, supervisor: &UnixStream) -> anyhow::Result<()> {
    namespaces::die_with_parent()?;
    if let Some(pod) = inside.pod {
        namespaces::join_pod(pod).context("cannot join the pod")?;
    }
    namespaces::own_mounts().context("cannot make a mount namespace")?;
    inside.root.enter(&inside.program.workdir)?;
    match inside.stdin {
        Stdin::Nothing => nix::unistd::dup2_stdin(File::open("/dev/null")?)?,
        Stdin::Pipe => nix::unistd::dup2_stdin(handover::receive(supervisor)?)?,
        Stdin::Terminal => take_terminal(supervisor).context("cannot make a terminal")?,
    }
    Ok(())
}

/// The terminal is one of the container's own, so that programs in it find its name.
fn take_terminal(mut supervisor: &UnixStream) -> anyhow::Result<()> {
    let master = OpenOptions::new().read(true).write(true).open("/dev/pts/ptmx")?;
    rustix::pty::unlockpt(&master)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    nix::unistd::setsid()?;
    rustix::process::ioctl_tiocsctty(&slave)?;
    nix::unistd::dup2_stdin(&slave)?;
    nix::unistd::dup2_stdout(&slave)?;
    nix::unistd::dup2_stderr(&slave)?;
    frame::write(&mut supervisor, &Word::Terminal)?;
    handover::send(supervisor, &master)?;
    Ok(())
}

/// Manifests and tutorials call programs where their images have them (`/usr/bin/fortio`); here all samples lie in
/// one place, so what isn't there is looked for by its name.
fn found(path: &Path) -> PathBuf {
    let own = path.file_name().map(|name| Path::new(PROGRAMS).join(name));
    own.filter(|own| path.is_absolute() && !path.exists() && own.exists())
        .unwrap_or_else(|| path.to_owned())
}

impl Program {
    /// Becomes the program; why that failed.
    pub(crate) fn execute(&self) -> anyhow::Error {
        match self.prepare() {
            Ok(mut command) => self.explain(&command.exec()),
            Err(error) => error,
        }
    }

    fn prepare(&self) -> anyhow::Result<Command> {
        let (name, arguments) = self.argv.split_first().context("no command specified")?;
        let _ = nix::unistd::setsid();
        let _ = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        // A missing working directory is made, as other runtimes do.
        std::fs::create_dir_all(&self.workdir)
            .and_then(|()| std::env::set_current_dir(&self.workdir))
            .with_context(|| format!("cannot change to directory {}", self.workdir.display()))?;
        self.credentials.take_on()?;
        // Again: a change of user forgets it.
        namespaces::die_with_parent()?;
        let mut command = Command::new(found(Path::new(name)));
        command.args(arguments).env_clear().envs(&self.environment);
        Ok(command)
    }

    /// In the words of runc.
    fn explain(&self, error: &std::io::Error) -> anyhow::Error {
        let name = self.argv.first().map_or("", String::as_str);
        match error.kind() {
            ErrorKind::NotFound if !name.contains('/') => {
                anyhow!("exec: \"{name}\": executable file not found in $PATH")
            }
            ErrorKind::NotFound if !Path::new(name).exists() => {
                anyhow!("exec: \"{name}\": stat {name}: no such file or directory")
            }
            ErrorKind::PermissionDenied => anyhow!("exec: \"{name}\": permission denied"),
            _ => anyhow!("exec {name}: {error}"),
        }
    }
}
