//! Chains and listeners are chosen as Envoy chooses them; pools survive Snapshots.
