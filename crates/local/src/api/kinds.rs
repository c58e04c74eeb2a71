//! The built-in kinds, one line each: what they are called, and the functions that give their objects a meaning.

use std::borrow::Cow;

use k8s_openapi::api::{
    admissionregistration::v1 as admissionregistration, apps::v1 as apps, autoscaling::v1 as autoscaling_v1,
    autoscaling::v2 as autoscaling, batch::v1 as batch, certificates::v1 as certificates,
    coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery, events::v1 as events,
    networking::v1 as networking, node::v1 as node, policy::v1 as policy, rbac::v1 as rbac,
    scheduling::v1 as scheduling, storage::v1 as storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use serde::Deserialize;
use serde_json::Value;

use super::decode::{Findings, check};
use super::field::FieldErrors;
use super::registry::{ScalePaths, Shape, Type, VERBS};
use super::{Gvr, crd, defaults, table, validate, versions};

/// Reads an object through its typed form.
pub type Check = fn(&Value) -> Result<Findings, String>;

/// Checks the new object, given the old one on update.
pub type Validate = fn(&Value, Option<&Value>, &mut FieldErrors);

/// What a built-in kind needs beyond its names.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// Reads an object through the typed form.
    pub check: Check,
    /// Fills in what the user left out.
    pub default: fn(&mut Value),
    /// What is wrong with the new object, given the old one on update; metadata is checked for all kinds alike.
    pub validate: Validate,
    /// How `metadata.name` must look.
    pub name: validate::NameRule,
    /// What does not happen because nothing here acts on such objects; whoever makes one is warned.
    pub idle: Option<&'static str>,
    /// What `kubectl get` prints.
    pub columns: &'static table::Columns,
    /// To the served from the stored version, where the two differ.
    pub from_stored: fn(&mut Value),
    pub to_stored: fn(&mut Value),
}

/// All of them; the versions of a group in order of preference.
pub fn all() -> Vec<Type> {
    [
        core_kinds(),
        kept_kinds(),
        workload_kinds(),
        autoscaling_kinds(),
        network_kinds(),
        policy_kinds(),
        extension_kinds(),
        machine_kinds(),
    ]
    .into_iter()
    .flatten()
    .map(|kind| kind.0)
    .collect()
}

fn core_kinds() -> Vec<Kind> {
    vec![
        Kind::new::<core::Namespace>("", "v1", "namespaces", "Namespace")
            .cluster()
            .short(&["ns"])
            .status()
            .name(validate::dns_label)
            .default(defaults::namespace)
            .columns(&table::NAMESPACES),
        Kind::new::<core::Pod>("", "v1", "pods", "Pod")
            .short(&["po"])
            .all()
            .status()
            .default(defaults::pod)
            .validate(validate::pod)
            .columns(&table::PODS),
        Kind::new::<core::Service>("", "v1", "services", "Service")
            .short(&["svc"])
            .all()
            .status()
            .name(validate::dns_1035_label)
            .default(defaults::service)
            .validate(validate::service)
            .columns(&table::SERVICES),
        Kind::new::<core::Endpoints>("", "v1", "endpoints", "Endpoints")
            .singular("endpoints")
            .list("EndpointsList")
            .short(&["ep"])
            .default(defaults::endpoints)
            .columns(&table::ENDPOINTS),
        Kind::new::<core::ConfigMap>("", "v1", "configmaps", "ConfigMap")
            .short(&["cm"])
            .validate(validate::config_map)
            .columns(&table::CONFIG_MAPS),
        Kind::new::<core::Secret>("", "v1", "secrets", "Secret")
            .default(defaults::secret)
            .validate(validate::secret)
            .columns(&table::SECRETS),
        Kind::new::<core::ServiceAccount>("", "v1", "serviceaccounts", "ServiceAccount")
            .short(&["sa"])
            .columns(&table::NAME_AND_AGE),
        Kind::new::<core::Node>("", "v1", "nodes", "Node")
            .cluster()
            .short(&["no"])
            .status()
            .columns(&table::NODES),
        Kind::new::<core::Event>("", "v1", "events", "Event")
            .short(&["ev"])
            .columns(&table::EVENTS),
    ]
}

