//! The authority's key: plugged in by the user as Secret `cacerts`, or made at the first start and kept in Secret
//! `istio-ca-secret`, with the rotation of the root that is under way. Of several replicas that start at once, the
//! one whose Secret is there first wins; the others read it.
//! <https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/>

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use identity::{Authority, Part, tls};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use kube::core::ObjectMeta;

use super::former;
use super::standing::{Source, Standing};

pub(super) const OWN: &str = "istio-ca-secret";
pub(super) const PLUGGED_IN: &str = "cacerts";
/// Lists of revoked certificates, beside either authority.
const REVOKED: &str = "ca-crl.pem";
/// Of a rotation of our own root: the authority that comes or goes, and how far it is.
const OTHER_CERTIFICATE: &str = "other-cert.pem";
const OTHER_KEY: &str = "other-key.pem";
const ROTATION: &str = "rotation.json";
const TYPE: &str = "istio.io/ca-root";
/// As Istio: ten years.
pub(super) const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

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

/// What stands in this mesh; an authority is made when there is none.
pub(crate) async fn load_or_create(
    client: kube::Client,
    namespace: &str,
    organisation: &str,
    (longest, now): (Duration, SystemTime),
) -> Result<Standing> {
    let secrets: Api<Secret> = Api::namespaced(client, namespace);
    if let Some(standing) = load(&secrets, (longest, now)).await? {
        return Ok(standing);
    }
    let made = Standing::new(Authority::generate(organisation, LIFETIME, now)?, Source::Own)?;
    let secret = to_secret(&made, namespace)?;
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(_) => {
            tracing::info!(
                scope = "ca",
                secret = OWN,
                "self-signed certificate authority made"
            );
            Ok(made)
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let secret = secrets
                .get(OWN)
                .await
                .with_context(|| format!("cannot read Secret {OWN}"))?;
            read(&secret, Source::Own)
        }
        Err(error) => Err(error).with_context(|| format!("cannot create Secret {OWN}")),
    }
}

/// What the Secrets hold, if it can be put to use now; the one that somebody plugged in counts first. `longest` is the
/// longest validity of what is signed.
pub(super) async fn load(
    secrets: &Api<Secret>,
    (longest, now): (Duration, SystemTime),
) -> Result<Option<Standing>> {
    // Boxed, because the futures of everybody who waits for it would have to hold it.
    Box::pin(async move {
        for (name, source) in [(PLUGGED_IN, Source::PluggedIn), (OWN, Source::Own)] {
            let found = secrets.get_opt(name).await;
            if let Some(secret) = found.with_context(|| format!("cannot read Secret {name}"))? {
                tracing::debug!(scope = "ca", secret = name, "certificate authority loaded");
                let mut standing = read(&secret, source)?;
                check(&standing, &secret, now)?;
                former::keep(secrets, &mut standing, longest).await?;
                return Ok(Some(standing));
            }
        }
        Ok(None)
    })
    .await
}

/// What one Secret holds.
pub(super) fn read(secret: &Secret, source: Source) -> Result<Standing> {
    let name = || format!("Secret {}", secret.metadata.name.as_deref().unwrap_or_default());
    let mut standing = Standing::new(from_secret(secret).with_context(name)?, source).with_context(name)?;
    let entry =
        |name: &str| text_of(secret, name).map(|text| Some(text).filter(|text| !text.trim().is_empty()));
    if let Some(lists) = entry(REVOKED)? {
        tls::check_trust(standing.roots(), Some(&lists))
            .with_context(|| format!("{}, entry {REVOKED}", name()))?;
        standing.trusted.revoked = Some(lists);
    }
    if source == Source::Own
        && let Some(rotation) = entry(ROTATION)?
    {
        let rotation =
            serde_json::from_str(&rotation).with_context(|| format!("{}, entry {ROTATION}", name()))?;
        standing.rotation = Some(rotation);
        if let (Some(certificate), Some(key)) = (entry(OTHER_CERTIFICATE)?, entry(OTHER_KEY)?) {
            let other = Authority::from_pem(&certificate, &key);
            let other = other.with_context(|| format!("{}, entry {OTHER_CERTIFICATE}", name()))?;
            standing.other = Some(other);
        }
    }
    Ok(standing)
}

