//! RateLimit → limits of inbound chains, and how the mesh's own server of limits is reached.

use std::sync::Arc;
use std::time::Duration;

use resources::istio::resolve_host;
use resources::policy::rate_limit::{
    Attribute, FailureMode, Key as SpecKey, Limit as SpecLimit, LimitScope, RequestMatch, ResponseHeaders,
};
use resources::{Key, Kind};
use snapshot::cluster::UpstreamHttp;
use snapshot::rate_limit::{Limit, LimitKey, LimitServer, TOO_MANY_REQUESTS};
use snapshot::route::{HeaderMatch, StringMatch};
use snapshot::{
    ClientTls, Cluster, ClusterName, Discovery, Endpoints, HttpFilter, LoadBalancing, Origin, RateLimit,
    RouteMatch, Snapshot, SubjectMatch, Trust,
};

use crate::headers::is_authority;
use crate::mesh::rate_limits::Applied;
use crate::routes::matching::{header, string_match};
use crate::scope::{InboundPort, Scope};
use crate::sidecar::clusters;
use crate::{DOMAIN, Mesh, ROOT_NAMESPACE};

/// The cluster of the mesh's own server.
pub(crate) const SERVER: &str = "amime-rate-limits";
/// The service and the port that it is part of.
const SERVICE: &str = "istiod";
const PORT: u16 = 15012;
/// Where every pod of the mesh has the root certificate.
const ROOT: &str = "/var/run/secrets/istio/root-cert.pem";
/// Envoy's, where a policy states none.
const TIMEOUT: Duration = Duration::from_millis(20);

/// The filters of a chain for a port that services declare, or for all others.
pub(crate) fn filters(scope: &Scope, port: Option<&InboundPort>) -> impl Iterator<Item = HttpFilter> {
    let applied = scope
        .rate_limits
        .iter()
        .filter(move |applied| is_for(scope, applied, port));
    applied.map(|applied| HttpFilter::RateLimit(Box::new(rate_limit(applied))))
}

fn is_for(scope: &Scope, applied: &Applied, port: Option<&InboundPort>) -> bool {
    let Some(target) = &applied.target else {
        return true;
    };
    let Some(port) = port else { return false };
    let ports = scope.targets.get(&target.service).map_or(&[][..], Vec::as_slice);
    ports.iter().any(|(name, number)| {
        *number == port.target && target.port.as_ref().is_none_or(|wanted| wanted == name)
    })
}

fn rate_limit(applied: &Applied) -> RateLimit {
    let object = &applied.indexed.object;
    let (meta, spec) = (&object.metadata, &object.spec);
    let resource: Arc<str> = Key::new(Kind::RateLimit, &meta.namespace, &meta.name)
        .path()
        .into();
    let limits = spec.limits.iter().enumerate().map(|(index, limit)| {
        let field = format!("spec.limits[{index}]").into();
        self::limit(
            limit,
            Origin {
                resource: resource.clone(),
                field,
            },
        )
    });
    let says = |field| spec.response_headers.contains(&field);
    let response = spec.response.as_ref();
    let limits: Vec<_> = limits.collect();
    RateLimit {
        policy: format!("{}/{}", meta.namespace, meta.name),
        status: response
            .and_then(|response| response.status)
            .unwrap_or(TOO_MANY_REQUESTS),
        body: response.and_then(|response| response.body.clone()),
        says_limits: says(ResponseHeaders::RateLimit),
        says_x_limits: says(ResponseHeaders::XRateLimit),
        server: limits.iter().any(|limit| limit.global).then(|| server(object)),
        limits,
    }
}

fn limit(limit: &SpecLimit, origin: Origin) -> Limit {
    Limit {
        name: limit.name.clone(),
        matches: limit.matches.as_ref().map(conditions).unwrap_or_default(),
        keys: limit.keys.iter().filter_map(key).collect(),
        requests: limit.requests.max(1),
        interval: limit.unit.duration(),
        burst: burst(limit),
        cost: cost(limit),
        global: limit.scope == LimitScope::Global,
        dry_run: limit.dry_run,
        origin,
    }
}

fn burst(limit: &SpecLimit) -> u32 {
    limit.burst.unwrap_or(limit.requests).max(1)
}

fn cost(limit: &SpecLimit) -> u32 {
    limit.cost.unwrap_or(1).max(1)
}

fn conditions(matches: &RequestMatch) -> RouteMatch {
    let method = match matches.methods.as_slice() {
        [] => None,
        [only] => Some(StringMatch::Exact(only.clone())),
        several => Some(StringMatch::Regex(several.join("|"))),
    };
    let method = method.map(|value| HeaderMatch {
        name: ":method".to_owned(),
        value: Some(value),
        invert: false,
    });
    let headers = matches
        .headers
        .iter()
        .map(|(name, condition)| header(name, condition, false));
    RouteMatch {
        path: matches.path.as_ref().and_then(string_match),
        headers: method.into_iter().chain(headers).collect(),
        ..RouteMatch::default()
    }
}

