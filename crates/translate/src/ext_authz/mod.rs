//! Policies whose decision somebody else makes (`AuthorizationPolicy`, action CUSTOM) → pairs of filters, as Istio makes
//! them: rules that are only tried out and say which policy holds, then the question to the provider of that policy.
//!
//! A provider that is not there, or cannot be asked, denies what its policies hold for. So do several providers for one
//! workload, which Istio allows only behind a switch that is off.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use snapshot::ext_authz::{
    AuthorizationService, CheckedBody, CheckedPath, FORBIDDEN, GrpcService, HttpService, MetadataCondition,
    NamePattern, TcpExtAuthz,
};
use snapshot::{ClusterName, ExtAuthz, HeaderField, Host, HttpFilter, NetworkFilter};

use crate::authorization::{CUSTOM, Custom, OfConnections, SHADOW_CUSTOM};
use crate::mesh::services::{Service, Services};
use crate::mesh::settings::extension_providers::{
    ExtAuthzGrpc, ExtAuthzHttp, ExtensionProviders, Provider, RequestBody, status_on_error,
};

/// What they tell: the policy.
const POLICY: &str = "shadow_effective_policy_id";
/// Where the rules tell it.
const HTTP_RULES: &str = "envoy.filters.http.rbac";
const NETWORK_RULES: &str = "envoy.filters.network.rbac";
/// Prefix of statistics about connections.
const TCP: &str = "tcp.";
/// Limit of a question, where the provider states none.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Longest name of a provider.
const LONGEST_NAME: usize = 63;

/// A provider that can be asked.
#[derive(Clone, Debug, PartialEq)]
struct Built {
    http: ExtAuthz,
    /// `None` where it speaks no gRPC: then it is not asked about connections.
    tcp: Option<TcpExtAuthz>,
}

/// The providers of a mesh, those that can be asked and those that cannot.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Providers(BTreeMap<String, Result<Built, String>>);

impl Providers {
    /// Finds their services.
    pub(crate) fn of(services: &Services, providers: &ExtensionProviders) -> Self {
        let providers = providers.iter();
        Self(
            providers
                .map(|(name, provider)| (name.clone(), build(services, name, provider)))
                .collect(),
        )
    }

    /// The filters for requests.
    pub(crate) fn http_filters(&self, asking: Vec<Custom>) -> Vec<HttpFilter> {
        let several = asking.len() > 1;
        let pairs = asking
            .into_iter()
            .map(|custom| match self.find(&custom.provider) {
                Ok(built) if !several => {
                    let filter = ExtAuthz {
                        when: Some(condition(HTTP_RULES, &custom.provider)),
                        ..built.http.clone()
                    };
                    vec![
                        HttpFilter::Authorization(Arc::new(custom.asked())),
                        HttpFilter::ExtAuthz(Box::new(filter)),
                    ]
                }
                _ => vec![HttpFilter::Authorization(Arc::new(custom.refused()))],
            });
        pairs.flatten().collect()
    }

    /// The filters for connections that carry opaque bytes.
    pub(crate) fn network_filters(&self, asking: Vec<Custom>) -> Vec<NetworkFilter> {
        let several = asking.len() > 1;
        let pairs = asking.into_iter().map(|custom| {
            let built = self.find(&custom.provider);
            match built.map(|built| built.tcp.as_ref()) {
                Ok(Some(tcp)) if !several => {
                    let filter = TcpExtAuthz {
                        when: Some(condition(NETWORK_RULES, &custom.provider)),
                        ..tcp.clone()
                    };
                    vec![
                        NetworkFilter::Authorization(Arc::new(custom.asked().of_connections())),
                        NetworkFilter::ExtAuthz(Box::new(filter)),
                    ]
                }
                Ok(None) if !several => Vec::new(),
                _ => {
                    let refused = custom.refused().of_connections();
                    vec![NetworkFilter::Authorization(Arc::new(refused))]
                }
            }
        });
        pairs.flatten().collect()
    }

    /// Why the provider of that name cannot be asked.
    pub(crate) fn problem(&self, name: &str) -> Option<String> {
        self.find(name).err()
    }

    /// Whether the provider of that name can be asked, and about requests only.
    pub(crate) fn knows_only_requests(&self, name: &str) -> bool {
        self.find(name).is_ok_and(|built| built.tcp.is_none())
    }

    /// Where those are that can be asked, and why the others cannot.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (&str, Result<&ClusterName, &str>)> {
        self.0.iter().map(|(name, built)| {
            let target = built.as_ref().map(|built| built.http.service.cluster());
            (name.as_str(), target.map_err(String::as_str))
        })
    }

    fn find(&self, name: &str) -> Result<&Built, String> {
        match self.0.get(name) {
            Some(built) => built.as_ref().map_err(Clone::clone),
            None => {
                let known: Vec<_> = self.0.keys().map(String::as_str).collect();
                Err(format!(
                    "available providers are [{}] but found {name:?}",
                    known.join(" ")
                ))
            }
        }
    }
}

/// The services that providers name.
pub(crate) fn services_of<'m>(
    services: &'m Services,
    providers: &'m ExtensionProviders,
) -> impl Iterator<Item = &'m Arc<Service>> {
    let named = providers.values().filter_map(Provider::service);
    named.filter_map(|name| find(services, name).ok())
}

fn condition(filter: &str, provider: &str) -> MetadataCondition {
    MetadataCondition {
        filter: filter.to_owned(),
        path: vec![format!("{SHADOW_CUSTOM}{POLICY}")],
        prefix: format!("{CUSTOM}-{provider}"),
    }
}

