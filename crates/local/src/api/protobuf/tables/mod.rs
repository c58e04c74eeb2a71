//! What Kubernetes' messages look like on the wire: number, name in JSON and type of each field.
//!
//! The facts are those of Kubernetes 1.37 (`generated.proto` and the tags of its Go types). Numbers never change their
//! meaning, so that older clients are understood too, and fields of newer ones are skipped. A field is written
//!
//! ```text
//! 5 workingDir: string nonempty
//! ```
//!
//! Without a word behind its type, a field is kept as it was sent, `false`, `0` and `{}` included: Go sends such a field
//! only when it was set, or always shows it. Fields that are `nonempty` are always sent, and mean nothing when they are
//! empty. The fields of an `inline` message belong to the object around it.

mod admissionregistration;
mod apps;
mod authentication;
mod authorization;
mod autoscaling_v1;
mod autoscaling_v2;
mod batch;
mod certificates;
mod coordination;
mod core;
mod discovery;
mod events;
mod meta;
mod networking;
mod node;
mod pod;
mod policy;
mod rbac;
mod scheduling;
mod storage;
mod volumes;

/// A message, by the name of its kind or type.
#[derive(Debug)]
pub(in crate::api) struct Message {
    /// Where Kubernetes' own documents look for its definition.
    pub(in crate::api) package: &'static str,
    pub(in crate::api) name: &'static str,
    pub(in crate::api) fields: &'static [Field],
}

#[derive(Debug)]
pub(in crate::api) struct Field {
    pub(in crate::api) number: u32,
    pub(in crate::api) name: &'static str,
    pub(in crate::api) kind: Kind,
    pub(in crate::api) presence: Presence,
}

