//! Rules that come in halves: one `apply` writes a VirtualService and then the DestinationRule whose subsets it names
//! (or deletes them the other way round). In between, every request of that route would be answered 503.
//!
//! So a change of rules that leaves a subset missing which was not missing before waits for its other half, at most
//! [`LONGEST`]. Everything else goes on meanwhile. A subset that stays missing is what the user wrote: it is pushed
//! (503, as Istio does), and reported as an event.

use std::time::Duration;

use daemon::clock::Instant;
use resources::Kind;
use translate::{Change, Mesh, missing_subsets};

/// How long half a rule waits; kubectl writes the objects of one file within a fraction of it.
const LONGEST: Duration = Duration::from_secs(1);

/// Whether something waits.
#[derive(Debug, Default)]
pub(super) struct Halves {
    since: Option<Instant>,
}

impl Halves {
    /// When what waits must go.
    pub(super) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + LONGEST)
    }

    /// What may be pushed now, and what waits.
    pub(super) fn part(
        &mut self,
        before: &Mesh,
        changes: Vec<Change>,
        now: Instant,
    ) -> (Vec<Change>, Vec<Change>) {
        let expired = self.due().is_some_and(|due| now >= due);
        if expired || !changes.iter().any(is_rule) || is_whole(before, &changes) {
            self.since = None;
            return (changes, Vec::new());
        }
        self.since.get_or_insert(now);
        let (waiting, rest) = changes.into_iter().partition(is_rule);
        (rest, waiting)
    }
}

fn is_rule(change: &Change) -> bool {
    matches!(change.key.kind, Kind::VirtualService | Kind::DestinationRule)
}

/// Whether no subset is missing that was there, or not asked for, before.
fn is_whole(before: &Mesh, changes: &[Change]) -> bool {
    let missing = missing_subsets(&before.next(changes));
    missing.is_empty() || missing.is_subset(&missing_subsets(before))
}

#[cfg(test)]
mod tests {
    use resources::{Key, Resource};
    use serde_json::{Value, json};

    use super::*;

    fn rule(kind: &str, name: &str, spec: &Value) -> Resource {
        let object = json!({"apiVersion": "networking.istio.io/v1", "kind": kind,
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec});
        Resource::from_object(&object).unwrap().resource
    }

    fn route(subset: &str) -> Change {
        let spec = json!({"hosts": ["backend"], "http": [{"route": [
            {"destination": {"host": "backend", "subset": subset}}]}]});
        present(rule("VirtualService", "backend", &spec))
    }

    fn subsets(names: &[&str]) -> Change {
        let subsets: Vec<_> = names
            .iter()
            .map(|name| json!({"name": name, "labels": {"v": name}}))
            .collect();
        present(rule(
            "DestinationRule",
            "backend",
            &json!({"host": "backend", "subsets": subsets}),
        ))
    }

    fn present(resource: Resource) -> Change {
        Change {
            key: resource.key(),
            resource: Some(resource),
        }
    }

    fn service(name: &str) -> Change {
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"clusterIP": "10.96.0.7", "ports": [{"port": 80, "name": "http"}]}});
        present(Resource::from_object(&object).unwrap().resource)
    }

    fn keys(changes: &[Change]) -> Vec<Kind> {
        changes
            .iter()
            .map(|change: &Change| -> Kind {
                let key: &Key = &change.key;
                key.kind
            })
            .collect()
    }

    #[test]
    fn half_a_rule_waits_for_the_other_half_and_nothing_else_does() {
        let (mut halves, start) = (Halves::default(), daemon::clock::now());
        let mesh = Mesh::default().next(&[service("backend")]);
        let (go, wait) = halves.part(&mesh, vec![route("v0"), service("other")], start);
        assert_eq!(
            (keys(&go), keys(&wait)),
            (vec![Kind::Service], vec![Kind::VirtualService])
        );
        let (go, wait) = halves.part(&mesh, vec![route("v0"), subsets(&["v0"])], start);
        assert_eq!((go.len(), wait.len(), halves.due()), (2, 0, None));
    }

    #[test]
    fn a_subset_that_stays_missing_is_pushed_at_last_and_does_not_hold_up_later_changes() {
        let (mut halves, start) = (Halves::default(), daemon::clock::now());
        let mesh = Mesh::default().next(&[service("backend")]);
        assert_eq!(halves.part(&mesh, vec![route("v9")], start).0.len(), 0);
        assert_eq!(halves.due(), Some(start + LONGEST));
        let (go, _) = halves.part(&mesh, vec![route("v9")], start + LONGEST);
        assert_eq!((go.len(), halves.due()), (1, None));
        let mesh = mesh.next(&go);
        let (go, wait) = halves.part(&mesh, vec![subsets(&["v1"])], start + LONGEST);
        assert_eq!((go.len(), wait.len()), (1, 0));
    }

    #[test]
    fn taking_the_subsets_away_waits_for_the_route_to_follow() {
        let (mut halves, start) = (Halves::default(), daemon::clock::now());
        let mesh = Mesh::default().next(&[service("backend"), route("v0"), subsets(&["v0"])]);
        let gone = Change {
            resource: None,
            ..subsets(&[])
        };
        assert_eq!(halves.part(&mesh, vec![gone], start).1.len(), 1);
    }
}
