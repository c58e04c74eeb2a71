//! Services that decide about requests and connections ⇄ `extensions.filters.http.ext_authz.v3.ExtAuthz` and
//! `extensions.filters.network.ext_authz.v3.ExtAuthz`.

use std::time::Duration;

use core::grpc_service::{EnvoyGrpc, TargetSpecifier};
use core::http_uri::HttpUpstreamType;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3 as pb;
use envoy_types::pb::envoy::extensions::filters::network::ext_authz::v3 as tcp_pb;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf as wire;
use matcher::metadata_matcher::{PathSegment, path_segment::Segment};
use matcher::string_matcher::MatchPattern;
use matcher::value_matcher::MatchPattern as ValuePattern;
use pb::ext_authz::Services;
use pb::ext_authz_per_route::Override;
use snapshot::HeaderField;
use snapshot::ext_authz::{
    AuthorizationService, CheckedBody, CheckedPath, ExtAuthz, FORBIDDEN, GrpcService, HttpService,
    MetadataCondition, NamePattern, RouteExtAuthz, TcpExtAuthz,
};

use super::proto::{duration, is, no, pack, refuse, to_duration, unpack, yes};
use super::{headers, local_rate_limit};
use crate::rejected::Reason;

/// The filter of requests, and the key of what a route says to it.
pub(super) const FILTER: &str = "envoy.filters.http.ext_authz";
pub(super) const NETWORK_FILTER: &str = "envoy.filters.network.ext_authz";
/// Envoy's limit for a call over gRPC, where none is stated.
const GRPC_TIMEOUT: Duration = Duration::from_millis(200);
/// Runtime keys are needed where there is no runtime.
const SHARE_KEY: &str = "ext_authz.share";
const DENY_KEY: &str = "ext_authz.deny_unasked";
const V3: i32 = core::ApiVersion::V3 as i32;

pub(super) fn to_proto(filter: &ExtAuthz) -> pb::ExtAuthz {
    let everybody = ExtAuthz::new(filter.service.clone()).share;
    pb::ExtAuthz {
        services: Some(service_to_proto(&filter.service)),
        transport_api_version: V3,
        failure_mode_allow: filter.fail_open,
        failure_mode_allow_header_add: filter.marks_failures,
        with_request_body: filter.body.map(body_to_proto),
        clear_route_cache: filter.routes_anew,
        status_on_error: (filter.status_on_error != FORBIDDEN).then(|| HttpStatus {
            code: filter.status_on_error.into(),
        }),
        validate_mutations: filter.validates,
        metadata_context_namespaces: filter.metadata.clone(),
        filter_enabled: (filter.share != everybody).then(|| core::RuntimeFractionalPercent {
            runtime_key: SHARE_KEY.into(),
            ..local_rate_limit::fraction(filter.share)
        }),
        filter_enabled_metadata: filter.when.as_ref().map(condition_to_proto),
        deny_at_disable: filter.deny_unasked.then(|| core::RuntimeFeatureFlag {
            default_value: yes(),
            runtime_key: DENY_KEY.into(),
        }),
        stat_prefix: filter.stat_prefix.clone(),
        allowed_headers: filter.headers.as_deref().map(names_to_proto),
        disallowed_headers: some_names(&filter.withheld_headers),
        encode_raw_headers: filter.raw_headers,
        enable_dynamic_metadata_ingestion: if filter.ignores_metadata { no() } else { None },
        max_denied_response_body_bytes: filter.longest_body,
        ..Default::default()
    }
}

