//! `amime get KIND [NAME]`: the server's own table, except for the kinds that `istioctl get` printed in its way.

use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};

use crate::cli::Target;
use crate::cluster::{Cluster, KindInfo, Kinds, encoded, text};
use crate::connect;
use crate::output::{istio, table};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// virtualservices, destinationrules, pods, ... or `all` of Istio's kinds
    kind: String,
    name: Option<String>,
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Label selector
    #[arg(short = 'l', long)]
    selector: Option<String>,
    #[arg(short, long, value_enum, default_value_t = Output::Short)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Short,
    Wide,
    Name,
    Yaml,
    Json,
}

pub(crate) async fn run(target: &Target, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let cluster = connect::connect(target).await?;
    let kinds = Kinds::load(&cluster).await?;
    let names: Vec<&str> = match arguments.kind.as_str() {
        "all" => istio::KINDS.to_vec(),
        kinds => kinds.split(',').collect(),
    };
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            println!();
        }
        let kind = kinds
            .named(name)
            .with_context(|| format!("the server has no resource type {name:?}"))?;
        print!("{}", show(&cluster, kind, arguments).await?);
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(cluster: &Cluster, kind: &KindInfo, arguments: &Arguments) -> anyhow::Result<String> {
    let namespace = if arguments.all_namespaces {
        ""
    } else {
        arguments.namespace.as_str()
    };
    let mut path = kind.path(namespace);
    if let Some(name) = &arguments.name {
        path = format!("{path}/{name}");
    }
    if let Some(selector) = &arguments.selector {
        path = format!("{path}?labelSelector={}", encoded(selector));
    }
    let plain = matches!(arguments.output, Output::Short | Output::Wide);
    if plain && !istio::has_table(kind) {
        let found = cluster.get_as(&path, TABLE).await?;
        let wide = arguments.output == Output::Wide;
        return Ok(table::server(
            &found,
            wide,
            arguments.all_namespaces && kind.namespaced,
        ));
    }
    let mut found = cluster.get(&path).await?;
    qualify(&mut found, kind);
    Ok(match arguments.output {
        Output::Short | Output::Wide => istio::table(kind, &items(&found), daemon::clock::wall()),
        Output::Name => items(&found)
            .iter()
            .map(|item| kind.named(text(item, "/metadata/name")) + "\n")
            .collect(),
        Output::Yaml => serde_saphyr::to_string(&found)?,
        Output::Json => serde_json::to_string_pretty(&found)? + "\n",
    })
}

/// A list is shown as kubectl shows it, each item with its kind.
fn qualify(found: &mut Value, kind: &KindInfo) {
    let api_version = text(found, "/apiVersion").to_owned();
    let Some(items) = found.get_mut("items").and_then(Value::as_array_mut) else {
        return;
    };
    for item in items.iter_mut() {
        let Some(fields) = item.as_object_mut() else {
            continue;
        };
        fields.shift_insert(0, "apiVersion".to_owned(), json!(api_version));
        fields.shift_insert(1, "kind".to_owned(), json!(kind.kind));
    }
    *found = json!({"apiVersion": "v1", "items": items.clone(), "kind": "List", "metadata": {"resourceVersion": ""}});
}

fn items(found: &Value) -> Vec<Value> {
    found["items"]
        .as_array()
        .cloned()
        .unwrap_or_else(|| vec![found.clone()])
}
