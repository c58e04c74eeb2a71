//! AuthorizationPolicies that do not do what they seem to: for nobody, or asking somebody whom nobody knows.

use resources::istio::authorization_policy::Action;
use resources::kubernetes::Pod;
use resources::{AuthorizationPolicy, Code, Key, Kind, Problem, Resource};

use super::messages;
use crate::ext_authz::Providers;
use crate::mesh::services::contains_all;
use crate::{Mesh, ROOT_NAMESPACE};

pub(super) fn of_policy(mesh: &Mesh, key: &Key, object: &AuthorizationPolicy, problems: &mut Vec<Problem>) {
    let spec = &object.spec;
    let mut add = |code, field: String, message| problems.push(Problem::new(code, key, field, message));
    let single = spec.target_ref.iter().map(|_| "spec.targetRef".to_owned());
    let several = (0..spec.target_refs.len()).map(|index| format!("spec.targetRefs[{index}]"));
    for field in single.chain(several) {
        let message = messages::not_supported_yet(&field, "no gateway or waypoint applies this policy");
        add(Code::NotSupportedYet, field, message);
    }
    if let Some(selector) = spec
        .selector
        .as_ref()
        .filter(|selector| !selector.match_labels.is_empty())
    {
        let mut pods = mesh.kind(Kind::Pod).filter_map(|stored| match &stored.resource {
            Resource::Pod(pod) => Some(pod),
            _ => None,
        });
        let selected = |pod: &Pod| {
            let here = *key.namespace == *ROOT_NAMESPACE || pod.metadata.namespace == *key.namespace;
            here && contains_all(&pod.metadata.labels, &selector.match_labels)
        };
        if !pods.any(|pod| selected(pod)) {
            let labels = selector.match_labels.iter();
            let labels: Vec<_> = labels.map(|(name, value)| format!("{name}={value}")).collect();
            let message = messages::no_matching_workloads(&labels.join(","));
            add(
                Code::NoMatchingWorkloadsFound,
                "spec.selector".to_owned(),
                message,
            );
        }
    }
    if spec.action() == Action::Custom {
        let providers = Providers::of(&mesh.services, &mesh.settings.extension_providers);
        if let Some(why) = providers.problem(spec.provider_name()) {
            let message = messages::provider_not_found(spec.provider_name(), &why);
            add(
                Code::ReferencedResourceNotFound,
                "spec.provider.name".to_owned(),
                message,
            );
        }
    }
}
