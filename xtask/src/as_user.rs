//! Tests as an ordinary user: the caller builds, and `nobody` runs the built binary and test executables.
//!
//! Test executables know the repository and the binary by absolute paths, and those often lie in a home that nobody
//! else may enter. So root shows both again, at the same paths, in a mount namespace of this process. Whoever is an
//! ordinary user already runs everything as it is.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Artifact, CrateType, MetadataCommand};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::User;
use tempfile::TempDir;

use crate::command::{cargo_artifacts, root};
use crate::suites::{SUITES, Suite};

/// What can be asked for beside suites.
const UNIT: &str = "unit";
const DEMO: &str = "demo";

/// One executable to run, as cargo would run it.
struct Run {
    name: String,
    program: PathBuf,
    folder: PathBuf,
    arguments: Vec<&'static str>,
}

/// `cargo xtask test --as-user [NAME...]`: unit tests, demo and every suite that needs no root, or those named.
pub(crate) fn test(names: &[String]) -> Result<()> {
    let wanted = |name: &str| names.is_empty() || names.iter().any(|asked| asked == name);
    let known =
        |name: &&String| *name == UNIT || *name == DEMO || SUITES.iter().any(|suite| suite.name == **name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        bail!(
            "there is no {unknown} to run as a user: {UNIT}, {DEMO}, or a suite of `cargo xtask test list`"
        );
    }
    let mut runs = Vec::new();
    if wanted(UNIT) {
        runs.extend(build(&["test", "--workspace", "--no-run"], &[])?);
    }
    for suite in SUITES.iter().filter(|suite| wanted(suite.name)) {
        match suite.needs_root() {
            Some(why) if names.is_empty() => println!("left out: suite {} needs root, {why}", suite.name),
            Some(why) => bail!("suite {} needs root, {why}", suite.name),
            None => runs.extend(of_suite(suite)?),
        }
    }
    if wanted(DEMO) {
        runs.extend(build(&["build", "-p", "amime"], &["demo"])?);
    }
    let user = become_able_to_switch()?;
    let mut failed = Vec::new();
    for run in &runs {
        println!("\n== {} as {}", run.name, user.name());
        if !user.run(run)? {
            failed.push(run.name.as_str());
        }
    }
    if failed.is_empty() {
        println!("\n{} executables passed as {}", runs.len(), user.name());
        Ok(())
    } else {
        bail!("failed as {}: {}", user.name(), failed.join(", "))
    }
}

fn of_suite(suite: &Suite) -> Result<Vec<Run>> {
    suite.check_programs()?;
    build(
        &["test", "-p", suite.package, "--test", suite.target, "--no-run"],
        &["--test-threads=1", "--nocapture"],
    )
    .map(|runs| runs.into_iter().filter(|run| run.name == suite.target).collect())
}

/// Builds, and says what came out of it.
fn build(words: &[&str], arguments: &[&'static str]) -> Result<Vec<Run>> {
    let is_test = words.first() == Some(&"test");
    let runs = cargo_artifacts(words)?
        .into_iter()
        .filter_map(|artifact: Artifact| {
            let program = artifact.executable?;
            let fits = if is_test {
                artifact.profile.test
            } else {
                artifact.target.crate_types.contains(&CrateType::Bin)
            };
            let run = || Run {
                name: artifact.target.name.clone(),
                program: program.into_std_path_buf(),
                folder: artifact
                    .manifest_path
                    .parent()
                    .map(Into::into)
                    .unwrap_or_else(root),
                arguments: arguments.to_vec(),
            };
            fits.then(run)
        });
    Ok(runs.collect())
}

/// Who runs the tests.
enum Runner {
    Caller,
    /// A user without a home, with one that goes when the tests have run.
    Other {
        user: User,
        home: TempDir,
    },
}

fn become_able_to_switch() -> Result<Runner> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Runner::Caller);
    }
    let user = User::from_name("nobody")?.context("this machine has no user nobody")?;
    let target = MetadataCommand::new()
        .current_dir(root())
        .no_deps()
        .exec()?
        .target_directory;
    show(&[root(), target.into_std_path_buf()]).context("cannot show the repository to others")?;
    let home = tempfile::tempdir().context("cannot make a home")?;
    chown(home.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    Ok(Runner::Other { user, home })
}

impl Runner {
    fn name(&self) -> &str {
        match self {
            Self::Caller => "an ordinary user",
            Self::Other { user, .. } => &user.name,
        }
    }

    /// Runs one executable; whether it succeeded.
    fn run(&self, run: &Run) -> Result<bool> {
        let mut command = Command::new(&run.program);
        command
            .args(&run.arguments)
            .current_dir(&run.folder)
            .env("CARGO_MANIFEST_DIR", &run.folder);
        if let Self::Other { user, home } = self {
            // Without a list of groups the standard library drops them all with the user.
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
            command
                .env("HOME", home.path())
                .env("TMPDIR", home.path())
                .env("USER", &user.name);
            for variable in ["KUBECONFIG", "AMIME_HOME", "XDG_RUNTIME_DIR", "CARGO_HOME"] {
                command.env_remove(variable);
            }
        }
        let status = command
            .status()
            .with_context(|| format!("cannot run {}", run.program.display()))?;
        Ok(status.success())
    }
}

/// Makes paths reachable for everybody, in this process and its children only: a folder on the way that others may not
/// enter is covered by an empty one, with nothing in it but the ways.
fn show(paths: &[PathBuf]) -> Result<()> {
    const NONE: Option<&str> = None;
    let closed = |path: &PathBuf| {
        path.ancestors()
            .skip(1)
            .filter(|folder| is_closed(folder))
            .last()
            .map(Path::to_owned)
    };
    let covered: Vec<PathBuf> = paths.iter().filter_map(closed).collect();
    if covered.is_empty() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    let bind = |from: &Path, to: &Path| mount(Some(from), to, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE);
    let kept = tempfile::tempdir()?;
    let place = |number: usize| kept.path().join(number.to_string());
    for (number, path) in paths.iter().enumerate() {
        std::fs::create_dir(place(number))?;
        bind(path, &place(number))?;
    }
    for folder in covered.iter().filter(|folder| is_closed(folder)) {
        mount(
            Some("tmpfs"),
            folder,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=0755"),
        )?;
    }
    for (number, path) in paths.iter().enumerate() {
        if !path.exists() {
            std::fs::create_dir_all(path)?;
            bind(&place(number), path)?;
        }
        umount2(&place(number), MntFlags::MNT_DETACH)?;
    }
    Ok(())
}

/// Whether others may not go through a folder.
fn is_closed(folder: &Path) -> bool {
    std::fs::metadata(folder).is_ok_and(|found| found.mode() & 0o001 == 0)
}
