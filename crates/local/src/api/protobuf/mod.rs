//! Objects in protobuf, as typed clients send them: kubectl's `create NAME` and `auth`, Go's controllers.
//!
//! Read only; answers stay JSON, which every client takes. An object becomes the JSON that the same client would have
//! sent, and all that follows knows nothing of the difference. Input never panics: numbers that a table does not name
//! are skipped, and nesting is as deep as the tables are, none of which contains itself.
//!
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding>

pub(super) mod tables;
mod value;
mod wire;

#[cfg(test)]
mod tests;

use serde_json::Value;

use super::Status;
use wire::{Fields, Malformed, Raw};

pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What stands before the envelope.
const MAGIC: &[u8] = b"k8s\0";

/// Reads a body: the envelope, which names the kind, and the object in it. `None`: no table knows that kind.
///
/// # Errors
/// 400 when the bytes are no such message.
pub fn parse(body: &[u8]) -> Result<Option<Value>, Status> {
    let Some(envelope) = body.strip_prefix(MAGIC) else {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type Object): provided data does not appear to be a \
             protobuf message, expected prefix {MAGIC:?}"
        )));
    };
    read(envelope).map_err(|why| {
        Status::bad_request(format!(
            "the object provided is unrecognized: couldn't read the protobuf message: {why}"
        ))
    })
}

/// `runtime.Unknown`: type, bytes, encoding, content type.
fn read(envelope: &[u8]) -> Result<Option<Value>, Malformed> {
    let (mut api_version, mut kind, mut object) = ("", "", &[][..]);
    for field in Fields(envelope) {
        match field? {
            (1, Raw::Bytes(type_meta)) => {
                for field in Fields(type_meta) {
                    match field? {
                        (1, raw) => api_version = value::text(raw, "apiVersion")?,
                        (2, raw) => kind = value::text(raw, "kind")?,
                        _ => {}
                    }
                }
            }
            (2, Raw::Bytes(bytes)) => object = bytes,
            _ => {}
        }
    }
    let Some(message) = tables::find(api_version, kind) else {
        return Ok(None);
    };
    let mut fields = serde_json::Map::new();
    fields.insert("kind".to_owned(), kind.into());
    fields.insert("apiVersion".to_owned(), api_version.into());
    value::add_fields(&mut fields, message, object)?;
    Ok(Some(Value::Object(fields)))
}
