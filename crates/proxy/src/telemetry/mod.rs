//! What an exchange or connection leaves behind: metrics now; access log and spans have their rooms here.

pub(crate) mod flags;
pub(crate) mod format;
pub(crate) mod metrics;
pub(crate) mod outliers;
pub(crate) mod prometheus;
