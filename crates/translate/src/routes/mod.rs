//! Rules that users write, as routes.

mod cors;
mod fault;
pub(crate) mod matching;
mod mirror;
mod opaque;
mod redirect;
mod rewrite;
mod virtual_service;

pub(crate) use opaque::opaque_routes;
pub(crate) use redirect::redirect;
pub(crate) use virtual_service::http_routes;
