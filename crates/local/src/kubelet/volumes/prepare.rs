//! Preparing a pod's volumes, and keeping them up to date.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use daemon::clock;
use k8s_openapi::api::core::v1::{Pod, Volume};
use serde_json::json;

use super::mounts::Prepared;
use super::{Content, TokenKey, Tokens, render, tokens, write};
use crate::api::time;
use crate::api::validate::quantity::{self, Quantity};
use crate::kubelet::fields::Fields;
use crate::kubelet::node::{Node, Paths};
use crate::kubelet::security;
use crate::kubelet::sources::InNamespace;
use crate::sys::mounts as kernel;

/// How often ConfigMaps, Secrets and fields are looked at again.
pub(crate) const REFRESH: Duration = Duration::from_secs(5);

/// How much a volume in memory holds that states no limit.
const MEMORY: i128 = 256 << 20;

/// A volume that can't be prepared (yet).
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) volume: String,
    pub(crate) why: String,
}

/// The volumes of a pod as they are.
#[derive(Debug, Default)]
pub(crate) struct Volumes {
    known: BTreeMap<String, Known>,
    tokens: BTreeMap<TokenKey, Token>,
    version: u64,
}

#[derive(Debug)]
struct Known {
    content: Content,
    prepared: Prepared,
}

#[derive(Debug)]
struct Token {
    text: String,
    /// When four fifths of its life are over.
    renew_at: SystemTime,
}

impl Volumes {
    /// A prepared volume, by name.
    pub(crate) fn get(&self, name: &str) -> Option<Prepared> {
        self.known.get(name).map(|known| known.prepared.clone())
    }

    /// Prepares what is new and rewrites what has changed; the first failure, after trying all.
    pub(crate) fn refresh(&mut self, node: &Node, pod: &Pod, fields: Fields<'_>) -> Result<(), Failed> {
        let all = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let mut outcome = Ok(());
        for volume in all {
            if let Err(why) = self.refresh_one(node, pod, volume, fields) {
                outcome = outcome.and(Err(Failed {
                    volume: volume.name.clone(),
                    why,
                }));
            }
        }
        outcome
    }

    fn refresh_one(
        &mut self,
        node: &Node,
        pod: &Pod,
        volume: &Volume,
        fields: Fields<'_>,
    ) -> Result<(), String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        for key in tokens(volume) {
            self.renew(node, pod, namespace, key)?;
        }
        let texts: Tokens = self
            .tokens
            .iter()
            .map(|(key, token)| (key.clone(), token.text.clone()))
            .collect();
        let sources = InNamespace {
            client: &node.client,
            namespace,
        };
        let content = render(volume, fields, &sources, &texts)?;
        if self
            .known
            .get(&volume.name)
            .is_some_and(|known| known.content == content)
        {
            return Ok(());
        }
        let group = security::volume_group(pod, node.users);
        self.version += 1;
        let prepared = match &content {
            Content::Files(files) => {
                let source = node.paths.of_pod(uid).join("volumes").join(&volume.name);
                let version = format!("{}.{}", clock::unix_seconds(), self.version);
                write::replace(&source, files, group, &version).map_err(|error| error.to_string())?;
                Prepared {
                    source,
                    read_only: true,
                    writable: false,
                }
            }
            Content::Empty { memory, size } => {
                let root = if *memory {
                    node.paths.of_pod(uid)
                } else {
                    node.paths.disk_of_pod(uid)
                };
                let bytes = memory.then(|| size.as_deref().map_or(MEMORY, bytes));
                let source = empty(root.join("volumes").join(&volume.name), bytes, group);
                Prepared {
                    source: source.map_err(|error| error.to_string())?,
                    read_only: false,
                    writable: true,
                }
            }
            Content::Host { path, kind } => Prepared {
                source: of_host(&node.paths, path, kind)?,
                read_only: true,
                writable: false,
            },
        };
        self.known
            .insert(volume.name.clone(), Known { content, prepared });
        Ok(())
    }

    fn renew(&mut self, node: &Node, pod: &Pod, namespace: &str, key: TokenKey) -> Result<(), String> {
        let now = clock::wall();
        if self.tokens.get(&key).is_some_and(|token| now < token.renew_at) {
            return Ok(());
        }
        let account = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.as_deref())
            .unwrap_or("default");
        let audiences = if key.audience.is_empty() {
            json!([])
        } else {
            json!([key.audience])
        };
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
            "audiences": audiences,
            "expirationSeconds": key.seconds,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid},
        }});
        let answer = match node.client.request_token(namespace, account, request) {
            Ok(answer) => answer,
            // The one that there is may still be good.
            Err(_) if self.tokens.contains_key(&key) => return Ok(()),
            Err(status) => return Err(format!("failed to fetch token: {}", status.message)),
        };
        let text = answer["status"]["token"]
            .as_str()
            .ok_or("failed to fetch token: there is none in the answer")?;
        let ends = answer["status"]["expirationTimestamp"]
            .as_str()
            .and_then(time::parse);
        let life = ends
            .and_then(|ends| ends.duration_since(now).ok())
            .unwrap_or(Duration::from_secs(600));
        self.tokens.insert(
            key,
            Token {
                text: text.to_owned(),
                renew_at: now + life * 4 / 5,
            },
        );
        Ok(())
    }

    /// Forgets and removes everything.
    pub(crate) fn remove(self, paths: &Paths, uid: &str) {
        for known in self.known.values() {
            if matches!(known.content, Content::Empty { memory: true, .. }) {
                let _ = kernel::detach(&known.prepared.source);
            }
        }
        for directory in [paths.of_pod(uid), paths.disk_of_pod(uid)] {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

/// An empty directory; in memory, if that is limited to so many `bytes`.
fn empty(directory: PathBuf, bytes: Option<i128>, group: Option<u32>) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(&directory)?;
    if let Some(bytes) = bytes {
        kernel::tmpfs(&directory, &format!("size={bytes}"))?;
    }
    let mode = if group.is_some() { 0o2777 } else { 0o777 };
    if group.is_some() {
        chown(&directory, None, group)?;
    }
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(mode))?;
    Ok(directory)
}

fn bytes(size: &str) -> i128 {
    quantity::parse(size).map_or(MEMORY, Quantity::ceil)
}

/// A path of the host, if it is there and of the kind that is asked for. Nothing is made on the host.
fn of_host(paths: &Paths, path: &Path, kind: &str) -> Result<PathBuf, String> {
    let failed = |why: &str| format!("hostPath type check failed: {} {why}", path.display());
    let real = path.canonicalize().map_err(|error| failed(&error.to_string()))?;
    if real.starts_with(&paths.home) || paths.home.starts_with(&real) {
        return Err(failed("holds the cluster's own state"));
    }
    let right = match kind {
        "Directory" | "DirectoryOrCreate" => real.is_dir(),
        "File" | "FileOrCreate" => real.is_file(),
        _ => true,
    };
    if right {
        Ok(real)
    } else {
        Err(failed(&format!("is not a {kind}")))
    }
}
