//! The cluster's keys on disk: root, token key, the server's certificate, and the kubeconfig of its owner.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use identity::token::Signer;
use identity::{Authority, Keypair, write_private};
use serde_json::json;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Under which names pods and the host reach the server (`10.96.0.1` is Service `kubernetes`).
const NAMES: &[&str] = &[
    "127.0.0.1",
    "localhost",
    "10.244.0.1",
    "10.96.0.1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// What is made or loaded at start.
pub(super) struct Pki {
    pub(super) authority: Authority,
    pub(super) signer: Signer,
    /// Made at each start; nobody remembers it.
    pub(super) server: Keypair,
}

/// Makes or loads the keys in `directory`.
pub(super) fn load(directory: &Path, now: SystemTime) -> anyhow::Result<Pki> {
    let pki = directory.join("pki");
    private_directory(&pki).with_context(|| format!("cannot make {}", pki.display()))?;
    let authority = authority(&pki, now)?;
    let key = pki.join("token.key");
    let signer = match read(&key)? {
        Some(pem) => Signer::from_pem(&pem).with_context(|| damaged(&key))?,
        None => {
            let signer = Signer::generate()?;
            write_private(&key, signer.key_pem().as_bytes())?;
            signer
        }
    };
    let server = authority.issue_server(NAMES, YEAR, now)?;
    Ok(Pki {
        authority,
        signer,
        server,
    })
}

fn authority(pki: &Path, now: SystemTime) -> anyhow::Result<Authority> {
    let (certificate, key) = (pki.join("ca.crt"), pki.join("ca.key"));
    if let (Some(certificate_pem), Some(key_pem)) = (read(&certificate)?, read(&key)?) {
        let authority =
            Authority::from_pem(&certificate_pem, &key_pem).with_context(|| damaged(&certificate))?;
        // Less than the lifetime of what it signs: begin anew rather than fail some day in between.
        if authority.expires() > now + YEAR {
            return Ok(authority);
        }
    }
    let authority = Authority::generate("local cluster", 10 * YEAR, now)?;
    write_private(&key, authority.key_pem().as_bytes())?;
    write_private(&certificate, authority.certificate_pem().as_bytes())?;
    Ok(authority)
}

/// Writes the kubeconfig of the cluster's owner: a certificate of group `system:masters`.
pub(super) fn write_kubeconfig(
    directory: &Path,
    authority: &Authority,
    server: &str,
    now: SystemTime,
) -> anyhow::Result<PathBuf> {
    let owner = authority.issue_client("kubernetes-admin", "system:masters", YEAR, now)?;
    let encode = |pem: &str| STANDARD.encode(pem);
    // JSON is YAML; kubectl rewrites the file in its own way when it changes it.
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "preferences": {}, "current-context": "local",
        "clusters": [{"name": "local", "cluster": {
            "server": server, "certificate-authority-data": encode(authority.root_pem()),
        }}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "local-admin"}}],
        "users": [{"name": "local-admin", "user": {
            "client-certificate-data": encode(&owner.chain_pem()),
            "client-key-data": encode(&owner.key.key_pem()),
        }}],
    });
    let path = directory.join("kubeconfig");
    let text = serde_saphyr::to_string(&config).context("the kubeconfig has no YAML form")?;
    write_private(&path, text.as_bytes())?;
    Ok(path)
}

/// Makes a directory that only its owner may enter.
pub(super) fn private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn damaged(path: &Path) -> String {
    format!(
        "{} is damaged: remove it, and a new one is made (tokens and kubeconfigs then end)",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use daemon::clock;

    use super::*;

    #[test]
    fn keys_are_made_once_and_are_their_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let first = load(directory.path(), clock::wall()).unwrap();
        let second = load(directory.path(), clock::wall()).unwrap();
        assert_eq!(first.authority.root_pem(), second.authority.root_pem());
        assert_eq!(first.signer.key_id(), second.signer.key_id());
        let path = write_kubeconfig(
            directory.path(),
            &first.authority,
            "https://127.0.0.1:1",
            clock::wall(),
        )
        .unwrap();
        for path in [
            path,
            directory.path().join("pki/ca.key"),
            directory.path().join("pki/token.key"),
        ] {
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600,
                "{}",
                path.display()
            );
        }
    }

    #[test]
    fn a_damaged_key_is_named() {
        let directory = tempfile::tempdir().unwrap();
        load(directory.path(), clock::wall()).unwrap();
        fs::write(directory.path().join("pki/token.key"), "nonsense").unwrap();
        let error = load(directory.path(), clock::wall()).err().unwrap();
        assert!(format!("{error:#}").contains("token.key is damaged"), "{error:#}");
    }
}
