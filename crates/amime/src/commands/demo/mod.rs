//! `amime demo`: the article's story in a mesh of its own. Says what it applies, shows what the client prints,
//! measures each step, and leaves nothing behind.

mod measure;
mod story;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use daemon::{clock, drain};
use local::launch;

use super::install::ValueFlags;
use super::up;
use crate::cli::block_on;
use crate::connect;
use crate::output::progress;

/// Interrupted by Ctrl-C.
const INTERRUPTED: u8 = 130;

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let begin = clock::now();
    let home = Home::make()?;
    let outcome = block_on(async {
        tokio::select! {
            told = drain::signal() => { told?; Ok(None) }
            told = tell(&home.0) => told.map(Some),
        }
    });
    let ending = |cluster: Option<launch::Cluster>| cluster.map_or(Ok(()), launch::Cluster::stop);
    match outcome {
        Ok(Some((cluster, steps))) => {
            eprintln!("Ending …");
            ending(Some(cluster)).context("the cluster did not end well")?;
            Ok(summary(&steps, begin.elapsed().as_secs_f64()))
        }
        Ok(None) => {
            eprintln!("\nInterrupted; nothing is left behind.");
            Ok(ExitCode::from(INTERRUPTED))
        }
        Err(error) => Err(error),
    }
}

type Told = (launch::Cluster, Vec<story::Step>);

async fn tell(home: &Path) -> anyhow::Result<Told> {
    println!("A small Kubernetes, the mesh in it, and the article's story.\n");
    let folder = home.to_owned();
    let starting = async {
        let started = daemon::Tasks::new()
            .blocking("launch", move || up::start_in(&folder))
            .await;
        started.context("starting was interrupted")?
    };
    let cluster = progress::show("Starting Kubernetes", starting).await?;
    let connection = connect::open(&cluster.kubeconfig, None).await?;
    up::bring_up(&connection, &ValueFlags::default().manifests(launch::users())?).await?;
    let steps = story::tell(&connection).await?;
    Ok((cluster, steps))
}

fn summary(steps: &[story::Step], seconds: f64) -> ExitCode {
    println!("\nSummary");
    for step in steps {
        println!(
            "  {} {}",
            if step.wrong.is_none() { "ok  " } else { "FAIL" },
            step.line()
        );
    }
    let wrong: Vec<&story::Step> = steps.iter().filter(|step| step.wrong.is_some()).collect();
    if wrong.is_empty() {
        println!("All {} steps as expected, {seconds:.0} s.", steps.len());
        println!("Now by hand: `amime up`, then kubectl or `amime apply -f examples/article`.");
        return ExitCode::SUCCESS;
    }
    for step in wrong {
        println!("{}: {}", step.title, step.wrong.as_deref().unwrap_or_default());
    }
    ExitCode::FAILURE
}

/// A state directory that goes when the demo ends.
struct Home(PathBuf);

impl Home {
    fn make() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("amime-demo-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
