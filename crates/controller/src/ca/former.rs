//! Roots whose authority signed here until another one was plugged in, or was taken away again. Workloads have certificates of theirs for a
//! while, so they stay believed for the longest validity, also across restarts: Secret `amime-ca-former` remembers
//! who signed last, and whom nobody signs for any more. Whoever removes a root while the signer stays removes it at
//! once; whoever deletes the Secret forgets the former ones.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use daemon::clock;
use identity::Bundle;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use kube::core::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::standing::{Source, Standing};

pub(super) const SECRET: &str = "amime-ca-former";
const ENTRY: &str = "record.json";
const TYPE: &str = "amime.io/former-roots";
/// Changes of the signer that are remembered; the oldest is forgotten first.
const MOST: usize = 16;

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// Fingerprint of the root that signs now.
    signer: String,
    /// All that were believed with it, in PEM.
    roots: String,
    #[serde(default)]
    former: Vec<Former>,
}

/// Roots that nobody signs for any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Former {
    roots: String,
    /// Seconds since 1970.
    until: u64,
}

impl Record {
    /// What is to be remembered now that an authority with those roots stands.
    fn next(&self, standing: &Bundle, now: u64, longest: u64) -> Self {
        let mut former: Vec<_> = self
            .former
            .iter()
            .filter(|former| former.until > now)
            .cloned()
            .collect();
        let changed = !self.signer.is_empty() && self.signer != standing.signer();
        if changed && let Some(gone) = left_over(&self.roots, standing) {
            former.push(Former {
                roots: gone.pem().to_owned(),
                until: now.saturating_add(longest),
            });
        }
        former.retain(|former| left_over(&former.roots, standing).is_some());
        let many = former.len().saturating_sub(MOST);
        former.drain(..many);
        Self {
            signer: standing.signer(),
            roots: standing.pem().to_owned(),
            former,
        }
    }

    /// Those that are believed still, and until when that holds.
    fn believed(&self) -> Option<(Bundle, u64)> {
        let texts: String = self.former.iter().map(|former| former.roots.as_str()).collect();
        let soonest = self.former.iter().map(|former| former.until).min()?;
        Some((Bundle::from_pem(&texts).ok()?, soonest))
    }
}

/// Those of `roots` that are not among `standing`.
fn left_over(roots: &str, standing: &Bundle) -> Option<Bundle> {
    let roots = Bundle::from_pem(roots).ok()?;
    (!standing.covers(&roots)).then(|| roots.without(standing))
}

/// Adds the former roots to an authority that was just read, and remembers what is to be remembered.
pub(super) async fn keep(secrets: &Api<Secret>, standing: &mut Standing, longest: Duration) -> Result<()> {
    let stored = secrets.get_opt(SECRET).await;
    let stored = stored.with_context(|| format!("cannot read Secret {SECRET}"))?;
    let known = stored.as_ref().map(read).unwrap_or_default();
    let next = known.next(&standing.trusted.roots, clock::unix_seconds(), longest.as_secs());
    // A rotation of our own root knows itself when the former one can go, and stores whom it believes.
    if (standing.source == Source::PluggedIn || standing.rotation.is_none())
        && let Some((former, until)) = next.believed()
    {
        standing.trusted.roots = standing.trusted.roots.followed_by(&former);
        standing.read_again = Some(until);
    }
    if next != known
        && let Err(error) = write(secrets, stored, &next).await
    {
        // The mesh goes on; after a restart the former roots may be gone too early.
        let error = format!("{error:#}");
        tracing::warn!(
            scope = "ca",
            secret = SECRET,
            error,
            "former roots are not remembered"
        );
    }
    Ok(())
}

/// What cannot be read was not written by us, and is worth nothing.
fn read(secret: &Secret) -> Record {
    let entry = secret.data.as_ref().and_then(|data| data.get(ENTRY));
    let record = entry.and_then(|bytes| serde_json::from_slice(&bytes.0).ok());
    record.unwrap_or_default()
}

