//! What a request wants to do, in the terms of roles; and on whose behalf. Pure, but for the rights that are asked.

use std::collections::BTreeMap;

use http::{HeaderMap, Method};

use super::super::rbac::{Access, Resource, Rights, What};
use super::super::{Status, User, tokens};
use super::route::{self, Place, Route};
use super::service::{Parameters, header};

const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const ANONYMOUS: &str = "system:anonymous";
const EXTRA: &str = "impersonate-extra-";

/// The verb and the thing of a request, whether or not there is such a thing.
pub(super) fn access<'a>(
    method: &Method,
    route: &'a Route,
    path: &'a str,
    parameters: &'a Parameters,
) -> Access<'a> {
    match route {
        Route::Place(place) => resource(method, place, parameters),
        _ => Access {
            verb: match *method {
                Method::GET => "get",
                Method::HEAD => "head",
                Method::POST => "post",
                Method::PUT => "put",
                Method::PATCH => "patch",
                Method::DELETE => "delete",
                Method::OPTIONS => "options",
                _ => "",
            },
            what: What::Path(path),
        },
    }
}

fn resource<'a>(method: &Method, place: &'a Place, parameters: &'a Parameters) -> Access<'a> {
    let collection = place.name.is_empty();
    let verb = match *method {
        Method::GET | Method::HEAD if place.subresource.is_empty() && parameters.is_set("watch") => "watch",
        Method::GET | Method::HEAD if collection => "list",
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if collection => "deletecollection",
        Method::DELETE => "delete",
        _ => "",
    };
    // A list of the one object that a field selector names is a matter of that object. Behind a backslash a comma is
    // part of a value, and what looks like a name would select nothing; no name needs one.
    let named = || {
        let selector = parameters.get("fieldSelector").unwrap_or_default();
        let terms = selector.split(',').filter(|_| !selector.contains('\\'));
        let mut names = terms.filter_map(|term| term.strip_prefix("metadata.name="));
        names.next().unwrap_or_default().trim_start_matches('=')
    };
    let lists = matches!(verb, "list" | "watch" | "deletecollection");
    let name = if collection && lists { named() } else { &place.name };
    // Who has rights in a namespace may have the right to see it.
    let is_namespace = place.group.is_empty() && place.resource == "namespaces";
    let namespace = if is_namespace {
        &place.name
    } else {
        &place.namespace
    };
    Access {
        verb,
        what: What::Resource(Resource {
            group: &place.group,
            resource: &place.resource,
            subresource: &place.subresource,
            namespace,
            name,
        }),
    }
}

/// On whose behalf `user` calls: `kubectl --as`, with the verb `impersonate` on all that is claimed.
pub(super) fn impersonate(rights: &Rights, headers: &HeaderMap, user: User) -> Result<User, Status> {
    let groups: Vec<String> = headers
        .get_all("impersonate-group")
        .iter()
        .filter_map(|group| group.to_str().ok())
        .map(str::to_owned)
        .collect();
    // A claim that cannot be read is not passed over: the call would be made as somebody else than was meant.
    if headers
        .iter()
        .any(|(name, value)| name.as_str().starts_with("impersonate-") && value.to_str().is_err())
    {
        return Err(Status::new(
            400,
            "BadRequest",
            "an impersonation header is not text",
        ));
    }
    let uid = header(headers, "impersonate-uid").unwrap_or_default();
    let extra = extra(headers);
    let Some(name) = header(headers, "impersonate-user").filter(|name| !name.is_empty()) else {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(user);
        }
        return Err(Status::internal(
            "Internal Server Error: requested impersonation of groups, uid or extra without impersonating a user",
        ));
    };
    let require = |of: Resource<'_>| {
        let what = What::Resource(of);
        let verb = "impersonate";
        rights.require(&user, &Access { verb, what })
    };
    let account = name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, name)) => require(of("", "serviceaccounts", (namespace, name)))?,
        None => require(of("", "users", ("", name)))?,
    }
    for group in &groups {
        require(of("", "groups", ("", group)))?;
    }
    if !uid.is_empty() {
        require(of("authentication.k8s.io", "uids", ("", uid)))?;
    }
    for (key, values) in &extra {
        for value in values {
            require(Resource {
                subresource: key,
                ..of("authentication.k8s.io", "userextras", ("", value))
            })?;
        }
    }
    let groups = if groups.is_empty() {
        account.map_or(groups, |(namespace, _)| tokens::groups(namespace))
    } else {
        groups
    };
    Ok(User {
        name: name.to_owned(),
        uid: uid.to_owned(),
        groups: with_known(name, groups),
        extra,
    })
}

fn of<'a>(group: &'a str, resource: &'a str, (namespace, name): (&'a str, &'a str)) -> Resource<'a> {
    Resource {
        group,
        resource,
        namespace,
        name,
        ..Resource::default()
    }
}

/// Everybody is in exactly one of two groups, whoever they claim to be.
fn with_known(name: &str, mut groups: Vec<String>) -> Vec<String> {
    if groups
        .iter()
        .any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED)
    {
        return groups;
    }
    let group = if name == ANONYMOUS {
        UNAUTHENTICATED
    } else {
        AUTHENTICATED
    };
    groups.push(group.to_owned());
    groups
}

/// `Impersonate-Extra-KEY: VALUE`; keys are percent-encoded, since headers take few letters.
fn extra(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA)
            && let (Some(key), Ok(value)) = (route::decode(key), value.to_str())
        {
            extra.entry(key).or_default().push(value.to_owned());
        }
    }
    extra
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name that rights are asked for when secrets are listed with this selector.
    fn name(selector: &str) -> String {
        let route = route::route("/api/v1/namespaces/n/secrets");
        let parameters = Parameters::of(&format!("fieldSelector={selector}"));
        match access(&Method::GET, &route, "", &parameters).what {
            What::Resource(of) => of.name.to_owned(),
            What::Path(path) => panic!("a path: {path}"),
        }
    }

    #[test]
    fn a_list_is_of_one_object_only_if_its_selector_says_so() {
        assert_eq!(name("metadata.name=mine"), "mine");
        assert_eq!(name("type=Opaque,metadata.name==mine"), "mine");
        assert_eq!(name("metadata.name!=mine"), "");
        // The whole is one term: a type that is not `a,metadata.name=mine`, which all secrets have.
        assert_eq!(name("type!=a%5C,metadata.name=mine"), "");
    }
}
