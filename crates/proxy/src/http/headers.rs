//! Header operations of routes and of their targets. What follows from a message is worked out before it changes.

use snapshot::{HeaderField, HeaderOperations};

use super::codec::Fields;
use crate::telemetry::format::{self, Facts};

/// What a list of operations comes to for one message.
#[derive(Debug, Default)]
pub(crate) struct Changes<'o> {
    remove: &'o [String],
    set: Vec<(&'o str, Vec<u8>)>,
    add: Vec<(&'o str, Vec<u8>)>,
    add_if_absent: Vec<(&'o str, Vec<u8>)>,
    overwrite: Vec<(&'o str, Vec<u8>)>,
}

impl<'o> Changes<'o> {
    /// Works out the values. A field whose value is empty is left out, as Envoy does.
    pub(crate) fn new(operations: &'o HeaderOperations, facts: &Facts<'_>) -> Self {
        let values = |fields: &'o [HeaderField]| {
            let values = fields.iter().map(|field| {
                let mut value = Vec::new();
                format::write(&field.value, facts, &mut value, "");
                (field.name.as_str(), value)
            });
            values.filter(|(_, value)| !value.is_empty()).collect()
        };
        Self {
            remove: &operations.remove,
            set: values(&operations.set),
            add: values(&operations.add),
            add_if_absent: values(&operations.add_if_absent),
            overwrite: values(&operations.overwrite),
        }
    }

    /// Removes, replaces, adds.
    pub(crate) fn apply(&self, fields: &mut Fields) {
        for name in self.remove {
            fields.remove(name);
        }
        for (name, value) in &self.set {
            fields.set(name, value);
        }
        for (name, value) in &self.add {
            fields.push(name, value);
        }
        for (name, value) in &self.add_if_absent {
            if !fields.contains(name) {
                fields.push(name, value);
            }
        }
        for (name, value) in &self.overwrite {
            if fields.contains(name) {
                fields.set(name, value);
            }
        }
    }
}
