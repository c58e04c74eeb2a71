//! What the proxy tells about the traffic it carries.

pub(crate) mod flags;
