//! Rules that users write, as routes.

mod matching;
mod virtual_service;

pub(crate) use virtual_service::{http_routes, tcp_cluster};
