//! `reviews`: what two readers say, `GET /reviews/ID`; with `ENABLE_RATINGS` it asks ratings for their stars.
//!
//! v1 shows no stars, v2 black ones, v3 red ones (`STAR_COLOR`). With black stars it waits 10 s for ratings, with
//! others 2.5 s: Istio's fault injection task is about that.

use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::bail;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};

use super::{handed_on, json_reply, place_of, product_id};
use crate::call::Call;
use crate::server::{self, Reply};
use crate::{client, setting};

struct Reviews {
    /// Whom to ask for stars, and how long to wait.
    ratings: Option<(String, Duration)>,
    colour: String,
    pod: Value,
    cluster: String,
}

pub(super) fn serve(port: u16) -> anyhow::Result<ExitCode> {
    let reviews = Rc::new(Reviews::from_settings());
    server::serve(&[port], move |request, peer| {
        let reviews = reviews.clone();
        async move {
            match Call::read(request, peer).await {
                Ok(call) => reviews.answer(&call).await,
                Err(reply) => reply,
            }
        }
    })
}

impl Reviews {
    fn from_settings() -> Self {
        let colour = setting("STAR_COLOR").unwrap_or_else(|| "black".to_owned());
        let patience = Duration::from_millis(if colour == "black" { 10_000 } else { 2_500 });
        let enabled = setting("ENABLE_RATINGS").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Self {
            ratings: enabled.then(|| (place_of("ratings"), patience)),
            colour,
            pod: json!(setting("HOSTNAME")),
            // The word "null" is what pages and scripts look for.
            cluster: setting("CLUSTER_NAME").unwrap_or_else(|| "null".to_owned()),
        }
    }

    async fn answer(&self, call: &Call) -> Reply {
        if call.path == "/health" {
            return json_reply(200, &json!({"status": "Reviews is healthy"}));
        }
        let id = product_id(&call.path).filter(|_| call.path.starts_with("/reviews/"));
        let Some(id) = id else {
            return server::text(404, "");
        };
        let stars = match &self.ratings {
            None => None,
            Some((place, patience)) => {
                let asked = ask(place, id, handed_on(&call.headers), *patience).await;
                Some(asked.unwrap_or_else(|error| {
                    eprintln!("Error: unable to contact http://{place}/ratings: {error:#}");
                    Value::Null
                }))
            }
        };
        json_reply(200, &self.reviews(id, stars.as_ref()))
    }

    /// Without stars, with stars, or with the word that there are none to be had.
    fn reviews(&self, id: i64, stars: Option<&Value>) -> Value {
        let review = |reviewer: &str, text: &str| {
            let mut review = json!({"reviewer": reviewer, "text": text});
            if let Some(stars) = stars {
                review["rating"] = match stars[reviewer].as_i64() {
                    Some(stars) => json!({"stars": stars, "color": self.colour}),
                    None => json!({"error": "Ratings service is currently unavailable"}),
                };
            }
            review
        };
        json!({
            "id": id.to_string(),
            "podname": self.pod,
            "clustername": self.cluster,
            "reviews": [
                review("Reviewer1", "Two pairs of twins, one town, and not a dull page: I laughed on the train."),
                review("Reviewer2", "Quick and silly, and over before it wears thin. Do not look for depth here."),
            ],
        })
    }
}

async fn ask(place: &str, id: i64, mut headers: HeaderMap, patience: Duration) -> anyhow::Result<Value> {
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let answer = client::get(place, &format!("/ratings/{id}"), headers, patience).await?;
    if answer.status != 200 {
        bail!("got status of {}", answer.status);
    }
    let mut body: Value = serde_json::from_slice(&answer.body)?;
    Ok(body["ratings"].take())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_colour(colour: &str) -> Reviews {
        Reviews {
            ratings: None,
            colour: colour.to_owned(),
            pod: json!("reviews-x"),
            cluster: "null".to_owned(),
        }
    }

    #[test]
    fn versions_differ_in_their_stars() {
        let none = of_colour("black").reviews(0, None);
        assert_eq!(
            (&none["id"], &none["reviews"][0]["rating"]),
            (&json!("0"), &Value::Null)
        );
        let red = of_colour("red").reviews(0, Some(&json!({"Reviewer1": 5})));
        assert_eq!(red["reviews"][0]["rating"], json!({"stars": 5, "color": "red"}));
        let missing = json!({"error": "Ratings service is currently unavailable"});
        assert_eq!(red["reviews"][1]["rating"], missing);
    }
}
