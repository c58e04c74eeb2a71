//! An Envoy bootstrap file (YAML or JSON) → what a proxy does with it from the start, and where it asks for more.
//!
//! The resources go through the same conversions as those that come over the wire. [`decode`] is pure and takes any
//! text; as Envoy does, it refuses a file as a whole, and it names everything that is wrong with it.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/bootstrap/v3/bootstrap.proto>

mod blame;
mod document;
mod message;
mod problem;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::Read;
use std::net::SocketAddr;

use envoy_types::pb::envoy::config;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use snapshot::{Action, ClusterName, Endpoints, Handler, Listener, Named, RouteSource, Snapshot};

use crate::Node as Introduction;
use crate::convert::bootstrap as convert;
use crate::rejected::Reason;
use blame::Part;
use document::{Node, Path, Value};
use message::Reader;

pub use problem::{Code, Problem};

/// The bootstrap message, and those that may stand in it (`cargo xtask gen`).
const DESCRIPTORS: &[u8] = include_bytes!("envoy.binpb.gz");
/// As Envoy's documentation and as the rules of JSON write it.
const STATIC_RESOURCES: [&str; 2] = ["static_resources", "staticResources"];
const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";

/// What a bootstrap file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bootstrap {
    /// Static resources. Clusters with names to resolve have no endpoints yet.
    pub snapshot: Snapshot,
    /// The clusters whose members are found by DNS.
    pub names: Vec<Names>,
    /// Where more resources come from.
    pub dynamic: Option<Dynamic>,
    /// Where the admin pages are.
    pub admin: Option<SocketAddr>,
    /// Who the proxy is.
    pub node: Introduction,
}

/// A cluster whose members are found by DNS.
#[derive(Clone, Debug, PartialEq)]
pub struct Names {
    /// The members; those with a name have an address without IP.
    pub endpoints: Endpoints,
    /// The names (or addresses) of the members, in their order.
    pub hosts: Vec<String>,
    /// The first address of the one name is used (`LOGICAL_DNS`), or all of each (`STRICT_DNS`).
    pub logical: bool,
    /// Which addresses count.
    pub family: Family,
    /// How often the names are asked for again.
    pub refresh: std::time::Duration,
}

/// Which addresses of a name count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// IPv6 if there are any, else IPv4.
    #[default]
    Auto,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// IPv4 if there are any, else IPv6.
    PreferV4,
    /// Both.
    All,
}

/// Where resources come from besides the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dynamic {
    /// The static cluster of the server.
    pub server: ClusterName,
    /// Whether clusters come from it.
    pub clusters: bool,
    /// Whether listeners come from it.
    pub listeners: bool,
    /// It speaks state-of-the-world discovery (`GRPC`), not delta discovery (`DELTA_GRPC`).
    pub whole: bool,
}

/// The descriptions of all messages that a bootstrap file may have in it. Some megabytes, for the start only.
#[derive(Clone, Debug)]
pub struct Descriptions(DescriptorPool);

/// Reads a bootstrap file.
///
/// # Errors
/// All that is wrong with it, in the order of the file.
pub fn decode(text: &str) -> Result<Bootstrap, Vec<Problem>> {
    Descriptions::load().decode(text)
}

impl Descriptions {
    /// Unpacks what is compiled in.
    pub fn load() -> Self {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(DESCRIPTORS)
            .read_to_end(&mut bytes)
            .expect("what is compiled in was packed whole");
        let pool = DescriptorPool::decode(bytes.as_slice());
        Self(pool.expect("what is compiled in was checked when it was made"))
    }

