//! Versions of custom resources that a webhook converts into each other (`strategy: Webhook`).
//!
//! Objects stay in the store in the version in which they were written; whoever asks for another version gets what
//! the webhook makes of them. In-process clients, which look at metadata alone, see objects as they are stored.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/>

use std::sync::Arc;

use serde_json::{Value, json};

use super::Status;
use super::client::Object;
use super::registry::Type;
use super::verbs::metadata::uid;
use super::verbs::{Api, Target};

/// Objects of one request, at most; and of how much text.
const OBJECTS: usize = 500;
const SIZE: usize = 2 << 20;

impl Api {
    /// The object that is there, in the version of the target.
    pub(super) async fn current(&self, target: &Target) -> Result<Object, Status> {
        self.shown(&target.kind, self.get(target)?).await
    }

    /// One object in the version of its kind.
    pub(super) async fn shown(&self, kind: &Type, object: Object) -> Result<Object, Status> {
        if kind.webhook().is_none() {
            return Ok(object);
        }
        let mut objects = vec![object];
        self.convert(kind, &kind.api_version(), &mut objects).await?;
        Ok(objects.remove(0))
    }

    /// All of them in the version of their kind.
    pub(super) async fn all_shown(&self, kind: &Type, objects: &mut [Object]) -> Result<(), Status> {
        if kind.webhook().is_none() {
            return Ok(());
        }
        self.convert(kind, &kind.api_version(), objects).await
    }

    /// The object as it is to be stored.
    pub(super) async fn kept(&self, kind: &Type, object: Value) -> Result<Value, Status> {
        if kind.webhook().is_none() {
            return Ok(object);
        }
        let mut objects = [Arc::new(object)];
        self.convert(kind, &kind.stored_as.api_version(), &mut objects)
            .await?;
        let [object] = objects;
        Ok(Arc::unwrap_or_clone(object))
    }

    /// Converts those that are in another version, several in one request.
    async fn convert(&self, kind: &Type, wanted: &str, objects: &mut [Object]) -> Result<(), Status> {
        let mut waiting: Vec<usize> = (0..objects.len())
            .filter(|index| objects[*index]["apiVersion"] != *wanted)
            .collect();
        while !waiting.is_empty() {
            let mut size = 0;
            let fits = |index: &&usize| {
                size += objects[**index].to_string().len();
                size <= SIZE
            };
            let count = waiting.iter().take(OBJECTS).take_while(fits).count().max(1);
            let batch: Vec<usize> = waiting.drain(..count).collect();
            let asked: Vec<Object> = batch.iter().map(|index| objects[*index].clone()).collect();
            let failed = |why: String| {
                let from = asked[0]["apiVersion"].as_str().unwrap_or_default();
                let message = format!("conversion webhook for {from}, Kind={} failed: {why}", kind.kind);
                Status::new(500, "", message)
            };
            let converted = self.ask(kind, wanted, &asked).await.map_err(failed)?;
            for (index, object) in batch.into_iter().zip(converted) {
                objects[index] = Arc::new(object);
            }
        }
        Ok(())
    }

    async fn ask(&self, kind: &Type, wanted: &str, asked: &[Object]) -> Result<Vec<Value>, String> {
        let client = kind
            .webhook()
            .map_or(&Value::Null, |webhook| &webhook["clientConfig"]);
        let uid = uid(rand::random());
        let question = json!({
            "kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
            "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": asked},
        });
        let body = self.admission.post(self, client, question.to_string()).await?;
        answer(&body, &uid, (wanted, asked))
    }
}

/// Reads the webhook's answer; nothing in it is believed but what conversion may change.
fn answer(body: &[u8], uid: &str, (wanted, asked): (&str, &[Object])) -> Result<Vec<Value>, String> {
    let mut review: Value = serde_json::from_slice(body)
        .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?;
    if review["kind"] != "ConversionReview" || review["apiVersion"] != "apiextensions.k8s.io/v1" {
        return Err(format!(
            "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got {}, Kind={}",
            review["apiVersion"].as_str().unwrap_or_default(),
            review["kind"].as_str().unwrap_or_default()
        ));
    }
    let response = &mut review["response"];
    if !response.is_object() {
        return Err("no response provided".to_owned());
    }
    let given = response["uid"].as_str().unwrap_or_default();
    if given != uid {
        return Err(format!("expected response.uid={uid:?}, got {given:?}"));
    }
    let result = &response["result"];
    if result["status"] != "Success" {
        return Err(match result["message"].as_str() {
            None | Some("") => format!(
                "response.result.status was '{}', not 'Success'",
                result["status"].as_str().unwrap_or_default()
            ),
            Some(message) => message.to_owned(),
        });
    }
    let Value::Array(converted) = response["convertedObjects"].take() else {
        return Err(format!("webhook returned 0 objects, expected {}", asked.len()));
    };
    if converted.len() != asked.len() {
        return Err(format!(
            "webhook returned {} objects, expected {}",
            converted.len(),
            asked.len()
        ));
    }
    let checked = converted.into_iter().zip(asked).enumerate();
    checked
        .map(|(index, (object, asked))| {
            accepted(object, asked, wanted)
                .map_err(|why| format!("webhook returned invalid converted object at index {index}: {why}"))
        })
        .collect()
}

