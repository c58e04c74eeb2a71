//! JSON patch (RFC 6902): a list of operations, all or none.

use json_patch::PatchOperation;
use serde_json::{Value, json};

use crate::api::Status;

/// As many operations as the real server takes.
const LIMIT: usize = 10_000;

pub(super) fn apply(current: &Value, body: &[u8]) -> Result<Value, Status> {
    let operations: Vec<PatchOperation> = serde_json::from_slice(body)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    if operations.len() > LIMIT {
        let count = operations.len();
        let message = format!("The allowed maximum operations in a JSON patch is {LIMIT}, got {count}");
        return Err(Status::new(413, "RequestEntityTooLarge", message));
    }
    let mut result = current.clone();
    json_patch::patch(&mut result, &operations).map_err(|error| {
        let message = "the server rejected our request due to an error in our request";
        let causes = json!([{"reason": "UnexpectedServerResponse", "message": error.to_string()}]);
        Status {
            details: json!({"causes": causes}),
            ..Status::new(422, "Invalid", message)
        }
    })?;
    Ok(result)
}