/// Whether workloads would believe what it signs; otherwise which entry is at fault.
fn check(standing: &Standing, secret: &Secret, now: SystemTime) -> Result<()> {
    let checked = standing.authority.check(standing.trusted.revoked.as_deref(), now);
    checked.map_err(|unusable| {
        let entries = entries_of(secret);
        let entry = match unusable.part {
            Part::Certificate => entries.certificate,
            // cert-manager has the chain behind the certificate.
            Part::Chain if entries.chain.is_empty() => entries.certificate,
            Part::Chain => entries.chain,
            Part::Roots => entries.roots,
            Part::Revoked => REVOKED,
        };
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        anyhow::anyhow!("Secret {name}, entry {entry}: {unusable}")
    })
}

/// The Secret of an authority of ours.
pub(super) fn to_secret(standing: &Standing, namespace: &str) -> Result<Secret> {
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(OWN.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some(TYPE.to_owned()),
        data: Some(data_of(standing)?),
        ..Secret::default()
    })
}

/// The Secret that is there, with what comes next. A type cannot be changed: one that somebody restored may have
/// another than ours. Entries that are not ours stay.
pub(super) fn replaced(mut stored: Secret, next: &Standing) -> Result<Secret> {
    let mut data = stored.data.take().unwrap_or_default();
    data.retain(|name, _| !is_ours(name));
    data.extend(data_of(next)?);
    // That type demands entries of these names; ours are read before them.
    if stored.type_.as_deref() == Some("kubernetes.io/tls") {
        for (theirs, ours) in [
            (KUBERNETES.certificate, ISTIO.certificate),
            (KUBERNETES.key, ISTIO.key),
        ] {
            let same = data.get(ours).cloned();
            data.extend(same.map(|value| (theirs.to_owned(), value)));
        }
    }
    stored.data = Some(data);
    Ok(stored)
}

/// Whether an entry holds something of an authority or of its rotation. Lists of revoked certificates are taken over.
fn is_ours(name: &str) -> bool {
    let of =
        |entries: &Entries| [entries.certificate, entries.key, entries.chain, entries.roots].contains(&name);
    of(&ISTIO) || of(&KUBERNETES) || [REVOKED, OTHER_CERTIFICATE, OTHER_KEY, ROTATION].contains(&name)
}

fn data_of(standing: &Standing) -> Result<BTreeMap<String, ByteString>> {
    let entry = |name: &str, text: String| (name.to_owned(), ByteString(text.into_bytes()));
    let authority = &standing.authority;
    let mut data = BTreeMap::from([
        entry(ISTIO.certificate, authority.certificate_pem()),
        entry(ISTIO.key, authority.key_pem()),
        entry(ISTIO.roots, standing.roots().to_owned()),
    ]);
    let intermediates = authority.intermediates_pem();
    if !intermediates.is_empty() {
        data.extend([entry(ISTIO.chain, intermediates)]);
    }
    data.extend(
        standing
            .trusted
            .revoked
            .clone()
            .map(|lists| entry(REVOKED, lists)),
    );
    if let Some(rotation) = &standing.rotation {
        data.extend([entry(ROTATION, serde_json::to_string(rotation)?)]);
    }
    if let Some(other) = &standing.other {
        data.extend([
            entry(OTHER_CERTIFICATE, other.certificate_pem()),
            entry(OTHER_KEY, other.key_pem()),
        ]);
    }
    Ok(data)
}

fn text_of(secret: &Secret, name: &str) -> Result<String> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(name));
    let bytes = bytes.map(|bytes| bytes.0.clone()).unwrap_or_default();
    String::from_utf8(bytes).with_context(|| format!("entry {name} is not text"))
}

fn entries_of(secret: &Secret) -> Entries {
    let data = secret.data.as_ref();
    match data.is_some_and(|data| data.contains_key(ISTIO.certificate)) {
        true => ISTIO,
        false => KUBERNETES,
    }
}

