//! What arrived, remembered for whoever compares: attempts that ended badly and mirrored requests show only here.
//! Who was called, the caller's mark and the number of the attempt are enough for that.

use std::cell::RefCell;
use std::collections::VecDeque;

use serde_json::{Value, json};

/// Older ones are forgotten.
const REMEMBERED: usize = 10_000;
/// Most records that are told at a time.
const TOLD: usize = 200;

#[derive(Default)]
pub(super) struct Seen {
    records: RefCell<VecDeque<(u64, Value)>>,
    next: RefCell<u64>,
}

impl Seen {
    pub(super) fn add(&self, told: &Value) {
        let field = |name: &str| &told["headers"][name][0];
        let record = json!({
            "name": told["name"], "call": field("x-call"), "attempt": field("x-envoy-attempt-count"),
        });
        let number = {
            let mut next = self.next.borrow_mut();
            *next += 1;
            *next
        };
        let mut records = self.records.borrow_mut();
        records.push_back((number, record));
        if records.len() > REMEMBERED {
            records.pop_front();
        }
    }

    /// What came after the record of that number, as much as is told at a time, and the number of the last of it.
    pub(super) fn since(&self, number: u64) -> Value {
        let records = self.records.borrow();
        let later = records.iter().filter(|(at, _)| *at > number).take(TOLD);
        let (numbers, told): (Vec<u64>, Vec<&Value>) = later.map(|(at, record)| (*at, record)).unzip();
        json!({"last": numbers.last().copied().unwrap_or(*self.next.borrow()), "records": told})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_told() {
        let seen = Seen::default();
        seen.add(&json!({"name": "a", "headers": {}}));
        seen.add(&json!({"name": "b", "headers": {"x-call": ["mark"], "x-envoy-attempt-count": ["2"]}}));
        let second = json!({"name": "b", "call": "mark", "attempt": "2"});
        assert_eq!(seen.since(1), json!({"last": 2, "records": [second]}));
        assert_eq!(seen.since(2), json!({"last": 2, "records": []}));
        assert_eq!(
            seen.since(0)["records"][0],
            json!({"name": "a", "call": null, "attempt": null})
        );
    }
}