/// Statistics and traces are let through.
pub(super) fn from_proto(message: pb::ExtAuthz) -> Result<ExtAuthz, Reason> {
    refuse!(
        message,
        "ExtAuthz",
        [
            typed_metadata_context_namespaces,
            route_metadata_context_namespaces,
            route_typed_metadata_context_namespaces,
            include_peer_certificate,
            bootstrap_metadata_labels_key,
            include_tls_session,
            decoder_header_mutation_rules,
            enforce_response_header_limits,
            shadow_mode,
        ]
    );
    check_version(message.transport_api_version)?;
    let service = message
        .services
        .ok_or_else(|| Reason::missing("ExtAuthz.services"))?;
    let (service, old_headers) = service_from_proto(service)?;
    let headers = match (message.allowed_headers, old_headers) {
        (Some(_), Some(_)) => {
            return Err(Reason::new("ExtAuthz.allowed_headers", "is stated twice"));
        }
        (new, old) => new.or(old).map(names_from_proto).transpose()?,
    };
    let everybody = ExtAuthz::new(service.clone()).share;
    let share = message
        .filter_enabled
        .map(|share| local_rate_limit::millionths(Some(share)));
    Ok(ExtAuthz {
        when: message
            .filter_enabled_metadata
            .map(condition_from_proto)
            .transpose()?,
        share: share.unwrap_or(Ok(everybody))?,
        deny_unasked: message
            .deny_at_disable
            .is_some_and(|flag| is(flag.default_value, false)),
        fail_open: message.failure_mode_allow,
        marks_failures: message.failure_mode_allow_header_add,
        status_on_error: status_from_proto(message.status_on_error)?,
        routes_anew: message.clear_route_cache,
        body: message.with_request_body.map(body_from_proto).transpose()?,
        headers,
        withheld_headers: list_from_proto(message.disallowed_headers)?,
        raw_headers: message.encode_raw_headers,
        metadata: message.metadata_context_namespaces,
        ignores_metadata: !is(message.enable_dynamic_metadata_ingestion, true),
        validates: message.validate_mutations,
        longest_body: message.max_denied_response_body_bytes,
        stat_prefix: message.stat_prefix,
        ..ExtAuthz::new(service)
    })
}

pub(super) fn network_to_proto(filter: &TcpExtAuthz) -> tcp_pb::ExtAuthz {
    tcp_pb::ExtAuthz {
        stat_prefix: filter.stat_prefix.clone(),
        grpc_service: Some(grpc_to_proto(&filter.service)),
        failure_mode_allow: filter.fail_open,
        transport_api_version: V3,
        filter_enabled_metadata: filter.when.as_ref().map(condition_to_proto),
        ..Default::default()
    }
}

pub(super) fn network_from_proto(message: tcp_pb::ExtAuthz) -> Result<TcpExtAuthz, Reason> {
    refuse!(
        message,
        "ExtAuthz",
        [
            include_peer_certificate,
            bootstrap_metadata_labels_key,
            include_tls_session,
            send_tls_alert_on_denial,
            metadata_context_namespaces,
            typed_metadata_context_namespaces,
            shadow_mode,
        ]
    );
    check_version(message.transport_api_version)?;
    let service = message
        .grpc_service
        .ok_or_else(|| Reason::missing("ExtAuthz.grpc_service"))?;
    Ok(TcpExtAuthz {
        service: grpc_from_proto(service)?,
        when: message
            .filter_enabled_metadata
            .map(condition_from_proto)
            .transpose()?,
        fail_open: message.failure_mode_allow,
        stat_prefix: message.stat_prefix,
    })
}

pub(super) fn route_to_proto(route: &RouteExtAuthz) -> pb::ExtAuthzPerRoute {
    let said = match route.disabled {
        true => Override::Disabled(true),
        false => Override::CheckSettings(pb::CheckSettings {
            context_extensions: route.context.clone().into_iter().collect(),
            disable_request_body_buffering: route.without_body,
            with_request_body: route.body.map(body_to_proto),
            ..Default::default()
        }),
    };
    pb::ExtAuthzPerRoute {
        r#override: Some(said),
    }
}

pub(super) fn route_from_proto(message: pb::ExtAuthzPerRoute) -> Result<RouteExtAuthz, Reason> {
    match message.r#override {
        None => Err(Reason::missing("ExtAuthzPerRoute.override")),
        Some(Override::Disabled(true)) => Ok(RouteExtAuthz {
            disabled: true,
            ..RouteExtAuthz::default()
        }),
        Some(Override::Disabled(false)) => Err(Reason::unsupported("ExtAuthzPerRoute.disabled false")),
        Some(Override::CheckSettings(settings)) => {
            refuse!(settings, "CheckSettings", [service_override]);
            Ok(RouteExtAuthz {
                disabled: false,
                context: settings.context_extensions.into_iter().collect(),
                without_body: settings.disable_request_body_buffering,
                body: settings.with_request_body.map(body_from_proto).transpose()?,
            })
        }
    }
}

