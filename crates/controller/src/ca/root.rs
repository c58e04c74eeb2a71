//! The authority's key: plugged in by the user as Secret `cacerts`, or made at the first start and kept in Secret
//! `istio-ca-secret`. Of several replicas that start at once, the one whose Secret is there first wins; the others
//! read it.
//! <https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/>

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use identity::Authority;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use kube::core::ObjectMeta;

const OWN: &str = "istio-ca-secret";
const PLUGGED_IN: &str = "cacerts";
const TYPE: &str = "istio.io/ca-root";
/// As Istio: ten years.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Names of the entries of a Secret, and what they hold.
struct Entries {
    certificate: &'static str,
    key: &'static str,
    chain: &'static str,
    roots: &'static str,
}

const ISTIO: Entries = Entries {
    certificate: "ca-cert.pem",
    key: "ca-key.pem",
    chain: "cert-chain.pem",
    roots: "root-cert.pem",
};
/// As cert-manager writes it.
const KUBERNETES: Entries = Entries {
    certificate: "tls.crt",
    key: "tls.key",
    chain: "",
    roots: "ca.crt",
};

/// The authority of this mesh.
pub(crate) async fn load_or_create(
    client: kube::Client,
    namespace: &str,
    organisation: &str,
    now: SystemTime,
) -> Result<Authority> {
    let secrets: Api<Secret> = Api::namespaced(client, namespace);
    for name in [PLUGGED_IN, OWN] {
        if let Some(secret) = secrets
            .get_opt(name)
            .await
            .with_context(|| format!("cannot read Secret {name}"))?
        {
            tracing::info!(scope = "ca", secret = name, "certificate authority loaded");
            return from_secret(&secret).with_context(|| format!("Secret {namespace}/{name}"));
        }
    }
    let authority = Authority::generate(organisation, LIFETIME, now)?;
    match secrets
        .create(&PostParams::default(), &to_secret(&authority, namespace))
        .await
    {
        Ok(_) => {
            tracing::info!(
                scope = "ca",
                secret = OWN,
                "self-signed certificate authority made"
            );
            Ok(authority)
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let secret = secrets
                .get(OWN)
                .await
                .with_context(|| format!("cannot read Secret {OWN}"))?;
            from_secret(&secret).with_context(|| format!("Secret {namespace}/{OWN}"))
        }
        Err(error) => Err(error).with_context(|| format!("cannot create Secret {OWN}")),
    }
}

