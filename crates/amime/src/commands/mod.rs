//! One file a subcommand.

pub(crate) mod apply;
pub(crate) mod bootstrap;
pub(crate) mod bootstrap_file;
pub(crate) mod ca;
pub(crate) mod controller;
pub(crate) mod delete;
pub(crate) mod demo;
pub(crate) mod down;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod get;
pub(crate) mod install;
pub(crate) mod logs;
pub(crate) mod mtls;
pub(crate) mod proxy;
pub(crate) mod redirect;
pub(crate) mod up;
pub(crate) mod version;
