//! Header operations ⇄ `config.core.v3.HeaderValueOption` and lists of names.

use envoy_types::pb::envoy::config::core::v3 as pb;
use pb::header_value_option::HeaderAppendAction;
use snapshot::{HeaderField, HeaderOperations};

use super::proto::refuse;
use crate::rejected::Reason;

/// What Envoy's messages say with two fields.
pub(super) struct Pair {
    pub(super) add: Vec<pb::HeaderValueOption>,
    pub(super) remove: Vec<String>,
}

pub(super) fn to_proto(operations: &HeaderOperations) -> Pair {
    let set = operations.set.iter();
    let add = operations.add.iter();
    let absent = operations.add_if_absent.iter();
    let present = operations.overwrite.iter();
    Pair {
        add: set
            .map(|field| field_to_proto(field, HeaderAppendAction::OverwriteIfExistsOrAdd))
            .chain(add.map(|field| field_to_proto(field, HeaderAppendAction::AppendIfExistsOrAdd)))
            .chain(absent.map(|field| field_to_proto(field, HeaderAppendAction::AddIfAbsent)))
            .chain(present.map(|field| field_to_proto(field, HeaderAppendAction::OverwriteIfExists)))
            .collect(),
        remove: operations.remove.clone(),
    }
}

fn field_to_proto(field: &HeaderField, action: HeaderAppendAction) -> pb::HeaderValueOption {
    pb::HeaderValueOption {
        header: Some(value_to_proto(field)),
        append_action: action.into(),
        ..Default::default()
    }
}

/// A field that is stated without saying what becomes of others of its name.
pub(super) fn value_to_proto(field: &HeaderField) -> pb::HeaderValue {
    pb::HeaderValue {
        key: field.name.clone(),
        value: field.value.source().to_owned(),
        ..Default::default()
    }
}

pub(super) fn from_proto(
    add: Vec<pb::HeaderValueOption>,
    remove: &[String],
) -> Result<HeaderOperations, Reason> {
    let mut operations = HeaderOperations {
        remove: remove.iter().map(|name| name.to_ascii_lowercase()).collect(),
        ..HeaderOperations::default()
    };
    for option in add {
        refuse!(option, "HeaderValueOption", [keep_empty_value]);
        let field = "HeaderValueOption.append_action";
        #[allow(deprecated, reason = "older controllers say it in this field")]
        let overwrites = option.append.is_some_and(|append| !append.value);
        let list = match HeaderAppendAction::try_from(option.append_action) {
            Ok(HeaderAppendAction::AppendIfExistsOrAdd) if !overwrites => &mut operations.add,
            Ok(HeaderAppendAction::AppendIfExistsOrAdd | HeaderAppendAction::OverwriteIfExistsOrAdd) => {
                &mut operations.set
            }
            Ok(HeaderAppendAction::AddIfAbsent) => &mut operations.add_if_absent,
            Ok(HeaderAppendAction::OverwriteIfExists) => &mut operations.overwrite,
            Err(_) => return Err(Reason::unsupported(field)),
        };
        list.push(value_from_proto(option.header)?);
    }
    Ok(operations)
}

pub(super) fn value_from_proto(header: Option<pb::HeaderValue>) -> Result<HeaderField, Reason> {
    let header = header.ok_or_else(|| Reason::missing("HeaderValueOption.header"))?;
    refuse!(header, "HeaderValue", [raw_value]);
    HeaderField::new(&header.key, &header.value)
        .map_err(|problem| Reason::new("HeaderValueOption.header", problem.to_string()))
}
