//! What a service that decides about requests is asked and what it answers, in `envoy.service.auth.v3`.
//!
//! Plain data on our side: the proxy knows no protobuf. What comes from the service is only decoded here; whether it
//! may have its way is up to the proxy. <https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/auth/v3/external_auth.proto>

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::service::auth::v3 as pb;
use envoy_types::pb::google::protobuf as wire;
use pb::attribute_context as attributes;
use pb::check_response::HttpResponse;
use prost::Message;
use serde_json::{Map, Number, Value};
use wire::value::Kind;

use core::header_value_option::HeaderAppendAction;

/// The method that is called.
pub const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";

/// What a service is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Who connected.
    pub source: Peer,
    /// Where to.
    pub destination: Peer,
    /// The request; `None` for a connection that carries opaque bytes.
    pub request: Option<Request>,
    /// What the route says.
    pub context: BTreeMap<String, String>,
    /// What other filters know, by filter.
    pub metadata: BTreeMap<String, Map<String, Value>>,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    /// What it calls itself.
    pub service: String,
    /// What its certificate calls it; empty without.
    pub principal: String,
}

/// The request in question.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// When it came, since 1970.
    pub time: Duration,
    /// Tells it from others.
    pub id: String,
    /// `GET`.
    pub method: String,
    /// With query.
    pub path: String,
    /// The authority.
    pub host: String,
    /// `http` or `https`.
    pub scheme: String,
    /// `HTTP/1.1`, `HTTP/2`.
    pub protocol: String,
    /// Bytes of its body so far.
    pub size: u64,
    /// Its fields, pseudo-header fields included, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Values are bytes, one entry for each field; else they are text, one entry for each name.
    pub raw_headers: bool,
    /// Its body, or the beginning of it.
    pub body: Vec<u8>,
    /// The body is bytes, not text.
    pub raw_body: bool,
}

/// What a service answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Whether the request may pass.
    pub verdict: Verdict,
    /// What filters and logs may know.
    pub metadata: Map<String, Value>,
    /// It asks for something that is not understood.
    pub is_invalid: bool,
}

/// Whether a request may pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It may.
    Allowed(Permission),
    /// It may not.
    Denied(Refusal),
    /// The service cannot tell, and says perhaps how that is to be answered.
    Failed(Option<Refusal>),
}

/// What becomes of a request that may pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Permission {
    /// Changes to its fields, in order.
    pub request: Vec<Mutation>,
    /// Fields that go, after that.
    pub remove: Vec<String>,
    /// Changes to the fields of its response, in order.
    pub response: Vec<Mutation>,
    /// Parameters of its query that are set.
    pub set_query: Vec<(String, String)>,
    /// Parameters of its query that go.
    pub remove_query: Vec<String>,
}

impl Permission {
    /// Whether anything of the request becomes another.
    pub fn changes_request(&self) -> bool {
        let fields = !self.request.is_empty() || !self.remove.is_empty();
        fields || !self.set_query.is_empty() || !self.remove_query.is_empty()
    }
}

/// How a request is answered that may not pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refusal {
    /// Its status, if one is stated.
    pub status: Option<u16>,
    /// Its fields.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// A change to one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// As it was stated, perhaps no name at all.
    pub name: String,
    /// As it was stated.
    pub value: Vec<u8>,
    /// What becomes of fields that are there.
    pub change: Change,
}

/// What becomes of fields that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They are replaced.
    Set,
    /// They stay, this one comes after them.
    Add,
    /// The value follows the one that is there, behind a comma; where there is none, nothing happens.
    Append,
    /// They stay, and this one is left out.
    AddIfAbsent,
    /// They are replaced; where there are none, nothing happens.
    Overwrite,
}

/// The message for a service.
pub fn encode(check: Check) -> Vec<u8> {
    let request = check.request.map(|request| attributes::Request {
        time: Some(timestamp(request.time)),
        http: Some(http_request(request)),
    });
    let metadata = check.metadata.into_iter();
    let attributes = pb::AttributeContext {
        source: Some(peer(check.source)),
        destination: Some(peer(check.destination)),
        request,
        context_extensions: check.context.into_iter().collect(),
        metadata_context: Some(core::Metadata {
            filter_metadata: metadata
                .map(|(filter, known)| (filter, to_struct(known)))
                .collect(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let message = pb::CheckRequest {
        attributes: Some(attributes),
    };
    message.encode_to_vec()
}

/// A service's answer.
///
/// # Errors
/// What is wrong with a message that is none.
pub fn decode(message: &[u8]) -> Result<Decision, String> {
    let message = pb::CheckResponse::decode(message).map_err(|error| error.to_string())?;
    let allowed = message.status.as_ref().is_none_or(|status| status.code == 0);
    let mut is_invalid = false;
    let mut metadata = message.dynamic_metadata;
    let verdict = match (allowed, message.http_response) {
        (true, Some(HttpResponse::OkResponse(mut ok))) => {
            #[allow(deprecated, reason = "it counts where a service still says it")]
            let older = ok.dynamic_metadata.take();
            metadata = older.or(metadata);
            Verdict::Allowed(permission(ok, &mut is_invalid))
        }
        (true, _) => Verdict::Allowed(Permission::default()),
        (false, Some(HttpResponse::ErrorResponse(said))) => Verdict::Failed(Some(refusal(said))),
        (false, Some(HttpResponse::DeniedResponse(said))) => Verdict::Denied(refusal(said)),
        (false, _) => Verdict::Denied(Refusal::default()),
    };
    Ok(Decision {
        verdict,
        metadata: metadata.map(from_struct).unwrap_or_default(),
        is_invalid,
    })
}

fn peer(peer: Peer) -> attributes::Peer {
    let address = core::SocketAddress {
        address: peer.address.ip().to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(
            peer.address.port().into(),
        )),
        ..Default::default()
    };
    attributes::Peer {
        address: Some(core::Address {
            address: Some(core::address::Address::SocketAddress(address)),
        }),
        service: peer.service,
        principal: peer.principal,
        ..Default::default()
    }
}

fn http_request(request: Request) -> attributes::HttpRequest {
    let mut message = attributes::HttpRequest {
        id: request.id,
        method: request.method,
        path: request.path,
        host: request.host,
        scheme: request.scheme,
        size: i64::try_from(request.size).unwrap_or(i64::MAX),
        protocol: request.protocol,
        ..Default::default()
    };
    if request.raw_headers {
        let values = request
            .headers
            .into_iter()
            .map(|(key, raw_value)| core::HeaderValue {
                key,
                raw_value,
                ..Default::default()
            });
        message.header_map = Some(core::HeaderMap {
            headers: values.collect(),
        });
    } else {
        for (name, value) in request.headers {
            let value = sanitized(&value);
            let known = message.headers.entry(name);
            known
                .and_modify(|known| {
                    known.push(',');
                    known.push_str(&value);
                })
                .or_insert(value);
        }
    }
    match request.raw_body {
        true => message.raw_body = request.body,
        false => message.body = sanitized(&request.body),
    }
    message
}

/// Text holds UTF-8 only. As Envoy does it, each byte that is none becomes an exclamation mark.
fn sanitized(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '!'));
    }
    text
}

