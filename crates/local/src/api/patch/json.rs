//! JSON patch (RFC 6902): a list of operations, all or none.

use json_patch::{PatchOperation, patch_unsafe};
use serde_json::{Value, json};

use crate::api::Status;

/// As many operations as the real server takes.
const LIMIT: usize = 10_000;
/// How much all `copy` operations together may add, so that few of them cannot double an object many times.
const COPIES: usize = 3 << 20;

pub(super) fn apply(current: &Value, body: &[u8]) -> Result<Value, Status> {
    let operations: Vec<PatchOperation> = serde_json::from_slice(body)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    if operations.len() > LIMIT {
        let count = operations.len();
        let message = format!(
            "Request entity too large: The allowed maximum operations in a JSON patch is {LIMIT}, got {count}"
        );
        return Err(Status::new(413, "RequestEntityTooLarge", message));
    }
    operate(current, &operations).map_err(|_| refused())
}

/// The object after the operations, which may come from anybody: they are bounded in number and in what they build.
///
/// # Errors
/// Which operation does not fit, or which bound was passed.
pub fn operate(current: &Value, operations: &[PatchOperation]) -> Result<Value, String> {
    if operations.len() > LIMIT {
        return Err(format!("it has more than {LIMIT} operations"));
    }
    let mut result = current.clone();
    let mut copied = 0;
    for (index, operation) in operations.iter().enumerate() {
        if let PatchOperation::Copy(copy) = operation {
            copied += result.pointer(copy.from.as_str()).map_or(0, size);
            if copied > COPIES {
                return Err(format!("it copies more than {COPIES} bytes"));
            }
        }
        patch_unsafe(&mut result, std::slice::from_ref(operation)).map_err(|mut error| {
            error.operation = index;
            error.to_string()
        })?;
    }
    Ok(result)
}

/// The real server does not say which operation it was.
fn refused() -> Status {
    let message = "the server rejected our request due to an error in our request";
    Status {
        details: json!({}),
        ..Status::new(422, "Invalid", message)
    }
}

/// About as long as the value is in JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| size(item) + 1).sum::<usize>(),
        Value::Object(fields) => {
            2 + fields
                .iter()
                .map(|(name, value)| name.len() + 4 + size(value))
                .sum::<usize>()
        }
    }
}
