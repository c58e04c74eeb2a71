//! Files → what they say, or what is wrong with them.

use super::*;

const SMALL: &str = r"
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: 127.0.0.1, port_value: 8080}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          route_config:
            virtual_hosts:
            - name: all
              domains: ['*']
              routes:
              - match: {prefix: /}
                route: {cluster: backend}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: backend
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 9000}}}
  - name: outside
    type: STRICT_DNS
    load_assignment:
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: example.org, port_value: 80}}}
";

fn problems(text: &str) -> Vec<String> {
    decode(text)
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_small_file_is_read_with_envoys_defaults() {
    let bootstrap = decode(SMALL).unwrap();
    assert_eq!(bootstrap.admin, Some("127.0.0.1:9901".parse().unwrap()));
    let listener = bootstrap.snapshot.listeners.get("front").unwrap();
    assert!(listener.bind);
    let endpoints = bootstrap.snapshot.endpoints.get("backend").unwrap();
    assert_eq!(
        endpoints.iter().next().unwrap().address,
        "127.0.0.1:9000".parse().unwrap()
    );
    let Handler::Http(http) = &listener.chains[0].handler else {
        panic!("HTTP")
    };
    assert_eq!(http.server_name, "envoy");
    let cluster = bootstrap.snapshot.clusters.get("backend").unwrap();
    assert_eq!(cluster.connect_timeout.as_secs(), 5);
    assert_eq!(cluster.circuit_breaker.max_requests, Some(1024));
    let [names] = bootstrap.names.as_slice() else {
        panic!("one cluster with names")
    };
    assert_eq!(
        (names.hosts.as_slice(), names.refresh.as_secs()),
        (["example.org".to_owned()].as_slice(), 5)
    );
}

#[test]
fn every_problem_of_a_file_is_named_with_its_line() {
    let text = SMALL
        .replace("stat_prefix: front", "stat_prefix: front\n          stat_perfix: x")
        .replace("route: {cluster: backend}", "route: {cluster: backend, cluster_not_found_response_code: NOT_FOUND, append_x_forwarded_host: true}")
        .replace("- name: backend\n", "- name: backend\n    connect_timeout: soon\n    lb_policy: SOMETIMES\n");
    let found = problems(&text);
    assert_eq!(found.len(), 5, "{found:#?}");
    assert!(
        found[0].starts_with("line 13: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.stat_perfix: is no field of envoy.")
            && found[0].ends_with("[AMI0102]"),
        "{found:#?}"
    );
    assert!(
        found[1].contains("line 20: ")
            && found[1].contains("routes[0].route.append_x_forwarded_host: is not supported: leave it out"),
        "{found:#?}"
    );
    assert!(
        found[3].contains("clusters[0].connect_timeout: must be a duration in seconds, as in 1.5s"),
        "{found:#?}"
    );
    assert!(
        found[4].contains("clusters[0].lb_policy: must be one of ROUND_ROBIN, "),
        "{found:#?}"
    );
}

#[test]
fn only_the_places_at_fault_are_named() {
    let routes = "- match: {prefix: /a}
                route: {cluster: backend, timeout: 5s}
              - match: {prefix: /b}
                route: {cluster: nobody, timeout: -5s}
              - match: {prefix: /c}
                redirect: {https_redirect: true}
                typed_per_filter_config: {envoy.filters.http.lua: {'@type': type.googleapis.com/envoy.Lua}}";
    let text = SMALL.replace(
        "- match: {prefix: /}\n                route: {cluster: backend}",
        routes,
    );
    let found = problems(&text);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found[0].contains("routes[1].route.cluster: \"nobody\" is no cluster of this file"),
        "{found:#?}"
    );
    assert!(
        found[1].contains("routes[1].route.timeout: is not a positive duration"),
        "{found:#?}"
    );
    assert!(
        found[2].contains("envoy.filters.http.lua\"].@type: "),
        "{found:#?}"
    );
}

#[test]
fn an_unknown_filter_is_refused_by_its_type() {
    let text = SMALL.replace(
        "extensions.filters.http.router.v3.Router",
        "extensions.filters.http.lua.v3.Lua",
    );
    let found = problems(&text);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("http_filters[0].typed_config.@type: \"type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua\" is not supported"));
}

static DESCRIPTIONS: std::sync::LazyLock<Descriptions> = std::sync::LazyLock::new(Descriptions::load);

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[a-z0-9 :{}\\[\\]\n'\"@.&*-]{0,80}") {
        let _ = DESCRIPTIONS.decode(&text);
    }

    #[test]
    fn a_damaged_file_is_read_or_refused(at in 0..SMALL.len(), with in "[ -~]{0,3}") {
        let text = [&SMALL[..at], &with, &SMALL[at..]].concat();
        let _ = DESCRIPTIONS.decode(&text);
    }
}