    /// The same as [`decode`], for those who read many files.
    ///
    /// # Errors
    /// All that is wrong with it, in the order of the file.
    pub fn decode(&self, text: &str) -> Result<Bootstrap, Vec<Problem>> {
        let root = document::parse(text).map_err(|(line, text)| {
            vec![Problem {
                code: Code::Syntax,
                path: String::new(),
                line,
                text,
            }]
        })?;
        let mut file = File {
            pool: &self.0,
            problems: Vec::new(),
        };
        let bootstrap = file.read(&root);
        let mut problems = file.problems;
        without_consequences(&mut problems);
        problems.sort_by(|a, b| (a.line, &a.path).cmp(&(b.line, &b.path)));
        problems.dedup();
        match problems.is_empty() {
            true => Ok(bootstrap),
            false => Err(problems),
        }
    }
}

struct File<'p> {
    pool: &'p DescriptorPool,
    problems: Vec<Problem>,
}

impl File<'_> {
    fn read(&mut self, root: &Node) -> Bootstrap {
        let mut reader = Reader::new(self.pool);
        let kind = self.kind(BOOTSTRAP);
        reader.message(root, &kind, &Path::default());
        self.problems.append(&mut reader.problems);

        let mut bootstrap = self.rest(root);
        for (path, node) in resources(root, "clusters") {
            self.cluster(node, &path, &mut bootstrap);
        }
        // Also those that something is wrong with: that is said already.
        let clusters = resources(root, "clusters");
        let clusters = clusters.iter().map(|(_, node)| node.text("name")).collect();
        self.discovery(root, &bootstrap);
        for (path, node) in resources(root, "listeners") {
            self.listener(node, &path, &clusters, &mut bootstrap);
        }
        bootstrap
    }

    /// Everything but listeners and clusters.
    fn rest(&mut self, root: &Node) -> Bootstrap {
        let mut rest = root.clone();
        for kind in ["listeners", "clusters"] {
            for resources in STATIC_RESOURCES {
                rest.clear(&Path::default().key(resources).key(kind).0);
            }
        }
        let part = self.part(&rest, Path::default(), BOOTSTRAP);
        let read = |message: &DynamicMessage| convert::rest(parse(message)?);
        part.convert(&read, &mut self.problems).unwrap_or_default()
    }

    /// The cluster that more resources come from is in the file, and can be talked to.
    fn discovery(&mut self, root: &Node, bootstrap: &Bootstrap) {
        let Some(dynamic) = &bootstrap.dynamic else {
            return;
        };
        let server = dynamic.server.as_str();
        let known = resources(root, "clusters");
        let found = known.iter().find(|(_, node)| node.text("name") == server);
        let encrypted = |node: &&Node| {
            let cluster = bootstrap.snapshot.clusters.get(node.text("name"));
            cluster.is_some_and(|cluster| cluster.tls.is_some() || cluster.proxy_protocol.is_some())
        };
        let problem = match found {
            None => Problem {
                code: Code::Value,
                path: "dynamic_resources.ads_config.grpc_services[0].envoy_grpc.cluster_name".to_owned(),
                line: root.get("dynamic_resources").map_or(root.line, |node| node.line),
                text: format!("{server:?} is no cluster of this file: add it to static_resources.clusters"),
            },
            Some((path, node)) if encrypted(node) => Problem {
                code: Code::Unsupported,
                path: path.key("transport_socket").to_string(),
                line: node.get("transport_socket").map_or(node.line, |node| node.line),
                text: format!("of the server of discovery is not supported{}", problem::INSTEAD),
            },
            Some(_) => return,
        };
        self.problems.push(problem);
    }

    fn cluster(&mut self, node: &Node, path: &Path, bootstrap: &mut Bootstrap) {
        let part = self.part(node, path.clone(), "envoy.config.cluster.v3.Cluster");
        let read = |message: &DynamicMessage| {
            convert::cluster(
                parse::<config::cluster::v3::Cluster>(message)?,
                bootstrap.dynamic.is_some(),
            )
        };
        let Some(read) = part.convert(&read, &mut self.problems) else {
            return;
        };
        if bootstrap.snapshot.clusters.get(read.cluster.name()).is_some() {
            return self.twice(node, path);
        }
        if let Some(endpoints) = read.endpoints {
            bootstrap.snapshot.endpoints.insert(endpoints);
        }
        bootstrap.names.extend(read.names);
        bootstrap.snapshot.clusters.insert(read.cluster);
    }

    fn listener(&mut self, node: &Node, path: &Path, clusters: &BTreeSet<&str>, bootstrap: &mut Bootstrap) {
        let part = self.part(node, path.clone(), "envoy.config.listener.v3.Listener");
        let known = &bootstrap.snapshot;
        let read = |message: &DynamicMessage| {
            let listener = convert::listener(parse(message)?, bootstrap.dynamic.is_some())?;
            clusters_exist(&listener, clusters).map(|()| listener)
        };
        let Some(mut listener) = part.convert(&read, &mut self.problems) else {
            return;
        };
        if listener.name.as_str().is_empty() {
            // Envoy makes one up, too.
            listener.name = listener.address.to_string().into();
        }
        if known.listeners.get(listener.name()).is_some() {
            return self.twice(node, path);
        }
        bootstrap.snapshot.listeners.insert(listener);
    }

    fn twice(&mut self, node: &Node, path: &Path) {
        self.problems.push(Problem {
            code: Code::Value,
            path: path.key("name").to_string(),
            line: node.line,
            text: format!(
                "{:?} is the name of another one: each needs its own",
                node.text("name")
            ),
        });
    }

    fn part<'n>(&self, node: &'n Node, path: Path, kind: &str) -> Part<'n>
    where
        Self: 'n,
    {
        Part {
            pool: self.pool,
            node,
            path,
            kind: self.kind(kind),
        }
    }

    fn kind(&self, name: &str) -> prost_reflect::MessageDescriptor {
        self.pool
            .get_message_by_name(name)
            .expect("the descriptions are those of a bootstrap")
    }
}

