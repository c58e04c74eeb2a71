//! A small Kubernetes on one machine: API server, the few controllers, pods as local processes.
//!
//! It knows nothing of the mesh, and the mesh does not know it: what `amime up` installs here is what a real
//! cluster gets, through the same API.

use std::ffi::OsString;
use std::process::ExitCode;

pub mod api;
pub mod controllers;
pub mod kubelet;
pub mod launch;
pub mod nodes;
mod scheduler;
pub mod store;
mod sys;

/// Runs the internal role that `args` (program name first) asks for, if they ask for one.
///
/// The binary executes itself for every process of the cluster: namespaces are entered by a fresh process with
/// one thread, before there is any runtime. So `main` calls this before anything else.
pub fn entry(args: &[OsString]) -> Option<ExitCode> {
    let mut words = args.iter().skip(1).map(|word| word.to_str().unwrap_or_default());
    if words.next() != Some(sys::reexec::MARKER) {
        return None;
    }
    let role = words.next().unwrap_or_default();
    let outcome = match role {
        "launcher" => launch::launcher::run(),
        "init" => launch::init::run(),
        "node" => launch::node::run(),
        "pod" => kubelet::sandbox::inside::run(),
        "container" => kubelet::container::supervise::run(),
        "container-init" => kubelet::container::inside::run(),
        "exec" => kubelet::exec::supervise::run(),
        "exec-init" => kubelet::exec::inside::run(),
        _ => Err(anyhow::anyhow!("no such role")),
    };
    Some(outcome.unwrap_or_else(|error| {
        sys::reexec::complain(role, &error);
        ExitCode::from(125)
    }))
}
