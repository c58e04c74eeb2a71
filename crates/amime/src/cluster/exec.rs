//! Commands in containers, over the API server.

use std::io::Write;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::Cluster;

/// Where a command runs.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) pod: &'a str,
    /// Empty for the pod's default container.
    pub(crate) container: &'a str,
}

impl Cluster {
    /// Runs a command, copies what it prints, and returns its exit code.
    pub(crate) async fn exec(
        &self,
        place: &Place<'_>,
        command: &[String],
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> anyhow::Result<u8> {
        let pods: Api<Pod> = Api::namespaced(self.client(), place.namespace);
        let mut how = AttachParams::default().stdin(false).stdout(true).stderr(true);
        if !place.container.is_empty() {
            how = how.container(place.container);
        }
        let name = format!("exec in {}/{}", place.namespace, place.pod);
        let mut process = pods
            .exec(place.pod, command, &how)
            .await
            .with_context(|| name.clone())?;
        let status = process.take_status().context("the server sends no status")?;
        let (out, err) = (
            process.stdout().context("no stdout")?,
            process.stderr().context("no stderr")?,
        );
        tokio::try_join!(copy(out, stdout), copy(err, stderr))?;
        let Some(status) = status.await else {
            bail!("{name}: the connection ended before the command")
        };
        let _ = process.join().await;
        match (status.status.as_deref(), status.details) {
            (Some("Success"), _) => Ok(0),
            (_, Some(details)) => {
                let causes = details.causes.unwrap_or_default();
                let code = causes
                    .iter()
                    .find(|cause| cause.reason.as_deref() == Some("ExitCode"));
                let code = code.and_then(|cause| cause.message.as_deref()?.parse().ok());
                code.with_context(|| format!("{name}: {}", status.message.unwrap_or_default()))
            }
            _ => bail!("{name}: {}", status.message.unwrap_or_default()),
        }
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, to: &mut dyn Write) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match from.read(&mut buffer).await? {
            0 => return to.flush(),
            count => to.write_all(&buffer[..count])?,
        }
    }
}
