//! One Envoy that gets everything by delta discovery from a plain TCP address; it ends with its handle.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A process of our own, killed by its id.
pub(crate) struct Envoy {
    process: Child,
    directory: TempDir,
}

impl Envoy {
    pub(crate) fn start(discovery: SocketAddr) -> Self {
        let program = std::env::var_os("ENVOY").map_or_else(|| "envoy".into(), PathBuf::from);
        let directory = tempfile::tempdir().unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let process = Command::new(&program)
            .args(["--config-yaml", &bootstrap(discovery)])
            .args([
                "--disable-hot-restart",
                "--concurrency",
                "1",
                "--log-level",
                "warning",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        Self { process, directory }
    }

    /// Ends it; what it wrote comes back.
    pub(crate) fn end(self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn bootstrap(discovery: SocketAddr) -> String {
    let (address, port) = (discovery.ip(), discovery.port());
    format!(
        r#"
node: {{ id: sidecar~127.0.0.1~pod.ns~ns.svc.cluster.local, cluster: pod.ns }}
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }} }}
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services: [{{ envoy_grpc: {{ cluster_name: discovery }} }}]
  cds_config: {{ ads: {{}}, resource_api_version: V3 }}
  lds_config: {{ ads: {{}}, resource_api_version: V3 }}
static_resources:
  clusters:
  - name: discovery
    type: STATIC
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: discovery
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: {address}, port_value: {port} }} }} }}
"#
    )
}
