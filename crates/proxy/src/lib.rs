//! The data plane: what runs beside every workload.

mod admin;
mod listen;
pub mod redirect;
pub mod settings;
mod tcp;
mod telemetry;
mod transport;
