//! What an exchange or connection leaves behind: metrics and lines of the access log; spans have their room here.

pub(crate) mod access_log;
pub(crate) mod callers;
pub(crate) mod flags;
pub(crate) mod format;
mod json;
pub(crate) mod log_writer;
pub(crate) mod metrics;
pub(crate) mod outliers;
pub(crate) mod prometheus;
pub(crate) mod record;
pub(crate) mod sparingly;
