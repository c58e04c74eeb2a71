//! The bootstrap of a gRPC client that speaks xDS itself (`GRPC_XDS_BOOTSTRAP`): Istio's node, the controller by TLS,
//! and the token of the pod, which the client reads anew for each connection.
//!
//! <https://github.com/grpc/proposal/blob/master/A27-xds-global-load-balancing.md>,
//! <https://github.com/grpc/proposal/blob/master/A97-xds-jwt-call-creds.md>

use proxy::settings::Settings;
use serde_json::{Value, json};

pub(super) fn bootstrap(settings: &Settings) -> Value {
    let introduction = proxy::introduction(&settings.node);
    let mut metadata = json!(introduction.metadata);
    metadata["LABELS"] = json!(introduction.labels);
    metadata["GENERATOR"] = "grpc".into();
    let discovery = &settings.discovery;
    json!({
        "xds_servers": [{
            "server_uri": discovery.address,
            "channel_creds": [{"type": "tls", "config": {"ca_certificate_file": discovery.root}}],
            "call_creds": [{"type": "jwt_token_file", "config": {"jwt_token_file": discovery.token}}],
            "server_features": ["xds_v3"],
        }],
        "node": {"id": introduction.id, "metadata": metadata},
    })
}
