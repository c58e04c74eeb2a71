//! The mesh's certificate authority: where its key comes from ([`root`], [`keeper`]), who is
//! believed when another one is plugged in ([`former`]), how its roots reach every namespace
//! ([`publish`]) and are replaced ([`rotation`], [`status`]), who may talk to it ([`authenticate`]), and whom it signs for
//! ([`service`], [`secrets`]).

pub mod authenticate;
mod former;
pub(crate) mod issued;
pub(crate) mod keeper;
pub(crate) mod publish;
mod replicas;
pub(crate) mod root;
mod rotation;
pub(crate) mod secrets;
pub(crate) mod service;
pub(crate) mod serving;
pub(crate) mod signer;
pub(crate) mod standing;
pub mod status;
