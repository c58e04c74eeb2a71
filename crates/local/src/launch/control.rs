//! What launcher and node say to each other, over one unix socket.
//!
//! Launcher to node: one frame of [`NodeSettings`], then the API server's host socket and the node's end of the wire by
//! which it asks for more of them ([`crate::kubelet::host_sockets`]); its end means: stop.
//! Node to launcher: one frame of [`Report`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::kubelet::images::Layers;
use crate::nodes::Layout;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NodeSettings {
    pub(super) home: PathBuf,
    pub(super) images: Layers,
    pub(super) nodes: Layout,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    Ready,
    Failed(String),
}
