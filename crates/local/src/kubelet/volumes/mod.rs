//! Volumes of a pod: what is in them, and where containers find it.
//!
//! What a volume holds is worked out as plain data ([`render`]); writing it is [`write`]'s business. ConfigMaps,
//! Secrets and projections are written again when their content changed, all at once for whoever reads them.

pub(crate) mod mounts;
pub(crate) mod prepare;
pub(crate) mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, ServiceAccountTokenProjection, Volume, VolumeProjection,
};

use super::fields::Fields;
use super::sources::{Data, Sources};

/// What a volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Files that we write, by their path in the volume.
    Files(BTreeMap<String, FileContent>),
    /// An empty directory, in memory or not.
    Empty { memory: bool, size: Option<String> },
    /// A path of the host, shown read-only.
    Host { path: PathBuf, kind: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileContent {
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: u32,
}

/// Tokens by projection, asked for beforehand.
pub(crate) type Tokens = BTreeMap<TokenKey, String>;

/// Which token is meant: audience and lifetime.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TokenKey {
    /// Empty for the API server's.
    pub(crate) audience: String,
    pub(crate) seconds: i64,
}

impl TokenKey {
    pub(crate) fn of(projection: &ServiceAccountTokenProjection) -> Self {
        Self {
            audience: projection.audience.clone().unwrap_or_default(),
            seconds: projection.expiration_seconds.unwrap_or(3600),
        }
    }
}

/// Tokens that the volume needs.
pub(crate) fn tokens(volume: &Volume) -> impl Iterator<Item = TokenKey> + '_ {
    let sources = volume
        .projected
        .iter()
        .flat_map(|projected| projected.sources.iter().flatten());
    sources
        .filter_map(|source| source.service_account_token.as_ref())
        .map(TokenKey::of)
}

/// What `volume` holds now; or what is missing, in kubelet's words.
pub(crate) fn render(
    volume: &Volume,
    fields: Fields<'_>,
    sources: &dyn Sources,
    tokens: &Tokens,
) -> Result<Content, String> {
    let mut files = Files {
        files: BTreeMap::new(),
        mode: 0o644,
    };
    if let Some(empty) = &volume.empty_dir {
        let memory = empty.medium.as_deref() == Some("Memory");
        return Ok(Content::Empty {
            memory,
            size: empty.size_limit.as_ref().map(|size| size.0.clone()),
        });
    } else if let Some(host) = &volume.host_path {
        return Ok(Content::Host {
            path: host.path.clone().into(),
            kind: host.type_.clone().unwrap_or_default(),
        });
    } else if let Some(from) = &volume.config_map {
        files.mode = mode(from.default_mode, 0o644);
        files.add_keys(
            sources.config_map(&from.name),
            from.items.as_deref(),
            from.optional,
            &from.name,
        )?;
    } else if let Some(from) = &volume.secret {
        files.mode = mode(from.default_mode, 0o644);
        let name = from.secret_name.as_deref().unwrap_or_default();
        files.add_keys(sources.secret(name), from.items.as_deref(), from.optional, name)?;
    } else if let Some(from) = &volume.downward_api {
        files.mode = mode(from.default_mode, 0o644);
        files.add_fields(from.items.as_deref().unwrap_or_default(), fields)?;
    } else if let Some(from) = &volume.projected {
        files.mode = mode(from.default_mode, 0o644);
        for source in from.sources.iter().flatten() {
            files.add_projection(source, fields, sources, tokens)?;
        }
    } else {
        return Err("this kind of volume is not supported by the local cluster".to_owned());
    }
    Ok(Content::Files(files.files))
}

fn mode(stated: Option<i32>, default: u32) -> u32 {
    stated
        .and_then(|mode| u32::try_from(mode).ok())
        .unwrap_or(default)
        & 0o777
}

struct Files {
    files: BTreeMap<String, FileContent>,
    /// Of files that state none.
    mode: u32,
}

impl Files {
    fn add(&mut self, path: &str, bytes: Vec<u8>, stated: Option<i32>) -> Result<(), String> {
        let ordinary = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !path.split('/').all(ordinary) {
            return Err(format!("invalid path in volume: {path:?}"));
        }
        self.files.insert(
            path.to_owned(),
            FileContent {
                bytes,
                mode: mode(stated, self.mode),
            },
        );
        Ok(())
    }

