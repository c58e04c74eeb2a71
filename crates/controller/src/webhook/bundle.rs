//! The fields of the webhook configurations that the controller owns: `caBundle`, by which the API server trusts us,
//! and the validator's `failurePolicy`, which becomes `Fail` once the API server is seen to reach us. Written again
//! whenever somebody changes them.

use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use daemon::{Drain, clock};
use futures_util::{Stream, StreamExt, stream};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};

use super::validate::{PROBE, SERVED};
use crate::ca::publish::Published;
use crate::ca::standing::Latest;
use crate::install::webhooks;

const RETRY: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(15);

/// Keeps both configurations right until the drain begins, and says in `published` which roots they have.
pub(crate) async fn run(
    client: kube::Client,
    namespace: String,
    mut latest: Latest,
    published: Published,
    mut drain: Drain,
) {
    let injector = Target::new(&client, "MutatingWebhookConfiguration", webhooks::INJECTOR);
    let validator = Target::new(
        &client,
        "ValidatingWebhookConfiguration",
        &webhooks::validator(&namespace),
    );
    let mut events = std::pin::pin!(stream::select(injector.changes(), validator.changes()));
    let mut roots = latest.borrow_and_update().roots().to_owned();
    let (mut served, mut settled) = (false, false);
    loop {
        tokio::select! {
            () = drain.wait() => return,
            Some(()) = events.next() => {}
            Ok(()) = latest.changed() => latest.borrow_and_update().roots().clone_into(&mut roots),
            () = clock::sleep(RETRY), if !(served && settled) => {}
        }
        let bundle = STANDARD.encode(&roots);
        let mut outcomes = vec![injector.settle(&bundle, false).await];
        if !served {
            served = is_served(&client, &namespace).await;
        }
        outcomes.push(validator.settle(&bundle, served).await);
        settled = outcomes.iter().all(Result::is_ok);
        if settled {
            published.set(&roots);
        }
        for problem in outcomes.into_iter().filter_map(Result::err) {
            tracing::warn!(scope = "webhook", "{problem:#}");
        }
    }
}

/// One webhook configuration.
struct Target {
    api: Api<DynamicObject>,
    name: String,
}

impl Target {
    fn new(client: &kube::Client, kind: &str, name: &str) -> Self {
        let resource = resource("admissionregistration.k8s.io", "v1", kind);
        Self {
            api: Api::all_with(client.clone(), &resource),
            name: name.to_owned(),
        }
    }

    /// Says when something happened to it; what, is read afterwards.
    fn changes(&self) -> impl Stream<Item = ()> + Send + use<> {
        let only_this = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        watcher(self.api.clone(), only_this)
            .default_backoff()
            .map(|event| {
                if let Err(error) = event {
                    tracing::debug!(scope = "webhook", %error, "watch interrupted");
                }
            })
    }

    /// Changes our fields where they are wrong. An absent configuration is right: nobody wants that webhook.
    async fn settle(&self, bundle: &str, fail: bool) -> Result<()> {
        let work = async {
            let Some(object) = self.api.get_opt(&self.name).await? else {
                return Ok(());
            };
            let operations = corrections(&object.data["webhooks"], bundle, fail);
            if !operations.is_empty() {
                let patch = serde_json::from_value(Value::Array(operations))?;
                self.api
                    .patch(&self.name, &PatchParams::default(), &Patch::Json::<()>(patch))
                    .await?;
                tracing::info!(
                    scope = "webhook",
                    configuration = self.name,
                    "webhook configuration updated"
                );
            }
            Ok(())
        };
        clock::timeout(DEADLINE, work)
            .await
            .unwrap_or_else(|_| Err(anyhow::anyhow!("the API server did not answer in time")))
            .with_context(|| format!("cannot update webhook configuration {}", self.name))
    }
}

/// Patch operations (RFC 6902), each guarded by the webhook's name: somebody may have changed the order meanwhile.
fn corrections(webhooks: &Value, bundle: &str, fail: bool) -> Vec<Value> {
    let mut operations = Vec::new();
    for (index, webhook) in webhooks.as_array().into_iter().flatten().enumerate() {
        let mut correct = |path: &str, value: &str| {
            let name = format!("/webhooks/{index}/name");
            operations.push(json!({"op": "test", "path": name, "value": webhook["name"]}));
            operations
                .push(json!({"op": "add", "path": format!("/webhooks/{index}/{path}"), "value": value}));
        };
        if webhook["clientConfig"]["caBundle"] != bundle {
            correct("clientConfig/caBundle", bundle);
        }
        if fail && webhook["failurePolicy"] != "Fail" {
            correct("failurePolicy", "Fail");
        }
    }
    operations
}

