//! `productpage`: the page that puts details and reviews together, and its small API.
//!
//! Whoever signs in (any name, any password) is sent on as `end-user`. Reviews are asked twice, 3 s each: that is
//! the original's deliberate bug, and Istio's fault injection task shows it.

mod page;
mod session;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::{handed_on, json_reply, place_of};
use crate::call::{Call, pairs};
use crate::server::{self, Reply, with_header};
use crate::{client, setting};

const PATIENCE: Duration = Duration::from_secs(3);
const HTML: &str = "text/html; charset=utf-8";

/// Counts by service and status.
type Outcomes = BTreeMap<(&'static str, u16), u64>;

struct Productpage {
    details: String,
    reviews: String,
    ratings: String,
    /// Requests to reviews that nobody needs, for each page: for rate limits.
    flood: u32,
    /// Outcomes by service and status.
    outcomes: RefCell<Outcomes>,
}

/// A service's answer, or what is said instead.
struct Told {
    status: u16,
    body: Value,
}

pub(crate) fn serve(port: u16) -> anyhow::Result<ExitCode> {
    let productpage = Rc::new(Productpage {
        details: place_of("details"),
        reviews: place_of("reviews"),
        ratings: place_of("ratings"),
        flood: setting("FLOOD_FACTOR")
            .and_then(|factor| factor.parse().ok())
            .unwrap_or_default(),
        outcomes: RefCell::default(),
    });
    server::serve(&[port], move |request, peer| {
        let productpage = productpage.clone();
        async move {
            match Call::read(request, peer).await {
                Ok(call) => productpage.answer(&call).await,
                Err(reply) => reply,
            }
        }
    })
}

impl Productpage {
    async fn answer(&self, call: &Call) -> Reply {
        let parts: Vec<&str> = call.path.trim_matches('/').split('/').collect();
        match (call.method.as_str(), parts.as_slice()) {
            ("GET" | "HEAD", ["" | "index.html"]) => {
                let places = [
                    ("details", &self.details),
                    ("reviews", &self.reviews),
                    ("ratings", &self.ratings),
                ];
                server::reply(200, HTML, page::index(&places))
            }
            ("GET" | "HEAD", ["health"]) => server::reply(200, HTML, "Product page is healthy"),
            ("GET" | "HEAD", ["productpage"]) => self.page(call).await,
            ("POST", ["login"]) => login(call),
            ("GET", ["logout"]) => back(call, &session::ended()),
            ("GET" | "HEAD", ["metrics"]) => server::text(200, self.metrics()),
            ("GET" | "HEAD", ["api", "v1", "products"]) => json_reply(200, &json!([product()])),
            ("GET" | "HEAD", ["api", "v1", "products", id]) => {
                self.details(id, &headers(call)).await.into_reply()
            }
            ("GET" | "HEAD", ["api", "v1", "products", id, "reviews"]) => {
                self.reviews(id, &headers(call)).await.into_reply()
            }
            ("GET" | "HEAD", ["api", "v1", "products", id, "ratings"]) => {
                self.ratings(id, &headers(call)).await.into_reply()
            }
            (
                _,
                [
                    "login" | "logout" | "productpage" | "health" | "" | "index.html" | "api",
                    ..,
                ],
            ) => server::reply(405, HTML, "<h1>Method Not Allowed</h1>\n"),
            _ => server::reply(404, HTML, "<h1>Not Found</h1>\n"),
        }
    }

    async fn page(&self, call: &Call) -> Reply {
        let headers = headers(call);
        let details = self.details("0", &headers).await;
        for _ in 0..self.flood {
            let _ = self.reviews("0", &headers).await;
        }
        let reviews = self.reviews("0", &headers).await;
        let user = session::user(call);
        server::reply(
            200,
            HTML,
            page::book(&product(), &details, &reviews, user.as_deref()),
        )
    }

    async fn details(&self, id: &str, headers: &HeaderMap) -> Told {
        self.ask("details", &self.details, id, headers).await
    }

    async fn reviews(&self, id: &str, headers: &HeaderMap) -> Told {
        let first = self.ask("reviews", &self.reviews, id, headers).await;
        if first.status == 200 {
            return first;
        }
        self.ask("reviews", &self.reviews, id, headers).await
    }

    async fn ratings(&self, id: &str, headers: &HeaderMap) -> Told {
        self.ask("ratings", &self.ratings, id, headers).await
    }

    async fn ask(&self, what: &'static str, place: &str, id: &str, headers: &HeaderMap) -> Told {
        let told = match client::get(place, &format!("/{what}/{id}"), headers.clone(), PATIENCE).await {
            Ok(answer) => match serde_json::from_slice(&answer.body) {
                Ok(body) if answer.status == 200 => Told { status: 200, body },
                // Half an answer is none.
                _ => sorry(what, if answer.status == 200 { 500 } else { answer.status }),
            },
            Err(error) => {
                eprintln!("{what} at {place}: {error:#}");
                sorry(what, 500)
            }
        };
        *self.outcomes.borrow_mut().entry((what, told.status)).or_default() += 1;
        told
    }

    /// In Prometheus' text format.
    fn metrics(&self) -> String {
        let mut text =
            "# HELP request_result_total Results of requests\n# TYPE request_result_total counter\n"
                .to_owned();
        for ((service, status), count) in self.outcomes.borrow().iter() {
            let labels = format!("destination_app=\"{service}\",response_code=\"{status}\"");
            let _ = writeln!(text, "request_result_total{{{labels}}} {count}");
        }
        text
    }
}

impl Told {
    fn into_reply(self) -> Reply {
        json_reply(self.status, &self.body)
    }
}

fn sorry(what: &str, status: u16) -> Told {
    let error = format!("Sorry, product {what} are currently unavailable for this book.");
    Told {
        status,
        body: json!({"error": error}),
    }
}

fn product() -> Value {
    json!({
        "id": 0,
        "title": "The Comedy of Errors",
        "descriptionHtml": "A merchant looks for his lost sons and finds a town that takes everybody for somebody else. \
            <b>William Shakespeare</b>'s shortest play lives from two pairs of twins, wrong doors and wrong purses. \
            <a href=\"https://en.wikipedia.org/wiki/The_Comedy_of_Errors\">More about the play</a>.",
    })
}

/// What the services behind this one are told.
fn headers(call: &Call) -> HeaderMap {
    let mut headers = handed_on(&call.headers);
    // Who somebody is, the session says; nobody says it for himself.
    headers.remove("end-user");
    let user = session::user(call).and_then(|user| HeaderValue::from_str(&user).ok());
    if let Some(user) = user {
        headers.insert("end-user", user);
    }
    headers
}

fn login(call: &Call) -> Reply {
    let form = String::from_utf8_lossy(&call.body);
    let field = pairs(&call.query)
        .chain(pairs(&form))
        .find(|(name, _)| name == "username");
    back(
        call,
        &session::begun(&field.map(|(_, user)| user).unwrap_or_default()),
    )
}

/// To the page that the caller came from, on this host, with a new cookie.
fn back(call: &Call, cookie: &str) -> Reply {
    let referrer = call.header("referer");
    let uri = referrer.parse::<http::Uri>().unwrap_or_default();
    let target = uri.path_and_query().map(http::uri::PathAndQuery::as_str);
    let target = target
        .filter(|target| !referrer.is_empty() && target.starts_with('/') && !target.starts_with("//"))
        .unwrap_or("/productpage");
    let reply = server::reply(302, HTML, format!("<a href=\"{target}\">{target}</a>\n"));
    with_header(with_header(reply, "location", target), "set-cookie", cookie)
}
