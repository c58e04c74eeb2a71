//! Which crate may know which, and what no crate may depend on. The table is `ARCHITECTURE.md`'s.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use crate::command::root;

/// Crate, then the crates of ours that it may depend on.
const EDGES: &[(&str, &[&str])] = &[
    ("snapshot", &[]),
    ("resources", &[]),
    ("identity", &[]),
    ("daemon", &[]),
    ("netfilter", &[]),
    ("samples", &[]),
    ("translate", &["resources", "snapshot"]),
    ("xds", &["identity", "snapshot"]),
    ("local", &["daemon", "identity", "netfilter"]),
    ("proxy", &["daemon", "identity", "netfilter", "snapshot", "xds"]),
    (
        "controller",
        &["daemon", "identity", "resources", "snapshot", "translate", "xds"],
    ),
    (
        "amime",
        &[
            "controller",
            "daemon",
            "identity",
            "local",
            "netfilter",
            "proxy",
            "resources",
            "samples",
            "snapshot",
            "translate",
            "xds",
        ],
    ),
    ("tests", &[]),
    ("xtask", &[]),
];

/// Crates that may not see a dependency of that name (the walls that the compiler should guard).
const WALLS: &[(&str, &[&str])] = &[
    ("snapshot", &["tokio", "prost", "kube", "k8s-openapi"]),
    ("resources", &["tokio", "kube", "k8s-openapi", "prost"]),
    ("translate", &["tokio", "kube", "k8s-openapi", "prost"]),
    ("xds", &["kube", "k8s-openapi"]),
    ("identity", &["kube", "k8s-openapi", "tokio"]),
    ("daemon", &["kube", "k8s-openapi", "prost", "tonic"]),
    ("proxy", &["kube", "k8s-openapi"]),
    ("local", &["kube"]),
];

/// Nobody depends on these directly.
const BANNED: &[&str] = &[
    "async-trait",
    "lazy_static",
    "once_cell",
    "openssl",
    "native-tls",
    "ring",
];

pub(crate) fn problems() -> Result<Vec<String>> {
    let metadata = MetadataCommand::new()
        .current_dir(root())
        .no_deps()
        .exec()
        .context("cannot read cargo metadata")?;
    let ours: BTreeSet<&str> = metadata
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    println!("crate graph:");
    let mut problems = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let shipped = normal(package);
        let edges: Vec<&str> = shipped
            .iter()
            .copied()
            .filter(|dependency| ours.contains(dependency))
            .collect();
        println!(
            "  {name:10} → {}",
            if edges.is_empty() {
                "–".to_owned()
            } else {
                edges.join(", ")
            }
        );
        problems.extend(package_problems(package, &shipped, &edges));
    }
    Ok(problems)
}

fn normal(package: &Package) -> Vec<&str> {
    let ordinary = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == DependencyKind::Normal);
    ordinary.map(|dependency| dependency.name.as_str()).collect()
}

fn package_problems(package: &Package, shipped: &[&str], edges: &[&str]) -> Vec<String> {
    let name = package.name.as_str();
    let mut problems = Vec::new();
    match EDGES.iter().find(|(known, _)| *known == name) {
        None => problems.push(format!(
            "crate {name} is not in the table of crates (xtask/src/tidy/crates.rs)"
        )),
        Some((_, allowed)) => {
            let forbidden = edges.iter().filter(|edge| !allowed.contains(edge));
            problems.extend(forbidden.map(|edge| format!("crate {name} may not depend on {edge}")));
        }
    }
    let walls = WALLS
        .iter()
        .find(|(known, _)| *known == name)
        .map_or(&[][..], |(_, walls)| walls);
    let seen = shipped.iter().filter(|dependency| walls.contains(dependency));
    problems.extend(seen.map(|dependency| format!("crate {name} must never see {dependency}")));
    let all = package
        .dependencies
        .iter()
        .map(|dependency| dependency.name.as_str());
    let banned = all.filter(|dependency| BANNED.contains(dependency));
    problems.extend(banned.map(|dependency| format!("crate {name}: {dependency} is banned")));
    if !package.features.is_empty() {
        problems.push(format!("crate {name} has features; the project has one build"));
    }
    problems
}
