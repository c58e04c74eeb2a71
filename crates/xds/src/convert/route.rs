//! Route tables ⇄ `config.route.v3.RouteConfiguration`.

use std::collections::HashMap;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::google::protobuf::Any;
use pb::route_action::ClusterSpecifier;
use pb::route_match::PathSpecifier;
use pb::weighted_cluster::ClusterWeight;
use snapshot::route::{DirectResponse, Forward, OuterHeaders};
use snapshot::{Action, Route, RouteTable, VirtualHost, Weighted};

use super::proto::{limit, no, number, pack, refuse, to_limit, unpack};
use super::{
    cors, ext_authz, fault, hash, headers, local_rate_limit, matching, metadata, mirror, redirect, retry,
    rewrite, timeouts,
};
use crate::rejected::Reason;

/// Envoy's limit of an exchange where none is stated.
const ROUTE_TIMEOUT: Duration = Duration::from_secs(15);
/// The weight of a cluster that is named alone.
const SOLE_WEIGHT: u32 = 1;

pub(super) fn to_proto(table: &RouteTable) -> pb::RouteConfiguration {
    pb::RouteConfiguration {
        name: table.name.to_string(),
        virtual_hosts: table.hosts.iter().map(host_to_proto).collect(),
        // A route may name a cluster that is still to come; it answers 503 until then.
        validate_clusters: no(),
        ignore_port_in_host_matching: !table.match_ports,
        ..Default::default()
    }
}

/// `validate_clusters` is let through: a missing cluster answers 503 either way.
pub(super) fn from_proto(message: pb::RouteConfiguration) -> Result<RouteTable, Reason> {
    refuse!(
        message,
        "RouteConfiguration",
        [
            vhds,
            internal_only_headers,
            cluster_specifier_plugins,
            request_mirror_policies,
            vhost_header,
            ignore_path_parameters_in_path_matching,
            most_specific_header_mutations_wins,
            route_specifiers,
        ]
    );
    let outer = OuterHeaders {
        request: headers::from_proto(message.request_headers_to_add, &message.request_headers_to_remove)?,
        response: headers::from_proto(
            message.response_headers_to_add,
            &message.response_headers_to_remove,
        )?,
    };
    let mut hosts = Vec::with_capacity(message.virtual_hosts.len());
    for mut host in message.virtual_hosts {
        inherit(
            &message.typed_per_filter_config,
            &mut host.typed_per_filter_config,
        );
        hosts.push(host_from_proto(host, &outer)?);
    }
    // Where every domain is a star, ports make no difference.
    let named = hosts
        .iter()
        .flat_map(|host| &host.domains)
        .any(|domain| domain != "*");
    Ok(RouteTable {
        name: message.name.into(),
        match_ports: named && !message.ignore_port_in_host_matching,
        hosts,
    })
}

/// What the whole says and the part does not.
fn inherit(outer: &HashMap<String, Any>, inner: &mut HashMap<String, Any>) {
    for (name, config) in outer {
        match inner.get_mut(name) {
            None => drop(inner.insert(name.clone(), config.clone())),
            Some(own) if name == ext_authz::FILTER => ext_authz::inherit(config, own),
            Some(_) => {}
        }
    }
}

/// A route that never matches is left out: for one bad pattern a proxy would refuse the table whole.
fn host_to_proto(host: &VirtualHost) -> pb::VirtualHost {
    let routes = host.routes.iter();
    pb::VirtualHost {
        name: host.name.clone(),
        domains: host.domains.clone(),
        routes: routes
            .filter(|route| snapshot::route::can_compile(route))
            .map(route_to_proto)
            .collect(),
        include_request_attempt_count: !host.without_attempt_count,
        ..Default::default()
    }
}

