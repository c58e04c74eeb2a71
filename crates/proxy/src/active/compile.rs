//! Snapshot → lookup structures. Done once, away from the data workers; what did not change is taken over.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use daemon::buckets::Bucket;
use daemon::clock::{self, Instant};
use foldhash::HashMap;
use snapshot::chain_table::{Arrival, Asked, ChainTable};
use snapshot::route::CompiledTable;
use snapshot::{
    ClusterName, Direction, Handler, HttpFilter, HttpHandler, ListenerName, LocalRateLimit, RouteSource,
    RouteTable, RouteTableName, Snapshot, TcpHandler,
};

use super::limiters::Limiters;
use crate::http::filters::ChainFilter;
use crate::http::filters::local_rate_limit;
use crate::http::filters::rate_limit::Limiter;
use crate::tcp::authorization::NetworkFilters;
use crate::tls::server::Server;
use crate::transport::DRAIN;
use crate::upstream::circuit_breaker::Counts;
use crate::upstream::load_balancing::Balancer;

/// A Snapshot in the form that answers questions of the data path.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) snapshot: Arc<Snapshot>,
    routes: HashMap<RouteTableName, Arc<CompiledTable>>,
    /// How much clusters are asked to do, by all workers together.
    pub(crate) counts: HashMap<ClusterName, Arc<Counts>>,
    /// The listener that captures, by direction, if there is one.
    capturing: [Option<Arc<Listener>>; 2],
    by_address: HashMap<SocketAddr, Arc<Listener>>,
    by_port: HashMap<u16, Arc<Listener>>,
    /// Listeners with a socket, by name.
    bound: HashMap<ListenerName, Arc<Listener>>,
    /// Whom to choose from in each cluster.
    balancers: HashMap<ClusterName, Arc<Balancer>>,
    /// Buckets of routes with a limit of their own, by where the limit is: the Snapshot keeps it there.
    buckets: HashMap<usize, Arc<Bucket>>,
}

/// A listener, with its chains by what they match.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) facts: Arc<snapshot::Listener>,
    pub(crate) direction: Direction,
    /// What it accepts was going to its own address.
    pub(crate) direct: bool,
    detect_http: bool,
    detect_tls: bool,
    use_original_destination: bool,
    table: ChainTable,
    /// In the order of the table's answers.
    chains: Vec<Chain>,
    default: Option<Chain>,
    limiters: Limiters,
}

/// What happens to a connection. A connection keeps its chain while it lives, and drains when the chain is retired.
#[derive(Clone, Debug)]
pub(crate) enum Chain {
    Http(Arc<HttpChain>),
    Tcp(Arc<TcpChain>),
}

/// Since when a chain is in no Snapshot any more. Said once, read by its connections without a lock.
#[derive(Debug, Default)]
pub(crate) struct Retired(OnceLock<Instant>);

impl Retired {
    /// Whether it is in none.
    pub(crate) fn is_retired(&self) -> bool {
        self.0.get().is_some()
    }

    /// Whether its connections have had their time, too.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.0.get().is_some_and(|since| now >= *since + DRAIN)
    }

    pub(crate) fn retire(&self, now: Instant) {
        // The first time counts.
        let _ = self.0.set(now);
    }
}

/// How a chain forwards opaque bytes.
#[derive(Debug)]
pub(crate) struct TcpChain {
    name: String,
    tls: Option<Server>,
    pub(crate) network: NetworkFilters,
    pub(crate) handler: TcpHandler,
    /// Requests on this port are judged by policies, which know no opaque bytes: none may pass as such.
    pub(crate) withholds_requests: bool,
    pub(crate) retired: Retired,
}

/// How a chain serves HTTP.
#[derive(Debug)]
pub(crate) struct HttpChain {
    name: String,
    tls: Option<Server>,
    pub(crate) network: NetworkFilters,
    pub(crate) handler: HttpHandler,
    /// Those of the handler's filters that are asked in its order.
    pub(crate) filters: Vec<ChainFilter>,
    pub(crate) direction: Direction,
    pub(crate) retired: Retired,
    /// The table that belongs to this chain alone; others are found by name in the Snapshot of each request.
    inline: Option<Arc<CompiledTable>>,
    /// Of the limits that its routes have of their own.
    buckets: Buckets,
    /// Of the limit that all routes without their own share.
    bucket: Option<Arc<Bucket>>,
    /// Limits of policies, which it shares with other chains; in order.
    pub(crate) limiters: Vec<Arc<Limiter>>,
}

