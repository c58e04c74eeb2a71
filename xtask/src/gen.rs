//! What is made from other files and committed: the descriptions of Envoy's messages that `amime proxy -c` reads
//! bootstrap files with.
//!
//! The `.proto` files come with the package `envoy-types`, so that descriptions and generated types are of one
//! version. Only [`ROOTS`] and what they need are kept. `cargo xtask gen --check` fails where the file would differ.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cargo_metadata::MetadataCommand;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use prost::Message;
use protox::prost_reflect::prost_types::FileDescriptorSet;

use crate::command::root;

const OUTPUT: &str = "crates/xds/src/bootstrap/envoy.binpb.gz";

/// Where `import` looks, in the package.
const INCLUDES: [&str; 8] = [
    "data-plane-api",
    "xds",
    "googleapis",
    "protoc-gen-validate",
    "opentelemetry-proto",
    "cel-spec",
    "client_model",
    "ratelimit",
];

/// The bootstrap, and each message that may stand in an `Any` somewhere in it. Another one is refused by its name.
const ROOTS: [&str; 37] = [
    "envoy/config/bootstrap/v3/bootstrap.proto",
    "envoy/extensions/access_loggers/file/v3/file.proto",
    "envoy/extensions/access_loggers/stream/v3/stream.proto",
    "envoy/extensions/clusters/dns/v3/dns_cluster.proto",
    "envoy/extensions/filters/http/cors/v3/cors.proto",
    "envoy/extensions/filters/http/ext_authz/v3/ext_authz.proto",
    "envoy/extensions/filters/http/fault/v3/fault.proto",
    "envoy/extensions/filters/http/grpc_stats/v3/config.proto",
    "envoy/extensions/filters/http/grpc_web/v3/grpc_web.proto",
    "envoy/extensions/filters/http/jwt_authn/v3/config.proto",
    "envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit.proto",
    "envoy/extensions/filters/http/rbac/v3/rbac.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/listener/http_inspector/v3/http_inspector.proto",
    "envoy/extensions/filters/listener/original_dst/v3/original_dst.proto",
    "envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol.proto",
    "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto",
    "envoy/extensions/filters/network/ext_authz/v3/ext_authz.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/network/rbac/v3/rbac.proto",
    "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
    "envoy/extensions/formatter/req_without_query/v3/req_without_query.proto",
    "envoy/extensions/load_balancing_policies/cluster_provided/v3/cluster_provided.proto",
    "envoy/extensions/load_balancing_policies/least_request/v3/least_request.proto",
    "envoy/extensions/load_balancing_policies/maglev/v3/maglev.proto",
    "envoy/extensions/load_balancing_policies/random/v3/random.proto",
    "envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash.proto",
    "envoy/extensions/load_balancing_policies/round_robin/v3/round_robin.proto",
    "envoy/extensions/network/dns_resolver/getaddrinfo/v3/getaddrinfo_dns_resolver.proto",
    "envoy/extensions/path/match/uri_template/v3/uri_template_match.proto",
    "envoy/extensions/path/rewrite/uri_template/v3/uri_template_rewrite.proto",
    "envoy/extensions/request_id/uuid/v3/uuid.proto",
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto",
    "envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol.proto",
    "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
];

/// Writes the file, or only compares it.
pub(crate) fn run(check: bool) -> Result<()> {
    let made = descriptors()?.encode_to_vec();
    let path = root().join(OUTPUT);
    // Compressors differ between versions; what they hold must not.
    if check && unpacked(&path)? != made {
        bail!("{OUTPUT} is not what the package envoy-types says: run `cargo xtask gen`");
    }
    if !check {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&made)?;
        let packed = packed.finish()?;
        println!("{OUTPUT}: {} bytes, {} packed", made.len(), packed.len());
        std::fs::write(&path, packed).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn descriptors() -> Result<FileDescriptorSet> {
    let protos = protos()?;
    let mut all = FileDescriptorSet::default();
    for file in ROOTS {
        // One compiler for many files mistakes relative names of one package for those of another.
        let mut compiler = protox::Compiler::new(INCLUDES.map(|folder| protos.join(folder)))?;
        compiler.include_imports(true).open_file(file)?;
        for file in compiler.file_descriptor_set().file {
            if !all.file.iter().any(|known| known.name == file.name) {
                all.file.push(file);
            }
        }
    }
    Ok(all)
}

/// The folder of `.proto` files in the package.
fn protos() -> Result<PathBuf> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .exec()?;
    let package = metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == "envoy-types")
        .context("the package envoy-types is not in the workspace")?;
    let folder = package
        .manifest_path
        .parent()
        .context("a manifest has a folder")?;
    Ok(folder.join("proto").into())
}

fn unpacked(path: &Path) -> Result<Vec<u8>> {
    let packed = std::fs::read(path).with_context(|| path.display().to_string())?;
    let mut bytes = Vec::new();
    GzDecoder::new(packed.as_slice()).read_to_end(&mut bytes)?;
    Ok(bytes)
}
