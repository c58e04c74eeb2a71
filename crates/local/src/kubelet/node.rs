//! What all pods of the node share.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use daemon::Tasks;

use super::etc::ClusterDns;
use super::events::Events;
use super::images::live::Live;
use super::network::Addresses;
use super::pod::view::View;
use crate::api::Client;
use crate::sys::namespaces::Users;

pub(crate) struct Node {
    pub(crate) client: Client,
    pub(crate) tasks: Tasks,
    /// The simulated nodes, by name.
    pub(crate) places: BTreeMap<String, Place>,
    /// Which users containers can be.
    pub(crate) users: Users,
    pub(crate) events: Events,
    pub(crate) images: Live,
    pub(crate) dns: ClusterDns,
    pub(crate) paths: Paths,
    /// What clients may look into, by namespace and name.
    pub(crate) views: Mutex<HashMap<PodName, View>>,
}

/// Where a pod is: one of the simulated nodes.
pub(crate) struct Place {
    pub(crate) address: Ipv4Addr,
    pub(crate) addresses: Mutex<Addresses>,
}

/// Namespace and name.
pub(crate) type PodName = (String, String);

/// Where things lie.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// The state directory, hidden from containers.
    pub(crate) home: PathBuf,
    /// In memory, gone with the node.
    pub(crate) run: PathBuf,
    /// Our own binary, wherever it lies.
    pub(crate) binary: PathBuf,
}

impl Paths {
    /// Where each container builds its root, unseen by the others.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.run.join("scratch")
    }

    /// What a pod has in memory.
    pub(crate) fn of_pod(&self, uid: &str) -> PathBuf {
        self.run.join("pods").join(uid)
    }

    /// What a pod has on disk.
    pub(crate) fn disk_of_pod(&self, uid: &str) -> PathBuf {
        self.home.join("pods").join(uid)
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.home.join("logs")
    }
}

impl Node {
    /// Locked for a moment, never across an await.
    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