/// `AMIME_BLESS=1` writes what is said now; read it before it is committed.
#[test]
fn bad_files_are_refused_in_these_words() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/bootstrap/refused");
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut files = 0;
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let Err(problems) = DESCRIPTIONS.decode(&text) else {
            panic!("{} is taken", path.display())
        };
        let said: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
        let expected = path.with_extension("txt");
        if std::env::var_os("AMIME_BLESS").is_some() {
            std::fs::write(&expected, &said).unwrap();
        }
        let wanted = std::fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(said, wanted, "{}", path.display());
        files += 1;
    }
    assert!(files >= 15, "only {files} files");
}

#[test]
fn every_file_of_the_suite_is_taken() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/bootstrap/files");
    let entries = std::fs::read_dir(&folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    for path in paths.filter(|path| !path.to_string_lossy().ends_with(".calls.yaml")) {
        // Any number does for a port.
        let text = std::fs::read_to_string(&path).unwrap();
        let mut filled = String::new();
        for (position, part) in text.split("${").enumerate() {
            match part.split_once('}') {
                Some((_, rest)) if position > 0 => {
                    filled.push('1');
                    filled.push_str(rest);
                }
                _ => filled.push_str(part),
            }
        }
        if let Err(problems) = DESCRIPTIONS.decode(&filled) {
            panic!("{}: {problems:#?}", path.display());
        }
    }
}