async fn write(secrets: &Api<Secret>, stored: Option<Secret>, record: &Record) -> Result<()> {
    let data = BTreeMap::from([(ENTRY.to_owned(), ByteString(serde_json::to_vec(record)?))]);
    let parameters = PostParams::default();
    match stored {
        Some(mut secret) => {
            secret.data = Some(data);
            secrets.replace(SECRET, &parameters, &secret).await?;
        }
        None => {
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(SECRET.to_owned()),
                    ..ObjectMeta::default()
                },
                type_: Some(TYPE.to_owned()),
                data: Some(data),
                ..Secret::default()
            };
            secrets.create(&parameters, &secret).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use identity::Authority;
    use serde_json::Value;

    use super::super::rotation::Rotation;
    use super::*;
    use crate::fake_api;

    const DAY: u64 = 86_400;

    fn authority() -> Authority {
        Authority::generate("test", Duration::from_secs(3600), clock::wall()).unwrap()
    }

    fn bundle(authorities: &[&Authority]) -> Bundle {
        let texts: String = authorities.iter().map(|authority| authority.root_pem()).collect();
        Bundle::from_pem(&texts).unwrap()
    }

    #[test]
    fn former_roots_are_believed_until_nothing_of_theirs_can_be_in_use() {
        let (one, two) = (authority(), authority());
        let first = Record::default().next(&bundle(&[&one]), 1000, DAY);
        assert_eq!(first.believed(), None);
        let second = first.next(&bundle(&[&two]), 2000, DAY);
        assert_eq!(second.believed(), Some((bundle(&[&one]), 2000 + DAY)));
        let later = second.next(&bundle(&[&two]), 3000, DAY);
        assert_eq!(later, second, "only a change begins the time anew");
        assert_eq!(later.next(&bundle(&[&two]), 2000 + DAY, DAY).believed(), None);
    }

    #[test]
    fn who_goes_the_careful_way_decides_when_a_root_goes() {
        let (one, two) = (authority(), authority());
        let first = Record::default().next(&bundle(&[&one, &two]), 1000, DAY);
        let signs = first.next(&bundle(&[&two, &one]), 2000, DAY);
        assert_eq!(signs.believed(), None, "the user believes it still");
        let removed = signs.next(&bundle(&[&two]), 3000, DAY);
        assert_eq!(removed.believed(), None, "and now no longer");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut record = Record::default();
        for _ in 0..2 * MOST {
            record = record.next(&bundle(&[&authority()]), 1000, DAY);
        }
        assert_eq!(record.former.len(), MOST);
    }

    #[tokio::test]
    async fn a_restart_believes_the_former_roots_of_a_plugged_in_authority() {
        let stored = Arc::new(Mutex::new(None::<Value>));
        let state = stored.clone();
        let client = fake_api::client(move |method, path, body| {
            let mut stored = state.lock().unwrap();
            match (method.as_str(), stored.clone()) {
                ("GET", Some(secret)) if path.ends_with(SECRET) => (200, secret),
                ("POST" | "PUT", _) => {
                    *stored = Some(body.clone());
                    (201, body)
                }
                _ => fake_api::failure(404, "NotFound", "not found"),
            }
        });
        let secrets: Api<Secret> = Api::namespaced(client, "istio-system");
        let day = Duration::from_secs(DAY);
        let (one, two) = (authority(), authority());
        let old = bundle(&[&one]);
        let ours = Authority::from_pem(&one.certificate_pem(), &one.key_pem()).unwrap();
        let mut own = Standing::new(one, Source::Own).unwrap();
        keep(&secrets, &mut own, day).await.unwrap();
        for _ in 0..2 {
            let again = Authority::from_pem(&two.certificate_pem(), &two.key_pem()).unwrap();
            let mut plugged_in = Standing::new(again, Source::PluggedIn).unwrap();
            keep(&secrets, &mut plugged_in, day).await.unwrap();
            assert_eq!(plugged_in.trusted.roots, bundle(&[&two]).followed_by(&old));
            assert!(plugged_in.read_again.is_some());
        }
        // And it goes again: what it signed is in use.
        let again = Authority::from_pem(&ours.certificate_pem(), &ours.key_pem()).unwrap();
        let mut own = Standing::new(again, Source::Own).unwrap();
        keep(&secrets, &mut own, day).await.unwrap();
        assert_eq!(own.trusted.roots, old.followed_by(&bundle(&[&two])));
        assert!(own.read_again.is_some());
        let again = Authority::from_pem(&ours.certificate_pem(), &ours.key_pem()).unwrap();
        let mut rotating = Standing::new(again, Source::Own).unwrap();
        rotating.rotation = Some(Rotation::new("new".into(), 7));
        keep(&secrets, &mut rotating, day).await.unwrap();
        assert_eq!(rotating.trusted.roots, old, "it believes whom its steps stored");
    }
}
