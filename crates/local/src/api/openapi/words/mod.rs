//! What `kubectl explain` says about built-in kinds and their fields, in our words.
//!
//! A field is looked up in its message first, then among the fields that mean the same everywhere.

mod cluster;
mod pods;

/// What a message is.
pub(super) fn of_message(message: &str) -> Option<&'static str> {
    find(message).map(|(_, about, _)| *about)
}

/// What a field is for.
pub(super) fn of_field(message: &str, field: &str) -> Option<&'static str> {
    let own = find(message).and_then(|(_, _, fields)| text(fields, field));
    own.or_else(|| text(EVERYWHERE, field))
}

/// Fields and what they are for.
type Words = &'static [(&'static str, &'static str)];

/// A message, what it is, and its fields.
type Entry = (&'static str, &'static str, Words);

fn find(message: &str) -> Option<&'static Entry> {
    messages().find(|(name, _, _)| *name == message)
}

fn messages() -> impl Iterator<Item = &'static Entry> {
    pods::MESSAGES.iter().chain(cluster::MESSAGES)
}

fn text(fields: Words, field: &str) -> Option<&'static str> {
    let found = fields.iter().find(|(name, _)| *name == field);
    found.map(|(_, text)| *text)
}

const EVERYWHERE: Words = &[
    (
        "apiVersion",
        "The group and version of the kind, for example apps/v1.",
    ),
    ("kind", "The kind of the object, in CamelCase."),
    (
        "metadata",
        "What every object has: its name, its namespace, its labels and who changed it.",
    ),
    ("spec", "What is wanted."),
    (
        "status",
        "What was observed. Written by controllers, not by users.",
    ),
    ("name", "The name, unique among its neighbours."),
    ("namespace", "The namespace that it is in."),
    ("selector", "Which objects are meant, by their labels."),
    (
        "conditions",
        "What is true of the object right now, and since when.",
    ),
    (
        "observedGeneration",
        "The metadata.generation that this status speaks of.",
    ),
    ("replicas", "The number of pods."),
    (
        "minReadySeconds",
        "How long a new pod must be ready, without a crash, before it counts as available. Default 0.",
    ),
    (
        "revisionHistoryLimit",
        "How many old revisions are kept for a rollback. Default 10.",
    ),
    ("reason", "Why, in one CamelCase word."),
    ("message", "Why, in words for people."),
    ("lastTransitionTime", "When the status last changed."),
    (
        "uid",
        "The unique identity; a new object of the same name has another one.",
    ),
    ("fsType", "The type of the file system."),
    ("readOnly", "Whether nothing may be written. Default false."),
    ("optional", "Whether it may be absent."),
    ("labels", "Names and values by which objects are selected."),
    ("matchLabels", "Labels that must all be there with these values."),
    ("matchExpressions", "Conditions on labels that must all hold."),
    ("secretRef", "The Secret that holds what is needed."),
    ("template", "The pods that are made."),
    ("nodeName", "The node."),
    ("protocol", "TCP, UDP or SCTP. Default TCP."),
    ("items", "The entries."),
    (
        "collisionCount",
        "How many hashes of the template were taken already.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::protobuf::tables;

    #[test]
    fn every_word_is_about_a_field_that_exists() {
        let schemas = super::super::schema::all();
        for (message, _, fields) in messages() {
            let known = schemas.as_object().unwrap().iter();
            let ours: Vec<_> = known
                .filter(|(name, _)| name.rsplit('.').next() == Some(message))
                .map(|(_, schema)| &schema["properties"])
                .collect();
            assert!(!ours.is_empty(), "no message is called {message}");
            for (field, _) in *fields {
                assert!(
                    ours.iter().any(|properties| properties.get(field).is_some()),
                    "{message} has no field {field}"
                );
            }
        }
    }

    #[test]
    fn every_kind_that_is_served_everywhere_is_described() {
        for kind in [
            "Pod",
            "Deployment",
            "Service",
            "Namespace",
            "ConfigMap",
            "Secret",
            "Job",
        ] {
            assert!(tables::all().any(|(_, message)| message.name == kind));
            assert!(of_message(kind).is_some(), "{kind}");
        }
    }
}
