//! `details`: the facts about a book, `GET /details/ID`.
//!
//! The original's v2 asks a public service for them; there is no way out of this cluster, so it answers as the
//! original does when that service can't be reached.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{json_reply, product_id};
use crate::server::{self, Reply};
use crate::setting;

pub(super) fn serve(port: u16) -> anyhow::Result<ExitCode> {
    let external = setting("ENABLE_EXTERNAL_BOOK_SERVICE").is_some_and(|value| value == "true");
    server::serve(&[port], move |request, _peer| {
        std::future::ready(answer(request.uri().path(), external))
    })
}

fn answer(path: &str, external: bool) -> Reply {
    if path == "/health" {
        return json_reply(200, &json!({"status": "Details is healthy"}));
    }
    if path != "/details" && !path.starts_with("/details/") {
        return server::reply(404, "text/html; charset=utf-8", "<h1>Not Found</h1>\n");
    }
    match product_id(path) {
        None => json_reply(400, &json!({"error": "please provide numeric product id"})),
        Some(_) if external => json_reply(
            400,
            &json!({"error": "the external book service can't be reached"}),
        ),
        Some(id) => json_reply(200, &details(id)),
    }
}

fn details(id: i64) -> Value {
    json!({
        "id": id,
        "author": "William Shakespeare",
        "year": 1595,
        "type": "paperback",
        "pages": 200,
        "publisher": "PublisherA",
        "language": "English",
        "ISBN-10": "1234567890",
        "ISBN-13": "123-1234567890",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_want_a_number() {
        assert_eq!(answer("/details/0", false).status(), 200);
        assert_eq!(answer("/details/one", false).status(), 400);
        assert_eq!(answer("/details/0", true).status(), 400);
        assert_eq!(answer("/detailsx", false).status(), 404);
        assert_eq!(answer("/health", false).status(), 200);
    }
}