fn build(services: &Services, name: &str, provider: &Provider) -> Result<Built, String> {
    check_name(name)?;
    match provider {
        Provider::Other(kind) => Err(format!(
            "provider {name} is of the kind {kind}, which decides nothing"
        )),
        Provider::ExtAuthzHttp(provider) => over_http(services, provider),
        Provider::ExtAuthzGrpc(provider) => over_grpc(services, provider),
    }
}

/// The name goes into names of policies.
fn check_name(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.len() > LONGEST_NAME {
        return Err(format!(
            "provider name too long (max {LONGEST_NAME} characters): {}",
            name.len()
        ));
    }
    match !name.is_empty() && name.bytes().all(allowed) && !name.starts_with('-') && !name.ends_with('-') {
        true => Ok(()),
        false => Err(format!(
            "invalid provider name {name:?}: only lowercase letters, digits and hyphens between them"
        )),
    }
}

fn over_http(services: &Services, provider: &ExtAuthzHttp) -> Result<Built, String> {
    let (host, cluster) = target(services, &provider.service, provider.port)?;
    let headers = match provider.include_request_headers_in_check.as_slice() {
        [] => ("includeHeadersInCheck", &provider.include_headers_in_check),
        _ => (
            "includeRequestHeadersInCheck",
            &provider.include_request_headers_in_check,
        ),
    };
    let headers = patterns(headers)?;
    let on_deny = patterns((
        "headersToDownstreamOnDeny",
        &provider.headers_to_downstream_on_deny,
    ))?;
    let added = provider
        .include_additional_headers_in_check
        .iter()
        .map(|(name, value)| {
            HeaderField::new(name, value)
                .map_err(|problem| format!("includeAdditionalHeadersInCheck {name:?}: {problem}"))
        });
    let service = HttpService {
        timeout: Some(limit(provider.timeout)),
        path: CheckedPath::Prefix(provider.path_prefix.clone()),
        add: added.collect::<Result<_, _>>()?,
        to_upstream: patterns(("headersToUpstreamOnAllow", &provider.headers_to_upstream_on_allow))?,
        to_client_on_deny: (!on_deny.is_empty()).then_some(on_deny),
        to_client_on_allow: patterns((
            "headersToDownstreamOnAllow",
            &provider.headers_to_downstream_on_allow,
        ))?,
        ..HttpService::new(cluster, format!("http://{host}"))
    };
    let http = ExtAuthz {
        fail_open: provider.fail_open,
        routes_anew: provider.clear_route_cache,
        status_on_error: status_on_error(&provider.status_on_error)?.unwrap_or(FORBIDDEN),
        body: provider.include_request_body_in_check.map(body),
        headers: (!headers.is_empty()).then_some(headers),
        ..ExtAuthz::new(AuthorizationService::Http(service))
    };
    Ok(Built { http, tcp: None })
}

fn over_grpc(services: &Services, provider: &ExtAuthzGrpc) -> Result<Built, String> {
    let (host, cluster) = target(services, &provider.service, provider.port)?;
    let service = GrpcService {
        cluster,
        authority: host.to_string(),
        timeout: Some(limit(provider.timeout)),
        metadata: Vec::new(),
    };
    let http = ExtAuthz {
        fail_open: provider.fail_open,
        routes_anew: provider.clear_route_cache,
        status_on_error: status_on_error(&provider.status_on_error)?.unwrap_or(FORBIDDEN),
        body: provider.include_request_body_in_check.map(body),
        ..ExtAuthz::new(AuthorizationService::Grpc(service.clone()))
    };
    let tcp = TcpExtAuthz {
        service,
        when: None,
        fail_open: provider.fail_open,
        stat_prefix: TCP.to_owned(),
    };
    Ok(Built { http, tcp: Some(tcp) })
}

/// Zero would be no limit at all to Envoy: requests would wait for ever for a service that hangs.
fn limit(stated: Option<resources::istio::Duration>) -> Duration {
    let stated = stated.map(|limit| limit.0);
    stated.filter(|limit| !limit.is_zero()).unwrap_or(TIMEOUT)
}

fn body(body: RequestBody) -> CheckedBody {
    CheckedBody {
        most: body.max_request_bytes,
        partial: body.allow_partial_message,
        as_bytes: body.pack_as_bytes,
    }
}

fn patterns((field, texts): (&str, &Vec<String>)) -> Result<Vec<NamePattern>, String> {
    let pattern = |text: &String| match text.as_str() {
        "*" => Err(format!(
            "a single wildcard (\"*\") is not supported, change it to either prefix or suffix match: {field}"
        )),
        text => Ok(NamePattern::from_wildcard(text)),
    };
    texts.iter().map(pattern).collect()
}

fn target(services: &Services, service: &str, port: u32) -> Result<(Host, ClusterName), String> {
    let found = find(services, service)?;
    let port =
        u16::try_from(port).map_err(|_| format!("port must be in the range [1, 65535], found: {port}"))?;
    Ok((found.host.clone(), ClusterName::outbound(port, "", &found.host)))
}

/// The service of `[NAMESPACE/]HOST`.
fn find<'m>(services: &'m Services, name: &str) -> Result<&'m Arc<Service>, String> {
    let (namespace, host) = match name.split_once('/') {
        Some((namespace, host)) => (Some(namespace), host),
        None => (None, name),
    };
    let found = services.get(host);
    let found = found.filter(|service| namespace.is_none_or(|namespace| service.namespace == namespace));
    found.ok_or_else(|| format!("could not find service {name} in Istio service registry"))
}

#[cfg(test)]
mod tests;
