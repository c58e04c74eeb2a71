//! Who is signed in: the cookie `session`, whose first part is base64url of `{"user":"NAME"}` as the original's.
//!
//! It carries no signature: any name may sign in here with any password, so there is nothing to forge.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::call::Call;

const LONGEST_NAME: usize = 200;

/// The cookie of somebody who signed in.
pub(super) fn begun(user: &str) -> String {
    let user: String = user.chars().take(LONGEST_NAME).collect();
    let text = URL_SAFE_NO_PAD.encode(json!({"user": user}).to_string());
    format!("session={text}; HttpOnly; Path=/")
}

/// The cookie of somebody who signed out.
pub(super) fn ended() -> String {
    "session=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; HttpOnly; Path=/".to_owned()
}

/// Who is signed in.
pub(super) fn user(call: &Call) -> Option<String> {
    call.cookie("session").and_then(|cookie| name_in(&cookie))
}

fn name_in(cookie: &str) -> Option<String> {
    let text = cookie.split('.').next()?;
    let session: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    session["user"]
        .as_str()
        .filter(|user| !user.is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_its_cookie() {
        assert_eq!(begun("jason"), "session=eyJ1c2VyIjoiamFzb24ifQ; HttpOnly; Path=/");
        assert_eq!(name_in("eyJ1c2VyIjoiamFzb24ifQ.Zx.sig").as_deref(), Some("jason"));
    }

    #[test]
    fn nonsense_is_nobody() {
        for cookie in ["", "x", "e30", "eyJ1c2VyIjoiIn0", "%%%"] {
            assert_eq!(name_in(cookie), None, "{cookie}");
        }
    }
}
