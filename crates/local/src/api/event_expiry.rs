//! Events are news, not state: each goes an hour after it was last seen, as in Kubernetes.

use std::time::{Duration, SystemTime};

use daemon::clock;
use serde_json::Value;

use super::client::{Client, DeleteOptions, Query};
use super::{gvr, time};

const KEPT: Duration = Duration::from_secs(3600);
const PERIOD: Duration = Duration::from_secs(300);

/// Removes old events for as long as the server runs.
pub(super) async fn run(client: Client) {
    loop {
        clock::sleep(PERIOD).await;
        let Ok(list) = client.list(&gvr::EVENTS, "", &Query::default()) else {
            continue;
        };
        let now = clock::wall();
        for event in list.items.iter().filter(|event| is_old(event, now)) {
            let text = |field: &str| event["metadata"][field].as_str().unwrap_or_default();
            let unchanged = DeleteOptions {
                resource_version: Some(text("resourceVersion").to_owned()),
                ..Default::default()
            };
            let gone = client
                .delete(&gvr::EVENTS, text("namespace"), text("name"), unchanged)
                .await;
            if let Err(status) = gone {
                tracing::debug!(%status, "an old event stays");
            }
        }
    }
}

/// Whether the newest of an event's times lies too far back.
fn is_old(event: &Value, now: SystemTime) -> bool {
    let times = [
        &event["metadata"]["creationTimestamp"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["series"]["lastObservedTime"],
    ];
    let newest = times
        .into_iter()
        .filter_map(|time| time::parse(time.as_str()?))
        .max();
    newest.is_some_and(|newest| newest + KEPT < now)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_that_is_still_seen_is_kept() {
        let now = time::parse("2026-11-22T12:00:00Z").unwrap();
        let old = json!({"metadata": {"creationTimestamp": "2026-11-22T10:00:00Z"}});
        assert!(is_old(&old, now));
        let seen = json!({
            "metadata": {"creationTimestamp": "2026-11-22T10:00:00Z"}, "lastTimestamp": "2026-11-22T11:30:00Z",
        });
        assert!(!is_old(&seen, now));
        assert!(!is_old(&json!({}), now));
    }
}