fn to_secret(authority: &Authority, namespace: &str) -> Secret {
    let entry = |name: &str, text: String| (name.to_owned(), ByteString(text.into_bytes()));
    Secret {
        metadata: ObjectMeta {
            name: Some(OWN.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some(TYPE.to_owned()),
        data: Some(BTreeMap::from([
            entry(ISTIO.certificate, authority.certificate_pem()),
            entry(ISTIO.key, authority.key_pem()),
            entry(ISTIO.roots, authority.root_pem().to_owned()),
        ])),
        ..Secret::default()
    }
}

fn from_secret(secret: &Secret) -> Result<Authority> {
    let data = secret.data.clone().unwrap_or_default();
    let entries = if data.contains_key(ISTIO.certificate) {
        ISTIO
    } else {
        KUBERNETES
    };
    let text = |name: &str| -> Result<String> {
        let bytes = data.get(name).map(|bytes| bytes.0.clone()).unwrap_or_default();
        String::from_utf8(bytes).with_context(|| format!("entry {name} is not text"))
    };
    let certificate = text(entries.certificate)?;
    let roots = text(entries.roots)?;
    // Istio's own Secret leaves this entry empty: the signing certificate is the root.
    let roots = if roots.trim().is_empty() {
        certificate.clone()
    } else {
        roots
    };
    let (key, chain) = (text(entries.key)?, text(entries.chain)?);
    let authority = Authority::plugged_in(&certificate, &key, &chain, &roots).with_context(|| {
        format!(
            "entries {}, {}, {}",
            entries.certificate, entries.key, entries.roots
        )
    })?;
    Ok(authority)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;
    use crate::fake_api;

    fn authority() -> Authority {
        Authority::generate("cluster.local", LIFETIME, daemon::clock::wall()).unwrap()
    }

    fn secret(entries: &[(&str, String)]) -> Secret {
        let data = entries
            .iter()
            .map(|(name, text)| ((*name).to_owned(), ByteString(text.clone().into_bytes())));
        Secret {
            data: Some(data.collect()),
            ..Secret::default()
        }
    }

    #[test]
    fn what_one_replica_stores_another_reads() {
        let made = authority();
        let read = from_secret(&to_secret(&made, "istio-system")).unwrap();
        assert_eq!(read.root_pem(), made.root_pem());
    }

    #[test]
    fn istios_and_cert_managers_entries_are_understood() {
        let made = authority();
        let istio = secret(&[
            ("ca-cert.pem", made.certificate_pem()),
            ("ca-key.pem", made.key_pem()),
            ("root-cert.pem", String::new()),
        ]);
        let cert_manager = secret(&[
            ("tls.crt", made.certificate_pem()),
            ("tls.key", made.key_pem()),
            ("ca.crt", made.root_pem().to_owned()),
        ]);
        for secret in [istio, cert_manager] {
            assert_eq!(from_secret(&secret).unwrap().root_pem(), made.root_pem());
        }
    }

    #[test]
    fn a_damaged_secret_is_an_error_that_names_its_entries() {
        for broken in [
            secret(&[]),
            secret(&[("ca-cert.pem", authority().certificate_pem())]),
        ] {
            let error = from_secret(&broken)
                .err()
                .map(|error| format!("{error:#}"))
                .unwrap();
            assert!(error.contains("entries "), "{error}");
        }
    }

    async fn load(client: kube::Client) -> Result<Authority> {
        load_or_create(client, "istio-system", "cluster.local", daemon::clock::wall()).await
    }

    #[tokio::test]
    async fn the_first_start_makes_an_authority_and_the_second_finds_it() {
        let stored = Arc::new(Mutex::new(None::<Value>));
        let state = stored.clone();
        let client = fake_api::client(move |method, path, body| {
            let mut stored = state.lock().unwrap();
            match (
                method.as_str(),
                path.ends_with("/secrets/istio-ca-secret"),
                stored.clone(),
            ) {
                ("POST", _, None) => {
                    *stored = Some(body.clone());
                    (201, body)
                }
                ("GET", true, Some(secret)) => (200, secret),
                _ => fake_api::failure(404, "NotFound", "not found"),
            }
        });
        let first = load(client.clone()).await.unwrap();
        let second = load(client).await.unwrap();
        assert_eq!(first.root_pem(), second.root_pem());
        assert_eq!(
            stored.lock().unwrap().as_ref().unwrap()["type"],
            "istio.io/ca-root"
        );
    }

    #[tokio::test]
    async fn the_replica_that_comes_second_uses_what_the_first_stored() {
        let first = authority();
        let secret = serde_json::to_value(to_secret(&first, "istio-system")).unwrap();
        let asked = AtomicUsize::new(0);
        let client = fake_api::client(move |method, path, _| {
            // The Secret appears between the question and the creation.
            let there = path.ends_with("istio-ca-secret") && asked.fetch_add(1, Ordering::SeqCst) > 0;
            match (method.as_str(), there) {
                ("POST", _) => fake_api::failure(409, "AlreadyExists", "already exists"),
                (_, true) => (200, secret.clone()),
                _ => fake_api::failure(404, "NotFound", "not found"),
            }
        });
        assert_eq!(load(client).await.unwrap().root_pem(), first.root_pem());
    }

    #[tokio::test]
    async fn a_plugged_in_authority_comes_first() {
        let theirs = authority();
        let mut secret = serde_json::to_value(to_secret(&theirs, "istio-system")).unwrap();
        secret["metadata"]["name"] = "cacerts".into();
        let client = fake_api::client(move |_, path, _| {
            assert!(path.ends_with("/secrets/cacerts"), "{path}");
            (200, secret.clone())
        });
        assert_eq!(load(client).await.unwrap().root_pem(), theirs.root_pem());
    }
}