/// One without any field tells nobody apart; validation refuses it. What a request says in `host` is no field for
/// proxies: it is what it asks for.
fn key(key: &SpecKey) -> Option<LimitKey> {
    let attribute = key.attribute.map(|attribute| match attribute {
        Attribute::Path => LimitKey::Path,
        Attribute::Method => LimitKey::Method,
        Attribute::Host => LimitKey::Host,
        Attribute::PeerIdentity => LimitKey::PeerIdentity,
        Attribute::SourceAddress => LimitKey::SourceAddress,
    });
    let header = || {
        key.header.as_ref().map(|name| match is_authority(name) {
            true => LimitKey::Host,
            false => LimitKey::Header(name.to_ascii_lowercase()),
        })
    };
    attribute
        .or_else(header)
        .or_else(|| key.query_parameter.clone().map(LimitKey::QueryParameter))
        .or_else(|| key.jwt_claim.clone().map(LimitKey::Claim))
        .or_else(|| key.value.clone().map(LimitKey::Value))
}

fn server(object: &resources::RateLimit) -> LimitServer {
    let global = object.spec.global.clone().unwrap_or_default();
    let other = global.server.as_ref().map(|server| {
        let host = resolve_host(&server.host, &object.metadata.namespace, DOMAIN);
        let cluster = ClusterName::outbound(server.port, "", &host.as_str().into());
        (cluster, format!("{host}:{}", server.port))
    });
    let own = other.is_none();
    let (cluster, authority) =
        other.unwrap_or_else(|| (SERVER.into(), format!("{SERVICE}.{ROOT_NAMESPACE}.svc:{PORT}")));
    LimitServer {
        cluster,
        authority,
        domain: domain(object),
        timeout: global
            .timeout
            .map(|timeout| timeout.0)
            .filter(|timeout| !timeout.is_zero())
            .unwrap_or(TIMEOUT),
        fails_closed: global.failure_mode == FailureMode::Closed,
        own,
    }
}

/// What a server is told to count under. At the mesh's own server every namespace has domains of its own, so that
/// none uses up the limits of another.
fn domain(object: &resources::RateLimit) -> String {
    let meta = &object.metadata;
    let global = object.spec.global.as_ref();
    let stated = global.and_then(|global| global.domain.as_deref());
    match global.and_then(|global| global.server.as_ref()) {
        Some(_) => stated.map_or_else(|| format!("{}/{}", meta.namespace, meta.name), str::to_owned),
        None => format!("{}/{}", meta.namespace, stated.unwrap_or(&meta.name)),
    }
}

/// A limit that the mesh's own server counts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is counted under.
    pub domain: String,
    /// Name of the limit.
    pub limit: String,
    pub requests: u32,
    pub interval: Duration,
    pub burst: u32,
    /// What each request takes.
    pub cost: u32,
}

/// All limits that the mesh's own server counts for. Of several with one domain and name the oldest counts.
pub fn rules(mesh: &Mesh) -> Vec<Rule> {
    let mut seen = std::collections::BTreeSet::new();
    let mut rules = Vec::new();
    for object in mesh.rate_limits.iter() {
        for (_, rule) in rules_of(object) {
            if seen.insert((rule.domain.clone(), rule.limit.clone())) {
                rules.push(rule);
            }
        }
    }
    rules
}

/// The limits of one object that the mesh's own server counts for, by position.
pub(crate) fn rules_of(object: &resources::RateLimit) -> impl Iterator<Item = (usize, Rule)> {
    let global = object.spec.global.as_ref();
    let elsewhere = global.is_some_and(|global| global.server.is_some());
    let limits = object.spec.limits.iter().enumerate();
    let shared = limits.filter(move |(_, limit)| limit.scope == LimitScope::Global && !elsewhere);
    shared.map(move |(index, limit)| {
        let rule = Rule {
            domain: domain(object),
            limit: limit.name.clone(),
            requests: limit.requests.max(1),
            interval: limit.unit.duration(),
            burst: burst(limit),
            cost: cost(limit),
        };
        (index, rule)
    })
}