fn timestamp(time: Duration) -> wire::Timestamp {
    wire::Timestamp {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(time.subsec_nanos()).unwrap_or(0),
    }
}

fn permission(message: pb::OkHttpResponse, is_invalid: &mut bool) -> Permission {
    // Where nothing is said of what is there, a request's field is replaced, whatever the newer of the two ways of
    // saying it would mean: as Envoy.
    let request = message.headers.into_iter().map(|option| {
        let appends = appends(&option).unwrap_or(false);
        let change = if appends { Change::Append } else { Change::Set };
        mutation(option, change)
    });
    let response = message.response_headers_to_add.into_iter().map(|option| {
        let change = match appends(&option) {
            Some(true) => Change::Add,
            Some(false) => Change::Set,
            None => match HeaderAppendAction::try_from(option.append_action) {
                Ok(HeaderAppendAction::AppendIfExistsOrAdd) => Change::Add,
                Ok(HeaderAppendAction::AddIfAbsent) => Change::AddIfAbsent,
                Ok(HeaderAppendAction::OverwriteIfExistsOrAdd) => Change::Set,
                Ok(HeaderAppendAction::OverwriteIfExists) => Change::Overwrite,
                Err(_) => {
                    *is_invalid = true;
                    Change::Set
                }
            },
        };
        mutation(option, change)
    });
    let set = message.query_parameters_to_set.into_iter();
    Permission {
        request: request.flatten().collect(),
        response: response.flatten().collect(),
        remove: message.headers_to_remove,
        set_query: set.map(|parameter| (parameter.key, parameter.value)).collect(),
        remove_query: message.query_parameters_to_remove,
    }
}

fn refusal(message: pb::DeniedHttpResponse) -> Refusal {
    let status = message.status.map(|status| status.code).filter(|code| *code != 0);
    // There is nothing that could be appended to, as for Envoy.
    let headers = message
        .headers
        .into_iter()
        .filter(|option| appends(option) != Some(true));
    Refusal {
        status: status.and_then(|code| u16::try_from(code).ok()),
        headers: headers
            .filter_map(|option| mutation(option, Change::Set))
            .map(|mutation| (mutation.name, mutation.value))
            .collect(),
        body: message.body.into_bytes(),
    }
}

fn appends(option: &core::HeaderValueOption) -> Option<bool> {
    #[allow(deprecated, reason = "services say it in this field")]
    let append = option.append;
    append.map(|append| append.value)
}

fn mutation(option: core::HeaderValueOption, change: Change) -> Option<Mutation> {
    let header = option.header?;
    let value = match header.value.is_empty() {
        true => header.raw_value,
        false => header.value.into_bytes(),
    };
    Some(Mutation {
        name: header.key,
        value,
        change,
    })
}

fn to_struct(known: Map<String, Value>) -> wire::Struct {
    wire::Struct {
        fields: known
            .into_iter()
            .map(|(key, value)| (key, to_wire(value)))
            .collect(),
    }
}

fn to_wire(value: Value) -> wire::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text),
        Value::Array(values) => Kind::ListValue(wire::ListValue {
            values: values.into_iter().map(to_wire).collect(),
        }),
        Value::Object(object) => Kind::StructValue(to_struct(object)),
    };
    wire::Value { kind: Some(kind) }
}

fn from_struct(message: wire::Struct) -> Map<String, Value> {
    let fields = message.fields.into_iter();
    fields.map(|(key, value)| (key, from_wire(value))).collect()
}

/// What JSON has no number for is nothing.
fn from_wire(value: wire::Value) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::NumberValue(number)) => Number::from_f64(number).map_or(Value::Null, Value::Number),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(from_wire).collect(),
        Some(Kind::StructValue(object)) => Value::Object(from_struct(object)),
    }
}

#[cfg(test)]
mod tests;
