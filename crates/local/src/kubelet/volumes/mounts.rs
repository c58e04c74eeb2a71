//! Where containers find volumes: `volumeMounts` as mounts.

use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::Container;

use crate::kubelet::container::root::Mount;
use crate::kubelet::environment::{Environment, expand};

/// A volume of the pod as the node has it.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) source: PathBuf,
    /// Whatever a container says.
    pub(crate) read_only: bool,
    /// Whether a missing `subPath` may be made in it.
    pub(crate) writable: bool,
}

/// The mounts of a container, outer ones first.
pub(crate) fn of_container(
    container: &Container,
    environment: &Environment,
    volume: impl Fn(&str) -> Option<Prepared>,
) -> Result<Vec<Mount>, String> {
    let mut mounts = Vec::new();
    for stated in container.volume_mounts.iter().flatten() {
        let prepared =
            volume(&stated.name).ok_or_else(|| format!("no volume {:?} for the mount", stated.name))?;
        let expanded = stated
            .sub_path_expr
            .as_ref()
            .map(|text| expand(text, environment));
        let sub_path = expanded.or_else(|| stated.sub_path.clone()).unwrap_or_default();
        mounts.push(Mount {
            source: below(&prepared, &sub_path)?,
            at: Path::new("/").join(&stated.mount_path),
            read_only: prepared.read_only || stated.read_only == Some(true),
        });
    }
    mounts.sort_by(|one, other| one.at.cmp(&other.at));
    Ok(mounts)
}

/// A part of a volume, which may not lie outside it, even by a symlink.
fn below(prepared: &Prepared, sub_path: &str) -> Result<PathBuf, String> {
    if sub_path.is_empty() {
        return Ok(prepared.source.clone());
    }
    let relative = Path::new(sub_path);
    if !relative
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    {
        return Err(format!("subPath {sub_path:?} must be a path within the volume"));
    }
    let wanted = prepared.source.join(relative);
    let failed = |error| format!("failed to prepare subPath {sub_path:?}: {error}");
    let volume = prepared.source.canonicalize().map_err(failed)?;
    let inside = |path: &Path| {
        let real = path.canonicalize().map_err(failed)?;
        if real.starts_with(&volume) {
            Ok(real)
        } else {
            Err(format!("subPath {sub_path:?} leads out of the volume"))
        }
    };
    if prepared.writable && !wanted.exists() {
        // Nor is anything made where a symlink on the way leads.
        if let Some(there) = wanted.ancestors().find(|path| path.exists()) {
            inside(there)?;
        }
        std::fs::create_dir_all(&wanted)
            .map_err(|error| format!("failed to create subPath directory: {error}"))?;
    }
    inside(&wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mounts_are_sorted_expanded_and_kept_within_their_volume() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().canonicalize().unwrap();
        std::os::unix::fs::symlink("/etc", source.join("out")).unwrap();
        let prepared = || Prepared {
            source: source.clone(),
            read_only: false,
            writable: true,
        };
        let environment = [("POD".to_owned(), "web-0".to_owned())].into();
        let mounts = |stated: serde_json::Value| {
            let container = serde_json::from_value(json!({"name": "c", "volumeMounts": stated})).unwrap();
            of_container(&container, &environment, |name| (name == "v").then(prepared))
        };
        let found = mounts(json!([
            {"name": "v", "mountPath": "/data/logs", "subPathExpr": "$(POD)/logs"},
            {"name": "v", "mountPath": "/data", "readOnly": true}]))
        .unwrap();
        assert_eq!(
            found[0],
            Mount {
                source: source.clone(),
                at: "/data".into(),
                read_only: true
            }
        );
        assert_eq!(found[1].source, source.join("web-0/logs"));
        assert!(mounts(json!([{"name": "v", "mountPath": "/x", "subPath": "../x"}])).is_err());
        assert!(mounts(json!([{"name": "v", "mountPath": "/x", "subPath": "out"}])).is_err());
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), source.join("away")).unwrap();
        assert!(mounts(json!([{"name": "v", "mountPath": "/x", "subPath": "away/new"}])).is_err());
        assert!(!elsewhere.path().join("new").exists());
        assert!(
            mounts(json!([{"name": "w", "mountPath": "/x"}]))
                .unwrap_err()
                .contains("\"w\"")
        );
    }
}