impl HttpChain {
    /// Whether its limits of policies count in these buckets.
    fn has(&self, limiters: &[Arc<Limiter>]) -> bool {
        self.limiters
            .iter()
            .map(Arc::as_ptr)
            .eq(limiters.iter().map(Arc::as_ptr))
    }

    /// The limit for requests of a route, where the chain has the filter.
    pub(crate) fn limit<'a>(
        &'a self,
        compiled: &'a Compiled,
        route: &'a snapshot::Route,
    ) -> Option<(&'a LocalRateLimit, &'a Bucket)> {
        let filter = self.handler.filters.iter().find_map(|filter| match filter {
            HttpFilter::LocalRateLimit(limit) => Some(limit),
            _ => None,
        })?;
        match &route.local_rate_limit {
            Some(own) => {
                let buckets = match &self.inline {
                    Some(_) => &self.buckets,
                    None => &compiled.buckets,
                };
                buckets.get(&address(own)).map(|bucket| (own, &**bucket))
            }
            None => filter.as_deref().zip(self.bucket.as_deref()),
        }
    }
}

/// By [`address`] of the limit.
type Buckets = HashMap<usize, Arc<Bucket>>;

/// What tells one limit of a table from all others, as long as the table is there.
fn address(limit: &LocalRateLimit) -> usize {
    std::ptr::from_ref(limit).addr()
}

/// The buckets of these tables. Those that did not change keep theirs.
fn buckets<'t>(tables: impl Iterator<Item = &'t Arc<RouteTable>>, before: Option<&Buckets>) -> Buckets {
    let hosts = tables.flat_map(|table| &table.hosts);
    let routes = hosts.flat_map(|host| &host.routes);
    let limits = routes.filter_map(|route| route.local_rate_limit.as_ref());
    limits
        .map(|limit| {
            let known = before.and_then(|before| before.get(&address(limit)));
            let bucket = known
                .cloned()
                .unwrap_or_else(|| Arc::new(local_rate_limit::bucket(limit)));
            (address(limit), bucket)
        })
        .collect()
}

impl Compiled {
    /// Compiles a Snapshot. Routes that cannot work are logged and never match.
    pub(crate) fn next(snapshot: &Arc<Snapshot>, before: Option<&Compiled>) -> Self {
        let routes = snapshot.routes.iter().map(|table| {
            let known = before.and_then(|before| before.routes.get(&table.name));
            let compiled = match known.filter(|known| Arc::ptr_eq(known.table(), table)) {
                Some(known) => known.clone(),
                None => compile_table(table),
            };
            (table.name.clone(), compiled)
        });
        let mut compiled = Self {
            routes: routes.collect(),
            counts: counts(snapshot, before),
            capturing: [None, None],
            by_address: HashMap::default(),
            by_port: HashMap::default(),
            bound: HashMap::default(),
            balancers: balancers(snapshot, before),
            buckets: buckets(snapshot.routes.iter(), before.map(|before| &before.buckets)),
            snapshot: snapshot.clone(),
        };
        for facts in snapshot.listeners.iter() {
            let known = before.and_then(|before| before.named(facts));
            let listener = match known {
                Some(known) if Arc::ptr_eq(&known.facts, facts) => known.clone(),
                known => Arc::new(Listener::new(facts, known.map(AsRef::as_ref))),
            };
            if facts.bind {
                compiled.bound.insert(facts.name.clone(), listener.clone());
                compiled.capturing[facts.direction as usize] = Some(listener);
            } else if facts.address.ip().is_unspecified() {
                compiled.by_port.insert(facts.address.port(), listener);
            } else {
                compiled.by_address.insert(facts.address, listener);
            }
        }
        if let Some(before) = before {
            before.retire_what_is_not_in(&compiled);
        }
        compiled
    }

    fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        // Those that capture have a socket, too.
        let bound = self.bound.values();
        bound.chain(self.by_address.values()).chain(self.by_port.values())
    }

    /// The listener of that name, where it was.
    fn named(&self, facts: &snapshot::Listener) -> Option<&Arc<Listener>> {
        let place = if facts.bind {
            self.bound.get(&facts.name)
        } else if facts.address.ip().is_unspecified() {
            self.by_port.get(&facts.address.port())
        } else {
            self.by_address.get(&facts.address)
        };
        place.filter(|listener| listener.facts.name == facts.name)
    }

    /// Tells the chains that `next` does not have.
    fn retire_what_is_not_in(&self, next: &Compiled) {
        let stay: foldhash::HashSet<_> = next
            .listeners()
            .flat_map(|listener| listener.chains())
            .map(Chain::address)
            .collect();
        let chains = self.listeners().flat_map(|listener| listener.chains());
        let now = clock::now();
        chains
            .filter(|chain| !stay.contains(&chain.address()))
            .for_each(|chain| chain.retired().retire(now));
    }

    /// The listener for a connection on its way to `destination`: the exact address, then the port, then the one
    /// that captured it.
    pub(crate) fn listener(&self, direction: Direction, destination: SocketAddr) -> Option<&Arc<Listener>> {
        let capturing = self.capturing[direction as usize].as_ref()?;
        Some(self.handed_on(capturing, destination))
    }

    /// The listener of that name that has a socket.
    pub(crate) fn bound(&self, name: &ListenerName) -> Option<&Arc<Listener>> {
        self.bound.get(name)
    }

    /// The listener for a connection that came in through another one.
    pub(crate) fn handed_on<'l>(
        &'l self,
        capturing: &'l Arc<Listener>,
        destination: SocketAddr,
    ) -> &'l Arc<Listener> {
        if !capturing.use_original_destination {
            return capturing;
        }
        let virtual_one = self
            .by_address
            .get(&destination)
            .or_else(|| self.by_port.get(&destination.port()));
        virtual_one
            .filter(|listener| listener.direction == capturing.direction)
            .unwrap_or(capturing)
    }

    /// Whom to choose from in each cluster.
    pub(crate) fn balancers(&self) -> impl Iterator<Item = &Arc<Balancer>> {
        self.balancers.values()
    }

    /// The routes for a request of a chain.
    pub(crate) fn routes<'t>(&'t self, chain: &'t HttpChain) -> Option<&'t CompiledTable> {
        match (&chain.inline, &chain.handler.routes) {
            (Some(table), _) => Some(table),
            (None, RouteSource::Named(name)) => self.routes.get(name).map(AsRef::as_ref),
            (None, RouteSource::Inline(_)) => None,
        }
    }
}

fn balancers(snapshot: &Snapshot, before: Option<&Compiled>) -> HashMap<ClusterName, Arc<Balancer>> {
    let now = clock::now();
    let clusters = snapshot.clusters.iter().map(|facts| {
        let endpoints = snapshot.endpoints.get(facts.name.as_str());
        let known = before.and_then(|before| before.balancers.get(&facts.name));
        (facts.name.clone(), Balancer::next(facts, endpoints, known, now))
    });
    clusters.collect()
}

/// The counts of a cluster go on while it is there.
fn counts(snapshot: &Snapshot, before: Option<&Compiled>) -> HashMap<ClusterName, Arc<Counts>> {
    let names = snapshot.clusters.iter().map(|cluster| &cluster.name);
    let known = |name| before.and_then(|before| before.counts.get(name)).cloned();
    names
        .map(|name| (name.clone(), known(name).unwrap_or_default()))
        .collect()
}

fn compile_table(table: &Arc<RouteTable>) -> Arc<CompiledTable> {
    let (compiled, problems) = CompiledTable::new(table.clone());
    for problem in problems {
        tracing::warn!(%problem, "a route cannot work");
    }
    Arc::new(compiled)
}

impl Chain {
    /// How its connections are decrypted, if they are.
    pub(crate) fn tls(&self) -> Option<&Server> {
        match self {
            Chain::Http(chain) => chain.tls.as_ref(),
            Chain::Tcp(chain) => chain.tls.as_ref(),
        }
    }

    /// Whether it takes opaque bytes in plain text, of a client that may wait for its server to begin.
    fn is_opaque(&self) -> bool {
        matches!(self, Self::Tcp(chain) if chain.tls.is_none())
    }

    fn retired(&self) -> &Retired {
        match self {
            Chain::Http(chain) => &chain.retired,
            Chain::Tcp(chain) => &chain.retired,
        }
    }

    /// What tells it from all others.
    fn address(&self) -> usize {
        std::ptr::from_ref(self.retired()).addr()
    }
}

impl Listener {
    /// Chains that are as they were in `before` are taken over, with their connections.
    fn new(facts: &Arc<snapshot::Listener>, before: Option<&Listener>) -> Self {
        let before = before.filter(|before| before.direction == facts.direction);
        let mut limiters = Limiters::default();
        let mut compile = |chain: &snapshot::Chain| {
            let limiters = limiters.of(chain, before.map(|before| &before.limiters));
            before
                .and_then(|before| before.compiled_before(chain, &limiters, facts))
                .unwrap_or_else(|| compile_chain(chain, facts, limiters))
        };
        let chains = facts.chains.iter().map(&mut compile).collect();
        let default = facts.default_chain.as_ref().map(compile);
        Self {
            facts: facts.clone(),
            direction: facts.direction,
            direct: facts.direct,
            detect_http: facts.detect_http,
            detect_tls: facts.detect_tls,
            use_original_destination: facts.use_original_destination,
            table: ChainTable::new(&facts.chains),
            chains,
            default,
            limiters,
        }
    }

    fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.chains.iter().chain(&self.default)
    }

    /// The chain that was made of the same facts, with these limiters.
    fn compiled_before(
        &self,
        chain: &snapshot::Chain,
        limiters: &[Arc<Limiter>],
        facts: &snapshot::Listener,
    ) -> Option<Chain> {
        let same = |known: &&Chain| match (known, &chain.handler) {
            (Chain::Http(known), Handler::Http(handler)) => {
                known.name == chain.name
                    && known.handler == *handler
                    && known.network.are(&chain.filters)
                    && known.has(limiters)
            }
            (Chain::Tcp(known), Handler::Tcp(handler)) => {
                known.name == chain.name
                    && known.handler == *handler
                    && known.network.are(&chain.filters)
                    && known.withholds_requests == judges_requests(facts, chain)
            }
            _ => false,
        };
        let encrypted = |known: &&Chain| known.tls().map(Server::facts) == chain.tls.as_ref();
        self.chains()
            .find(|known| same(known) && encrypted(known))
            .cloned()
    }

    /// What has to be found out about a connection to choose its chain.
    pub(crate) fn asked(&self, destination: SocketAddr) -> Asked {
        let asked = self.table.asked(destination);
        Asked {
            // Protocols that a ClientHello offers are application protocols too.
            tls: self.detect_tls && (asked.tls || asked.application_protocol),
            application_protocol: self.detect_http && asked.application_protocol,
            server_first: asked.server_first || self.default.as_ref().is_some_and(Chain::is_opaque),
        }
    }

    /// The chain for a connection.
    pub(crate) fn choose(&self, arrival: &Arrival<'_>) -> Option<&Chain> {
        let found = self.table.find(arrival).map(|position| &self.chains[position]);
        found.or(self.default.as_ref())
    }
}

/// Whether policies judge the requests that come in by the port of this chain.
fn judges_requests(facts: &snapshot::Listener, chain: &snapshot::Chain) -> bool {
    let port = chain.matches.destination_port;
    let chains = facts.chains.iter().chain(&facts.default_chain);
    let mut siblings = chains.filter(|sibling| sibling.matches.destination_port == port);
    facts.direction == Direction::Inbound
        && siblings.any(|sibling| match &sibling.handler {
            Handler::Http(handler) => handler.filters.iter().any(HttpFilter::is_policy),
            Handler::Tcp(_) => false,
        })
}

/// The table that belongs to a chain alone.
fn inline_table(handler: &HttpHandler) -> Option<&Arc<RouteTable>> {
    match &handler.routes {
        RouteSource::Inline(table) => Some(table),
        RouteSource::Named(_) => None,
    }
}

fn compile_chain(chain: &snapshot::Chain, facts: &snapshot::Listener, limiters: Vec<Arc<Limiter>>) -> Chain {
    let (name, retired) = (chain.name.clone(), Retired::default());
    let tls = chain.tls.as_ref().map(Server::new);
    let network = NetworkFilters::new(&chain.filters);
    match &chain.handler {
        Handler::Http(handler) => Chain::Http(Arc::new(HttpChain {
            name,
            tls,
            network,
            retired,
            filters: handler.filters.iter().filter_map(ChainFilter::new).collect(),
            inline: inline_table(handler).map(compile_table),
            buckets: buckets(inline_table(handler).into_iter(), None),
            bucket: handler.filters.iter().find_map(|filter| match filter {
                HttpFilter::LocalRateLimit(limit) => limit
                    .as_ref()
                    .map(|limit| Arc::new(local_rate_limit::bucket(limit))),
                _ => None,
            }),
            limiters,
            handler: handler.clone(),
            direction: facts.direction,
        })),
        Handler::Tcp(handler) => Chain::Tcp(Arc::new(TcpChain {
            name,
            tls,
            network,
            retired,
            handler: handler.clone(),
            withholds_requests: judges_requests(facts, chain),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_chain_is_over_when_its_connections_had_their_time() {
        let (retired, now) = (Retired::default(), clock::now());
        assert!(!retired.is_retired() && !retired.is_over(now + 2 * DRAIN));
        retired.retire(now);
        // It does not begin anew.
        retired.retire(now + DRAIN);
        assert!(retired.is_retired() && !retired.is_over(now + DRAIN / 2));
        assert!(retired.is_over(now + DRAIN));
    }
}