/// A service is told what all levels say of the context; where they differ, the inner one counts. What is no such message
/// is refused when it is read.
pub(super) fn inherit(outer: &wire::Any, own: &mut wire::Any) {
    let read = |any: &wire::Any| match unpack::<pb::ExtAuthzPerRoute>(any, "") {
        Ok(pb::ExtAuthzPerRoute {
            r#override: Some(Override::CheckSettings(settings)),
        }) => Some(settings),
        Ok(_) | Err(_) => None,
    };
    if let (Some(outer), Some(mut settings)) = (read(outer), read(own)) {
        for (key, value) in outer.context_extensions {
            settings.context_extensions.entry(key).or_insert(value);
        }
        *own = pack(pb::ExtAuthzPerRoute {
            r#override: Some(Override::CheckSettings(settings)),
        });
    }
}

/// Left out, it is the second version, which nobody speaks any more.
fn check_version(version: i32) -> Result<(), Reason> {
    match core::ApiVersion::try_from(version) {
        Ok(core::ApiVersion::V3) => Ok(()),
        _ => Err(Reason::new("ExtAuthz.transport_api_version", "must be V3")),
    }
}

fn service_to_proto(service: &AuthorizationService) -> Services {
    match service {
        AuthorizationService::Grpc(service) => Services::GrpcService(grpc_to_proto(service)),
        AuthorizationService::Http(service) => Services::HttpService(http_to_proto(service)),
    }
}

/// The service, and the fields that it is told in the words of older controllers.
fn service_from_proto(
    service: Services,
) -> Result<(AuthorizationService, Option<matcher::ListStringMatcher>), Reason> {
    match service {
        Services::GrpcService(service) => Ok((AuthorizationService::Grpc(grpc_from_proto(service)?), None)),
        Services::HttpService(mut service) => {
            let request = service.authorization_request.as_mut();
            let headers = request.and_then(|request| request.allowed_headers.take());
            Ok((AuthorizationService::Http(http_from_proto(service)?), headers))
        }
    }
}

fn grpc_to_proto(service: &GrpcService) -> core::GrpcService {
    core::GrpcService {
        // Zero is no limit.
        timeout: duration(service.timeout.unwrap_or_default()),
        initial_metadata: service.metadata.iter().map(headers::value_to_proto).collect(),
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
            cluster_name: service.cluster.to_string(),
            authority: service.authority.clone(),
            ..Default::default()
        })),
        ..Default::default()
    }
}

fn grpc_from_proto(message: core::GrpcService) -> Result<GrpcService, Reason> {
    refuse!(message, "GrpcService", [retry_policy]);
    let target = match message.target_specifier {
        Some(TargetSpecifier::EnvoyGrpc(target)) => target,
        Some(TargetSpecifier::GoogleGrpc(_)) => return Err(Reason::unsupported("GrpcService.google_grpc")),
        None => return Err(Reason::missing("GrpcService.envoy_grpc")),
    };
    refuse!(
        target,
        "EnvoyGrpc",
        [retry_policy, max_receive_message_length, skip_envoy_headers]
    );
    let metadata = message.initial_metadata.into_iter().map(Some);
    let timeout = message.timeout.map_or(Ok(GRPC_TIMEOUT), |limit| {
        to_duration(limit, "GrpcService.timeout")
    })?;
    Ok(GrpcService {
        cluster: target.cluster_name.into(),
        authority: target.authority,
        timeout: (!timeout.is_zero()).then_some(timeout),
        metadata: metadata
            .map(headers::value_from_proto)
            .collect::<Result<_, _>>()?,
    })
}