/// What the host says for all its routes becomes what each of them says.
fn host_from_proto(message: pb::VirtualHost, table: &OuterHeaders) -> Result<VirtualHost, Reason> {
    refuse!(
        message,
        "VirtualHost",
        [
            matcher,
            require_tls,
            rate_limits,
            cors,
            include_attempt_count_in_response,
            retry_policy_typed_config,
            hedge_policy,
            include_is_timeout_retry_header,
            request_mirror_policies,
            route_specifiers,
        ]
    );
    let own = OuterHeaders {
        request: headers::from_proto(message.request_headers_to_add, &message.request_headers_to_remove)?,
        response: headers::from_proto(
            message.response_headers_to_add,
            &message.response_headers_to_remove,
        )?,
    };
    let outer = [own, table.clone()];
    let outer: Vec<_> = outer
        .into_iter()
        .filter(|outer| *outer != OuterHeaders::default())
        .collect();
    let retry = message.retry_policy.map(retry::from_proto).transpose()?;
    let mut routes = Vec::with_capacity(message.routes.len());
    for mut route in message.routes {
        inherit(
            &message.typed_per_filter_config,
            &mut route.typed_per_filter_config,
        );
        let mut route = route_from_proto(route)?;
        route.outer_headers.clone_from(&outer);
        if let Action::Forward(forward) = &mut route.action {
            forward.retry = forward.retry.take().or_else(|| retry.clone());
        }
        routes.push(route);
    }
    Ok(VirtualHost {
        name: message.name,
        without_attempt_count: !message.include_request_attempt_count,
        domains: message
            .domains
            .iter()
            .map(|domain| domain.to_ascii_lowercase())
            .collect(),
        routes,
    })
}

fn route_to_proto(route: &Route) -> pb::Route {
    let action = match &route.action {
        Action::Forward(forward) => pb::route::Action::Route(forward_to_proto(forward)),
        Action::Respond(response) => pb::route::Action::DirectResponse(response_to_proto(response)),
        Action::Redirect(redirect) => pb::route::Action::Redirect(redirect::to_proto(redirect)),
    };
    let request = headers::to_proto(&route.request_headers);
    let response = headers::to_proto(&route.response_headers);
    pb::Route {
        name: route.name.clone(),
        r#match: Some(matching::to_proto(&route.matches)),
        action: Some(action),
        metadata: metadata::of(route.origin.as_ref(), None),
        request_headers_to_add: request.add,
        request_headers_to_remove: request.remove,
        response_headers_to_add: response.add,
        response_headers_to_remove: response.remove,
        stat_prefix: route.stat_prefix.clone(),
        typed_per_filter_config: filters_to_proto(route),
        ..Default::default()
    }
}

/// What a route says to the filters before it.
fn filters_to_proto(route: &Route) -> HashMap<String, Any> {
    let fault = route
        .fault
        .as_ref()
        .map(|fault| (fault::FILTER, pack(fault::to_proto(fault))));
    let cors = route
        .cors
        .as_ref()
        .map(|cors| (cors::FILTER, pack(cors::to_proto(cors))));
    let limit = route
        .local_rate_limit
        .as_ref()
        .map(|limit| (local_rate_limit::FILTER, pack(local_rate_limit::to_proto(limit))));
    let authorization = route
        .ext_authz
        .as_deref()
        .map(|route| (ext_authz::FILTER, pack(ext_authz::route_to_proto(route))));
    let all = fault.into_iter().chain(cors).chain(limit).chain(authorization);
    all.map(|(name, config)| (name.to_owned(), config)).collect()
}

fn filters_from_proto(configs: &HashMap<String, Any>, route: &mut Route) -> Result<(), Reason> {
    for (name, config) in configs {
        let field = format!("Route.typed_per_filter_config {name:?}");
        match name.as_str() {
            fault::FILTER => route.fault = Some(fault::from_proto(&unpack(config, &field)?)?),
            cors::FILTER => route.cors = cors::from_proto(unpack(config, &field)?)?,
            local_rate_limit::FILTER => {
                route.local_rate_limit = local_rate_limit::from_proto(unpack(config, &field)?)?;
            }
            ext_authz::FILTER => {
                let said = ext_authz::route_from_proto(unpack(config, &field)?)?;
                route.ext_authz = Some(Box::new(said));
            }
            _ => return Err(Reason::unsupported(field)),
        }
    }
    Ok(())
}

