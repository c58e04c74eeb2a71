//! A cluster as the command line sees it: objects are JSON, addressed by kind and name.

mod apply;
pub(crate) mod exec;
mod kinds;

use http::{Method, Request, header};
use serde_json::Value;

pub(crate) use apply::Apply;
pub(crate) use kinds::{KindInfo, Kinds};

const JSON: &str = "application/json";

/// A connection to one cluster.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: kube::Client,
}

/// A failed call, worded as kubectl words it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("from server ({reason}): {message}")]
    Server {
        code: u16,
        reason: String,
        message: String,
    },
    #[error("cannot reach the cluster: {0}")]
    Unreachable(String),
}

impl CallError {
    /// Whether the server says that there is no such object.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Server { code: 404, .. })
    }
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Server {
                code: status.code,
                reason: status.reason.clone(),
                message: status.message.clone(),
            },
            other => Self::Unreachable(chain(&other)),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

impl Cluster {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// The client library's handle, for streams.
    pub(crate) fn client(&self) -> kube::Client {
        self.client.clone()
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, CallError> {
        self.get_as(path, JSON).await
    }

    /// The same with an `Accept` header: tables, discovery.
    pub(crate) async fn get_as(&self, path: &str, accept: &str) -> Result<Value, CallError> {
        self.call(Method::GET, path, (header::ACCEPT, accept), Vec::new())
            .await
    }

    pub(crate) async fn create(&self, path: &str, object: &Value) -> Result<Value, CallError> {
        self.call(
            Method::POST,
            path,
            (header::CONTENT_TYPE, JSON),
            object.to_string().into_bytes(),
        )
        .await
    }

    /// Changes an object in place; `kind` is the media type of the patch.
    pub(crate) async fn patch(&self, path: &str, kind: &str, patch: &Value) -> Result<Value, CallError> {
        self.call(
            Method::PATCH,
            path,
            (header::CONTENT_TYPE, kind),
            patch.to_string().into_bytes(),
        )
        .await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Value, CallError> {
        let body = br#"{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background"}"#.to_vec();
        self.call(Method::DELETE, path, (header::CONTENT_TYPE, JSON), body)
            .await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        header: (header::HeaderName, &str),
        body: Vec<u8>,
    ) -> Result<Value, CallError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header.0, header.1)
            .body(body)
            .map_err(|error| CallError::Unreachable(error.to_string()))?;
        Ok(self.client.request(request).await?)
    }
}

/// A text in an object, by JSON pointer; empty when it is not there.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Percent-encodes what a query value may not hold.
pub(crate) fn encoded(value: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value
        .bytes()
        .map(|byte| {
            if keep(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
