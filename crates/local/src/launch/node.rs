//! The node: API server, controllers, kubelet and DNS in one process, inside the node's namespaces.

use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use anyhow::Context;

use super::control::{NodeSettings, Report};
use crate::sys::{frame, handover};

/// The role `node`.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let control = UnixStream::from(frame::stdin()?);
    let settings: NodeSettings = frame::from_stdin()?;
    let listener = TcpListener::from(handover::receive(&control).context("no socket from the launcher")?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = control.try_clone()?;
    let outcome = runtime.block_on(live(settings, listener, control));
    if let Err(error) = &outcome {
        let _ = frame::write(&mut &report, &Report::Failed(format!("{error:#}")));
    }
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn live(settings: NodeSettings, listener: TcpListener, control: UnixStream) -> anyhow::Result<()> {
    let _ = (settings, listener);
    frame::write(&mut &control, &Report::Ready)?;
    until_told(control).await
}

/// Waits for the end of the control socket: the launcher wants us to stop, or is gone.
async fn until_told(control: UnixStream) -> anyhow::Result<()> {
    use tokio::io::AsyncReadExt;
    control.set_nonblocking(true)?;
    let mut control = tokio::net::UnixStream::from_std(control)?;
    while control.read_u8().await.is_ok() {}
    Ok(())
}