/// A converted object with the metadata of the one that it was, but for labels and annotations.
fn accepted(mut object: Value, asked: &Value, wanted: &str) -> Result<Value, String> {
    if object["apiVersion"] != wanted {
        return Err(format!("invalid groupVersion {}", object["apiVersion"]));
    }
    if object["kind"] != asked["kind"] {
        return Err(format!("invalid kind {}", object["kind"]));
    }
    let before = &asked["metadata"];
    let given = &object["metadata"];
    for field in ["name", "namespace", "uid"] {
        if given[field] != before[field] {
            return Err(format!(
                "must have the same metadata.{field}: {} != {}",
                given[field], before[field]
            ));
        }
    }
    let mut metadata = before.clone();
    for field in ["labels", "annotations"] {
        match given[field].clone() {
            Value::Null => {
                if let Some(fields) = metadata.as_object_mut() {
                    fields.shift_remove(field);
                }
            }
            given @ Value::Object(_) => metadata[field] = given,
            other => return Err(format!("metadata.{field} is no map but {other}")),
        }
    }
    object["metadata"] = metadata;
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "u";

    fn asked() -> Vec<Object> {
        vec![Arc::new(
            json!({"apiVersion": "x.io/v1", "kind": "Thing", "spec": {"a": 1},
            "metadata": {"name": "n", "namespace": "s", "uid": "7", "resourceVersion": "3", "labels": {"l": "1"}}}),
        )]
    }

    fn said(response: &Value) -> Result<Vec<Value>, String> {
        let review = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response});
        answer(review.to_string().as_bytes(), UID, ("x.io/v2", &asked()))
    }

    fn converted(change: impl FnOnce(&mut Value)) -> Value {
        let mut object = Value::clone(&asked()[0]);
        object["apiVersion"] = json!("x.io/v2");
        change(&mut object);
        json!({"uid": UID, "result": {"status": "Success"}, "convertedObjects": [object]})
    }

    #[test]
    fn a_conversion_changes_everything_but_identity() {
        let objects = said(&converted(|object| {
            object["spec"] = json!({"b": 2});
            object["metadata"]["resourceVersion"] = json!("99");
            object["metadata"]["finalizers"] = json!(["mine"]);
            object["metadata"]["labels"] = json!({"l": "2"});
        }))
        .unwrap();
        assert_eq!(objects[0]["spec"], json!({"b": 2}));
        assert_eq!(
            objects[0]["metadata"],
            json!({"name": "n", "namespace": "s", "uid": "7", "resourceVersion": "3", "labels": {"l": "2"}})
        );
    }

    #[test]
    fn answers_that_are_none_are_refused_by_what_is_wrong() {
        let refused = |response: &Value| said(response).unwrap_err();
        let mut other = converted(|_| {});
        other["uid"] = json!("v");
        assert_eq!(refused(&other), "expected response.uid=\"u\", got \"v\"");
        let failed = json!({"uid": UID, "result": {"status": "Failed", "message": "no idea"}});
        assert_eq!(refused(&failed), "no idea");
        let mut few = converted(|_| {});
        few["convertedObjects"] = json!([]);
        assert_eq!(refused(&few), "webhook returned 0 objects, expected 1");
        let begin = "webhook returned invalid converted object at index 0: ";
        let same = converted(|object| object["apiVersion"] = json!("x.io/v1"));
        assert_eq!(refused(&same), format!("{begin}invalid groupVersion \"x.io/v1\""));
        let renamed = converted(|object| object["metadata"]["name"] = json!("m"));
        assert_eq!(
            refused(&renamed),
            format!("{begin}must have the same metadata.name: \"m\" != \"n\"")
        );
        let odd = converted(|object| object["metadata"]["labels"] = json!(7));
        assert!(refused(&odd).starts_with(begin));
        assert!(answer(b"garbage", UID, ("x.io/v2", &asked())).is_err());
        assert_eq!(refused(&Value::Null), "no response provided");
    }
}
