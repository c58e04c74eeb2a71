//! The control plane: reads the cluster, tells proxies what to do, injects them into pods, and judges what users apply.
pub mod debounce;
#[cfg(test)]
mod golden;
pub mod inject;
pub mod install;
pub mod store;
pub mod watch;
