//! Lists in pages and at versions, over the wire.

use std::path::Path;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::tests::{CONFIG_MAPS, Cluster, cluster, config_map, plain, restarted};

/// ConfigMaps `a` to `e`; every other one is labelled.
async fn five(directory: &Path) -> Cluster {
    let cluster = cluster(directory).await;
    for (count, name) in ["a", "b", "c", "d", "e"].iter().enumerate() {
        let mut object = config_map(name);
        object["metadata"]["labels"] = json!({"even": (count % 2 == 0).to_string()});
        assert_eq!(cluster.post(CONFIG_MAPS, object).await.0, 201);
    }
    cluster
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}

fn next(list: &Value) -> &str {
    list["metadata"]["continue"].as_str().unwrap()
}

#[tokio::test]
async fn all_pages_are_of_the_first_ones_version() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = five(directory.path()).await;
    let (_, first) = cluster.get(&format!("{CONFIG_MAPS}?limit=2")).await;
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    let version = first["metadata"]["resourceVersion"].clone();

    cluster
        .call(Method::DELETE, &format!("{CONFIG_MAPS}/c"), None)
        .await;
    cluster.post(CONFIG_MAPS, config_map("b-and-a-half")).await;
    cluster
        .call(Method::PUT, &format!("{CONFIG_MAPS}/d"), Some(config_map("d")))
        .await;

    let page = format!("{CONFIG_MAPS}?limit=2&continue={}", next(&first));
    let (_, second) = cluster.get(&page).await;
    assert_eq!(names(&second), ["c", "d"], "as they were");
    assert_eq!(second["items"][1]["metadata"]["labels"]["even"], "false");
    assert_eq!(second["metadata"]["remainingItemCount"], 1);
    let page = format!("{CONFIG_MAPS}?limit=2&continue={}", next(&second));
    let (_, third) = cluster.get(&page).await;
    assert_eq!(names(&third), ["e"]);
    assert_eq!(third["metadata"], json!({"resourceVersion": version}));

    let at_version = format!("{CONFIG_MAPS}?resourceVersionMatch=Exact&resourceVersion=");
    let path = format!("{at_version}{}", version.as_str().unwrap());
    assert_eq!(names(&cluster.get(&path).await.1), ["a", "b", "c", "d", "e"]);
    let (_, now) = cluster.get(CONFIG_MAPS).await;
    assert_eq!(names(&now), ["a", "b", "b-and-a-half", "d", "e"]);
}

#[tokio::test]
async fn pages_go_over_namespaces_selectors_and_tables() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = five(directory.path()).await;
    let selected = format!("{CONFIG_MAPS}?labelSelector=even%3Dtrue&limit=2");
    let (_, list) = cluster.get(&selected).await;
    assert_eq!(names(&list), ["a", "c"]);
    assert!(
        list["metadata"]["remainingItemCount"].is_null(),
        "not counted with selectors"
    );
    let (_, list) = cluster.get(&format!("{selected}&continue={}", next(&list))).await;
    assert_eq!(names(&list), ["e"]);
    assert!(list["metadata"]["continue"].is_null());

    // All namespaces: in the order of namespaces, then of names.
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/namespaces?limit=3&continue={token}");
        let (_, list) = cluster.get(&path).await;
        seen.extend(names(&list).into_iter().map(str::to_owned));
        match list["metadata"]["continue"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, ["default", "kube-node-lease", "kube-public", "kube-system"]);

    let mut request = plain(&format!("{CONFIG_MAPS}?limit=2"));
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io".parse().unwrap();
    request.headers_mut().insert("accept", table);
    let (_, table) = cluster.answer(request).await;
    assert_eq!(table["rows"].as_array().unwrap().len(), 2);
    assert_eq!(table["metadata"]["remainingItemCount"], 3);
    assert!(next(&table).len() > 8);
}

#[tokio::test]
async fn a_version_that_is_out_of_reach_is_gone_and_a_page_says_how_to_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let first = five(directory.path()).await;
    let (_, page) = first.get(&format!("{CONFIG_MAPS}?limit=2")).await;
    first.post(CONFIG_MAPS, config_map("f")).await;
    first.server.running.stop(Duration::from_secs(5)).await;
    drop(first.server.client);
    let second = restarted(directory.path()).await;

    let path = format!("{CONFIG_MAPS}?limit=2&continue={}", next(&page));
    let (code, status) = second.get(&path).await;
    assert_eq!((code, &status["reason"]), (410, &json!("Expired")));
    let said = status["message"].as_str().unwrap();
    assert!(
        said.starts_with("The provided continue parameter is too old to display a consistent list result."),
        "{said}"
    );
    let (code, list) = second
        .get(&format!("{CONFIG_MAPS}?continue={}", next(&status)))
        .await;
    assert_eq!((code, names(&list)), (200, vec!["c", "d", "e", "f"]));

    let exact = format!("{CONFIG_MAPS}?resourceVersion=2&resourceVersionMatch=Exact");
    let (code, status) = second.get(&exact).await;
    assert_eq!(
        (code, &status["message"]),
        (
            410,
            &json!("The resourceVersion for the provided list is too old.")
        )
    );
    let newer = format!("{CONFIG_MAPS}?resourceVersion=2&resourceVersionMatch=NotOlderThan");
    assert_eq!(second.get(&newer).await.0, 200);
}

#[tokio::test]
async fn a_collection_is_deleted_as_far_as_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = five(directory.path()).await;
    let dry = format!("{CONFIG_MAPS}?dryRun=All");
    let (code, list) = cluster.call(Method::DELETE, &dry, None).await;
    assert_eq!((code, names(&list).len()), (200, 5));
    let two = format!("{CONFIG_MAPS}?labelSelector=even%3Dtrue&limit=2");
    let (_, list) = cluster.call(Method::DELETE, &two, None).await;
    assert_eq!(names(&list), ["a", "c"]);
    assert_eq!(names(&cluster.get(CONFIG_MAPS).await.1), ["b", "d", "e"]);
    let (code, _) = cluster
        .call(Method::DELETE, &format!("{CONFIG_MAPS}?labelSelector=,,"), None)
        .await;
    assert_eq!(code, 400, "a broken selector deletes nothing");
    assert_eq!(names(&cluster.get(CONFIG_MAPS).await.1), ["b", "d", "e"]);
}

#[tokio::test]
async fn one_object_can_be_asked_for_at_a_version_too() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = five(directory.path()).await;
    assert_eq!(
        cluster.get(&format!("{CONFIG_MAPS}/a?resourceVersion=3")).await.0,
        200
    );
    let (code, status) = cluster.get(&format!("{CONFIG_MAPS}/a?resourceVersion=new")).await;
    assert_eq!(code, 400);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .starts_with("invalid resource version: resourceVersion: ")
    );
    let future = format!("{CONFIG_MAPS}/a?resourceVersion=1000000");
    assert_eq!(cluster.get(&future).await.0, 504);
}
