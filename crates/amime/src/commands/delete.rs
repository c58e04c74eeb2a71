//! `amime delete -f FILE` or `amime delete KIND NAME…`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cli::Target;
use crate::cluster::{CallError, Cluster, KindInfo, Kinds, text};
use crate::{connect, files};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// KIND NAME… or KIND/NAME…
    #[arg(required_unless_present = "file")]
    what: Vec<String>,
    /// Delete what these files hold
    #[arg(short, long = "filename", value_name = "FILE", conflicts_with = "what")]
    file: Vec<PathBuf>,
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// No error when an object is gone already
    #[arg(long)]
    ignore_not_found: bool,
}

pub(crate) async fn run(target: &Target, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let cluster = connect::connect(target).await?;
    let kinds = Kinds::load(&cluster).await?;
    let mut good = true;
    for (kind, namespace, name) in wanted(arguments, &kinds)? {
        match delete(&cluster, kind, &namespace, &name).await {
            Ok(()) => println!("{} deleted", kind.named(&name)),
            Err(error) if error.is_not_found() && arguments.ignore_not_found => {}
            Err(error) => {
                good = false;
                eprintln!("Error {error}");
            }
        }
    }
    Ok(ExitCode::from(u8::from(!good)))
}

/// Kind, namespace and name of an object.
type Wanted<'a> = (&'a KindInfo, String, String);

fn wanted<'a>(arguments: &Arguments, kinds: &'a Kinds) -> anyhow::Result<Vec<Wanted<'a>>> {
    let named = |word: &str| {
        kinds
            .named(word)
            .with_context(|| format!("the server has no resource type {word:?}"))
    };
    let namespace = || arguments.namespace.clone();
    if !arguments.file.is_empty() {
        let read = files::read(&arguments.file)?;
        if let Some(problem) = read.problems.first() {
            bail!("{problem}");
        }
        let each = read.documents.iter().map(|document| {
            let object = &document.object;
            let kind = kinds.of(object).with_context(|| {
                let kind = text(object, "/kind");
                format!(
                    "{}:{}: no matches for kind {kind:?}",
                    document.file, document.line
                )
            })?;
            let own = text(object, "/metadata/namespace");
            let namespace = if own.is_empty() {
                namespace()
            } else {
                own.to_owned()
            };
            Ok((kind, namespace, text(object, "/metadata/name").to_owned()))
        });
        return each.collect();
    }
    if arguments.what.iter().all(|word| word.contains('/')) {
        let pairs = arguments.what.iter().filter_map(|word| word.split_once('/'));
        return pairs
            .map(|(kind, name)| Ok((named(kind)?, namespace(), name.to_owned())))
            .collect();
    }
    let (kind, names) = arguments.what.split_first().context("what is to be deleted?")?;
    if names.is_empty() {
        bail!("name what is to be deleted: amime delete {kind} NAME");
    }
    let kind = named(kind)?;
    Ok(names
        .iter()
        .map(|name| (kind, namespace(), name.clone()))
        .collect())
}

async fn delete(cluster: &Cluster, kind: &KindInfo, namespace: &str, name: &str) -> Result<(), CallError> {
    cluster
        .delete(&format!("{}/{name}", kind.path(namespace)))
        .await
        .map(drop)
}
