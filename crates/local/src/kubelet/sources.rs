//! ConfigMaps and Secrets of a pod's namespace, by key.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::api::Client;
use crate::api::gvr::{CONFIG_MAPS, SECRETS};

/// Keys and values of one ConfigMap or Secret.
pub(crate) type Data = BTreeMap<String, Vec<u8>>;

/// Where environment and volumes take data from. `Err` says what is missing, in kubelet's words.
pub(crate) trait Sources {
    fn config_map(&self, name: &str) -> Result<Data, String>;
    fn secret(&self, name: &str) -> Result<Data, String>;
}

/// The API server's objects in one namespace.
pub(crate) struct InNamespace<'a> {
    pub(crate) client: &'a Client,
    pub(crate) namespace: &'a str,
}

impl Sources for InNamespace<'_> {
    fn config_map(&self, name: &str) -> Result<Data, String> {
        let object = self
            .client
            .get(&CONFIG_MAPS, self.namespace, name)
            .map_err(|status| status.message)?;
        let plain = strings(&object["data"]).map(|(key, value)| (key, value.into_bytes()));
        Ok(plain.chain(decoded(&object["binaryData"])).collect())
    }

    fn secret(&self, name: &str) -> Result<Data, String> {
        let object = self
            .client
            .get(&SECRETS, self.namespace, name)
            .map_err(|status| status.message)?;
        Ok(decoded(&object["data"]).collect())
    }
}

fn strings(map: &Value) -> impl Iterator<Item = (String, String)> + '_ {
    let entries = map.as_object().into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
}

fn decoded(map: &Value) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
    strings(map).filter_map(|(key, value)| Some((key, STANDARD.decode(value).ok()?)))
}

#[cfg(test)]
pub(crate) mod fake {
    use super::{Data, Sources};

    /// A ConfigMap `settings` and a Secret `key`, nothing else.
    pub(crate) struct Two;

    impl Sources for Two {
        fn config_map(&self, name: &str) -> Result<Data, String> {
            match name {
                "settings" => Ok([("COLOUR", "red"), ("not-a-name!", "x")]
                    .map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()))
                    .into()),
                _ => Err(format!("configmaps \"{name}\" not found")),
            }
        }

        fn secret(&self, name: &str) -> Result<Data, String> {
            match name {
                "key" => Ok([("token".to_owned(), b"s3cret".to_vec())].into()),
                _ => Err(format!("secrets \"{name}\" not found")),
            }
        }
    }
}
