//! What becomes known about an exchange or a connection on its way: metrics and access logs are written from it.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use daemon::clock::{self, Instant};
use serde_json::Value;
use snapshot::authorization::Findings;
use snapshot::ext_authz::MetadataCondition;
use xds::check::Mutation;

use super::flags::{Flag, Flags};
use crate::error::ProxyError;
use crate::http::codec::{Fields, Version};
use crate::http::filters::authorization::Shadow;
use crate::http::filters::cors::Allowed;
use crate::http::filters::local_rate_limit::Limits;
use crate::http::filters::rate_limit::Told;
use crate::http::grpc_web::GrpcWeb;
use crate::metadata::Metadata;
use crate::telemetry::metrics::Label;
use crate::tls::peer::Peer;
use crate::upstream::Cluster;

/// The filters whose findings are [`Shadow`]s.
const HTTP_RULES: &str = "envoy.filters.http.rbac";
const NETWORK_RULES: &str = "envoy.filters.network.rbac";

/// What is known of one exchange or connection.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) begun: Instant,
    /// Status of the response that was begun; `None` before.
    pub(crate) status: Option<u16>,
    pub(crate) flags: Flags,
    /// Envoy's `response_code_details`; empty while there is nothing to say.
    pub(crate) details: Cow<'static, str>,
    /// Envoy's `connection_termination_details`: why a connection was refused.
    pub(crate) termination: Option<String>,
    /// Why no connection to the upstream came about.
    pub(crate) transport_failure: Option<String>,
    pub(crate) grpc: bool,
    pub(crate) grpc_status: Option<u16>,
    /// Body and head of the response, for metrics.
    pub(crate) response_bytes: u64,
    /// Bytes of bodies.
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) retried: bool,
    pub(crate) attempts: u32,
    /// Name of the route; only kept where somebody writes it down.
    pub(crate) route: String,
    /// The name that a ClientHello asked for; empty without one.
    pub(crate) server_name: Option<Rc<str>>,
    /// Who the client is, if it has shown a certificate.
    pub(crate) peer: Option<Arc<Peer>>,
    pub(crate) upstream: Upstream,
    pub(crate) times: Times,
    /// The response as it was sent; only kept where somebody writes it down.
    pub(crate) response: Option<Fields>,
    pub(crate) trailers: Option<Fields>,
    /// What the proxy answered by itself.
    pub(crate) local_body: Option<Bytes>,
    /// What scripts of the request's origin are told, once a filter has judged it.
    pub(crate) cors: Option<Allowed>,
    /// What responses say of a limit on requests.
    pub(crate) limits: Option<Limits>,
    /// The same, of limits of policies.
    pub(crate) told: Option<Told>,
    /// Policy and name of the limit that refused the request, or would have.
    pub(crate) limit: Option<String>,
    /// What rules that are tried out would have done.
    pub(crate) shadows: Vec<Shadow>,
    /// Whether an audit asks for a line, where one looks at the request.
    pub(crate) log_hint: Option<bool>,
    /// Changes to the response that a service asked for when it let the request pass.
    pub(crate) permitted: Vec<Mutation>,
    /// What filters found out.
    pub(crate) metadata: Metadata,
    /// The caller speaks gRPC-Web.
    pub(crate) web: Option<GrpcWeb>,
    pub(crate) destination: Option<Label>,
}

/// Where it went.
#[derive(Debug, Default)]
pub(crate) struct Upstream {
    pub(crate) cluster: Option<Rc<Cluster>>,
    pub(crate) endpoint: Option<SocketAddr>,
    /// Our end of the connection, once there is one.
    pub(crate) local: Option<SocketAddr>,
    pub(crate) version: Option<Version>,
    /// Who it is, if it has shown a certificate.
    pub(crate) peer: Option<Arc<Peer>>,
}

/// When things happened.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// The request was received completely.
    pub(crate) received: Option<Instant>,
    /// It was sent upstream completely.
    pub(crate) forwarded: Option<Instant>,
    /// The upstream's response began.
    pub(crate) answered: Option<Instant>,
    /// The last byte of the response was given to the client.
    pub(crate) sent: Option<Instant>,
}

impl Record {
    /// One that begins now.
    pub(crate) fn new() -> Self {
        Self {
            begun: clock::now(),
            status: None,
            flags: Flags::default(),
            details: Cow::Borrowed(""),
            termination: None,
            transport_failure: None,
            grpc: false,
            grpc_status: None,
            response_bytes: 0,
            received: 0,
            sent: 0,
            retried: false,
            attempts: 0,
            route: String::new(),
            server_name: None,
            peer: None,
            upstream: Upstream::default(),
            times: Times::default(),
            response: None,
            trailers: None,
            local_body: None,
            cors: None,
            limits: None,
            told: None,
            limit: None,
            shadows: Vec::new(),
            log_hint: None,
            permitted: Vec::new(),
            metadata: Metadata::default(),
            web: None,
            destination: None,
        }
    }

    /// Whether a condition on what filters found out holds. What rules that were tried out say is theirs.
    pub(crate) fn satisfies(&self, condition: &MetadataCondition) -> bool {
        let told = self.told_by_rules(&condition.filter, &condition.path);
        told.map_or_else(
            || self.metadata.satisfies(condition),
            |told| told.starts_with(&condition.prefix),
        )
    }

    /// What rules that were tried out say where a condition looks: as a rule, the name of the one that held.
    pub(crate) fn told(&self, condition: Option<&MetadataCondition>) -> Option<&str> {
        let condition = condition?;
        self.told_by_rules(&condition.filter, &condition.path)
    }

    /// What rules that were tried out say. Where several say it, the last counts.
    fn told_by_rules(&self, filter: &str, path: &[String]) -> Option<&str> {
        match (filter, path) {
            (HTTP_RULES | NETWORK_RULES, [name]) => {
                self.shadows.iter().rev().find_map(|shadow| shadow.tells(name))
            }
            _ => None,
        }
    }

    /// One more thing went wrong.
    pub(crate) fn flag(&mut self, flag: Flag) {
        self.flags = self.flags.with(flag);
    }

    /// A new try to that endpoint: what the one before left does not count.
    pub(crate) fn trying(&mut self, endpoint: SocketAddr) {
        self.transport_failure = None;
        self.upstream.endpoint = Some(endpoint);
        self.upstream.local = None;
        self.upstream.version = None;
        self.upstream.peer = None;
    }

    /// Remembers why it failed, in Envoy's words.
    pub(crate) fn failed(&mut self, error: &ProxyError) {
        self.flags = self.flags.union(error.flags());
        self.transport_failure = error.transport_failure();
        self.details = error.details(self.status.is_some(), self.transport_failure.as_deref());
    }
}

impl Findings for Record {
    fn find(&self, filter: &str, path: &[String]) -> Option<Cow<'_, Value>> {
        match self.told_by_rules(filter, path) {
            Some(told) => Some(Cow::Owned(Value::String(told.to_owned()))),
            None => self.metadata.find(filter, path).map(Cow::Borrowed),
        }
    }
}
