//! Objects of any kind, put into the cluster and taken out of it again.

use http::{Request, StatusCode};
use kube::Client;
use serde_json::Value;

#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
}

impl Api {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Creates it; as the server has it then.
    pub(crate) async fn create(&self, object: &Value) -> Result<Value, String> {
        let request = Request::post(collection(object)).header("content-type", "application/json");
        let request = request.body(object.to_string().into_bytes()).unwrap();
        let made = self.client.request::<Value>(request).await;
        made.map_err(|error| format!("{}: {error}", name(object)))
    }

    /// Deletes it at once; one that is not there is fine.
    pub(crate) async fn delete(&self, object: &Value) {
        let path = format!(
            "{}/{}?gracePeriodSeconds=0",
            collection(object),
            text(object, "name")
        );
        let request = Request::delete(path).body(Vec::new()).unwrap();
        let _ = self.client.request::<Value>(request).await;
    }

    pub(crate) async fn get(&self, object: &Value) -> Option<Value> {
        let path = format!("{}/{}", collection(object), text(object, "name"));
        let request = Request::get(path).body(Vec::new()).unwrap();
        match self.client.request::<Value>(request).await {
            Ok(found) => Some(found),
            Err(kube::Error::Api(status)) if status.code == StatusCode::NOT_FOUND.as_u16() => None,
            Err(error) => panic!("{}: {error}", name(object)),
        }
    }
}

pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// `Kind/namespace/name`, as the controller names what it knows.
pub(crate) fn name(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default();
    format!("{kind}/{}/{}", text(object, "namespace"), text(object, "name"))
}

fn collection(object: &Value) -> String {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let root = if version.contains('/') { "apis" } else { "api" };
    let plural = match kind.strip_suffix('y') {
        Some(stem) if !kind.ends_with("ay") => format!("{stem}ies"),
        _ => format!("{kind}s"),
    };
    match text(object, "namespace") {
        "" => format!("/{root}/{version}/{plural}"),
        namespace => format!("/{root}/{version}/namespaces/{namespace}/{plural}"),
    }
}