/// Core kinds that nothing here acts on: they are kept for the controllers that users bring.
fn kept_kinds() -> Vec<Kind> {
    vec![
        Kind::new::<core::PersistentVolume>("", "v1", "persistentvolumes", "PersistentVolume")
            .cluster()
            .short(&["pv"])
            .status()
            .default(defaults::persistent_volume)
            .validate(validate::persistent_volume)
            .idle("no claim is bound to it")
            .columns(&table::PERSISTENT_VOLUMES),
        Kind::new::<core::PersistentVolumeClaim>("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
            .short(&["pvc"])
            .status()
            .default(defaults::persistent_volume_claim)
            .validate(validate::persistent_volume_claim)
            .idle("no volume is bound to it, and pods that mount it do not start")
            .columns(&table::PERSISTENT_VOLUME_CLAIMS),
        Kind::new::<core::ReplicationController>("", "v1", "replicationcontrollers", "ReplicationController")
            .short(&["rc"])
            .all()
            .status()
            .scale()
            .default(defaults::replication_controller)
            .validate(validate::replication_controller)
            .idle("no pods are made for it; use a Deployment")
            .columns(&table::REPLICA_SETS),
        Kind::new::<core::LimitRange>("", "v1", "limitranges", "LimitRange")
            .short(&["limits"])
            .idle("no limits are set or checked")
            .columns(&table::NAME_AND_CREATED),
        Kind::new::<core::ResourceQuota>("", "v1", "resourcequotas", "ResourceQuota")
            .short(&["quota"])
            .status()
            .default(defaults::resource_quota)
            .idle("nothing is counted or refused")
            .columns(&table::QUOTAS),
        Kind::new::<core::PodTemplate>("", "v1", "podtemplates", "PodTemplate")
            .default(defaults::pod_template)
            .columns(&table::NAME_AND_AGE),
    ]
}

fn workload_kinds() -> Vec<Kind> {
    vec![
        Kind::new::<apps::Deployment>("apps", "v1", "deployments", "Deployment")
            .short(&["deploy"])
            .all()
            .status()
            .scale()
            .default(defaults::deployment)
            .validate(validate::deployment)
            .columns(&table::DEPLOYMENTS),
        Kind::new::<apps::ReplicaSet>("apps", "v1", "replicasets", "ReplicaSet")
            .short(&["rs"])
            .all()
            .status()
            .scale()
            .default(defaults::replica_set)
            .validate(validate::replica_set)
            .columns(&table::REPLICA_SETS),
        Kind::new::<apps::StatefulSet>("apps", "v1", "statefulsets", "StatefulSet")
            .short(&["sts"])
            .all()
            .status()
            .scale()
            .default(defaults::stateful_set)
            .validate(validate::stateful_set)
            .columns(&table::STATEFUL_SETS),
        Kind::new::<apps::DaemonSet>("apps", "v1", "daemonsets", "DaemonSet")
            .short(&["ds"])
            .all()
            .status()
            .default(defaults::daemon_set)
            .validate(validate::daemon_set)
            .columns(&table::DAEMON_SETS),
        Kind::new::<apps::ControllerRevision>("apps", "v1", "controllerrevisions", "ControllerRevision")
            .columns(&table::CONTROLLER_REVISIONS),
        Kind::new::<batch::Job>("batch", "v1", "jobs", "Job")
            .all()
            .status()
            .default(defaults::job)
            .validate(validate::job)
            .columns(&table::JOBS),
        Kind::new::<batch::CronJob>("batch", "v1", "cronjobs", "CronJob")
            .short(&["cj"])
            .all()
            .status()
            .default(defaults::cron_job)
            .validate(validate::cron_job)
            .idle("no Job is started on its schedule")
            .columns(&table::CRON_JOBS),
        Kind::new::<coordination::Lease>("coordination.k8s.io", "v1", "leases", "Lease")
            .columns(&table::LEASES),
        Kind::new::<events::Event>("events.k8s.io", "v1", "events", "Event")
            .short(&["ev"])
            .stored_as(
                super::gvr::EVENTS,
                versions::event_from_core,
                versions::event_to_core,
            )
            .columns(&table::EVENTS),
        Kind::new::<scheduling::PriorityClass>("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass")
            .cluster()
            .singular("priorityclass")
            .short(&["pc"])
            .default(defaults::priority_class)
            .validate(validate::priority_class)
            .idle("no pod is preempted for another")
            .columns(&table::PRIORITY_CLASSES),
    ]
}

fn autoscaling_kinds() -> Vec<Kind> {
    vec![
        Kind::new::<autoscaling::HorizontalPodAutoscaler>(
            "autoscaling",
            "v2",
            "horizontalpodautoscalers",
            "HorizontalPodAutoscaler",
        )
        .short(&["hpa"])
        .all()
        .status()
        .default(defaults::horizontal_pod_autoscaler)
        .validate(validate::autoscaler)
        .idle("nothing is measured or scaled")
        .columns(&table::AUTOSCALERS),
        Kind::new::<autoscaling_v1::HorizontalPodAutoscaler>(
            "autoscaling",
            "v1",
            "horizontalpodautoscalers",
            "HorizontalPodAutoscaler",
        )
        .short(&["hpa"])
        .all()
        .status()
        .stored_as(
            super::gvr::AUTOSCALERS,
            versions::autoscaler_from_v2,
            versions::autoscaler_to_v2,
        )
        .default(defaults::horizontal_pod_autoscaler_v1)
        .validate(validate::autoscaler)
        .idle("nothing is measured or scaled")
        .columns(&table::AUTOSCALERS_V1),
    ]
}

fn network_kinds() -> Vec<Kind> {
    vec![
        Kind::new::<discovery::EndpointSlice>("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
            .default(defaults::endpoint_slice)
            .columns(&table::ENDPOINT_SLICES),
        Kind::new::<networking::Ingress>("networking.k8s.io", "v1", "ingresses", "Ingress")
            .singular("ingress")
            .short(&["ing"])
            .status()
            .validate(validate::ingress)
            .idle("no traffic is routed by it, unless a controller that you run does")
            .columns(&table::INGRESSES),
        Kind::new::<networking::IngressClass>("networking.k8s.io", "v1", "ingressclasses", "IngressClass")
            .cluster()
            .singular("ingressclass")
            .columns(&table::INGRESS_CLASSES),
        Kind::new::<networking::NetworkPolicy>("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
            .singular("networkpolicy")
            .short(&["netpol"])
            .default(defaults::network_policy)
            .idle("no traffic is refused")
            .columns(&table::NETWORK_POLICIES),
    ]
}

fn policy_kinds() -> Vec<Kind> {
    const RBAC: &str = "rbac.authorization.k8s.io";
    vec![
        Kind::new::<rbac::ClusterRole>(RBAC, "v1", "clusterroles", "ClusterRole")
            .cluster()
            .name(validate::path_segment)
            .validate(validate::cluster_role)
            .columns(&table::NAME_AND_CREATED),
        Kind::new::<rbac::ClusterRoleBinding>(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding")
            .cluster()
            .name(validate::path_segment)
            .default(defaults::role_binding)
            .validate(validate::cluster_role_binding)
            .columns(&table::ROLE_BINDINGS),
        Kind::new::<rbac::Role>(RBAC, "v1", "roles", "Role")
            .name(validate::path_segment)
            .validate(validate::role)
            .columns(&table::NAME_AND_CREATED),
        Kind::new::<rbac::RoleBinding>(RBAC, "v1", "rolebindings", "RoleBinding")
            .name(validate::path_segment)
            .default(defaults::role_binding)
            .validate(validate::role_binding)
            .columns(&table::ROLE_BINDINGS),
        Kind::new::<policy::PodDisruptionBudget>(
            "policy",
            "v1",
            "poddisruptionbudgets",
            "PodDisruptionBudget",
        )
        .short(&["pdb"])
        .status()
        .validate(validate::disruption_budget)
        .columns(&table::DISRUPTION_BUDGETS),
        Kind::new::<storage::StorageClass>("storage.k8s.io", "v1", "storageclasses", "StorageClass")
            .cluster()
            .singular("storageclass")
            .short(&["sc"])
            .default(defaults::storage_class)
            .validate(validate::storage_class)
            .idle("no volume is made for it")
            .columns(&table::STORAGE_CLASSES),
    ]
}

fn extension_kinds() -> Vec<Kind> {
    const ADMISSION: &str = "admissionregistration.k8s.io";
    vec![
        Kind::new::<admissionregistration::MutatingWebhookConfiguration>(
            ADMISSION,
            "v1",
            "mutatingwebhookconfigurations",
            "MutatingWebhookConfiguration",
        )
        .cluster()
        .default(defaults::mutating_webhooks)
        .validate(validate::webhooks)
        .columns(&table::WEBHOOKS),
        Kind::new::<admissionregistration::ValidatingWebhookConfiguration>(
            ADMISSION,
            "v1",
            "validatingwebhookconfigurations",
            "ValidatingWebhookConfiguration",
        )
        .cluster()
        .default(defaults::validating_webhooks)
        .validate(validate::webhooks)
        .columns(&table::WEBHOOKS),
        Kind::new::<admissionregistration::ValidatingAdmissionPolicy>(
            ADMISSION,
            "v1",
            "validatingadmissionpolicies",
            "ValidatingAdmissionPolicy",
        )
        .cluster()
        .singular("validatingadmissionpolicy")
        .status()
        .default(defaults::admission_policy)
        .validate(validate::admission_policy)
        .columns(&table::NAME_AND_AGE),
        Kind::new::<admissionregistration::ValidatingAdmissionPolicyBinding>(
            ADMISSION,
            "v1",
            "validatingadmissionpolicybindings",
            "ValidatingAdmissionPolicyBinding",
        )
        .cluster()
        .default(defaults::admission_policy_binding)
        .validate(validate::admission_policy_binding)
        .columns(&table::NAME_AND_AGE),
        Kind::new::<apiextensions::CustomResourceDefinition>(
            "apiextensions.k8s.io",
            "v1",
            "customresourcedefinitions",
            "CustomResourceDefinition",
        )
        .cluster()
        .short(&["crd", "crds"])
        .category("api-extensions")
        .status()
        .default(crd::set_defaults)
        .validate(crd::validate)
        .columns(&table::CUSTOM_RESOURCE_DEFINITIONS),
    ]
}

/// What describes machines and their drivers, kept for whoever asks.
fn machine_kinds() -> Vec<Kind> {
    const STORAGE: &str = "storage.k8s.io";
    vec![
        Kind::new::<certificates::CertificateSigningRequest>(
            "certificates.k8s.io",
            "v1",
            "certificatesigningrequests",
            "CertificateSigningRequest",
        )
        .cluster()
        .short(&["csr"])
        .status()
        .idle("no certificate is signed")
        .columns(&table::SIGNING_REQUESTS),
        Kind::new::<node::RuntimeClass>("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass")
            .cluster()
            .singular("runtimeclass")
            .validate(validate::runtime_class)
            .idle("pods run the same way whatever class they name")
            .columns(&table::RUNTIME_CLASSES),
        Kind::new::<storage::CSIDriver>(STORAGE, "v1", "csidrivers", "CSIDriver")
            .cluster()
            .default(defaults::csi_driver)
            .idle("the driver is never called")
            .columns(&table::CSI_DRIVERS),
        Kind::new::<storage::CSINode>(STORAGE, "v1", "csinodes", "CSINode")
            .cluster()
            .columns(&table::CSI_NODES),
        Kind::new::<storage::CSIStorageCapacity>(STORAGE, "v1", "csistoragecapacities", "CSIStorageCapacity")
            .singular("csistoragecapacity")
            .columns(&table::CSI_STORAGE_CAPACITIES),
        Kind::new::<storage::VolumeAttachment>(STORAGE, "v1", "volumeattachments", "VolumeAttachment")
            .cluster()
            .status()
            .idle("no volume is attached")
            .columns(&table::VOLUME_ATTACHMENTS),
    ]
}

/// A type in the making.
struct Kind(Type);

impl Kind {
    fn new<T: for<'a> Deserialize<'a>>(
        group: &'static str,
        version: &'static str,
        resource: &'static str,
        kind: &'static str,
    ) -> Self {
        let gvr = Gvr::fixed(group, version, resource);
        let built_in = BuiltIn {
            check: |value| check::<T>(value),
            default: |_| {},
            validate: |_, _, _| {},
            name: validate::dns_subdomain,
            idle: None,
            columns: &table::NAME_AND_AGE,
            from_stored: |_| {},
            to_stored: |_| {},
        };
        Self(Type {
            stored_as: gvr.clone(),
            gvr,
            kind: Cow::Borrowed(kind),
            list_kind: Cow::Owned(format!("{kind}List")),
            singular: Cow::Owned(kind.to_ascii_lowercase()),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: true,
            verbs: VERBS,
            status: false,
            scale: None,
            shape: Shape::BuiltIn(built_in),
        })
    }

    fn built_in(mut self, change: impl FnOnce(&mut BuiltIn)) -> Self {
        if let Shape::BuiltIn(built_in) = &mut self.0.shape {
            change(built_in);
        }
        self
    }

    fn cluster(mut self) -> Self {
        self.0.namespaced = false;
        self
    }

    fn singular(mut self, name: &'static str) -> Self {
        self.0.singular = Cow::Borrowed(name);
        self
    }

    fn list(mut self, kind: &'static str) -> Self {
        self.0.list_kind = Cow::Borrowed(kind);
        self
    }

    fn short(mut self, names: &[&'static str]) -> Self {
        self.0.short_names = names.iter().copied().map(Cow::Borrowed).collect();
        self
    }

    fn category(mut self, name: &'static str) -> Self {
        self.0.categories.push(Cow::Borrowed(name));
        self
    }

    fn all(self) -> Self {
        self.category("all")
    }

    fn status(mut self) -> Self {
        self.0.status = true;
        self
    }

    fn scale(mut self) -> Self {
        let path = |text: &str| text.split('.').map(str::to_owned).collect();
        self.0.scale = Some(ScalePaths {
            spec_replicas: path("spec.replicas"),
            status_replicas: path("status.replicas"),
            selector: Some(path("spec.selector")),
        });
        self
    }

    fn stored_as(mut self, gvr: Gvr, from_stored: fn(&mut Value), to_stored: fn(&mut Value)) -> Self {
        self.0.stored_as = gvr;
        self.built_in(|built_in| (built_in.from_stored, built_in.to_stored) = (from_stored, to_stored))
    }

    /// No controller here acts on it, and that is what does not happen.
    fn idle(self, what: &'static str) -> Self {
        self.built_in(|built_in| built_in.idle = Some(what))
    }

    fn name(self, rule: validate::NameRule) -> Self {
        self.built_in(|built_in| built_in.name = rule)
    }

    fn default(self, default: fn(&mut Value)) -> Self {
        self.built_in(|built_in| built_in.default = default)
    }

    fn validate(self, validate: Validate) -> Self {
        self.built_in(|built_in| built_in.validate = validate)
    }

    fn columns(self, columns: &'static table::Columns) -> Self {
        self.built_in(|built_in| built_in.columns = columns)
    }
}

#[cfg(test)]
mod tests {
    use crate::api::registry::Registry;

    #[test]
    fn names_are_unique_and_singulars_are_english() {
        let registry = Registry::built_in();
        let singular = |resource: &str| {
            let one = registry.all().iter().find(|one| one.gvr.resource == resource);
            one.map(|one| one.singular.to_string()).unwrap_or_default()
        };
        assert_eq!(singular("networkpolicies"), "networkpolicy");
        assert_eq!(singular("endpoints"), "endpoints");
        assert_eq!(singular("deployments"), "deployment");
    }
}
