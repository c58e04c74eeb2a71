//! `ratings`: stars by reviewer, `GET /ratings/ID`; `POST` changes them for as long as the program runs.
//!
//! `SERVICE_VERSION` makes it misbehave as the original's variants do: `v-faulty`, `v-delayed`, `v-unavailable` and
//! `v-unhealthy`. The variant with a database (`v2`) has no stand-in.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{json_reply, product_id};
use crate::call::Call;
use crate::server::{self, Reply};
use crate::setting;

/// Books whose ratings are kept; a service in memory must not grow without end.
const MOST_BOOKS: usize = 1000;
const LARGEST_RATINGS: usize = 16 << 10;
const DELAY: Duration = Duration::from_secs(7);

struct Ratings {
    version: String,
    since: Instant,
    posted: RefCell<BTreeMap<i64, Value>>,
}

/// How a request is met.
#[derive(Debug, PartialEq, Eq)]
enum Mood {
    Well,
    Late,
    Unavailable,
}

pub(super) fn serve(port: u16) -> anyhow::Result<ExitCode> {
    let ratings = Rc::new(Ratings {
        version: setting("SERVICE_VERSION").unwrap_or_default(),
        since: Instant::now(),
        posted: RefCell::default(),
    });
    server::serve(&[port], move |request, peer| {
        let ratings = ratings.clone();
        async move {
            match Call::read(request, peer).await {
                Ok(call) => {
                    println!("{} {}", call.method, call.target());
                    ratings.answer(&call).await
                }
                Err(reply) => reply,
            }
        }
    })
}

impl Ratings {
    async fn answer(&self, call: &Call) -> Reply {
        let mood = mood(&self.version, self.since.elapsed(), rand::random());
        match (call.method.as_str(), call.path.as_str()) {
            ("GET" | "HEAD", "/health") if self.version == "v-unhealthy" && mood == Mood::Unavailable => {
                json_reply(500, &json!({"status": "Ratings is not healthy"}))
            }
            ("GET" | "HEAD", "/health") => json_reply(200, &json!({"status": "Ratings is healthy"})),
            ("GET" | "HEAD", path) if path.starts_with("/ratings/") => {
                let Some(id) = product_id(path) else {
                    return not_a_number();
                };
                if mood == Mood::Late {
                    tokio::time::sleep(DELAY).await;
                }
                if mood == Mood::Unavailable {
                    return json_reply(503, &json!({"error": "Service unavailable"}));
                }
                json_reply(200, &self.of(id))
            }
            ("POST", path) if path.starts_with("/ratings/") => self.post(call),
            _ => server::reply(404, "text/html; charset=utf-8", "<h1>Not Found</h1>\n"),
        }
    }

    fn post(&self, call: &Call) -> Reply {
        let Some(id) = product_id(&call.path) else {
            return not_a_number();
        };
        let ratings = serde_json::from_slice::<Value>(&call.body).ok();
        let Some(ratings) = ratings.filter(|_| call.body.len() <= LARGEST_RATINGS) else {
            return json_reply(400, &json!({"error": "please provide valid ratings JSON"}));
        };
        let mut posted = self.posted.borrow_mut();
        if posted.len() >= MOST_BOOKS && !posted.contains_key(&id) {
            return json_reply(
                507,
                &json!({"error": "ratings of too many books are kept already"}),
            );
        }
        posted.insert(id, ratings);
        drop(posted);
        json_reply(200, &self.of(id))
    }

    fn of(&self, id: i64) -> Value {
        let posted = self.posted.borrow().get(&id).cloned();
        let ratings = posted.unwrap_or_else(|| json!({"Reviewer1": 5, "Reviewer2": 4}));
        json!({"id": id, "ratings": ratings})
    }
}

fn not_a_number() -> Reply {
    json_reply(400, &json!({"error": "please provide numeric product ID"}))
}

/// The variants misbehave by chance (`chance` is in 0..1) or by the time since they started.
fn mood(version: &str, since: Duration, chance: f64) -> Mood {
    let every_other = |minutes: u64| (since.as_secs() / 60 / minutes) % 2 == 1;
    match version {
        "v-faulty" if chance <= 0.5 => Mood::Unavailable,
        "v-delayed" if chance <= 0.5 => Mood::Late,
        "v-unavailable" if every_other(1) => Mood::Unavailable,
        "v-unhealthy" if every_other(15) => Mood::Unavailable,
        _ => Mood::Well,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_misbehave_by_chance_or_by_time() {
        let at = Duration::from_secs;
        assert_eq!(mood("v1", at(60), 0.0), Mood::Well);
        assert_eq!(mood("v-faulty", at(0), 0.4), Mood::Unavailable);
        assert_eq!(mood("v-faulty", at(0), 0.6), Mood::Well);
        assert_eq!(mood("v-delayed", at(0), 0.4), Mood::Late);
        assert_eq!(mood("v-unavailable", at(59), 0.0), Mood::Well);
        assert_eq!(mood("v-unavailable", at(61), 0.0), Mood::Unavailable);
        assert_eq!(mood("v-unavailable", at(121), 0.0), Mood::Well);
        assert_eq!(mood("v-unhealthy", at(901), 0.0), Mood::Unavailable);
    }
}