/// A message is refused for what is wrong inside it; that it is refused itself is not said a second time.
fn without_consequences(problems: &mut Vec<Problem>) {
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.clone()).collect();
    problems.retain(|problem| {
        let inside = |path: &str| {
            path.strip_prefix(problem.path.as_str())
                .is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        problem.path.is_empty() || !paths.iter().any(|path| inside(path))
    });
}

/// The static resources of a kind, with their places.
fn resources<'n>(root: &'n Node, kind: &str) -> Vec<(Path, &'n Node)> {
    let mut found = Vec::new();
    for resources in STATIC_RESOURCES {
        let path = Path::default().key(resources).key(kind);
        let list = root.get(resources).and_then(|node| node.get(kind));
        if let Some(Value::List(list)) = list.map(|node| &node.value) {
            found.extend((0..).map(|index| path.index(index)).zip(list));
        }
    }
    found
}

fn parse<M: Message + Default>(message: &DynamicMessage) -> Result<M, Reason> {
    M::decode(message.encode_to_vec().as_slice()).map_err(|error| Reason::new("", error.to_string()))
}

/// Routes that stand in the file may name only clusters that stand in it (Envoy: `validate_clusters`).
fn clusters_exist(listener: &Listener, known: &BTreeSet<&str>) -> Result<(), Reason> {
    let tables = listener
        .chains
        .iter()
        .chain(&listener.default_chain)
        .filter_map(|chain| match &chain.handler {
            Handler::Http(http) => match &http.routes {
                RouteSource::Inline(table) => Some(table),
                RouteSource::Named(_) => None,
            },
            Handler::Tcp(_) => None,
        });
    for route in tables
        .flat_map(|table| &table.hosts)
        .flat_map(|host| &host.routes)
    {
        let Action::Forward(forward) = &route.action else {
            continue;
        };
        for target in &forward.clusters {
            if !known.contains(target.cluster.as_str()) {
                let field = match forward.clusters.len() {
                    1 => "RouteAction.cluster",
                    _ => "ClusterWeight.name",
                };
                return Err(Reason::new(
                    format!("{field} \"{}\"", target.cluster),
                    "is no cluster of this file: add it to static_resources.clusters",
                ));
            }
        }
    }
    Ok(())
}
