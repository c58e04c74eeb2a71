//! What a service may change of a request that it lets pass, and of its response.
//!
//! Fields that frame a message or belong to one hop are the proxy's own, whatever a service says; names and values that
//! cannot be sent are left out, or spoil the permission where that was asked for.

use std::collections::BTreeMap;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method};
use xds::check::{Change, Mutation, Permission, Refusal};

use crate::http::codec::h1::{MAX_FIELDS, MAX_HEAD, check_authority};
use crate::http::codec::{Fields, Request};

const TOO_LARGE: &str = "a head that is too large";
/// Changes of one request: each may copy a field that is as long as a head.
const MOST_CHANGES: usize = 1000;

/// Whether a service may say anything of that field (lower case).
pub(super) fn may_be_said(name: &str) -> bool {
    !snapshot::frames_messages(name) && HeaderName::from_bytes(name.as_bytes()).is_ok()
}

/// Whether it can be sent.
pub(crate) fn is_field(name: &str, value: &[u8]) -> bool {
    may_be_said(name) && HeaderValue::from_bytes(value).is_ok()
}

/// Whether a message with it would still be one that others accept.
pub(crate) fn has_room(fields: &Fields, name: &str, value: &[u8]) -> bool {
    fields.len() < MAX_FIELDS && fields.size() + (name.len() + value.len()) as u64 <= MAX_HEAD as u64
}

/// Whether everything in it can be sent.
pub(super) fn is_valid(refusal: &Refusal) -> bool {
    let status = refusal.status.is_none_or(|status| (200..600).contains(&status));
    status
        && refusal
            .headers
            .iter()
            .all(|(name, value)| is_sendable(name, value))
}

/// Whether it is a field at all; one that frames messages is, and is left out later.
fn is_sendable(name: &str, value: &[u8]) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_bytes(value).is_ok()
}

/// Changes the request; what remains is for its response. With `strict`, a change that cannot be made is an error.
pub(super) fn request(
    request: &mut Request,
    permission: Permission,
    strict: bool,
) -> Result<Vec<Mutation>, &'static str> {
    let sendable =
        |mutation: &Mutation| is_pseudo(&mutation.name) || is_sendable(&mutation.name, &mutation.value);
    if strict
        && !permission
            .request
            .iter()
            .chain(&permission.response)
            .all(sendable)
    {
        return Err("a field that cannot be sent");
    }
    if permission.request.len() > MOST_CHANGES {
        return Err("too many changes");
    }
    for mutation in &permission.request {
        match is_pseudo(&mutation.name) {
            true => pseudo(request, mutation),
            false => field(&mut request.fields, mutation),
        }
        // Not only at the end: fields that grow are copied each time. What is removed is still there.
        if request.fields.size() > 2 * MAX_HEAD as u64 {
            return Err(TOO_LARGE);
        }
    }
    for name in &permission.remove {
        let name = name.to_ascii_lowercase();
        if may_be_said(&name) {
            request.fields.remove(&name);
        }
    }
    query(request, &permission, strict)?;
    if request.fields.len() > MAX_FIELDS || request.fields.size() > MAX_HEAD as u64 {
        return Err(TOO_LARGE);
    }
    Ok(permission.response)
}

/// Changes a response as its permission says.
pub(crate) fn apply(mutations: &[Mutation], fields: &mut Fields) {
    for mutation in mutations {
        field(fields, mutation);
    }
}

fn is_pseudo(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}

fn field(fields: &mut Fields, mutation: &Mutation) {
    let name = mutation.name.to_ascii_lowercase();
    let value = mutation.value.as_slice();
    if !is_field(&name, value) {
        return;
    }
    let there = fields.contains(&name);
    match mutation.change {
        Change::Set => {
            fields.remove(&name);
        }
        Change::Add => {}
        Change::AddIfAbsent if there => return,
        Change::AddIfAbsent => {}
        Change::Overwrite | Change::Append if !there => return,
        Change::Overwrite => {
            fields.remove(&name);
        }
        Change::Append => return append(fields, &name, value),
    }
    if has_room(fields, &name, value) {
        fields.push(&name, value);
    }
}

/// One field with all values, as Envoy makes it.
fn append(fields: &mut Fields, name: &str, value: &[u8]) {
    let mut values: Vec<_> = fields.all(name).collect();
    values.push(value);
    let joined = values.join(&b","[..]);
    fields.set(name, &joined);
}

/// Parts of the head that are not among the fields. The request keeps what it would be no request without.
fn pseudo(request: &mut Request, mutation: &Mutation) {
    let Ok(value) = std::str::from_utf8(&mutation.value) else {
        return;
    };
    if !matches!(mutation.change, Change::Set | Change::Overwrite) {
        return;
    }
    match mutation.name.to_ascii_lowercase().as_str() {
        ":path" if is_path(value) => value.clone_into(&mut request.path),
        ":authority" | "host" if !value.is_empty() && check_authority(value).is_ok() => {
            value.clone_into(&mut request.authority)
        }
        ":method" => match Method::from_bytes(value.as_bytes()) {
            Ok(method) if method != Method::CONNECT => request.method = method,
            _ => {}
        },
        _ => {}
    }
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.is_ascii() && PathAndQuery::try_from(path).is_ok()
}

/// Parameters that are set take the place of all of their name. As Envoy's, the others are kept by name: a query that is
/// changed comes out sorted.
fn query(request: &mut Request, permission: &Permission, strict: bool) -> Result<(), &'static str> {
    if permission.set_query.is_empty() && permission.remove_query.is_empty() {
        return Ok(());
    }
    let set = permission.set_query.iter();
    if strict
        && !set
            .clone()
            .all(|(name, value)| is_encoded(name) && is_encoded(value))
    {
        return Err("a query parameter that is not encoded");
    }
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let mut parameters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        parameters.entry(name).or_default().push(value);
    }
    for (name, value) in set {
        parameters.insert(name, vec![value]);
    }
    for name in &permission.remove_query {
        parameters.remove(name.as_str());
    }
    let values = parameters
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| format!("{name}={value}")));
    let query = values.collect::<Vec<_>>().join("&");
    let mark = if query.is_empty() { "" } else { "?" };
    let changed = format!("{path}{mark}{query}");
    if is_path(&changed) {
        request.path = changed;
    }
    Ok(())
}

/// Whether nothing in it would have to be encoded.
fn is_encoded(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%+".contains(&byte);
    text.bytes().all(plain)
}

#[cfg(test)]
mod tests;
