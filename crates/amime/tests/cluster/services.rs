//! Services of every type, and Endpoints, as a user meets them: from the host and from pods.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Local, said, wait};

const LIMIT: Duration = Duration::from_secs(60);

const WORLD: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: kennethreitz/httpbin, ports: [{name: http, containerPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: node, namespace: default}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: balancer, namespace: default}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 8080, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: default}
spec: {type: ExternalName, externalName: node.default.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: sticky, namespace: default}
spec: {selector: {app: web}, sessionAffinity: ClientIP, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: default}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: manual, namespace: default}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: default}
spec:
  containers:
  - {name: client, image: curlimages/curl, command: [sleep, '1000']}
";

fn start() -> Local {
    let local = Local::up(&[]);
    let applied = local.apply(WORLD);
    assert!(applied.status.success(), "{}", said(&applied));
    local.wait_for_deployment("default", "web");
    wait("the client", LIMIT, || {
        let pod = local.get(&["pods", "client"]);
        (pod["status"]["phase"] == "Running").then_some(())
    });
    local
}

/// What a server on the host's loopback answers; `None` where nobody listens.
fn ask(address: &str) -> Option<String> {
    let mut connection = TcpStream::connect(address).ok()?;
    connection
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let request = "GET /status/200 HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";
    connection.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    let _ = connection.read_to_string(&mut answer);
    Some(answer)
}

/// The status code that a pod gets.
fn from_pod(local: &Local, url: &str) -> String {
    let curl = [
        "curl",
        "-s",
        "-m",
        "10",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        url,
    ];
    let words = [
        &["exec", "client", "-n", "default", "-c", "client", "--"],
        &curl[..],
    ]
    .concat();
    said(&local.amime(&words))
}

fn balancer(local: &Local) -> Option<String> {
    let service = local.get(&["services", "balancer"]);
    service["status"]["loadBalancer"]["ingress"][0]["ip"]
        .as_str()
        .map(str::to_owned)
}

#[test]
fn services_of_every_type_are_reached() {
    let local = start();
    let service = local.get(&["services", "node"]);
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..32768).contains(&port));
    let at_host = format!("127.0.0.1:{port}");
    let address = wait("the load balancer's address", LIMIT, || balancer(&local));
    for place in [at_host.clone(), format!("{address}:8080")] {
        let answer = wait("an answer on the host", LIMIT, || ask(&place));
        assert!(answer.starts_with("HTTP/1.1 200"), "{place}: {answer}");
    }
    for url in [
        format!("http://10.244.0.1:{port}/status/200"),
        "http://alias/status/200".to_owned(),
        "http://sticky/status/200".to_owned(),
    ] {
        assert!(from_pod(&local, &url).starts_with("200"), "{url}");
    }
    // Refused at once, where there is no endpoint.
    let begun = std::time::Instant::now();
    assert!(!from_pod(&local, "http://nobody/").starts_with("200"));
    assert!(begun.elapsed() < Duration::from_secs(8), "it waited for nobody");

    // What a Service no longer asks for is closed.
    let patched = local.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: balancer, namespace: default}\nspec: {type: ClusterIP, \
         selector: {app: web}, ports: [{port: 8080, targetPort: http}]}\n",
    );
    assert!(patched.status.success(), "{}", said(&patched));
    wait("the balancer to go", LIMIT, || {
        (balancer(&local).is_none() && ask(&format!("{address}:8080")).is_none()).then_some(())
    });

    // A restart opens the same node port again.
    local.down();
    assert!(ask(&at_host).is_none());
    local.start(&[]);
    let answer = wait("the node port after a restart", LIMIT, || {
        ask(&at_host).filter(|answer| !answer.is_empty())
    });
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn endpoints_stand_beside_slices_and_those_of_users_are_mirrored() {
    let local = start();
    let of_pods = |pods: &Value| {
        let items = pods["items"].as_array().cloned().unwrap_or_default();
        let mut ips: Vec<String> = items
            .iter()
            .map(|pod| pod["status"]["podIP"].to_string())
            .collect();
        ips.sort();
        ips
    };
    let web = of_pods(&local.get(&["pods", "-l", "app=web"]));
    wait("Endpoints of the pods", LIMIT, || {
        let endpoints = local.get(&["endpoints", "node"]);
        let addresses = endpoints["subsets"][0]["addresses"].as_array().cloned()?;
        let mut found: Vec<String> = addresses
            .iter()
            .map(|address| address["ip"].to_string())
            .collect();
        found.sort();
        (found == web && endpoints["subsets"][0]["ports"][0]["port"] == 80).then_some(())
    });
    let target = web[0].trim_matches('"').to_owned();
    let applied = local.apply(&format!(
        "apiVersion: v1\nkind: Endpoints\nmetadata: {{name: manual, namespace: default}}\n\
         subsets: [{{addresses: [{{ip: {target}}}], ports: [{{port: 80}}]}}]\n"
    ));
    assert!(applied.status.success(), "{}", said(&applied));
    wait("the mirrored slice to work", LIMIT, || {
        from_pod(&local, "http://manual/status/200")
            .starts_with("200")
            .then_some(())
    });
}