    /// All keys, or those that `items` names, under the paths it gives them.
    fn add_keys(
        &mut self,
        data: Result<Data, String>,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        name: &str,
    ) -> Result<(), String> {
        let optional = optional == Some(true);
        let mut data = match data {
            Err(_) if optional => return Ok(()),
            data => data?,
        };
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            return data
                .into_iter()
                .try_for_each(|(key, value)| self.add(&key, value, None));
        };
        for item in items {
            match data.remove(&item.key) {
                Some(value) => self.add(&item.path, value, item.mode)?,
                None if optional => {}
                None => {
                    return Err(format!(
                        "references non-existent config key: {} (in {name})",
                        item.key
                    ));
                }
            }
        }
        Ok(())
    }

    fn add_fields(&mut self, items: &[DownwardAPIVolumeFile], fields: Fields<'_>) -> Result<(), String> {
        for item in items {
            let value = match (&item.field_ref, &item.resource_field_ref) {
                (Some(field), _) => fields.value(field)?,
                (None, Some(field)) => fields.resource(field, None)?,
                (None, None) => return Err(format!("downwardAPI {}: neither field nor resource", item.path)),
            };
            self.add(&item.path, value.into_bytes(), item.mode)?;
        }
        Ok(())
    }

    fn add_projection(
        &mut self,
        source: &VolumeProjection,
        fields: Fields<'_>,
        sources: &dyn Sources,
        tokens: &Tokens,
    ) -> Result<(), String> {
        if let Some(from) = &source.config_map {
            self.add_keys(
                sources.config_map(&from.name),
                from.items.as_deref(),
                from.optional,
                &from.name,
            )
        } else if let Some(from) = &source.secret {
            self.add_keys(
                sources.secret(&from.name),
                from.items.as_deref(),
                from.optional,
                &from.name,
            )
        } else if let Some(from) = &source.downward_api {
            self.add_fields(from.items.as_deref().unwrap_or_default(), fields)
        } else if let Some(from) = &source.service_account_token {
            let token = tokens.get(&TokenKey::of(from)).ok_or("failed to fetch token")?;
            // Readable by the container's user, whoever that is.
            self.add(&from.path, token.clone().into_bytes(), Some(0o644))
        } else {
            Err("this kind of projection is not supported by the local cluster".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::super::sources::fake::Two;
    use super::*;

    fn rendered(volume: Value) -> Result<Content, String> {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"labels": {"a": "b"}}})).unwrap();
        let fields = Fields {
            pod: &pod,
            pod_address: "",
            node_address: "",
        };
        let tokens = [(
            TokenKey {
                audience: "istio-ca".to_owned(),
                seconds: 3600,
            },
            "t0ken".to_owned(),
        )]
        .into();
        render(&serde_json::from_value(volume).unwrap(), fields, &Two, &tokens)
    }

    fn files(volume: Value) -> Vec<(String, String, u32)> {
        let Content::Files(files) = rendered(volume).unwrap() else {
            panic!("no files")
        };
        let text = |file: FileContent| (String::from_utf8(file.bytes).unwrap(), file.mode);
        files
            .into_iter()
            .map(|(path, file)| (path, text(file)))
            .map(|(path, (bytes, mode))| (path, bytes, mode))
            .collect()
    }

    #[test]
    fn keys_become_files_with_their_paths_and_modes() {
        let all = files(json!({"name": "v", "secret": {"secretName": "key", "defaultMode": 256}}));
        assert_eq!(all, [("token".to_owned(), "s3cret".to_owned(), 0o400)]);
        let some = files(json!({"name": "v", "configMap": {"name": "settings",
            "items": [{"key": "COLOUR", "path": "sub/colour", "mode": 511}]}}));
        assert_eq!(some, [("sub/colour".to_owned(), "red".to_owned(), 0o777)]);
    }

    #[test]
    fn a_projection_holds_tokens_keys_and_fields() {
        let all = files(json!({"name": "v", "projected": {"sources": [
            {"serviceAccountToken": {"path": "istio-token", "audience": "istio-ca"}},
            {"configMap": {"name": "settings", "items": [{"key": "COLOUR", "path": "c"}]}},
            {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"secret": {"name": "no", "optional": true}}]}}));
        let named: Vec<_> = all
            .iter()
            .map(|(path, text, _)| (path.as_str(), text.as_str()))
            .collect();
        assert_eq!(
            named,
            [("c", "red"), ("istio-token", "t0ken"), ("labels", "a=\"b\"")]
        );
    }

    #[test]
    fn what_is_missing_or_impossible_is_said() {
        let error = |volume| rendered(volume).unwrap_err();
        assert_eq!(
            error(json!({"name": "v", "configMap": {"name": "no"}})),
            "configmaps \"no\" not found"
        );
        let items = json!([{"key": "x", "path": "x"}]);
        assert!(
            error(json!({"name": "v", "configMap": {"name": "settings", "items": items}}))
                .contains("config key: x")
        );
        let items = json!([{"key": "COLOUR", "path": "../x"}]);
        assert!(
            error(json!({"name": "v", "configMap": {"name": "settings", "items": items}}))
                .contains("invalid path")
        );
        assert!(error(json!({"name": "v", "nfs": {"server": "s", "path": "/"}})).contains("not supported"));
    }
}
