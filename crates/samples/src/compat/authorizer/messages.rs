//! The messages of `envoy.service.auth.v3`, as far as the authorizer reads and writes them.

use std::collections::HashMap;

use bytes::{Buf, Bytes};
use prost::Message;
use serde_json::{Value, json};

use super::steady;
use super::wish::Wish;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Check {
    #[prost(message, optional, tag = "1")]
    attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, Message)]
struct Attributes {
    #[prost(message, optional, tag = "1")]
    source: Option<Peer>,
    #[prost(message, optional, tag = "2")]
    destination: Option<Peer>,
    #[prost(message, optional, tag = "4")]
    request: Option<Request>,
    #[prost(map = "string, string", tag = "10")]
    context_extensions: HashMap<String, String>,
    #[prost(message, optional, tag = "12")]
    tls: Option<Tls>,
}

#[derive(Clone, PartialEq, Message)]
struct Tls {
    #[prost(string, tag = "1")]
    server_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Peer {
    /// Not looked into: every call has other ports.
    #[prost(message, optional, tag = "1")]
    address: Option<Unread>,
    #[prost(string, tag = "2")]
    service: String,
    #[prost(string, tag = "4")]
    principal: String,
    #[prost(string, tag = "5")]
    certificate: String,
}

#[derive(Clone, PartialEq, Message)]
struct Unread {}

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, optional, tag = "1")]
    time: Option<Unread>,
    #[prost(message, optional, tag = "2")]
    http: Option<Http>,
}

#[derive(Clone, PartialEq, Message)]
struct Http {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(map = "string, string", tag = "3")]
    headers: HashMap<String, String>,
    #[prost(string, tag = "4")]
    path: String,
    #[prost(string, tag = "5")]
    host: String,
    #[prost(string, tag = "6")]
    scheme: String,
    #[prost(string, tag = "7")]
    query: String,
    #[prost(int64, tag = "9")]
    size: i64,
    #[prost(string, tag = "10")]
    protocol: String,
    #[prost(string, tag = "11")]
    body: String,
    #[prost(bytes = "bytes", tag = "12")]
    raw_body: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Decision {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
    #[prost(message, optional, tag = "2")]
    denied: Option<Denied>,
    #[prost(message, optional, tag = "3")]
    allowed: Option<Allowed>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Denied {
    #[prost(message, optional, tag = "1")]
    status: Option<Code>,
    #[prost(message, repeated, tag = "2")]
    headers: Vec<Field>,
    #[prost(string, tag = "3")]
    body: String,
}

#[derive(Clone, PartialEq, Message)]
struct Code {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Allowed {
    #[prost(message, repeated, tag = "2")]
    headers: Vec<Field>,
    #[prost(string, repeated, tag = "5")]
    remove: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    answer: Vec<Field>,
}

#[derive(Clone, PartialEq, Message)]
struct Field {
    #[prost(message, optional, tag = "1")]
    header: Option<Pair>,
    #[prost(message, optional, tag = "2")]
    append: Option<Flag>,
}

#[derive(Clone, PartialEq, Message)]
struct Flag {
    #[prost(bool, tag = "1")]
    value: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

impl Check {
    /// The one message of a gRPC body.
    pub(super) fn read(body: &Bytes) -> Option<Self> {
        let mut body = body.clone();
        if body.len() < 5 {
            return None;
        }
        // Not compressed, and its length.
        body.advance(5);
        Self::decode(body).ok()
    }

    fn http(&self) -> Option<&Http> {
        self.attributes.as_ref()?.request.as_ref()?.http.as_ref()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.http()?.headers.get(name).map(String::as_str)
    }

    /// Everything that is the same from call to call.
    pub(super) fn told(&self) -> Value {
        let empty = Attributes::default();
        let attributes = self.attributes.as_ref().unwrap_or(&empty);
        let peer = |peer: &Option<Peer>| {
            peer.as_ref().map(|peer| {
                json!({
                    "address": peer.address.is_some(), "service": peer.service, "principal": peer.principal,
                    "certificate": !peer.certificate.is_empty(),
                })
            })
        };
        let http = self.http().map(|http| {
            json!({
                "id": !http.id.is_empty(), "method": http.method, "path": http.path, "host": http.host,
                "scheme": http.scheme, "query": http.query, "size": http.size, "protocol": http.protocol,
                "body": http.body, "raw_body": String::from_utf8_lossy(&http.raw_body),
                "headers": steady(http.headers.clone()),
            })
        });
        let context: std::collections::BTreeMap<_, _> = attributes.context_extensions.iter().collect();
        json!({
            "source": peer(&attributes.source), "destination": peer(&attributes.destination), "http": http,
            "time": attributes.request.as_ref().is_some_and(|request| request.time.is_some()),
            "context": context, "sni": attributes.tls.as_ref().map(|tls| &tls.server_name),
        })
    }
}

fn field((name, value): &(String, String), append: bool) -> Field {
    Field {
        header: Some(Pair {
            name: name.clone(),
            value: value.clone(),
        }),
        append: Some(Flag { value: append }),
    }
}

fn fields(wish: &Wish) -> Vec<Field> {
    let set = wish.set.iter().map(|pair| field(pair, false));
    set.chain(wish.append.iter().map(|pair| field(pair, true)))
        .collect()
}

pub(super) fn allowed(wish: &Wish) -> Bytes {
    let decision = Decision {
        status: Some(Status { code: 0 }),
        allowed: Some(Allowed {
            headers: fields(wish),
            remove: wish.remove.clone(),
            answer: wish.answer.iter().map(|pair| field(pair, true)).collect(),
        }),
        denied: None,
    };
    decision.encode_to_vec().into()
}

/// gRPC's code for what is not permitted is 7.
pub(super) fn denied(wish: &Wish, body: String) -> Bytes {
    let decision = Decision {
        status: Some(Status { code: 7 }),
        denied: Some(Denied {
            status: Some(Code {
                code: i32::from(wish.status),
            }),
            headers: fields(wish),
            body,
        }),
        allowed: None,
    };
    decision.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_read_and_told() {
        let http = Http {
            method: "GET".to_owned(),
            path: "/a?b=c".to_owned(),
            headers: HashMap::from([("x-authorize".to_owned(), "tell".to_owned())]),
            ..Http::default()
        };
        let check = Check {
            attributes: Some(Attributes {
                request: Some(Request {
                    time: None,
                    http: Some(http),
                }),
                ..Attributes::default()
            }),
        };
        let framed = crate::compat::grpc::frame(&check.encode_to_vec());
        let read = Check::read(&framed).unwrap();
        assert_eq!(read.header("x-authorize"), Some("tell"));
        assert_eq!(read.told()["http"]["path"], "/a?b=c");
        assert_eq!(read.told()["source"], Value::Null);
        assert_eq!(Check::read(&Bytes::from_static(b"abc")), None);
    }

    #[test]
    fn a_decision_says_what_was_wished() {
        let wish = Wish::of(Some("deny status=401 x-a=b append:x-c=d"));
        let read = Decision::decode(denied(&wish, "why".to_owned())).unwrap();
        let denied = read.denied.unwrap();
        assert_eq!(denied.status.unwrap().code, 401);
        assert_eq!((denied.headers.len(), denied.body.as_str()), (2, "why"));
        let wish = Wish::of(Some("allow remove:x-a answer:x-b=c"));
        let allowed = Decision::decode(super::allowed(&wish)).unwrap().allowed.unwrap();
        assert_eq!((allowed.remove.len(), allowed.answer.len()), (1, 1));
    }
}
