//! The proxy's end of delta discovery: messages in, messages and snapshots out, no IO and no clock.
//!
//! It takes all clusters and listeners, and asks for the endpoints and route tables that they name. A snapshot
//! comes out only when it is closed: every cluster has its endpoints, every listener its route tables. Until then
//! the one before stays in force. A resource that is refused keeps its old version, and never blocks the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use snapshot::{Cluster, ClusterName, Discovery, Endpoints, Named, RouteTable, RouteTableName, Snapshot};

use crate::convert::{self, Resource};
use crate::encoded::tables_of;
use crate::message::{self, Request, Response, Status};
use crate::rejected::Reason;
use crate::{Kind, Node, Rejected};

/// What a proxy has and waits for.
#[derive(Debug)]
pub struct Client {
    node: Node,
    fixed: Fixed,
    have: Snapshot,
    states: [State; 4],
    changed: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the server has answered at all.
    answered: bool,
    /// Versions of what we have.
    versions: BTreeMap<Arc<str>, String>,
    /// Names asked for; empty for kinds of which we take all.
    names: BTreeSet<Arc<str>>,
    /// Those of them that have not come.
    awaited: BTreeSet<Arc<str>>,
}

/// What a proxy has from elsewhere, and keeps whatever the server says; and what it asks for besides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fixed {
    /// Static resources.
    pub snapshot: Snapshot,
    /// Clusters in it whose members somebody else finds.
    pub resolved: BTreeSet<ClusterName>,
    /// Whether clusters come from the server.
    pub clusters: bool,
    /// Whether listeners come from the server.
    pub listeners: bool,
}

/// What follows from a message of the server.
#[derive(Debug, Default)]
pub struct Step {
    /// To be sent, in this order.
    pub send: Vec<Request>,
    /// What was refused.
    pub rejected: Vec<Rejected>,
    /// A new closed snapshot.
    pub snapshot: Option<Arc<Snapshot>>,
}

impl Client {
    /// A proxy that has nothing.
    pub fn new(node: Node) -> Self {
        let all = Fixed {
            clusters: true,
            listeners: true,
            ..Fixed::default()
        };
        Self::beside(node, all)
    }

    /// A proxy that has resources of its own, and asks for what they name.
    pub fn beside(node: Node, fixed: Fixed) -> Self {
        let mut client = Self {
            node,
            have: fixed.snapshot.clone(),
            fixed,
            states: Default::default(),
            changed: false,
        };
        for (kind, names) in [
            (Kind::Endpoints, client.named_endpoints()),
            (Kind::Routes, client.named_tables()),
        ] {
            let state = client.state_mut(kind);
            state.awaited.clone_from(&names);
            state.names = names;
        }
        client
    }

    /// What can be put in force before the server says anything: resources of its own that need none of others.
    pub fn beginning(&self) -> Option<Arc<Snapshot>> {
        (!self.have.listeners.is_empty() && !self.waits()).then(|| Arc::new(self.have.clone()))
    }

    /// The messages that open a stream; with the versions that an earlier stream left.
    pub fn open(&self) -> Vec<Request> {
        let mut node = Some(self.node.to_proto());
        let wanted = Kind::ALL
            .into_iter()
            .filter(|kind| self.takes_all(*kind) || !self.state(*kind).names.is_empty());
        wanted
            .map(|kind| {
                let state = self.state(kind);
                let versions = state.versions.iter();
                Request {
                    node: node.take(),
                    type_url: kind.type_url().into(),
                    subscribe: state.names.iter().map(ToString::to_string).collect(),
                    initial_versions: versions
                        .map(|(name, version)| (name.to_string(), version.clone()))
                        .collect(),
                    ..Request::default()
                }
            })
            .collect()
    }

    /// Takes a message of the server. Kinds that nobody asked for are ignored.
    pub fn response(&mut self, response: &Response) -> Step {
        let Some(kind) = Kind::from_type_url(&response.type_url) else {
            return Step::default();
        };
        self.state_mut(kind).answered = true;
        let rejected: Vec<_> = response
            .resources
            .iter()
            .filter_map(|resource| self.take(kind, resource).err())
            .collect();
        response.removed.iter().for_each(|name| self.remove(kind, name));
        // Questions go before the answer, so that the server knows them when it chooses what comes next.
        let mut send: Vec<_> = self.ask(kind).into_iter().collect();
        send.push(Request {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error: (!rejected.is_empty()).then(|| Status::of(&rejected)),
            ..Request::default()
        });
        Step {
            send,
            rejected,
            snapshot: self.publish(),
        }
    }

    /// Whether something that we asked for has not come.
    pub fn waits(&self) -> bool {
        self.states.iter().any(|state| !state.awaited.is_empty())
    }

    /// Takes what has not come for absent: a cluster without endpoints, a route table without routes.
    pub fn give_up_waiting(&mut self) -> Option<Arc<Snapshot>> {
        for kind in [Kind::Endpoints, Kind::Routes] {
            for name in std::mem::take(&mut self.state_mut(kind).awaited) {
                self.insert_empty(kind, &name);
            }
        }
        self.publish()
    }

    fn state(&self, kind: Kind) -> &State {
        &self.states[kind.index()]
    }

    fn state_mut(&mut self, kind: Kind) -> &mut State {
        &mut self.states[kind.index()]
    }