/// Whether the API server reaches our validation: a dry run that only we would refuse in this way.
async fn is_served(client: &kube::Client, namespace: &str) -> bool {
    let resource = resource("networking.istio.io", "v1", "DestinationRule");
    let mut object = DynamicObject::new("amime-validation-probe", &resource)
        .data(json!({"spec": {"host": "probe.invalid"}}));
    object.metadata.namespace = Some(namespace.to_owned());
    object.metadata.annotations = Some([(PROBE.to_owned(), String::new())].into());
    let rules: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let outcome = clock::timeout(DEADLINE, rules.create(&dry_run, &object)).await;
    matches!(outcome, Ok(Err(kube::Error::Api(status))) if status.message.contains(SERVED))
}

fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::fake_api;

    fn webhook(bundle: &str, policy: &str) -> Value {
        json!({"name": "w", "clientConfig": {"caBundle": bundle}, "failurePolicy": policy})
    }

    #[test]
    fn what_is_right_is_not_touched() {
        assert!(corrections(&json!([webhook("CA", "Fail")]), "CA", true).is_empty());
        assert!(corrections(&json!([webhook("CA", "Ignore")]), "CA", false).is_empty());
        assert!(corrections(&Value::Null, "CA", true).is_empty());
    }

    #[test]
    fn corrections_name_the_webhook_that_they_mean() {
        let mut absent = webhook("", "Ignore");
        absent["clientConfig"] = json!({"service": {"name": "istiod"}});
        let found = corrections(&json!([webhook("CA", "Fail"), absent]), "CA", true);
        let expected = json!([
            {"op": "test", "path": "/webhooks/1/name", "value": "w"},
            {"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": "CA"},
            {"op": "test", "path": "/webhooks/1/name", "value": "w"},
            {"op": "add", "path": "/webhooks/1/failurePolicy", "value": "Fail"},
        ]);
        assert_eq!(Value::Array(found), expected);
    }

    #[test]
    fn plurals_are_those_of_the_api() {
        assert_eq!(
            resource("networking.istio.io", "v1", "DestinationRule").plural,
            "destinationrules"
        );
        let configuration = resource(
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingWebhookConfiguration",
        );
        assert_eq!(configuration.plural, "validatingwebhookconfigurations");
    }

    #[tokio::test]
    async fn a_configuration_is_patched_once_and_an_absent_one_left_alone() {
        let patched = Arc::new(AtomicBool::new(false));
        let state = patched.clone();
        let client = fake_api::client(move |method, path, body| {
            if path.ends_with("/absent") {
                return fake_api::failure(404, "NotFound", "not found");
            }
            if method == "PATCH" {
                assert_eq!(
                    body,
                    Value::Array(corrections(&json!([webhook("", "Ignore")]), "CA", true))
                );
                assert!(!state.swap(true, Ordering::SeqCst), "patched twice");
            }
            let right = state.load(Ordering::SeqCst);
            let webhook = if right {
                webhook("CA", "Fail")
            } else {
                webhook("", "Ignore")
            };
            (
                200,
                json!({"metadata": {"name": "present"}, "webhooks": [webhook]}),
            )
        });
        let present = Target::new(&client, "ValidatingWebhookConfiguration", "present");
        present.settle("CA", true).await.unwrap();
        present.settle("CA", true).await.unwrap();
        assert!(patched.load(Ordering::SeqCst));
        Target::new(&client, "ValidatingWebhookConfiguration", "absent")
            .settle("CA", true)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn validation_counts_as_served_when_our_own_refusal_comes_back() {
        let refusing = |message: &'static str| {
            fake_api::client(move |_, path, body| {
                assert!(path.contains("dryRun=All"), "{path}");
                assert!(body["metadata"]["annotations"][PROBE].is_string());
                fake_api::failure(400, "BadRequest", message)
            })
        };
        let ours = "admission webhook \"validation.istio.io\" denied the request: validation is served";
        assert!(is_served(&refusing(ours), "istio-system").await);
        assert!(!is_served(&refusing("something else"), "istio-system").await);
        let admitting = fake_api::client(|_, _, body| (201, body));
        assert!(!is_served(&admitting, "istio-system").await);
    }
}
