//! Lists in pages, and lists at a version: what a client may ask for, and the token that leads to the next page.
//!
//! All pages of a list are of one version. Tokens look like Kubernetes' own, and hold no secret: name and version of
//! where to go on. <https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks>

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Status;

/// At which version a list is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum At {
    #[default]
    Newest,
    /// The newest, which must have reached this one.
    NotOlderThan(u64),
    Exact(u64),
}

/// Which part of a list is wanted; by default all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub at: At,
    /// How many objects at most.
    pub limit: Option<usize>,
    /// Goes on behind this object.
    pub after: Option<Name>,
}

/// Namespace and name.
pub type Name = (String, String);

/// What is left behind a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// The `continue` of the next page.
    pub token: String,
    /// Known only without selectors.
    pub remaining: Option<usize>,
}

/// The token, as etcd's storage writes it.
#[derive(Debug, Deserialize, Serialize)]
struct Token {
    #[serde(rename = "v", default)]
    version: String,
    /// -1: whatever is the newest then.
    #[serde(rename = "rv", default)]
    resource_version: i64,
    #[serde(default)]
    start: String,
}

const VERSION: &str = "meta.k8s.io/v1";

pub const TOO_OLD: &str = "The resourceVersion for the provided list is too old.";

/// A 410 that offers to go on with what there is now.
const INCONSISTENT: &str = "The provided continue parameter is too old to display a consistent list result. You can start \
    a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of \
    the results. Continuing with the provided token results in an inconsistent list - objects that were created, \
    modified, or deleted between the time the first chunk was returned and now may show up in the list.";

impl Page {
    /// The page that a token leads to.
    ///
    /// # Errors
    /// 400 for what is no token.
    pub fn continued(token: &str, limit: Option<usize>) -> Result<Self, Status> {
        let invalid = |why: String| {
            Status::bad_request(format!("invalid continue token: continue key is not valid{why}"))
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|error| invalid(format!(": {error}")))?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|error| invalid(format!(": {error}")))?;
        if token.version != VERSION {
            let why = format!(
                ": server does not recognize this encoded version: {}",
                token.version
            );
            return Err(invalid(why));
        }
        let at = match u64::try_from(token.resource_version) {
            Ok(0) => {
                return Err(invalid(format!(
                    ": incorrect encoded start resourceVersion (version {VERSION})"
                )));
            }
            Ok(version) => At::Exact(version),
            Err(_) => At::Newest,
        };
        if token.start.is_empty() {
            return Err(invalid(format!(": encoded start key empty (version {VERSION})")));
        }
        let start = token.start.strip_suffix('\0').unwrap_or(&token.start);
        let (namespace, name) = start.split_once('/').unwrap_or(("", start));
        Ok(Self {
            at,
            limit,
            after: Some((namespace.to_owned(), name.to_owned())),
        })
    }

    /// Whether an object belongs to this page or one behind it.
    pub fn reaches(&self, object: &Value) -> bool {
        let Some((namespace, name)) = &self.after else {
            return true;
        };
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        (text("namespace"), text("name")) > (namespace, name)
    }

    /// 410: the history no longer has the version of this list.
    pub fn expired(&self) -> Status {
        let why = if self.after.is_some() {
            INCONSISTENT
        } else {
            TOO_OLD
        };
        Status::new(410, "Expired", why)
    }

    /// The token that such a refusal offers for the rest.
    pub fn token_for_the_rest(&self) -> Option<String> {
        Some(token(self.after.as_ref()?, -1))
    }
}

/// Leads behind an object, in the list of this version.
pub fn token_after(object: &Value, version: u64) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let version = i64::try_from(version).expect("fewer than 2^63 writes");
    token(&(text("namespace"), text("name")), version)
}

fn token((namespace, name): &Name, resource_version: i64) -> String {
    let start = match &**namespace {
        "" => format!("{name}\0"),
        namespace => format!("{namespace}/{name}\0"),
    };
    let token = Token {
        version: VERSION.to_owned(),
        resource_version,
        start,
    };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("strings and numbers become JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_token_leads_behind_its_object() {
        let object = json!({"metadata": {"namespace": "n", "name": "b"}});
        let page = Page::continued(&token_after(&object, 7), Some(2)).unwrap();
        assert_eq!((&page.at, page.limit), (&At::Exact(7), Some(2)));
        let reaches = |namespace: &str, name: &str| {
            page.reaches(&json!({"metadata": {"namespace": namespace, "name": name}}))
        };
        assert!(!reaches("n", "a") && !reaches("n", "b") && !reaches("m", "z"));
        assert!(reaches("n", "b0") && reaches("n", "c") && reaches("o", "a"));
        let again = Page::continued(&page.token_for_the_rest().unwrap(), None).unwrap();
        assert_eq!((again.at, again.after), (At::Newest, page.after));
    }

    #[test]
    fn what_is_no_token_is_refused_with_what_is_wrong() {
        let encoded = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        for (token, said) in [
            ("???".to_owned(), "Invalid symbol"),
            (URL_SAFE_NO_PAD.encode("{"), "EOF while parsing"),
            (
                encoded(json!({"v": "v9", "rv": 1, "start": "a"})),
                "does not recognize this encoded version",
            ),
            (
                encoded(json!({"v": VERSION, "start": "a"})),
                "incorrect encoded start resourceVersion",
            ),
            (encoded(json!({"v": VERSION, "rv": 1})), "encoded start key empty"),
        ] {
            let status = Page::continued(&token, None).unwrap_err();
            assert_eq!(status.code, 400);
            assert!(
                status
                    .message
                    .starts_with("invalid continue token: continue key is not valid: "),
                "{}",
                status.message
            );
            assert!(status.message.contains(said), "{}", status.message);
        }
    }
}