fn http_to_proto(service: &HttpService) -> pb::HttpService {
    let (path_prefix, path_override) = match &service.path {
        CheckedPath::Prefix(path) => (path.clone(), String::new()),
        CheckedPath::Instead(path) => (String::new(), path.clone()),
    };
    let response = pb::AuthorizationResponse {
        allowed_upstream_headers: some_names(&service.to_upstream),
        allowed_upstream_headers_to_append: some_names(&service.append_to_upstream),
        allowed_client_headers: service.to_client_on_deny.as_deref().map(names_to_proto),
        allowed_client_headers_on_success: some_names(&service.to_client_on_allow),
        dynamic_metadata_from_headers: some_names(&service.to_metadata),
    };
    pb::HttpService {
        server_uri: Some(core::HttpUri {
            uri: service.uri.clone(),
            timeout: duration(service.timeout.unwrap_or_default()),
            http_upstream_type: Some(HttpUpstreamType::Cluster(service.cluster.to_string())),
        }),
        path_prefix,
        path_override,
        authorization_request: (!service.add.is_empty()).then(|| pb::AuthorizationRequest {
            headers_to_add: service.add.iter().map(headers::value_to_proto).collect(),
            ..Default::default()
        }),
        authorization_response: (response != pb::AuthorizationResponse::default()).then_some(response),
        ..Default::default()
    }
}

fn http_from_proto(message: pb::HttpService) -> Result<HttpService, Reason> {
    refuse!(message, "HttpService", [retry_policy]);
    let uri = message
        .server_uri
        .ok_or_else(|| Reason::missing("HttpService.server_uri"))?;
    let cluster = match uri.http_upstream_type {
        Some(HttpUpstreamType::Cluster(cluster)) => cluster,
        None => return Err(Reason::missing("HttpUri.cluster")),
    };
    let timeout = uri.timeout.ok_or_else(|| Reason::missing("HttpUri.timeout"))?;
    let timeout = to_duration(timeout, "HttpUri.timeout")?;
    let path = match (message.path_prefix, message.path_override) {
        (prefix, path) if path.is_empty() => CheckedPath::Prefix(prefix),
        (prefix, path) if prefix.is_empty() => CheckedPath::Instead(path),
        _ => {
            return Err(Reason::new(
                "HttpService.path_override",
                "goes with no path_prefix",
            ));
        }
    };
    let added = message.authorization_request.unwrap_or_default().headers_to_add;
    let added: Vec<HeaderField> = added
        .into_iter()
        .map(|field| headers::value_from_proto(Some(field)))
        .collect::<Result<_, _>>()?;
    let response = message.authorization_response.unwrap_or_default();
    let on_deny = list_from_proto(response.allowed_client_headers)?;
    Ok(HttpService {
        timeout: (!timeout.is_zero()).then_some(timeout),
        path,
        add: added,
        to_upstream: list_from_proto(response.allowed_upstream_headers)?,
        append_to_upstream: list_from_proto(response.allowed_upstream_headers_to_append)?,
        to_client_on_deny: (!on_deny.is_empty()).then_some(on_deny),
        to_client_on_allow: list_from_proto(response.allowed_client_headers_on_success)?,
        to_metadata: list_from_proto(response.dynamic_metadata_from_headers)?,
        ..HttpService::new(cluster.into(), uri.uri)
    })
}

fn body_to_proto(body: CheckedBody) -> pb::BufferSettings {
    pb::BufferSettings {
        max_request_bytes: body.most,
        allow_partial_message: body.partial,
        pack_as_bytes: body.as_bytes,
    }
}

fn body_from_proto(message: pb::BufferSettings) -> Result<CheckedBody, Reason> {
    if message.max_request_bytes == 0 {
        return Err(Reason::new(
            "BufferSettings.max_request_bytes",
            "must be greater than 0",
        ));
    }
    Ok(CheckedBody {
        most: message.max_request_bytes,
        partial: message.allow_partial_message,
        as_bytes: message.pack_as_bytes,
    })
}

/// Envoy takes what it does not know for its default.
fn status_from_proto(status: Option<HttpStatus>) -> Result<u16, Reason> {
    let code = status.map_or(0, |status| status.code);
    let code = u16::try_from(code)
        .ok()
        .filter(|code| *code == 0 || (100..600).contains(code));
    match code {
        None => Err(Reason::new("ExtAuthz.status_on_error", "is no status")),
        Some(0) => Ok(FORBIDDEN),
        Some(code) => Ok(code),
    }
}