fn from_secret(secret: &Secret) -> Result<Authority> {
    let entries = entries_of(secret);
    let text = |name: &str| text_of(secret, name);
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

    fn standing() -> Standing {
        Standing::new(authority(), Source::Own).unwrap()
    }

    #[test]
    fn what_one_replica_stores_another_reads() {
        let made = standing();
        let stored = to_secret(&made, "istio-system").unwrap();
        assert!(read(&stored, Source::Own).unwrap().is_same(&made));
    }

    #[test]
    fn a_rotation_under_way_is_stored_whole() {
        let mut made = standing();
        let coming = authority();
        let new = identity::Bundle::from_pem(coming.root_pem()).unwrap();
        made.trusted.roots = made.trusted.roots.followed_by(&new);
        made.rotation = Some(super::super::rotation::Rotation::new(new.signer(), 7));
        made.other = Some(coming);
        let stored = to_secret(&made, "istio-system").unwrap();
        let found = read(&stored, Source::Own).unwrap();
        assert!(found.is_same(&made));
        let key = |standing: &Standing| standing.other.as_ref().unwrap().key_pem();
        assert!(key(&found) == key(&made));
    }

    #[test]
    fn certificates_between_the_signer_and_the_root_stay() {
        let (signs, between, root) = (authority(), authority(), authority());
        let secret = secret(&[
            (ISTIO.certificate, signs.certificate_pem()),
            (ISTIO.key, signs.key_pem()),
            (ISTIO.chain, between.certificate_pem()),
            (ISTIO.roots, root.root_pem().to_owned()),
        ]);
        let standing = read(&secret, Source::Own).unwrap();
        let stored = replaced(secret, &standing).unwrap();
        assert!(read(&stored, Source::Own).unwrap().is_same(&standing));
    }

    #[test]
    fn lists_of_revoked_certificates_must_be_good() {
        for list in [
            "nothing",
            include_str!("../../../identity/src/tls/testdata/list_v1.pem"),
        ] {
            let mut secret = to_secret(&standing(), "istio-system").unwrap();
            let data = secret.data.as_mut().unwrap();
            data.insert(REVOKED.to_owned(), ByteString(list.into()));
            let refused = read(&secret, Source::Own).err().map(|error| format!("{error:#}"));
            let refused = refused.unwrap();
            assert!(refused.contains("entry ca-crl.pem"), "{refused}");
        }
    }

    #[test]
    fn an_authority_that_its_roots_would_not_believe_is_refused_by_entry_and_cause() {
        let (one, other) = (authority(), authority());
        let now = daemon::clock::wall();
        let refused = |mut secret: Secret, now| {
            secret.metadata.name = Some(PLUGGED_IN.to_owned());
            let standing = read(&secret, Source::PluggedIn).unwrap();
            check(&standing, &secret, now).unwrap_err().to_string()
        };
        let foreign = |certificate: &str, key: &str, roots: &str| {
            secret(&[
                (certificate, one.certificate_pem()),
                (key, one.key_pem()),
                (roots, other.root_pem().to_owned()),
            ])
        };
        let reason = "what it signs does not lead to a root that is valid now";
        for (secret, entry) in [
            (
                foreign("ca-cert.pem", "ca-key.pem", "root-cert.pem"),
                "cert-chain.pem",
            ),
            (foreign("tls.crt", "tls.key", "ca.crt"), "tls.crt"),
        ] {
            let told = refused(secret, now);
            assert!(
                told.starts_with(&format!("Secret cacerts, entry {entry}: {reason}")),
                "{told}"
            );
        }
        let own = to_secret(&standing(), "istio-system").unwrap();
        assert_eq!(
            refused(own, now + 2 * LIFETIME),
            "Secret cacerts, entry ca-cert.pem: it has expired"
        );
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

    async fn load(client: kube::Client) -> Result<Standing> {
        let when = (Duration::from_secs(60), daemon::clock::wall());
        load_or_create(client, "istio-system", "cluster.local", when).await
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
                ("POST", _, _) if body["metadata"]["name"] == former::SECRET => (201, body),
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
        assert!(first.is_same(&second));
        assert_eq!(
            stored.lock().unwrap().as_ref().unwrap()["type"],
            "istio.io/ca-root"
        );
    }

    #[tokio::test]
    async fn the_replica_that_comes_second_uses_what_the_first_stored() {
        let first = standing();
        let secret = serde_json::to_value(to_secret(&first, "istio-system").unwrap()).unwrap();
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
        assert!(load(client).await.unwrap().is_same(&first));
    }

    #[tokio::test]
    async fn a_plugged_in_authority_comes_first() {
        let theirs = standing();
        let mut secret = serde_json::to_value(to_secret(&theirs, "istio-system").unwrap()).unwrap();
        secret["metadata"]["name"] = "cacerts".into();
        let client = fake_api::client(move |method, path, body| match method.as_str() {
            "POST" => (201, body),
            _ if path.ends_with(former::SECRET) => fake_api::failure(404, "NotFound", "not found"),
            _ => {
                assert!(path.ends_with("/secrets/cacerts"), "{path}");
                (200, secret.clone())
            }
        });
        let found = load(client).await.unwrap();
        assert_eq!((found.roots(), found.source), (theirs.roots(), Source::PluggedIn));
    }
}
