//! What form of answer a client wants: its `Accept` header. Pure.

use super::super::Status;

/// The forms there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Object,
    /// `as=Table`: what `kubectl get` prints.
    Table,
    /// `as=PartialObjectMetadata` and `as=PartialObjectMetadataList`.
    Metadata,
}

/// A form and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) form: Form,
    pub(super) yaml: bool,
}

/// One entry of the header: media type and parameters.
struct Entry<'a> {
    kind: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl Entry<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| *value)
    }
}

/// The first entry that can be served; entries stand in order of preference, as Kubernetes' clients write them.
pub(super) fn negotiate(header: Option<&str>) -> Result<Accepted, Status> {
    let header = header.unwrap_or("*/*");
    entries(header).iter().find_map(accept).ok_or_else(|| {
        Status::new(
            406,
            "NotAcceptable",
            "only the following media types are accepted: application/json, application/yaml",
        )
    })
}

fn accept(entry: &Entry<'_>) -> Option<Accepted> {
    let yaml = match entry.kind {
        "application/json" | "*/*" | "application/*" | "" => false,
        "application/yaml" => true,
        _ => return None,
    };
    let form = match entry.get("as") {
        None => Form::Object,
        Some("Table") if is_meta(entry) => Form::Table,
        Some("PartialObjectMetadata" | "PartialObjectMetadataList") if is_meta(entry) => Form::Metadata,
        Some(_) => return None,
    };
    Some(Accepted { form, yaml })
}

fn is_meta(entry: &Entry<'_>) -> bool {
    entry.get("g") == Some("meta.k8s.io") && matches!(entry.get("v"), Some("v1" | "v1beta1"))
}

/// The version of aggregated discovery that the client prefers over the legacy documents.
pub(super) fn aggregated(header: Option<&str>) -> Option<&'static str> {
    let wanted = entries(header?);
    let wanted = wanted.iter().find(|entry| entry.kind == "application/json")?;
    if wanted.get("as") != Some("APIGroupDiscoveryList") || wanted.get("g") != Some("apidiscovery.k8s.io") {
        return None;
    }
    match wanted.get("v") {
        Some("v2") => Some("v2"),
        Some("v2beta1") => Some("v2beta1"),
        _ => None,
    }
}

fn entries(header: &str) -> Vec<Entry<'_>> {
    header
        .split(',')
        .map(|entry| {
            let mut parts = entry.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let parameters = parts.filter_map(|part| part.split_once('=')).collect();
            Entry { kind, parameters }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(header: &str) -> Form {
        negotiate(Some(header)).unwrap().form
    }

    #[test]
    fn the_first_form_that_is_served_wins() {
        assert_eq!(
            form(
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
            ),
            Form::Table
        );
        assert_eq!(
            form("application/vnd.kubernetes.protobuf,application/json"),
            Form::Object
        );
        assert_eq!(
            form("application/json;as=Table;v=v9;g=meta.k8s.io, */*"),
            Form::Object
        );
        assert_eq!(
            form("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
            Form::Metadata
        );
        assert!(negotiate(Some("application/yaml")).unwrap().yaml);
        assert_eq!(
            negotiate(None).unwrap(),
            Accepted {
                form: Form::Object,
                yaml: false
            }
        );
    }

    #[test]
    fn a_client_that_wants_protobuf_alone_is_refused() {
        let status = negotiate(Some("application/vnd.kubernetes.protobuf")).unwrap_err();
        assert_eq!((status.code, status.reason), (406, "NotAcceptable"));
    }

    #[test]
    fn discovery_comes_in_the_version_that_was_asked_for() {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        assert_eq!(
            aggregated(Some(&format!("{v2},{beta},application/json"))),
            Some("v2")
        );
        assert_eq!(
            aggregated(Some(&format!("{beta},application/json"))),
            Some("v2beta1")
        );
        assert_eq!(aggregated(Some("application/json")), None);
        assert_eq!(aggregated(None), None);
    }
}