/// What a conversion refuses is looked for by the names of message and field: a name that does not exist has no line.
#[test]
fn every_field_that_a_conversion_names_exists() {
    let called = regex::Regex::new(r#"refuse!\(\s*[^,]+,\s*"([\w.]+)",\s*\[([^\]]*)\]"#).unwrap();
    let said =
        regex::Regex::new(r#"Reason::(?:unsupported|missing|new)\(\s*(?:format!\(\s*)?"([\w.]+)"#).unwrap();
    let comment = regex::Regex::new("//.*").unwrap();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/convert");
    let mut unknown = Vec::new();
    let mut seen = 0;
    let mut check = |file: &str, message: &str, field: &str| {
        seen += 1;
        let message = message.rsplit('.').next().unwrap_or_default();
        let exists = DESCRIPTIONS.0.all_messages().any(|known| {
            known.name() == message
                && (known.get_field_by_name(field).is_some()
                    || known.oneofs().any(|choice| choice.name() == field))
        });
        if !exists {
            unknown.push(format!("{file}: {message}.{field}"));
        }
    };
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        if ["tests.rs", "proxyless.rs", "node.rs"].contains(&file.as_str()) {
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        let source = comment.replace_all(&source, "");
        for found in called.captures_iter(&source) {
            let fields = found[2].split(',').map(str::trim);
            fields
                .filter(|field| !field.is_empty())
                .for_each(|field| check(&file, &found[1], field));
        }
        for found in said.captures_iter(&source) {
            match found[1].rsplit_once('.') {
                // The rest is filled in.
                None | Some((_, "")) => {}
                // A file that names it is refused for its type.
                Some(("PreviousPrioritiesConfig", _)) => {}
                Some((message, field)) => check(&file, message, field),
            }
        }
    }
    assert!(seen > 200, "only {seen} fields are named");
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// Messages of which every field is read, refused, or known to change nothing that a client could see.
const READ: [&str; 88] = [
    "config.bootstrap.v3.Admin",
    "config.bootstrap.v3.Bootstrap",
    "config.bootstrap.v3.Bootstrap.DynamicResources",
    "config.bootstrap.v3.Bootstrap.StaticResources",
    "config.bootstrap.v3.ClusterManager",
    "config.bootstrap.v3.LayeredRuntime",
    "config.cluster.v3.CircuitBreakers",
    "config.cluster.v3.CircuitBreakers.Thresholds",
    "config.cluster.v3.Cluster",
    "config.cluster.v3.Cluster.CommonLbConfig",
    "config.cluster.v3.Cluster.EdsClusterConfig",
    "config.cluster.v3.Cluster.LeastRequestLbConfig",
    "config.cluster.v3.Cluster.MaglevLbConfig",
    "config.cluster.v3.Cluster.RingHashLbConfig",
    "config.cluster.v3.Cluster.RoundRobinLbConfig",
    "config.cluster.v3.Cluster.SlowStartConfig",
    "config.cluster.v3.Cluster.TransportSocketMatch",
    "config.cluster.v3.OutlierDetection",
    "config.cluster.v3.UpstreamConnectionOptions",
    "config.core.v3.ApiConfigSource",
    "config.core.v3.GrpcService",
    "config.core.v3.GrpcService.EnvoyGrpc",
    "config.core.v3.HeaderValueOption",
    "config.core.v3.Http1ProtocolOptions",
    "config.core.v3.Http2ProtocolOptions",
    "config.core.v3.HttpProtocolOptions",
    "config.core.v3.KeepaliveSettings",
    "config.core.v3.SocketAddress",
    "config.core.v3.SubstitutionFormatString",
    "config.core.v3.UpstreamHttpProtocolOptions",
    "config.endpoint.v3.ClusterLoadAssignment",
    "config.endpoint.v3.ClusterLoadAssignment.Policy",
    "config.endpoint.v3.Endpoint",
    "config.endpoint.v3.LbEndpoint",
    "config.endpoint.v3.LocalityLbEndpoints",
    "config.listener.v3.Filter",
    "config.listener.v3.FilterChain",
    "config.listener.v3.FilterChainMatch",
    "config.listener.v3.Listener",
    "config.listener.v3.ListenerFilter",
    "config.rbac.v3.Permission",
    "config.rbac.v3.Policy",
    "config.rbac.v3.Principal",
    "config.rbac.v3.Principal.Authenticated",
    "config.rbac.v3.RBAC",
    "config.rbac.v3.SourcedMetadata",
    "config.route.v3.DirectResponseAction",
    "config.route.v3.HeaderMatcher",
    "config.route.v3.QueryParameterMatcher",
    "config.route.v3.RedirectAction",
    "config.route.v3.RetryPolicy",
    "config.route.v3.Route",
    "config.route.v3.RouteAction",
    "config.route.v3.RouteAction.HashPolicy",
    "config.route.v3.RouteAction.MaxStreamDuration",
    "config.route.v3.RouteAction.RequestMirrorPolicy",
    "config.route.v3.RouteConfiguration",
    "config.route.v3.RouteMatch",
    "config.route.v3.VirtualHost",
    "config.route.v3.WeightedCluster",
    "config.route.v3.WeightedCluster.ClusterWeight",
    "extensions.access_loggers.file.v3.FileAccessLog",
    "extensions.filters.http.ext_authz.v3.AuthorizationRequest",
    "extensions.filters.http.ext_authz.v3.AuthorizationResponse",
    "extensions.filters.http.ext_authz.v3.BufferSettings",
    "extensions.filters.http.ext_authz.v3.CheckSettings",
    "extensions.filters.http.ext_authz.v3.ExtAuthz",
    "extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
    "extensions.filters.http.ext_authz.v3.HttpService",
    "extensions.filters.http.fault.v3.HTTPFault",
    "extensions.filters.http.jwt_authn.v3.JwtAuthentication",
    "extensions.filters.http.jwt_authn.v3.JwtClaimToHeader",
    "extensions.filters.http.jwt_authn.v3.JwtHeader",
    "extensions.filters.http.jwt_authn.v3.JwtProvider",
    "extensions.filters.http.jwt_authn.v3.JwtRequirement",
    "extensions.filters.http.jwt_authn.v3.RequirementRule",
    "extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
    "extensions.filters.http.rbac.v3.RBAC",
    "extensions.filters.http.router.v3.Router",
    "extensions.filters.network.ext_authz.v3.ExtAuthz",
    "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "extensions.filters.network.rbac.v3.RBAC",
    "extensions.filters.network.tcp_proxy.v3.TcpProxy",
    "extensions.transport_sockets.tls.v3.CertificateValidationContext",
    "extensions.transport_sockets.tls.v3.CommonTlsContext",
    "extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext",
    "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    "extensions.transport_sockets.tls.v3.SdsSecretConfig",
];

/// A field that nobody has heard of is one that is let through without effect. Lines of the list: field, and why not.
#[test]
fn every_field_of_what_is_read_is_known() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = std::fs::read_dir(root.join("src/convert")).unwrap();
    let sources: String = sources
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let words = regex::Regex::new(r"\w+").unwrap();
    let words: BTreeSet<&str> = words.find_iter(&sources).map(|found| found.as_str()).collect();
    let list = std::fs::read_to_string(root.join("../../tests/bootstrap/let_through.txt")).unwrap();
    let listed: BTreeSet<&str> = list
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(field, _)| field)
        .collect();
    let mut unheard = BTreeSet::new();
    for name in READ {
        let message = DESCRIPTIONS.0.get_message_by_name(&format!("envoy.{name}"));
        let message = message.unwrap_or_else(|| panic!("there is no {name}"));
        // A choice is read as a whole, or refused as a whole.
        let heard = |field: &prost_reflect::FieldDescriptor| {
            let choice = field.containing_oneof();
            words.contains(field.name()) || choice.is_some_and(|choice| words.contains(choice.name()))
        };
        let fields = message.fields().filter(|field| !heard(field));
        unheard.extend(fields.map(|field| format!("{}.{}", message.name(), field.name())));
    }
    let unheard: BTreeSet<&str> = unheard.iter().map(String::as_str).collect();
    assert_eq!(unheard, listed, "nobody has heard of: left; listed: right");
}