fn condition_to_proto(condition: &MetadataCondition) -> matcher::MetadataMatcher {
    let segment = |key: &String| PathSegment {
        segment: Some(Segment::Key(key.clone())),
    };
    let text = matcher::StringMatcher {
        match_pattern: Some(MatchPattern::Prefix(condition.prefix.clone())),
        ignore_case: false,
    };
    matcher::MetadataMatcher {
        filter: condition.filter.clone(),
        path: condition.path.iter().map(segment).collect(),
        value: Some(matcher::ValueMatcher {
            match_pattern: Some(ValuePattern::StringMatch(text)),
        }),
        invert: false,
    }
}

fn condition_from_proto(message: matcher::MetadataMatcher) -> Result<MetadataCondition, Reason> {
    refuse!(message, "MetadataMatcher", [invert]);
    let key = |segment: PathSegment| match segment.segment {
        Some(Segment::Key(key)) => Ok(key),
        None => Err(Reason::missing("MetadataMatcher.path")),
    };
    let path: Vec<String> = message.path.into_iter().map(key).collect::<Result<_, _>>()?;
    if path.is_empty() {
        return Err(Reason::missing("MetadataMatcher.path"));
    }
    let pattern = message.value.and_then(|value| value.match_pattern);
    let Some(ValuePattern::StringMatch(text)) = pattern else {
        return Err(Reason::unsupported(
            "MetadataMatcher.value other than string_match",
        ));
    };
    refuse!(text, "StringMatcher", [ignore_case]);
    match text.match_pattern {
        Some(MatchPattern::Prefix(prefix)) => Ok(MetadataCondition {
            filter: message.filter,
            path,
            prefix,
        }),
        _ => Err(Reason::unsupported("MetadataMatcher.value other than a prefix")),
    }
}

fn some_names(names: &[NamePattern]) -> Option<matcher::ListStringMatcher> {
    (!names.is_empty()).then(|| names_to_proto(names))
}

fn names_to_proto(names: &[NamePattern]) -> matcher::ListStringMatcher {
    let pattern = |name: &NamePattern| matcher::StringMatcher {
        match_pattern: Some(match name {
            NamePattern::Exact(text) => MatchPattern::Exact(text.clone()),
            NamePattern::Prefix(text) => MatchPattern::Prefix(text.clone()),
            NamePattern::Suffix(text) => MatchPattern::Suffix(text.clone()),
            NamePattern::Contains(text) => MatchPattern::Contains(text.clone()),
        }),
        ignore_case: true,
    };
    matcher::ListStringMatcher {
        patterns: names.iter().map(pattern).collect(),
    }
}

fn list_from_proto(message: Option<matcher::ListStringMatcher>) -> Result<Vec<NamePattern>, Reason> {
    message.map_or(Ok(Vec::new()), names_from_proto)
}

fn names_from_proto(message: matcher::ListStringMatcher) -> Result<Vec<NamePattern>, Reason> {
    message.patterns.into_iter().map(name_from_proto).collect()
}

fn name_from_proto(message: matcher::StringMatcher) -> Result<NamePattern, Reason> {
    let ignore_case = message.ignore_case;
    let lower = |text: String| match ignore_case || !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(Reason::new(
            "ListStringMatcher.patterns",
            format!("{text:?} takes no header: their names are lower case"),
        )),
    };
    match message.match_pattern {
        Some(MatchPattern::Exact(text)) => lower(text).map(NamePattern::Exact),
        Some(MatchPattern::Prefix(text)) => lower(text).map(NamePattern::Prefix),
        Some(MatchPattern::Suffix(text)) => lower(text).map(NamePattern::Suffix),
        Some(MatchPattern::Contains(text)) => lower(text).map(NamePattern::Contains),
        Some(MatchPattern::SafeRegex(_)) => {
            Err(Reason::unsupported("StringMatcher.safe_regex of header names"))
        }
        Some(MatchPattern::Custom(_)) => Err(Reason::unsupported("StringMatcher.custom")),
        None => Err(Reason::missing("StringMatcher.match_pattern")),
    }
}
