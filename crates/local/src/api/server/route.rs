//! From a path to what it means. Pure.

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Version,
    /// `healthz`, `livez`, `readyz`, and their parts.
    Health,
    /// `/api`: the core group.
    Core,
    /// `/apis`: all other groups.
    Groups,
    Group(String),
    /// The resources of one group and version.
    Resources {
        group: String,
        version: String,
    },
    OpenApiIndex,
    OpenApi {
        group: String,
        version: String,
    },
    /// `/.well-known/openid-configuration`.
    Issuer,
    /// `/openid/v1/jwks`.
    Keys,
    Place(Place),
    Unknown,
}

/// A collection, an object, or a part of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) resource: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) subresource: String,
}

/// Reads a path.
pub(super) fn route(path: &str) -> Route {
    let decoded: Option<Vec<String>> = path.trim_matches('/').split('/').map(decode).collect();
    let Some(segments) = decoded else {
        return Route::Unknown;
    };
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments[..] {
        ["version"] => Route::Version,
        ["healthz" | "livez" | "readyz", ..] => Route::Health,
        ["api"] => Route::Core,
        ["apis"] => Route::Groups,
        ["apis", group] => Route::Group(group.to_owned()),
        ["openapi", "v3"] => Route::OpenApiIndex,
        ["openapi", "v3", "api", version] => Route::OpenApi {
            group: String::new(),
            version: version.to_owned(),
        },
        ["openapi", "v3", "apis", group, version] => Route::OpenApi {
            group: group.to_owned(),
            version: version.to_owned(),
        },
        [".well-known", "openid-configuration"] => Route::Issuer,
        ["openid", "v1", "jwks"] => Route::Keys,
        ["api", version] => Route::Resources {
            group: String::new(),
            version: version.to_owned(),
        },
        ["apis", group, version] => Route::Resources {
            group: group.to_owned(),
            version: version.to_owned(),
        },
        ["api", version, ref rest @ ..] => place("", version, rest),
        ["apis", group, version, ref rest @ ..] => place(group, version, rest),
        _ => Route::Unknown,
    }
}

fn place(group: &str, version: &str, rest: &[&str]) -> Route {
    if rest.iter().any(|segment| segment.is_empty()) {
        return Route::Unknown;
    }
    let own = |text: &str| text.to_owned();
    let of = |namespace: &str, resource: &str| Place {
        group: own(group),
        version: own(version),
        resource: own(resource),
        namespace: own(namespace),
        ..Place::default()
    };
    Route::Place(match *rest {
        // A Namespace is an object itself; everything else below it is a collection in it.
        ["namespaces", name, part @ ("status" | "finalize")] if group.is_empty() => Place {
            name: own(name),
            subresource: own(part),
            ..of("", "namespaces")
        },
        ["namespaces", namespace, resource] => of(namespace, resource),
        ["namespaces", namespace, resource, name] => Place {
            name: own(name),
            ..of(namespace, resource)
        },
        ["namespaces", namespace, resource, name, part] => Place {
            name: own(name),
            subresource: own(part),
            ..of(namespace, resource)
        },
        [resource] => of("", resource),
        [resource, name] => Place {
            name: own(name),
            ..of("", resource)
        },
        [resource, name, part] => Place {
            name: own(name),
            subresource: own(part),
            ..of("", resource)
        },
        _ => return Route::Unknown,
    })
}

/// Undoes percent encoding; `None` when it is broken or no UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            let hex = text.get(at + 1..at + 3)?;
            out.push(u8::from_str_radix(hex, 16).ok()?);
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    String::from_utf8(out).ok()
}

/// Query parameters in their order; `+` is a space there.
pub(super) fn parameters(query: &str) -> Vec<(String, String)> {
    let plain = |text: &str| decode(&text.replace('+', " "));
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((plain(name)?, plain(value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str) -> Place {
        match route(path) {
            Route::Place(place) => place,
            other => panic!("{path} is {other:?}"),
        }
    }

    #[test]
    fn collections_objects_and_their_parts_are_told_apart() {
        let part = found("/apis/apps/v1/namespaces/n/deployments/d/scale");
        assert_eq!(
            (
                &*part.group,
                &*part.namespace,
                &*part.resource,
                &*part.name,
                &*part.subresource
            ),
            ("apps", "n", "deployments", "d", "scale")
        );
        let all = found("/api/v1/pods");
        assert_eq!((&*all.resource, &*all.namespace, &*all.name), ("pods", "", ""));
        let namespace = found("/api/v1/namespaces/n");
        assert_eq!(
            (&*namespace.resource, &*namespace.namespace, &*namespace.name),
            ("namespaces", "", "n")
        );
        let finalize = found("/api/v1/namespaces/n/finalize");
        assert_eq!(
            (&*finalize.resource, &*finalize.name, &*finalize.subresource),
            ("namespaces", "n", "finalize")
        );
        assert_eq!(found("/api/v1/namespaces/n/pods").namespace, "n");
    }

    #[test]
    fn documents_are_told_from_resources() {
        assert_eq!(route("/apis"), Route::Groups);
        assert_eq!(route("/apis/"), Route::Groups);
        assert_eq!(route("/apis/apps"), Route::Group("apps".to_owned()));
        assert!(matches!(route("/apis/apps/v1"), Route::Resources { .. }));
        assert_eq!(route("/readyz/ping"), Route::Health);
        assert_eq!(route("/"), Route::Unknown);
        assert_eq!(route("/api/v1/namespaces//pods"), Route::Unknown);
        assert_eq!(route("/api/v1/a/b/c/d/e/f/g"), Route::Unknown);
        assert_eq!(route("/api/v1/pods/%zz"), Route::Unknown);
    }

    #[test]
    fn parameters_are_decoded() {
        let expected = [("labelSelector", "a in (b,c)"), ("watch", ""), ("x", "1 2")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            parameters("labelSelector=a%20in%20%28b%2Cc%29&watch&x=1+2"),
            expected
        );
    }
}
