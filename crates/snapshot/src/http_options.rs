//! How an HTTP handler treats what surrounds a request: paths, request ids, the client's address, its own name.
//! The default is what Istio asks of its sidecars; Envoy's own default differs, and only files ask for it.

use serde::{Deserialize, Serialize};

use crate::ClientCertificateHeader;

/// Options of an HTTP handler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpOptions {
    /// Paths are matched and sent on as they came, instead of in one form.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raw_paths: bool,
    /// Several slashes become one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merge_slashes: bool,
    /// A request without id gets none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_request_id: bool,
    /// The id of a client that is nobody's proxy is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_external_request_id: bool,
    /// Responses carry the id of their request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answer_request_id: bool,
    /// Clients are met first here, and their address is that of their connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<Edge>,
    /// Most streams that a client may have open on one connection; `None` is as many as the proxy takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_streams: Option<u32>,
    /// What becomes of the header `server`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub server_header: ServerHeader,
    /// What becomes of `x-forwarded-client-cert`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub client_certificate: ClientCertificateHeader,
}

/// The first proxy that a client meets. Envoy: `use_remote_address`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Proxies of our own before this one that `x-forwarded-for` is believed from.
    #[serde(default)]
    pub trusted_hops: u32,
    /// The client's address is not added to `x-forwarded-for`.
    #[serde(default)]
    pub without_append: bool,
}

/// What becomes of the header `server` of responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerHeader {
    /// It says our name.
    #[default]
    Overwrite,
    /// It says our name where the upstream said none.
    AppendIfAbsent,
    /// It is the upstream's business.
    PassThrough,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl HttpOptions {
    /// Whether they are Istio's.
    pub fn is_default(&self) -> bool {
        is_default(self)
    }
}
