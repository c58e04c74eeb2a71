//! The data plane: what runs beside every workload.

mod listen;
pub mod redirect;
pub mod settings;
mod telemetry;
mod transport;
