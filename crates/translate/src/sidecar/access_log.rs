//! Where a sidecar writes down what passed through it: on every chain, as Istio does, and on every listener for
//! connections that no chain takes.

use std::sync::Arc;

use snapshot::{AccessLog, Handler, Listener, Snapshot};

use crate::scope::Scope;

pub(super) fn add(scope: &Scope, snapshot: &mut Snapshot) {
    let Some(log) = &scope.settings.access_log else {
        return;
    };
    let untaken = Arc::new(AccessLog {
        only_flags: vec!["NR".to_owned()],
        ..log.as_ref().clone()
    });
    let listeners: Vec<_> = snapshot
        .listeners
        .iter()
        .map(|listener| listener.as_ref().clone())
        .collect();
    for mut listener in listeners {
        write_down(&mut listener, log);
        listener.access_log.push(untaken.clone());
        snapshot.listeners.insert(listener);
    }
}

fn write_down(listener: &mut Listener, log: &Arc<AccessLog>) {
    for chain in listener.chains.iter_mut().chain(&mut listener.default_chain) {
        match &mut chain.handler {
            Handler::Http(handler) => handler.access_log.push(log.clone()),
            Handler::Tcp(handler) => handler.access_log.push(log.clone()),
        }
    }
}
