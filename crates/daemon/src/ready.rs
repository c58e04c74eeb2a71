//! Readiness: named conditions, all of which must hold; each that does not says why.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// The conditions of one process or part. Clones share them.
#[derive(Clone, Debug)]
pub struct Ready {
    conditions: Arc<watch::Sender<Conditions>>,
}

/// A condition that holds has no reason.
type Conditions = BTreeMap<&'static str, Option<String>>;

impl Ready {
    /// Names everything that must hold; nothing does yet.
    pub fn new(conditions: &[&'static str]) -> Self {
        let waiting = conditions
            .iter()
            .map(|name| (*name, Some("not yet".to_owned())))
            .collect();
        Self {
            conditions: Arc::new(watch::Sender::new(waiting)),
        }
    }

    /// `condition` holds from now on.
    pub fn set(&self, condition: &'static str) {
        self.put(condition, None);
    }

    /// `condition` does not hold, because of `reason`.
    pub fn unset(&self, condition: &'static str, reason: impl Into<String>) {
        self.put(condition, Some(reason.into()));
    }

    /// Whether all hold.
    ///
    /// # Errors
    /// One line, `name: reason`, for each that does not.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let missing = missing(&self.conditions.borrow());
        if missing.is_empty() { Ok(()) } else { Err(missing) }
    }

    /// Becomes ready when all hold.
    pub async fn wait(&self) {
        let mut receiver = self.conditions.subscribe();
        // The sender lives in `self`, so this cannot end by its closing.
        let _ = receiver
            .wait_for(|conditions| missing(conditions).is_empty())
            .await;
    }

    fn put(&self, condition: &'static str, reason: Option<String>) {
        self.conditions.send_if_modified(|conditions| {
            let changed = conditions.get(condition) != Some(&reason);
            conditions.insert(condition, reason);
            changed
        });
    }
}

fn missing(conditions: &Conditions) -> Vec<String> {
    conditions
        .iter()
        .filter_map(|(name, reason)| reason.as_ref().map(|reason| format!("{name}: {reason}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_condition_holds_and_not_before() {
        let ready = Ready::new(&["listeners", "clusters"]);
        ready.set("listeners");
        assert_eq!(ready.check(), Err(vec!["clusters: not yet".to_owned()]));
        ready.set("clusters");
        assert_eq!(ready.check(), Ok(()));
        ready.unset("listeners", "draining");
        assert_eq!(ready.check(), Err(vec!["listeners: draining".to_owned()]));
    }

    #[tokio::test]
    async fn waiting_ends_when_the_last_condition_holds() {
        let ready = Ready::new(&["one"]);
        let waiter = ready.clone();
        tokio::join!(waiter.wait(), async { ready.set("one") });
        assert_eq!(waiter.check(), Ok(()));
    }
}
