//! What launcher and node say to each other, over one unix socket.
//!
//! Launcher to node: one frame of [`NodeSettings`], then descriptors of host sockets; its end means: stop.
//! Node to launcher: one frame of [`Report`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::kubelet::images::Layers;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NodeSettings {
    pub(super) home: PathBuf,
    pub(super) images: Layers,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    Ready,
    Failed(String),
}
