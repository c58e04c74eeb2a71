//! The table of samples: which program stands in for which published images.

use std::process::ExitCode;

use crate::{
    bookinfo, compat, curl, echo, echo_basic, echo_client, ext_authz, fortio, gunicorn, helloworld, httpbin,
    nc, soak, tcp_echo,
};

/// One sample program.
pub struct Program {
    /// The name it is called by.
    pub name: &'static str,
    /// Published images that it stands in for.
    pub images: &'static [Image],
    pub(crate) run: fn(Vec<String>) -> anyhow::Result<ExitCode>,
}

/// An image that a program stands in for.
pub struct Image {
    /// Registries and paths that it is published under; empty for a name of its own.
    hubs: &'static [&'static str],
    /// Without registry default and tag.
    name: &'static str,
    /// What the image's entry point passes to the program when a container states no `command`.
    pub arguments: &'static [&'static str],
    /// Variables that the image brings.
    pub environment: &'static [(&'static str, &'static str)],
}

/// Where Istio publishes its samples, now and earlier.
const ISTIO: &[&str] = &[
    "istio",
    "registry.istio.io/release",
    "registry.istio.io/testing",
    "gcr.io/istio-release",
    "gcr.io/istio-testing",
];

impl Image {
    const fn new(name: &'static str) -> Self {
        Self {
            hubs: &[],
            name,
            arguments: &[],
            environment: &[],
        }
    }

    const fn of_istio(name: &'static str) -> Self {
        Self {
            hubs: ISTIO,
            ..Self::new(name)
        }
    }

    const fn arguments(self, arguments: &'static [&'static str]) -> Self {
        Self { arguments, ..self }
    }

    const fn environment(self, environment: &'static [(&'static str, &'static str)]) -> Self {
        Self { environment, ..self }
    }

    /// Every name that it is published under.
    pub fn names(&self) -> Vec<String> {
        if self.hubs.is_empty() {
            return vec![self.name.to_owned()];
        }
        self.hubs
            .iter()
            .map(|hub| format!("{hub}/{}", self.name))
            .collect()
    }
}

const V1: &[(&str, &str)] = &[("SERVICE_VERSION", "v1")];
const V2: &[(&str, &str)] = &[("SERVICE_VERSION", "v2")];

const BOOKINFO: &[Image] = &[
    Image::of_istio("examples-bookinfo-details-v1")
        .arguments(&["details", "9080"])
        .environment(V1),
    Image::of_istio("examples-bookinfo-details-v2")
        .arguments(&["details", "9080"])
        .environment(&[
            ("SERVICE_VERSION", "v2"),
            ("ENABLE_EXTERNAL_BOOK_SERVICE", "true"),
        ]),
    ratings("examples-bookinfo-ratings-v1").environment(V1),
    ratings("examples-bookinfo-ratings-v-faulty").environment(&[("SERVICE_VERSION", "v-faulty")]),
    ratings("examples-bookinfo-ratings-v-delayed").environment(&[("SERVICE_VERSION", "v-delayed")]),
    ratings("examples-bookinfo-ratings-v-unavailable").environment(&[("SERVICE_VERSION", "v-unavailable")]),
    ratings("examples-bookinfo-ratings-v-unhealthy").environment(&[("SERVICE_VERSION", "v-unhealthy")]),
    reviews("examples-bookinfo-reviews-v1").environment(V1),
    reviews("examples-bookinfo-reviews-v2")
        .environment(&[("SERVICE_VERSION", "v2"), ("ENABLE_RATINGS", "true")]),
    reviews("examples-bookinfo-reviews-v3").environment(&[
        ("SERVICE_VERSION", "v3"),
        ("ENABLE_RATINGS", "true"),
        ("STAR_COLOR", "red"),
    ]),
    productpage("examples-bookinfo-productpage-v1"),
    productpage("examples-bookinfo-productpage-v-flooding").environment(&[("FLOOD_FACTOR", "100")]),
];

