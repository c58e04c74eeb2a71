//! Request filters ⇄ `HttpFilter` of the HTTP connection manager.

use std::sync::Arc;

use envoy_types::pb::envoy::extensions::filters::http::cors::v3::Cors;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use envoy_types::pb::envoy::extensions::filters::http::grpc_web::v3::GrpcWeb;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use envoy_types::pb::google::protobuf::{Any, Struct};
use pb::http_filter::ConfigType;
use prost::Message;
use snapshot::HttpFilter;

use super::proto::{pack, unpack};
use super::{Dialect, authorization, cors, ext_authz, fault, jwt, local_rate_limit, protocol, rate_limit};
use crate::rejected::Reason;

const ROUTER: &str = "envoy.filters.http.router";
const GRPC_WEB: &str = "envoy.filters.http.grpc_web";
const STATS: &str = "amime.filters.http.stats";

/// `xds.type.v3.TypedStruct`: how xDS carries a configuration that has no message of its own.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TypedStruct {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<Struct>,
}

impl TypedStruct {
    /// The configuration of a filter that only we have.
    pub(super) fn new(name: &str, value: Struct) -> Self {
        Self {
            type_url: format!("type.googleapis.com/{name}"),
            value: Some(value),
        }
    }
}

impl prost::Name for TypedStruct {
    const NAME: &'static str = "TypedStruct";
    const PACKAGE: &'static str = "xds.type.v3";
    fn type_url() -> String {
        "type.googleapis.com/xds.type.v3.TypedStruct".into()
    }
}

/// The filters, those that do what routes say, and the router at their end. Envoy is spared those that only our
/// proxy has.
pub(super) fn to_proto(filters: &[HttpFilter], dialect: Dialect) -> Vec<pb::HttpFilter> {
    let before = filters.iter().flat_map(|filter| match filter {
        HttpFilter::RateLimit(policy) => rate_limit::to_proto(policy, dialect),
        other => plain(other, dialect).into_iter().collect(),
    });
    let fault = http_filter(fault::FILTER, pack(HttpFault::default()));
    // A gRPC client refuses what it does not know; it is no browser either.
    let cors = (dialect != Dialect::Grpc).then(|| http_filter(cors::FILTER, pack(Cors {})));
    let router = http_filter(ROUTER, pack(Router::default()));
    before.chain([fault]).chain(cors).chain([router]).collect()
}

/// A filter that is at most one message.
fn plain(filter: &HttpFilter, dialect: Dialect) -> Option<pb::HttpFilter> {
    match filter {
        HttpFilter::Stats => (dialect == Dialect::Amime).then(|| marker(STATS)),
        HttpFilter::GrpcWeb => {
            (dialect != Dialect::Grpc).then(|| http_filter(GRPC_WEB, pack(GrpcWeb::default())))
        }
        HttpFilter::Jwt(tokens) => {
            (dialect != Dialect::Grpc).then(|| http_filter(jwt::FILTER, pack(jwt::to_proto(tokens))))
        }
        HttpFilter::LocalRateLimit(limit) => (dialect != Dialect::Grpc).then(|| {
            let limit = limit.as_deref().map(local_rate_limit::to_proto);
            http_filter(local_rate_limit::FILTER, pack(limit.unwrap_or_default()))
        }),
        HttpFilter::Authorization(filter) => Some(http_filter(
            authorization::HTTP_FILTER,
            pack(authorization::http_to_proto(filter)),
        )),
        HttpFilter::ExtAuthz(filter) => (dialect != Dialect::Grpc)
            .then(|| http_filter(ext_authz::FILTER, pack(ext_authz::to_proto(filter)))),
        HttpFilter::RateLimit(_) => None,
    }
}

pub(super) fn from_proto(mut messages: Vec<pb::HttpFilter>) -> Result<Vec<HttpFilter>, Reason> {
    match messages.pop() {
        Some(router) if router.name == ROUTER => protocol::check_router(&router)?,
        _ => {
            return Err(Reason::new(
                "HttpConnectionManager.http_filters",
                "must end with the router",
            ));
        }
    }
    messages
        .iter()
        .filter_map(|message| one_from_proto(message).transpose())
        .collect()
}

/// `None` for filters that shape statistics only, or that do what routes say: then it is read there.
fn one_from_proto(message: &pb::HttpFilter) -> Result<Option<HttpFilter>, Reason> {
    if message.disabled {
        return Ok(None);
    }
    match message.name.as_str() {
        STATS => typed::<TypedStruct>(message).map(|_| Some(HttpFilter::Stats)),
        rate_limit::FILTER => {
            let policy = rate_limit::from_proto(message)?;
            Ok(Some(HttpFilter::RateLimit(Box::new(policy))))
        }
        "istio.stats" => Ok(Some(HttpFilter::Stats)),
        GRPC_WEB => Ok(Some(HttpFilter::GrpcWeb)),
        "istio.metadata_exchange" | "istio.alpn" | "envoy.filters.http.grpc_stats" => Ok(None),
        cors::FILTER | fault::FILTER if is_empty(message) => Ok(None),
        jwt::FILTER => Ok(jwt::from_proto(typed(message)?)?.map(HttpFilter::Jwt)),
        local_rate_limit::FILTER => {
            let limit = local_rate_limit::from_proto(typed(message)?)?;
            Ok(Some(HttpFilter::LocalRateLimit(limit.map(Box::new))))
        }
        authorization::HTTP_FILTER => {
            let filter = authorization::http_from_proto(typed(message)?)?;
            Ok(Some(HttpFilter::Authorization(Arc::new(filter))))
        }
        ext_authz::FILTER => {
            let filter = ext_authz::from_proto(typed(message)?)?;
            Ok(Some(HttpFilter::ExtAuthz(Box::new(filter))))
        }
        _ if message.is_optional => Ok(None),
        other => Err(Reason::unsupported(format!(
            "HttpConnectionManager.http_filters {other:?}"
        ))),
    }
}

/// The configuration of a filter that has one.
pub(super) fn typed<M: Message + prost::Name + Default>(message: &pb::HttpFilter) -> Result<M, Reason> {
    match &message.config_type {
        Some(ConfigType::TypedConfig(any)) => unpack(any, "HttpFilter.typed_config"),
        _ => Err(Reason::missing("HttpFilter.typed_config")),
    }
}

fn marker(name: &str) -> pb::HttpFilter {
    http_filter(name, pack(TypedStruct::new(name, Struct::default())))
}

pub(super) fn http_filter(name: &str, config: Any) -> pb::HttpFilter {
    pb::HttpFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn is_empty(message: &pb::HttpFilter) -> bool {
    match &message.config_type {
        None => true,
        Some(ConfigType::TypedConfig(any)) => any.value.is_empty(),
        Some(ConfigType::ConfigDiscovery(_)) => false,
    }
}
