//! The tables of `istioctl get`, as Istio printed them until 1.4.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::table::columns;
use crate::cluster::{KindInfo, text};

/// What `get all` prints.
pub(crate) const KINDS: &[&str] = &["virtualservices", "destinationrules"];

/// Whether a kind has a table of its own here.
pub(crate) fn has_table(kind: &KindInfo) -> bool {
    kind.group == "networking.istio.io" && KINDS.contains(&kind.plural.as_str())
}

/// Turns an object into cells.
type Row = fn(&Value) -> Vec<String>;

/// The table of a kind.
pub(crate) fn table(kind: &KindInfo, items: &[Value], now: SystemTime) -> String {
    if items.is_empty() {
        return "No resources found.\n".to_owned();
    }
    let (headings, row): (&[&str], Row) = match kind.plural.as_str() {
        "virtualservices" => (
            &[
                "VIRTUAL-SERVICE NAME",
                "GATEWAYS",
                "HOSTS",
                "#HTTP",
                "#TCP",
                "NAMESPACE",
                "AGE",
            ],
            virtual_service,
        ),
        _ => (
            &["DESTINATION-RULE NAME", "HOST", "SUBSETS", "NAMESPACE", "AGE"],
            destination_rule,
        ),
    };
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            let mut cells = row(item);
            cells.push(text(item, "/metadata/namespace").to_owned());
            cells.push(age(text(item, "/metadata/creationTimestamp"), now));
            cells
        })
        .collect();
    columns(headings, &rows)
}

fn virtual_service(item: &Value) -> Vec<String> {
    let count = |field: &str| item["spec"][field].as_array().map_or(0, Vec::len);
    vec![
        text(item, "/metadata/name").to_owned(),
        joined(&item["spec"]["gateways"]),
        joined(&item["spec"]["hosts"]),
        format!("{:5}", count("http")),
        format!("{:4}", count("tcp")),
    ]
}

fn destination_rule(item: &Value) -> Vec<String> {
    let subsets = item["spec"]["subsets"].as_array();
    let names = subsets
        .into_iter()
        .flatten()
        .map(|subset| text(subset, "/name"))
        .collect::<Vec<_>>();
    vec![
        text(item, "/metadata/name").to_owned(),
        text(item, "/spec/host").to_owned(),
        names.join(","),
    ]
}

fn joined(list: &Value) -> String {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(",")
}

/// How long ago an RFC 3339 time was, in its largest unit, as Kubernetes shortens durations.
fn age(created: &str, now: SystemTime) -> String {
    let Ok(created) = created.parse::<k8s_openapi::jiff::Timestamp>() else {
        return "<unknown>".to_owned();
    };
    let seconds = now
        .duration_since(SystemTime::from(created))
        .unwrap_or(Duration::ZERO)
        .as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kind(plural: &str) -> KindInfo {
        KindInfo {
            group: "networking.istio.io".into(),
            version: "v1".into(),
            plural: plural.into(),
            singular: String::new(),
            kind: String::new(),
            short_names: vec![],
            namespaced: true,
        }
    }

    #[test]
    fn the_articles_virtual_service_prints_as_istioctl_printed_it() {
        let item = json!({
            "metadata": {"name": "backend", "namespace": "istio-http-example",
                         "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"hosts": ["backend"], "http": [{}]}});
        let printed = table(
            &kind("virtualservices"),
            &[item],
            SystemTime::UNIX_EPOCH + Duration::from_secs(130),
        );
        assert_eq!(
            printed,
            "VIRTUAL-SERVICE NAME   GATEWAYS   HOSTS     #HTTP   #TCP   NAMESPACE            AGE\n\
             backend                           backend       1      0   istio-http-example   2m\n"
        );
    }

    #[test]
    fn nothing_is_said_so() {
        assert_eq!(
            table(&kind("destinationrules"), &[], SystemTime::UNIX_EPOCH),
            "No resources found.\n"
        );
    }
}