    /// Whether every resource of that kind is taken.
    fn takes_all(&self, kind: Kind) -> bool {
        match kind {
            Kind::Cluster => self.fixed.clusters,
            Kind::Listener => self.fixed.listeners,
            Kind::Endpoints | Kind::Routes => false,
        }
    }

    /// Whether it is ours, and no server changes it.
    fn is_fixed(&self, kind: Kind, name: &str) -> bool {
        let ours = &self.fixed.snapshot;
        match kind {
            Kind::Cluster => ours.clusters.get(name).is_some(),
            Kind::Listener => ours.listeners.get(name).is_some(),
            Kind::Endpoints => ours.endpoints.get(name).is_some(),
            Kind::Routes => ours.routes.get(name).is_some(),
        }
    }

    fn take(&mut self, kind: Kind, resource: &message::Resource) -> Result<(), Rejected> {
        let name = resource.name.as_str();
        let wanted = self.takes_all(kind) || self.state(kind).names.contains(name);
        if !wanted || self.is_fixed(kind, name) {
            return Ok(());
        }
        let decoded = match &resource.body {
            Some(body) if body.type_url == kind.type_url() => convert::decode(kind, name, &body.value),
            _ => Err(Rejected {
                kind,
                name: name.to_owned(),
                reason: Reason::missing("resource"),
            }),
        };
        match decoded {
            Ok(item) => {
                self.insert(item);
                let state = self.state_mut(kind);
                state.awaited.remove(name);
                state.versions.insert(name.into(), resource.version.clone());
                Ok(())
            }
            Err(rejected) => {
                if self.state_mut(kind).awaited.remove(name) {
                    self.insert_empty(kind, name);
                }
                Err(rejected)
            }
        }
    }

    fn insert(&mut self, resource: Resource) {
        self.changed = true;
        match resource {
            Resource::Cluster(cluster) => self.have.clusters.insert(cluster),
            Resource::Endpoints(endpoints) => self.have.endpoints.insert(endpoints),
            Resource::Listener(listener) => self.have.listeners.insert(listener),
            Resource::Routes(table) => self.have.routes.insert(table),
        }
    }

    fn remove(&mut self, kind: Kind, name: &str) {
        self.changed = true;
        let state = self.state_mut(kind);
        state.versions.remove(name);
        state.awaited.remove(name);
        if self.is_fixed(kind, name) {
            return;
        }
        let state = self.state(kind);
        if state.names.contains(name) {
            self.insert_empty(kind, name);
        } else {
            self.forget(kind, name);
        }
    }

    /// What is wanted and does not exist: no endpoints, no routes.
    fn insert_empty(&mut self, kind: Kind, name: &str) {
        match kind {
            Kind::Endpoints => self.insert(Resource::Endpoints(Endpoints {
                cluster: ClusterName::from(name),
                localities: Vec::new(),
            })),
            Kind::Routes => self.insert(Resource::Routes(RouteTable {
                match_ports: false,
                name: RouteTableName::from(name),
                hosts: Vec::new(),
            })),
            Kind::Cluster | Kind::Listener => {}
        }
    }

    fn forget(&mut self, kind: Kind, name: &str) {
        self.changed = true;
        match kind {
            Kind::Cluster => drop(self.have.clusters.remove(name)),
            Kind::Endpoints => drop(self.have.endpoints.remove(name)),
            Kind::Listener => drop(self.have.listeners.remove(name)),
            Kind::Routes => drop(self.have.routes.remove(name)),
        }
    }

    /// Asks for what clusters or listeners name since they changed, and drops what they name no more.
    fn ask(&mut self, parent: Kind) -> Option<Request> {
        let (child, named) = match parent {
            Kind::Cluster => (Kind::Endpoints, self.named_endpoints()),
            Kind::Listener => (Kind::Routes, self.named_tables()),
            Kind::Endpoints | Kind::Routes => return None,
        };
        let state = self.state_mut(child);
        let new: Vec<_> = named.difference(&state.names).cloned().collect();
        let old: Vec<_> = state.names.difference(&named).cloned().collect();
        state.names = named;
        for name in &old {
            state.versions.remove(name);
            state.awaited.remove(name);
        }
        state.awaited.extend(new.iter().cloned());
        old.iter().for_each(|name| self.forget(child, name));
        (!new.is_empty() || !old.is_empty()).then(|| Request {
            type_url: child.type_url().into(),
            subscribe: new.iter().map(ToString::to_string).collect(),
            unsubscribe: old.iter().map(ToString::to_string).collect(),
            ..Request::default()
        })
    }

    fn named_endpoints(&self) -> BTreeSet<Arc<str>> {
        let by_name = |cluster: &&Arc<Cluster>| {
            cluster.discovery == Discovery::Endpoints
                && !self.fixed.resolved.contains(&cluster.name)
                && !self.is_fixed(Kind::Endpoints, cluster.name())
        };
        self.have
            .clusters
            .iter()
            .filter(by_name)
            .map(|cluster| cluster.name().into())
            .collect()
    }

    fn named_tables(&self) -> BTreeSet<Arc<str>> {
        self.have
            .listeners
            .iter()
            .flat_map(|listener| tables_of(listener))
            .collect()
    }

    fn publish(&mut self) -> Option<Arc<Snapshot>> {
        let answered = |kind| !self.takes_all(kind) || self.state(kind).answered;
        let complete = answered(Kind::Cluster) && answered(Kind::Listener) && !self.waits();
        (complete && std::mem::take(&mut self.changed)).then(|| Arc::new(self.have.clone()))
    }
}
