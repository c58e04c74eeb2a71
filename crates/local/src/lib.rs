//! A small Kubernetes on one machine: API server, the few controllers, pods as local processes.
//!
//! It knows nothing of the mesh, and the mesh does not know it: what `amime up` installs here is what a real
//! cluster gets, through the same API.

pub mod api;
pub mod controllers;
pub mod kubelet;
pub mod launch;
pub mod store;
mod sys;