const fn ratings(name: &'static str) -> Image {
    Image::of_istio(name).arguments(&["ratings", "9080"])
}

const fn reviews(name: &'static str) -> Image {
    Image::of_istio(name).arguments(&["reviews", "9080"])
}

const fn productpage(name: &'static str) -> Image {
    Image::of_istio(name).arguments(&["productpage", "9080"])
}

/// Every sample program.
pub const PROGRAMS: &[Program] = &[
    Program {
        name: "playground-echo",
        images: &[Image::new("h3poteto/playground-echo-go")],
        run: echo::run,
    },
    Program {
        name: "playground-echo-client",
        images: &[Image::new("h3poteto/playground-echo-client")],
        run: echo_client::run,
    },
    Program {
        name: "curl",
        images: &[
            Image::new("curlimages/curl"),
            Image::new("quay.io/curl/curl"),
            Image::new("governmentpaas/curl-ssl"),
            Image::new("curl"),
        ],
        run: curl::run,
    },
    Program {
        name: "nc",
        images: &[],
        run: nc::run,
    },
    Program {
        name: "go-httpbin",
        images: &[],
        run: httpbin::run,
    },
    Program {
        name: "httpbin",
        images: &[
            Image::new("mccutchen/go-httpbin"),
            Image::new("ghcr.io/mccutchen/go-httpbin"),
            Image::new("httpbin"),
        ],
        run: httpbin::run,
    },
    Program {
        name: "gunicorn",
        images: &[
            Image::new("kennethreitz/httpbin").arguments(&[
                "-b",
                "0.0.0.0:80",
                "httpbin:app",
                "-k",
                "gevent",
            ]),
            Image::new("kong/httpbin").arguments(&["-b", "0.0.0.0:80", "httpbin:app", "-k", "gevent"]),
        ],
        run: gunicorn::run,
    },
    Program {
        name: "helloworld",
        images: &[
            Image::of_istio("examples-helloworld-v1").environment(V1),
            Image::of_istio("examples-helloworld-v2").environment(V2),
        ],
        run: helloworld::run,
    },
    Program {
        name: "tcp-echo",
        images: &[Image::of_istio("tcp-echo-server").arguments(&["9000", "hello"])],
        run: tcp_echo::run,
    },
    Program {
        name: "ext-authz",
        images: &[Image::of_istio("ext-authz")],
        run: ext_authz::run,
    },
    Program {
        name: "bookinfo",
        images: BOOKINFO,
        run: bookinfo::run,
    },
    Program {
        name: "fortio",
        images: &[
            Image::new("fortio/fortio").arguments(&["server"]),
            Image::new("istio/fortio").arguments(&["server"]),
        ],
        run: fortio::run,
    },
    Program {
        name: "echo-basic",
        images: &[
            Image::new("gcr.io/k8s-staging-gateway-api/echo-basic"),
            Image::new("registry.k8s.io/gateway-api/echo-basic"),
            Image::new("us-central1-docker.pkg.dev/k8s-staging-images/gateway-api/echo-basic"),
        ],
        run: echo_basic::run,
    },
    Program {
        name: "compat-authorizer",
        images: &[Image::new("compat-authorizer")],
        run: compat::authorizer,
    },
    Program {
        name: "compat-backend",
        images: &[Image::new("compat-backend")],
        run: compat::backend,
    },
    Program {
        name: "compat-caller",
        images: &[Image::new("compat-caller")],
        run: compat::caller,
    },
    Program {
        name: "soak-backend",
        images: &[Image::new("soak-backend")],
        run: soak::backend,
    },
    Program {
        name: "soak-load",
        images: &[Image::new("soak-load")],
        run: soak::load,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_image_stands_twice_in_the_table() {
        let mut seen = BTreeSet::new();
        for image in PROGRAMS.iter().flat_map(|program| program.images) {
            for name in image.names() {
                assert!(seen.insert(name.clone()), "{name}");
            }
        }
        assert!(seen.contains("registry.istio.io/release/examples-bookinfo-reviews-v3"));
    }
}
