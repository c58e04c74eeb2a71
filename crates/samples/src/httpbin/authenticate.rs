//! Passwords, tokens and cookies.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Asked, Style, error, json_reply, json_with};
use crate::call::{self, Call, pairs};
use crate::server::{self, Reply, with_header};

/// Basic authentication; a hidden one looks as if there was nothing.
pub(super) fn basic(call: &Call, user: &str, password: &str, hidden: bool) -> Reply {
    let expected = format!("{}:{}", call::decoded(user), call::decoded(password));
    let expected = format!("Basic {}", STANDARD.encode(expected));
    let authorized = call.header("authorization") == expected;
    if !authorized && hidden {
        return error(404, "");
    }
    let told = json!({"authenticated": authorized, "authorized": authorized, "user": user});
    if authorized {
        return json_reply(&told);
    }
    with_header(
        json_with(401, &told),
        "www-authenticate",
        "Basic realm=\"Fake Realm\"",
    )
}

pub(super) fn bearer(call: &Call) -> Reply {
    match call.header("authorization").strip_prefix("Bearer ") {
        Some(token) => json_reply(&json!({"authenticated": true, "token": token})),
        None => with_header(server::text(401, ""), "www-authenticate", "Bearer"),
    }
}

/// `/cookies` tells them, `/cookies/set?a=1` and `/cookies/delete?a` change them.
pub(super) fn cookies(asked: &Asked<'_>, rest: &[&str]) -> Reply {
    let call = asked.call;
    match rest {
        [] => {
            let all = call::cookies(&call.headers).into_iter();
            let all = Value::Object(
                all.map(|(name, value)| (name, json!(value)))
                    .collect::<Map<_, _>>(),
            );
            json_reply(&if asked.style == Style::Go {
                all
            } else {
                json!({"cookies": all})
            })
        }
        ["set"] => changed(call, |name, value| format!("{name}={value}; Path=/; HttpOnly")),
        ["set", name, value] => with_header(
            with_header(server::text(302, ""), "location", "/cookies"),
            "set-cookie",
            &format!("{name}={value}; Path=/"),
        ),
        ["delete"] => changed(call, |name, _| format!("{name}=; Path=/; Max-Age=0; HttpOnly")),
        _ => error(404, ""),
    }
}

/// To the cookies, with one changed for each query parameter.
fn changed(call: &Call, cookie: impl Fn(&str, &str) -> String) -> Reply {
    let to_cookies = with_header(server::text(302, ""), "location", "/cookies");
    pairs(&call.query).fold(to_cookies, |reply, (name, value)| {
        with_header(reply, "set-cookie", &cookie(&name, &value))
    })
}
