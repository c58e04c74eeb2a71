//! How one Mesh leads to the next, and what the hash of a Scope depends on.

use std::sync::Arc;

use proptest::prelude::*;
use resources::yaml;

use super::*;
use crate::{Node, Scope, snapshot};

const WORLD: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: backend, namespace: shop}
spec: {clusterIP: 10.96.0.1, selector: {app: backend}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: backend-1, namespace: shop, labels: {app: backend, pod-template-hash: "1"}}
---
apiVersion: v1
kind: Pod
metadata: {name: backend-2, namespace: shop, labels: {app: backend, pod-template-hash: "2"}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: backend-x, namespace: shop, labels: {kubernetes.io/service-name: backend}}
endpoints: [{addresses: [10.0.0.1], targetRef: {kind: Pod, name: backend-1}}]
ports: [{name: http, port: 80}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: backend, namespace: shop}
spec: {hosts: [backend], http: [{route: [{destination: {host: backend, subset: v1}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: backend, namespace: shop}
spec: {host: backend, subsets: [{name: v1, labels: {app: backend}}]}
"#;

fn world() -> Vec<Resource> {
    let read = yaml::read(WORLD);
    assert_eq!(read.problems, []);
    read.resources
}

fn node(pod: &str) -> Node {
    Node {
        namespace: "shop".into(),
        pod_name: pod.into(),
        ..Node::default()
    }
}

fn without(key: &Key) -> Change {
    Change {
        key: key.clone(),
        resource: None,
    }
}

#[test]
fn indexes_whose_inputs_did_not_change_are_shared() {
    let mesh = Mesh::of(world());
    let pod = Key::new(Kind::Pod, "shop", "backend-2");
    let next = mesh.next(&[without(&pod)]);
    assert!(Arc::ptr_eq(&mesh.services, &next.services));
    assert!(Arc::ptr_eq(&mesh.routes, &next.routes));
    assert!(!Arc::ptr_eq(&mesh.endpoints, &next.endpoints));
    assert!(mesh.get(&pod).is_some() && next.get(&pod).is_none());
}

#[test]
fn an_object_written_again_without_news_changes_nothing() {
    let mesh = Mesh::of(world());
    let changes: Vec<_> = world().into_iter().map(Change::from).collect();
    let next = mesh.next(&changes);
    assert!(Arc::ptr_eq(&mesh.endpoints, &next.endpoints));
    assert_eq!(
        Scope::of(&mesh, &node("backend-1")).hash(),
        Scope::of(&next, &node("backend-1")).hash()
    );
}

#[test]
fn replicas_share_a_scope_until_a_rule_asks_for_a_label_that_differs() {
    let mesh = Mesh::of(world());
    let hashes = |mesh: &Mesh| ["backend-1", "backend-2"].map(|pod| Scope::of(mesh, &node(pod)).hash());
    let [one, two] = hashes(&mesh);
    assert_eq!(one, two);
    let asking = yaml::read(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: other, namespace: shop}\nspec: {hosts: [x.org], http: [{match: [{sourceLabels: {pod-template-hash: '1'}}], route: [{destination: {host: backend}}]}]}\n",
    );
    let [one, two] = hashes(&mesh.next(&[Change::from(asking.resources[0].clone())]));
    assert_ne!(one, two);
}

#[test]
fn every_visible_change_changes_the_hash() {
    let mesh = Mesh::of(world());
    let before = Scope::of(&mesh, &node("backend-1")).hash();
    for resource in world()
        .iter()
        .filter(|resource| resource.key().name.as_ref() != "backend-2")
    {
        let next = mesh.next(&[without(&resource.key())]);
        assert_ne!(
            Scope::of(&next, &node("backend-1")).hash(),
            before,
            "{}",
            resource.key()
        );
    }
}

/// Who stands behind `backend`, and whether they take mutual TLS.
fn backends(mesh: &Mesh) -> Vec<(String, bool)> {
    let host = services::service_host("backend", "shop");
    let members = mesh.endpoints.get(&host).unwrap().of_port("http");
    let told = members.map(|(address, member)| (address.to_string(), member.is_mutual(address.port())));
    told.collect()
}

#[test]
fn who_refers_to_a_pod_is_no_member_until_that_pod_is_known() {
    let pod = Key::new(Kind::Pod, "shop", "backend-1");
    let others = world().into_iter().filter(|resource| resource.key() != pod);
    let mesh = Mesh::of(others);
    assert!(backends(&mesh).is_empty());
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: backend-1, namespace: shop, labels: {security.istio.io/tlsMode: istio}}\n";
    let arrived = mesh.next(&[Change::from(yaml::read(text).resources[0].clone())]);
    assert_eq!(backends(&arrived), [("10.0.0.1:80".to_owned(), true)]);
    assert!(backends(&arrived.next(&[without(&pod)])).is_empty());
}

#[test]
fn who_refers_to_nobody_is_the_pod_of_its_namespace_with_its_address() {
    let slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: by-hand, namespace: shop, labels: {kubernetes.io/service-name: backend}}\nendpoints: [{addresses: [10.0.0.1]}]\nports: [{name: http, port: 80}]\n";
    let mesh = Mesh::of(yaml::read(slice).resources);
    let mutual = |namespace: &str, host_network: bool, phase: &str| {
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: one, namespace: {namespace}, labels: {{security.istio.io/tlsMode: istio}}}}\nspec: {{hostNetwork: {host_network}}}\nstatus: {{podIP: 10.0.0.1, phase: {phase}}}\n"
        );
        let next = mesh.next(&[Change::from(yaml::read(&pod).resources[0].clone())]);
        backends(&next) == [("10.0.0.1:80".to_owned(), true)]
    };
    assert_eq!(backends(&mesh), [("10.0.0.1:80".to_owned(), false)]);
    assert!(mutual("shop", false, "Running"));
    assert!(!mutual("other", false, "Running"), "of another namespace");
    assert!(!mutual("shop", true, "Running"), "of the host's network");
    assert!(!mutual("shop", false, "Succeeded"), "ended");
    assert!(!mutual("shop", false, "Failed"), "ended");
}

proptest! {
    #[test]
    fn the_way_to_a_mesh_does_not_matter(
        steps in prop::collection::vec((0..6_usize, any::<bool>()), 0..24),
        pod in prop::sample::select(vec!["backend-1", "backend-2"]),
    ) {
        let world = world();
        let mut mesh = Mesh::default();
        let mut present = vec![false; world.len()];
        for (at, add) in steps {
            let key = world[at].key();
            present[at] = add;
            mesh = mesh.next(&[Change { key, resource: add.then(|| world[at].clone()) }]);
        }
        let left = world.iter().zip(&present).filter(|(_, present)| **present);
        let direct = Mesh::of(left.map(|(resource, _)| resource.clone()));
        let made = |mesh: &Mesh| snapshot(&Scope::of(mesh, &node(pod)));
        prop_assert_eq!(made(&mesh), made(&direct));
    }
}
