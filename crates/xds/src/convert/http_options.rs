//! What surrounds a request ⇄ fields of `HttpConnectionManager`.

use envoy_types::pb::envoy::config::core::v3::Http2ProtocolOptions;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use hcm::HttpConnectionManager;
use hcm::http_connection_manager::{PathWithEscapedSlashesAction, ServerHeaderTransformation};
use snapshot::http_options::{Edge, HttpOptions, ServerHeader};

use super::client_certificate;
use super::proto::{is, no, number, yes};
use crate::rejected::Reason;

pub(super) fn to_proto(options: &HttpOptions, message: &mut HttpConnectionManager) {
    message.normalize_path = if options.raw_paths { no() } else { yes() };
    message.merge_slashes = options.merge_slashes;
    message.generate_request_id = if options.without_request_id { no() } else { None };
    message.preserve_external_request_id = options.keep_external_request_id;
    message.always_set_request_id_in_response = options.answer_request_id;
    message.use_remote_address = if options.edge.is_some() { yes() } else { no() };
    if let Some(edge) = options.edge {
        message.xff_num_trusted_hops = edge.trusted_hops;
        message.skip_xff_append = edge.without_append;
    }
    let server = match options.server_header {
        ServerHeader::Overwrite => ServerHeaderTransformation::Overwrite,
        ServerHeader::AppendIfAbsent => ServerHeaderTransformation::AppendIfAbsent,
        ServerHeader::PassThrough => ServerHeaderTransformation::PassThrough,
    };
    message.server_header_transformation = server.into();
    client_certificate::to_proto(&options.client_certificate, message);
    message.http2_protocol_options = options.max_streams.map(|most| Http2ProtocolOptions {
        max_concurrent_streams: number(most),
        ..Default::default()
    });
}

pub(super) fn from_proto(message: &HttpConnectionManager) -> Result<HttpOptions, Reason> {
    use PathWithEscapedSlashesAction::{ImplementationSpecificDefault, KeepUnchanged};
    let edge = is(message.use_remote_address, false);
    if !edge && message.xff_num_trusted_hops > 0 {
        return Err(Reason::unsupported(
            "HttpConnectionManager.xff_num_trusted_hops without use_remote_address",
        ));
    }
    if ![ImplementationSpecificDefault, KeepUnchanged].contains(&message.path_with_escaped_slashes_action()) {
        return Err(Reason::unsupported(
            "HttpConnectionManager.path_with_escaped_slashes_action",
        ));
    }
    Ok(HttpOptions {
        raw_paths: !is(message.normalize_path, false),
        merge_slashes: message.merge_slashes,
        without_request_id: !is(message.generate_request_id, true),
        keep_external_request_id: message.preserve_external_request_id,
        answer_request_id: message.always_set_request_id_in_response,
        edge: edge.then_some(Edge {
            trusted_hops: message.xff_num_trusted_hops,
            without_append: message.skip_xff_append,
        }),
        max_streams: message
            .http2_protocol_options
            .as_ref()
            .and_then(|options| options.max_concurrent_streams)
            .map(|most| most.value),
        server_header: match message.server_header_transformation() {
            ServerHeaderTransformation::Overwrite => ServerHeader::Overwrite,
            ServerHeaderTransformation::AppendIfAbsent => ServerHeader::AppendIfAbsent,
            ServerHeaderTransformation::PassThrough => ServerHeader::PassThrough,
        },
        client_certificate: client_certificate::from_proto(message)?,
    })
}
