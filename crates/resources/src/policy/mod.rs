//! Our own kinds: policies that Istio has no kind for. Group `policy.amime.io`.

pub mod rate_limit;
