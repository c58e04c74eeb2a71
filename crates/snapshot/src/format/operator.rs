//! What can fill a place of a format: Envoy's command operators, by name.
//!
//! Three kinds: those that are filled in, those of things that do not exist here (they write what is absent), and all
//! others, which are refused by name.

use super::FormatError;

/// A header of a request or a response, or else another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderName {
    /// Lower case.
    pub name: String,
    /// Taken when the first is absent.
    pub alternative: Option<String>,
}

/// How a gRPC status is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcStatus {
    /// `NotFound`.
    Camel,
    /// `NOT_FOUND`.
    Snake,
    /// `5`.
    Number,
}

macro_rules! operators {
    ($($(#[$about:meta])* $variant:ident = $name:literal,)*) => {
        /// What fills a place.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Operator {
            /// `REQ(name?alternative)`.
            RequestHeader(HeaderName),
            /// `REQ_WITHOUT_QUERY(name?alternative)`: the same, up to a question mark.
            RequestHeaderWithoutQuery(HeaderName),
            /// `RESP(name?alternative)`.
            ResponseHeader(HeaderName),
            /// `TRAILER(name?alternative)`.
            ResponseTrailer(HeaderName),
            /// `QUERY_PARAM(name)`.
            QueryParameter(String),
            /// `START_TIME(format)`: when it began; ISO 8601 in UTC with milliseconds, or `strftime`'s format.
            StartTime(Option<String>),
            /// `EMIT_TIME(format)`: when the line is written.
            EmitTime(Option<String>),
            /// `GRPC_STATUS(form)`.
            GrpcStatus(GrpcStatus),
            /// `ENVIRONMENT(name)`: a variable of the proxy's environment.
            Environment(String),
            /// `DYNAMIC_METADATA(filter:key…)`: what a filter found out.
            DynamicMetadata(Vec<String>),
            /// Something of Envoy's that does not exist here: always absent.
            Nothing,
            $($(#[$about])* $variant,)*
        }

        impl Operator {
            fn plain(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

operators! {
    /// Milliseconds from the first byte of the request to the last of the response.
    Duration = "DURATION",
    /// Milliseconds to the last byte of the request.
    RequestDuration = "REQUEST_DURATION",
    /// Milliseconds to the last byte of the request sent upstream.
    RequestTxDuration = "REQUEST_TX_DURATION",
    /// Milliseconds to the first byte of the upstream's response.
    ResponseDuration = "RESPONSE_DURATION",
    /// Milliseconds from the first byte of the upstream's response to the last sent to the client.
    ResponseTxDuration = "RESPONSE_TX_DURATION",
    /// Bytes of the request's body.
    BytesReceived = "BYTES_RECEIVED",
    /// Bytes of the response's body.
    BytesSent = "BYTES_SENT",
    /// Bytes of the request's head.
    RequestHeadersBytes = "REQUEST_HEADERS_BYTES",
    /// Bytes of the response's head.
    ResponseHeadersBytes = "RESPONSE_HEADERS_BYTES",
    /// Bytes of the response's trailers.
    ResponseTrailersBytes = "RESPONSE_TRAILERS_BYTES",
    /// `HTTP/1.1`, `HTTP/2`.
    Protocol = "PROTOCOL",
    /// The same towards the upstream.
    UpstreamProtocol = "UPSTREAM_PROTOCOL",
    /// Status of the response; 0 without one.
    ResponseCode = "RESPONSE_CODE",
    /// Where the response comes from, and why it is that one.
    ResponseCodeDetails = "RESPONSE_CODE_DETAILS",
    /// Short names of what went wrong.
    ResponseFlags = "RESPONSE_FLAGS",
    /// Long names of what went wrong.
    ResponseFlagsLong = "RESPONSE_FLAGS_LONG",
    /// What the proxy answered by itself.
    LocalReplyBody = "LOCAL_REPLY_BODY",
    /// Number of the gRPC status.
    GrpcStatusNumber = "GRPC_STATUS_NUMBER",
    /// Address of the endpoint.
    UpstreamHost = "UPSTREAM_HOST",
    /// Name of the endpoint; its address, where it has none.
    UpstreamHostName = "UPSTREAM_HOST_NAME",
    /// Name of the cluster.
    UpstreamCluster = "UPSTREAM_CLUSTER",
    /// Name of the cluster, never one given for statistics.
    UpstreamClusterRaw = "UPSTREAM_CLUSTER_RAW",
    /// Our address on the connection to the upstream.
    UpstreamLocalAddress = "UPSTREAM_LOCAL_ADDRESS",
    /// The same without port.
    UpstreamLocalAddressWithoutPort = "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    /// Its port.
    UpstreamLocalPort = "UPSTREAM_LOCAL_PORT",
    /// The upstream's address on that connection.
    UpstreamRemoteAddress = "UPSTREAM_REMOTE_ADDRESS",
    /// The same without port.
    UpstreamRemoteAddressWithoutPort = "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    /// Its port.
    UpstreamRemotePort = "UPSTREAM_REMOTE_PORT",
    /// How often the request was sent, from 1; 0 when it was not.
    UpstreamRequestAttemptCount = "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    /// Why there is no connection to the upstream.
    UpstreamTransportFailureReason = "UPSTREAM_TRANSPORT_FAILURE_REASON",
    /// Address that the client called.
    DownstreamLocalAddress = "DOWNSTREAM_LOCAL_ADDRESS",
    /// The same without port.
    DownstreamLocalAddressWithoutPort = "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    /// Its port.
    DownstreamLocalPort = "DOWNSTREAM_LOCAL_PORT",
    /// Address of the client, as `x-forwarded-for` has it.
    DownstreamRemoteAddress = "DOWNSTREAM_REMOTE_ADDRESS",
    /// The same without port.
    DownstreamRemoteAddressWithoutPort = "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    /// Its port.
    DownstreamRemotePort = "DOWNSTREAM_REMOTE_PORT",
    /// Address of the other end of the client's connection.
    DownstreamDirectRemoteAddress = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    /// The same without port.
    DownstreamDirectRemoteAddressWithoutPort = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    /// Its port.
    DownstreamDirectRemotePort = "DOWNSTREAM_DIRECT_REMOTE_PORT",
    /// Number of the client's connection.
    ConnectionId = "CONNECTION_ID",
    /// Something that no other line has.
    UniqueId = "UNIQUE_ID",
    /// The name that the client asked for in its TLS greeting.
    RequestedServerName = "REQUESTED_SERVER_NAME",
    /// Name of the route.
    RouteName = "ROUTE_NAME",
    /// Name of the filter chain.
    FilterChainName = "FILTER_CHAIN_NAME",
    /// At which occasion the line is written.
    AccessLogType = "ACCESS_LOG_TYPE",
    /// The proxy's host.
    Hostname = "HOSTNAME",
}

/// What Envoy can write and nothing here has: extensions' data, connection ends of its own, tracing.
const NOTHING: [&str; 11] = [
    "CLUSTER_METADATA",
    "CONNECTION_TERMINATION_DETAILS",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "FILTER_STATE",
    "METADATA",
    "ROUNDTRIP_DURATION",
    "SPAN_ID",
    "TRACE_ID",
    "UPSTREAM_FILTER_STATE",
    "UPSTREAM_METADATA",
    "VIRTUAL_CLUSTER_NAME",
];

impl Operator {
    /// The operator with that name and, in parentheses, that argument.
    pub(super) fn parse(name: &str, argument: Option<&str>) -> Result<Self, FormatError> {
        let stated = || match argument {
            Some(argument) => format!("{name}({argument})"),
            None => name.to_owned(),
        };
        let needed = || {
            argument
                .filter(|argument| !argument.is_empty())
                .ok_or_else(|| FormatError::Argument(stated()))
        };
        let time = || {
            argument
                .filter(|argument| !argument.is_empty())
                .map(str::to_owned)
        };
        Ok(match name {
            "REQ" => Self::RequestHeader(header(needed()?)),
            "REQ_WITHOUT_QUERY" => Self::RequestHeaderWithoutQuery(header(needed()?)),
            "RESP" => Self::ResponseHeader(header(needed()?)),
            "TRAILER" => Self::ResponseTrailer(header(needed()?)),
            "QUERY_PARAM" => Self::QueryParameter(needed()?.to_owned()),
            "START_TIME" => Self::StartTime(time()),
            "EMIT_TIME" => Self::EmitTime(time()),
            "ENVIRONMENT" => Self::Environment(needed()?.to_owned()),
            "DYNAMIC_METADATA" => match argument.unwrap_or_default() {
                "" => Self::Nothing,
                path => Self::DynamicMetadata(path.split(':').map(str::to_owned).collect()),
            },
            "GRPC_STATUS" => Self::GrpcStatus(match argument {
                None | Some("" | "CAMEL_STRING") => GrpcStatus::Camel,
                Some("SNAKE_STRING") => GrpcStatus::Snake,
                Some("NUMBER") => GrpcStatus::Number,
                Some(_) => return Err(FormatError::Unknown(stated())),
            }),
            name if NOTHING.contains(&name) || about_tls(name) => Self::Nothing,
            name if argument.is_none() => Self::plain(name).ok_or_else(|| FormatError::Unknown(stated()))?,
            _ => return Err(FormatError::Unknown(stated())),
        })
    }
}

/// Certificates and TLS parameters of either side.
fn about_tls(name: &str) -> bool {
    let side = name
        .strip_prefix("DOWNSTREAM_")
        .or_else(|| name.strip_prefix("UPSTREAM_"));
    side.is_some_and(|rest| rest.starts_with("TLS_") || rest.starts_with("PEER_"))
        || matches!(
            name,
            "DOWNSTREAM_LOCAL_URI_SAN" | "DOWNSTREAM_LOCAL_SUBJECT" | "UPSTREAM_LOCAL_URI_SAN"
        )
}

fn header(argument: &str) -> HeaderName {
    let (name, alternative) = match argument.split_once('?') {
        Some((name, alternative)) => (name, Some(alternative.to_ascii_lowercase())),
        None => (argument, None),
    };
    HeaderName {
        name: name.to_ascii_lowercase(),
        alternative,
    }
}