/// `decorator` and `tracing` shape traces only.
fn route_from_proto(message: pb::Route) -> Result<Route, Reason> {
    refuse!(message, "Route", [route_specifiers]);
    let action = match message.action {
        Some(pb::route::Action::Route(action)) => Action::Forward(forward_from_proto(action)?),
        Some(pb::route::Action::DirectResponse(response)) => Action::Respond(response_from_proto(response)?),
        Some(pb::route::Action::Redirect(action)) => Action::Redirect(redirect::from_proto(action)?),
        Some(pb::route::Action::FilterAction(_)) => return Err(Reason::unsupported("Route.filter_action")),
        Some(pb::route::Action::NonForwardingAction(_)) => {
            return Err(Reason::unsupported("Route.non_forwarding_action"));
        }
        None => return Err(Reason::missing("Route.action")),
    };
    let matches = message.r#match.unwrap_or_default();
    let segments = match &matches.path_specifier {
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => Some(prefix.clone()),
        _ => None,
    };
    let mut route = Route {
        name: message.name,
        matches: matching::from_proto(matches)?,
        request_headers: headers::from_proto(
            message.request_headers_to_add,
            &message.request_headers_to_remove,
        )?,
        response_headers: headers::from_proto(
            message.response_headers_to_add,
            &message.response_headers_to_remove,
        )?,
        stat_prefix: message.stat_prefix,
        origin: metadata::origin(message.metadata.as_ref()),
        ..Route::new(action)
    };
    filters_from_proto(&message.typed_per_filter_config, &mut route)?;
    if let Some(prefix) = segments {
        rewrite::segments(&prefix, &mut route.action);
    }
    Ok(route)
}

fn forward_to_proto(forward: &Forward) -> pb::RouteAction {
    let clusters = match forward.clusters.as_slice() {
        [only] if *only == Weighted::new(only.cluster.clone(), SOLE_WEIGHT) => {
            ClusterSpecifier::Cluster(only.cluster.to_string())
        }
        several => ClusterSpecifier::WeightedClusters(pb::WeightedCluster {
            clusters: several.iter().map(weighted_to_proto).collect(),
            ..Default::default()
        }),
    };
    let mut action = pb::RouteAction {
        cluster_specifier: Some(clusters),
        timeout: limit(forward.timeout),
        retry_policy: forward.retry.as_ref().map(retry::to_proto),
        host_rewrite_specifier: rewrite::authority_to_proto(forward.authority_rewrite.as_ref()),
        hash_policy: forward.hash.iter().map(hash::to_proto).collect(),
        request_mirror_policies: forward.mirrors.iter().map(mirror::to_proto).collect(),
        ..Default::default()
    };
    timeouts::route_to_proto(forward, &mut action);
    rewrite::path_to_proto(forward.path_rewrite.as_ref(), &mut action);
    action
}

fn forward_from_proto(message: pb::RouteAction) -> Result<Forward, Reason> {
    check_forward(&message)?;
    let timeout = to_limit(message.timeout, ROUTE_TIMEOUT, "RouteAction.timeout")?;
    let mut limits = Forward {
        timeout,
        ..Forward::to(Vec::new())
    };
    timeouts::route_from_proto(&message, &mut limits)?;
    let clusters = match message.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![Weighted::new(name.into(), SOLE_WEIGHT)],
        Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted_from_proto(weighted)?,
        Some(_) => {
            let field = "RouteAction.cluster_specifier other than names";
            return Err(Reason::unsupported(field));
        }
        None => return Err(Reason::missing("RouteAction.cluster_specifier")),
    };
    Ok(Forward {
        clusters,
        retry: message.retry_policy.map(retry::from_proto).transpose()?,
        path_rewrite: rewrite::path_from_proto(message.prefix_rewrite, message.regex_rewrite)?,
        authority_rewrite: rewrite::authority_from_proto(message.host_rewrite_specifier)?,
        hash: hash::from_proto(message.hash_policy)?,
        mirrors: message
            .request_mirror_policies
            .into_iter()
            .map(mirror::from_proto)
            .collect::<Result<_, _>>()?,
        ..limits
    })
}