/// The cluster of the mesh's own server, where a limit needs it. The same key goes to the same replica, so that each
/// is counted in one place.
pub(crate) fn add_server(scope: &Scope, snapshot: &mut Snapshot) {
    let asks = |applied: &Applied| {
        let spec = &applied.indexed.object.spec;
        let shared = spec.limits.iter().any(|limit| limit.scope == LimitScope::Global);
        shared && spec.global.as_ref().is_none_or(|global| global.server.is_none())
    };
    if !scope.rate_limits.iter().any(asks) {
        return;
    }
    let host = format!("{SERVICE}.{ROOT_NAMESPACE}.svc.{DOMAIN}");
    let name = format!("{SERVICE}.{ROOT_NAMESPACE}.svc");
    let cluster = Cluster {
        load_balancing: LoadBalancing::Maglev {
            table_size: LoadBalancing::MAGLEV_TABLE_SIZE,
        },
        http: UpstreamHttp::Http2,
        connect_timeout: scope.settings.connect_timeout(),
        tls: Some(ClientTls {
            server_name: name.clone(),
            subject_alt_names: vec![SubjectMatch::Exact(name)],
            application_protocols: vec!["h2".to_owned()],
            ..ClientTls::new(Trust::File(ROOT.to_owned()))
        }),
        ..Cluster::new(SERVER.into(), Discovery::Endpoints)
    };
    // Rules of the service may send proxies to the replica that is next to them; then a key would be counted anew in
    // each zone.
    snapshot.endpoints.insert(Endpoints {
        cluster: SERVER.into(),
        localities: clusters::members(scope, &host, PORT, &cluster),
    });
    snapshot.clusters.insert(cluster);
}

#[cfg(test)]
mod tests {
    use resources::yaml;
    use snapshot::Locality;

    use super::*;
    use crate::Node;

    #[test]
    fn rules_are_of_the_meshs_own_server_and_every_namespace_has_its_own() {
        let text = "
apiVersion: policy.amime.io/v1alpha1
kind: RateLimit
metadata: {name: backend, namespace: shop}
spec:
  limits:
  - {name: each, requests: 60, unit: Minute, burst: 5, cost: 2, scope: Global, keys: [{header: X-User}]}
  - {name: near, requests: 5}
---
apiVersion: policy.amime.io/v1alpha1
kind: RateLimit
metadata: {name: thief, namespace: other}
spec:
  global: {domain: shop/backend}
  limits: [{name: each, requests: 1, scope: Global}]
---
apiVersion: policy.amime.io/v1alpha1
kind: RateLimit
metadata: {name: elsewhere, namespace: shop}
spec:
  global: {server: {host: limits, port: 8081}, domain: backend}
  limits: [{name: each, requests: 1, scope: Global}]
";
        let mesh = Mesh::of(yaml::read(text).resources);
        let rules = rules(&mesh);
        let told: Vec<_> = rules
            .iter()
            .map(|rule| {
                (
                    rule.domain.as_str(),
                    rule.limit.as_str(),
                    rule.requests,
                    rule.burst,
                    rule.cost,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("shop/backend", "each", 60, 5, 2),
                ("other/shop/backend", "each", 1, 1, 1)
            ]
        );
    }

    #[test]
    fn a_key_of_the_header_host_is_the_host_that_is_asked_for() {
        let text = "
apiVersion: policy.amime.io/v1alpha1
kind: RateLimit
metadata: {name: backend, namespace: shop}
spec:
  limits:
  - name: each
    requests: 1
    keys: [{header: Host}, {header: X-User}]
";
        let mesh = Mesh::of(yaml::read(text).resources);
        let object = mesh.rate_limits.iter().next().unwrap();
        let keys = object.spec.limits[0].keys.iter().filter_map(key);
        let keys: Vec<_> = keys.collect();
        assert_eq!(keys, [LimitKey::Host, LimitKey::Header("x-user".into())]);
    }

    #[test]
    fn every_proxy_has_the_same_replicas_of_the_meshs_own_server_wherever_it_is() {
        let text = "
apiVersion: v1
kind: Service
metadata: {name: istiod, namespace: istio-system}
spec: {clusterIP: 10.96.0.99, ports: [{name: https-dns, port: 15012}], selector: {app: istiod}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: istiod-1, namespace: istio-system, labels: {kubernetes.io/service-name: istiod}}
addressType: IPv4
endpoints:
- {addresses: [10.244.1.1], zone: a, conditions: {ready: true}}
- {addresses: [10.244.1.2], zone: b, conditions: {ready: true}}
ports: [{name: https-dns, port: 15012}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: istiod, namespace: istio-system}
spec: {host: istiod, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 5}}}
---
apiVersion: policy.amime.io/v1alpha1
kind: RateLimit
metadata: {name: everybody, namespace: istio-system}
spec: {limits: [{name: all, requests: 1, scope: Global}]}
";
        let mesh = Mesh::of(yaml::read(text).resources);
        let seen_from = |zone: &str, cluster: &str| {
            let node = Node {
                namespace: "shop".into(),
                locality: Locality {
                    zone: zone.into(),
                    ..Locality::default()
                },
                ..Node::default()
            };
            let snapshot = crate::snapshot(&Scope::of(&mesh, &node));
            snapshot.endpoints.get(cluster).unwrap().localities.clone()
        };
        let own = seen_from("a", SERVER);
        let addresses: Vec<_> = own.iter().flat_map(|place| &place.endpoints).collect();
        assert_eq!(addresses.len(), 2);
        assert_eq!(own, seen_from("b", SERVER));
        let service = "outbound|15012||istiod.istio-system.svc.cluster.local";
        let near_first = seen_from("a", service);
        assert_ne!(near_first, seen_from("b", service), "the rule holds for others");
    }
}
