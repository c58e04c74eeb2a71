//! `amime apply -f FILE`: create or change objects, without kubectl. Each object stands for itself: a bad one is
//! named with file and line, and the others are applied all the same.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::Target;
use crate::cluster::{Apply, Cluster, Kinds, text};
use crate::connect;
use crate::files::{self, Document, Documents};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A file, a directory, or - for standard input; may be given several times
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
}

pub(crate) async fn run(target: &Target, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let documents = files::read(&arguments.file)?;
    let cluster = connect::connect(target).await?;
    Ok(ExitCode::from(u8::from(
        !apply_all(&cluster, &documents, &arguments.namespace).await?,
    )))
}

/// Applies every document in order and reports each; whether all went well.
pub(crate) async fn apply_all(
    cluster: &Cluster,
    documents: &Documents,
    namespace: &str,
) -> anyhow::Result<bool> {
    let mut kinds = Kinds::load(cluster).await?;
    let mut good = documents.problems.is_empty();
    documents
        .problems
        .iter()
        .for_each(|problem| eprintln!("error: {problem}"));
    for document in &documents.documents {
        // A definition that was applied just now brings a kind that was not known before.
        if kinds.of(&document.object).is_none() {
            kinds = Kinds::load(cluster).await?;
        }
        match apply_one(cluster, &kinds, document, namespace).await {
            Ok(done) => println!("{done}"),
            Err(error) => {
                good = false;
                eprintln!("error: {}:{}: {error:#}", document.file, document.line);
            }
        }
    }
    Ok(good)
}

async fn apply_one(
    cluster: &Cluster,
    kinds: &Kinds,
    document: &Document,
    namespace: &str,
) -> anyhow::Result<String> {
    let object = &document.object;
    let (api_version, kind_name) = (text(object, "/apiVersion"), text(object, "/kind"));
    let kind = kinds
        .of(object)
        .ok_or_else(|| anyhow::anyhow!("no matches for kind {kind_name:?} in version {api_version:?}"))?;
    let name = text(object, "/metadata/name");
    if name.is_empty() {
        anyhow::bail!("{kind_name}: metadata.name is missing");
    }
    let own = text(object, "/metadata/namespace");
    let namespace = if own.is_empty() { namespace } else { own };
    let apply = Apply {
        manager: "amime-apply",
        keep_foreign: false,
    };
    let applied = apply.run(cluster, kind, namespace, object).await?;
    Ok(format!("{} {}", kind.named(name), applied.word()))
}