fn check_forward(message: &pb::RouteAction) -> Result<(), Reason> {
    refuse!(
        message,
        "RouteAction",
        [
            // 0 is 503 for a missing cluster, which is what we answer.
            cluster_not_found_response_code,
            metadata_match,
            path_rewrite_policy,
            path_rewrite,
            append_x_forwarded_host,
            early_data_policy,
            retry_policy_typed_config,
            priority,
            rate_limits,
            cors,
            grpc_timeout_offset,
            upgrade_configs,
            internal_redirect_policy,
            internal_redirect_action,
            hedge_policy,
        ]
    );
    Ok(())
}

fn weighted_to_proto(weighted: &Weighted) -> ClusterWeight {
    let request = headers::to_proto(&weighted.request_headers);
    let response = headers::to_proto(&weighted.response_headers);
    ClusterWeight {
        name: weighted.cluster.to_string(),
        weight: number(weighted.weight),
        request_headers_to_add: request.add,
        request_headers_to_remove: request.remove,
        response_headers_to_add: response.add,
        response_headers_to_remove: response.remove,
        host_rewrite_specifier: rewrite::target_authority_to_proto(weighted.authority_rewrite.as_ref()),
        ..Default::default()
    }
}

fn weighted_from_proto(message: pb::WeightedCluster) -> Result<Vec<Weighted>, Reason> {
    refuse!(message, "WeightedCluster", [random_value_specifier]);
    if message.clusters.is_empty() {
        return Err(Reason::missing("WeightedCluster.clusters"));
    }
    let one = |cluster: ClusterWeight| {
        refuse!(
            cluster,
            "WeightedCluster.ClusterWeight",
            [cluster_header, metadata_match, typed_per_filter_config]
        );
        Ok(Weighted {
            cluster: cluster.name.into(),
            weight: cluster.weight.map_or(0, |weight| weight.value),
            request_headers: headers::from_proto(
                cluster.request_headers_to_add,
                &cluster.request_headers_to_remove,
            )?,
            response_headers: headers::from_proto(
                cluster.response_headers_to_add,
                &cluster.response_headers_to_remove,
            )?,
            authority_rewrite: rewrite::target_authority_from_proto(cluster.host_rewrite_specifier),
        })
    };
    message.clusters.into_iter().map(one).collect()
}

fn response_to_proto(response: &DirectResponse) -> pb::DirectResponseAction {
    pb::DirectResponseAction {
        status: response.status.into(),
        body: (!response.body.is_empty()).then(|| DataSource {
            specifier: Some(Specifier::InlineString(response.body.clone())),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn response_from_proto(message: pb::DirectResponseAction) -> Result<DirectResponse, Reason> {
    refuse!(message, "DirectResponseAction", [body_format]);
    let status = u16::try_from(message.status)
        .ok()
        .filter(|status| (200..600).contains(status));
    let body = match message.body.and_then(|body| body.specifier) {
        None => String::new(),
        Some(Specifier::InlineString(text)) => text,
        Some(Specifier::InlineBytes(bytes)) => String::from_utf8(bytes)
            .map_err(|_| Reason::unsupported("DirectResponseAction.body that is not text"))?,
        Some(Specifier::Filename(_) | Specifier::EnvironmentVariable(_)) => {
            return Err(Reason::unsupported("DirectResponseAction.body from elsewhere"));
        }
    };
    Ok(DirectResponse {
        status: status.ok_or_else(|| Reason::new("DirectResponseAction.status", "is not from 200 to 599"))?,
        body,
    })
}
