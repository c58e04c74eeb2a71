//! What arrived, remembered for whoever compares: attempts that ended badly and mirrored requests show only here.

use std::cell::RefCell;
use std::collections::VecDeque;

use serde_json::{Value, json};

/// Older ones are forgotten.
const REMEMBERED: usize = 10_000;

#[derive(Default)]
pub(super) struct Seen {
    records: RefCell<VecDeque<(u64, Value)>>,
    next: RefCell<u64>,
}

impl Seen {
    pub(super) fn add(&self, record: Value) {
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

    /// What came after the record of that number, and the number of the last.
    pub(super) fn since(&self, number: u64) -> Value {
        let records = self.records.borrow();
        let later = records.iter().filter(|(at, _)| *at > number);
        json!({"last": *self.next.borrow(), "records": later.map(|(_, record)| record).collect::<Vec<_>>()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_told() {
        let seen = Seen::default();
        seen.add(json!(1));
        seen.add(json!(2));
        assert_eq!(seen.since(1), json!({"last": 2, "records": [2]}));
    }
}
