//! The control plane: reads the cluster, tells proxies what to do, injects them into pods, and judges what users apply.
#[cfg(test)]
mod golden;
pub mod inject;
pub mod install;
