//! The mesh's certificate authority: where its key comes from, how its root reaches every namespace, and who may talk
//! to it. The service that signs requests of workloads joins these files with mutual TLS.

pub mod authenticate;
pub(crate) mod publish;
pub(crate) mod root;
pub(crate) mod serving;