/// The type of a field: how it is read, and what it becomes.
#[derive(Debug)]
pub(in crate::api) enum Kind {
    Text,
    Integer,
    Boolean,
    /// Base64 in JSON.
    Bytes,
    /// A message of seconds and nanoseconds; RFC 3339 in JSON, in whole seconds.
    Time,
    /// The same with microseconds.
    MicroTime,
    /// A message; a number or a text in JSON.
    IntOrString,
    /// A message around a text.
    Quantity,
    /// A message around a text of JSON.
    Json,
    /// A message around a list of texts.
    Texts,
    List(&'static Kind),
    Map(&'static Kind),
    Message(&'static Message),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum Presence {
    AsSent,
    NonEmpty,
    Inline,
}

/// Objects that may be sent, by the `apiVersion` that they say.
const OBJECTS: &[(&str, &[&Message])] = &[
    (
        "v1",
        &[
            &core::Binding,
            &core::ConfigMap,
            &core::Endpoints,
            &core::Event,
            &core::LimitRange,
            &core::Namespace,
            &core::Node,
            &core::ReplicationController,
            &core::ResourceQuota,
            &core::Secret,
            &core::Service,
            &core::ServiceAccount,
            &pod::Pod,
            &core::PodTemplate,
            &volumes::PersistentVolume,
            &volumes::PersistentVolumeClaim,
        ],
    ),
    (
        "admissionregistration.k8s.io/v1",
        &[
            &admissionregistration::MutatingWebhookConfiguration,
            &admissionregistration::ValidatingAdmissionPolicy,
            &admissionregistration::ValidatingAdmissionPolicyBinding,
            &admissionregistration::ValidatingWebhookConfiguration,
        ],
    ),
    (
        "apps/v1",
        &[
            &apps::ControllerRevision,
            &apps::DaemonSet,
            &apps::Deployment,
            &apps::ReplicaSet,
            &apps::StatefulSet,
        ],
    ),
    (
        "authentication.k8s.io/v1",
        &[
            &authentication::SelfSubjectReview,
            &authentication::TokenRequest,
            &authentication::TokenReview,
        ],
    ),
    (
        "authorization.k8s.io/v1",
        &[
            &authorization::LocalSubjectAccessReview,
            &authorization::SelfSubjectAccessReview,
            &authorization::SelfSubjectRulesReview,
            &authorization::SubjectAccessReview,
        ],
    ),
    (
        "autoscaling/v1",
        &[&autoscaling_v1::HorizontalPodAutoscaler, &autoscaling_v1::Scale],
    ),
    ("autoscaling/v2", &[&autoscaling_v2::HorizontalPodAutoscaler]),
    ("batch/v1", &[&batch::CronJob, &batch::Job]),
    (
        "certificates.k8s.io/v1",
        &[&certificates::CertificateSigningRequest],
    ),
    ("coordination.k8s.io/v1", &[&coordination::Lease]),
    ("discovery.k8s.io/v1", &[&discovery::EndpointSlice]),
    ("events.k8s.io/v1", &[&events::Event]),
    (
        "networking.k8s.io/v1",
        &[
            &networking::Ingress,
            &networking::IngressClass,
            &networking::NetworkPolicy,
        ],
    ),
    ("node.k8s.io/v1", &[&node::RuntimeClass]),
    ("policy/v1", &[&policy::Eviction, &policy::PodDisruptionBudget]),
    (
        "rbac.authorization.k8s.io/v1",
        &[
            &rbac::ClusterRole,
            &rbac::ClusterRoleBinding,
            &rbac::Role,
            &rbac::RoleBinding,
        ],
    ),
    ("scheduling.k8s.io/v1", &[&scheduling::PriorityClass]),
    (
        "storage.k8s.io/v1",
        &[
            &storage::CSIDriver,
            &storage::CSINode,
            &storage::CSIStorageCapacity,
            &storage::StorageClass,
            &storage::VolumeAttachment,
        ],
    ),
];

/// The message of an object. Every group has `DeleteOptions`.
pub(in crate::api) fn find(api_version: &str, kind: &str) -> Option<&'static Message> {
    if kind == meta::DeleteOptions.name {
        return Some(&meta::DeleteOptions);
    }
    all()
        .find(|(version, message)| *version == api_version && message.name == kind)
        .map(|(_, message)| message)
}

/// Every object that may be sent.
pub(in crate::api) fn all() -> impl Iterator<Item = (&'static str, &'static Message)> {
    OBJECTS
        .iter()
        .flat_map(|(version, messages)| messages.iter().map(|message| (*version, *message)))
}

/// The tables: a `static` for each message, and a line for each handful of fields.
macro_rules! messages {
    (package $package:literal; $($message:ident { $($number:literal $field:ident : $kind:tt $($presence:ident)?),* $(,)? })*) => {
        $(
            #[allow(non_upper_case_globals, reason = "called as Kubernetes calls them")]
            #[allow(unreachable_pub, reason = "some are used by their own file alone")]
            pub(in crate::api) static $message: $crate::api::protobuf::tables::Message =
                $crate::api::protobuf::tables::Message {
                    package: $package,
                    name: stringify!($message),
                    fields: &[$($crate::api::protobuf::tables::Field {
                        number: $number,
                        name: stringify!($field),
                        kind: $crate::api::protobuf::tables::kind!($kind),
                        presence: $crate::api::protobuf::tables::presence!($($presence)?),
                    }),*],
                };
        )*
    };
}

macro_rules! kind {
    (string) => {
        $crate::api::protobuf::tables::Kind::Text
    };
    (int) => {
        $crate::api::protobuf::tables::Kind::Integer
    };
    (bool) => {
        $crate::api::protobuf::tables::Kind::Boolean
    };
    (bytes) => {
        $crate::api::protobuf::tables::Kind::Bytes
    };
    (Time) => {
        $crate::api::protobuf::tables::Kind::Time
    };
    (MicroTime) => {
        $crate::api::protobuf::tables::Kind::MicroTime
    };
    (IntOrString) => {
        $crate::api::protobuf::tables::Kind::IntOrString
    };
    (Quantity) => {
        $crate::api::protobuf::tables::Kind::Quantity
    };
    (Raw) => {
        $crate::api::protobuf::tables::Kind::Json
    };
    (Strings) => {
        $crate::api::protobuf::tables::Kind::Texts
    };
    ([$kind:tt]) => {
        $crate::api::protobuf::tables::Kind::List(&$crate::api::protobuf::tables::kind!($kind))
    };
    ({$kind:tt}) => {
        $crate::api::protobuf::tables::Kind::Map(&$crate::api::protobuf::tables::kind!($kind))
    };
    ($message:ident) => {
        $crate::api::protobuf::tables::Kind::Message(&$message)
    };
}

macro_rules! presence {
    () => {
        $crate::api::protobuf::tables::Presence::AsSent
    };
    (nonempty) => {
        $crate::api::protobuf::tables::Presence::NonEmpty
    };
    (inline) => {
        $crate::api::protobuf::tables::Presence::Inline
    };
}

use {kind, messages, presence};
