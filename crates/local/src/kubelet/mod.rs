//! The kubelet: pods as local processes in network namespaces.

pub(crate) mod container;
pub mod dns;
pub(crate) mod exec;
pub mod images;
pub(crate) mod logs;
pub(crate) mod netlink;
pub(crate) mod network;
pub(crate) mod sandbox;
pub mod service_network;
pub(crate) mod time;
