//! The pages. Everything that comes from elsewhere is escaped; the page needs nothing but itself.

use std::fmt::Write;

use serde_json::Value;

use super::Told;

const STYLE: &str = include_str!("page.css");

/// The most stars there are.
const STARS: i64 = 5;

/// The page of a book.
pub(super) fn book(product: &Value, details: &Told, reviews: &Told, user: Option<&str>) -> String {
    let title = escaped(text(&product["title"]));
    // Our own HTML.
    let description = text(&product["descriptionHtml"]);
    format!(
        "{}<main>\n<div class=\"wide\">\n<h1>{title}</h1>\n<p class=\"lead\">{description}</p>\n\
         <section>\n{}</section>\n</div>\n<section class=\"band\">\n<div class=\"wide\">\n{}</div>\n</section>\n</main>\n\
         </body>\n</html>\n",
        head(&corner(user)),
        details_of(details),
        reviews_of(reviews),
    )
}

/// The page with which one begins: who calls whom.
pub(super) fn index(places: &[(&str, &String)]) -> String {
    let mut rows = String::new();
    for (service, place) in places {
        let _ = writeln!(
            rows,
            "<tr><td>{service}</td><td><code>http://{}</code></td></tr>",
            escaped(place)
        );
    }
    format!(
        "{}<main class=\"wide\">\n<h1>A bookstore of four services</h1>\n\
         <p class=\"lead\">The product page asks details and reviews; reviews, in two of its three versions, asks ratings.</p>\n\
         <section>\n<h2>Where this page finds them</h2>\n<table>\n<tr><th>Service</th><th>Address</th></tr>\n{rows}</table>\n\
         </section>\n<p><a href=\"/productpage?u=normal\">Normal user</a> · <a href=\"/productpage?u=test\">Test user</a></p>\n\
         </main>\n</body>\n</html>\n",
        head(""),
    )
}

fn head(corner: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Simple Bookstore App</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header><div class=\"wide\"><span class=\"brand\">BookInfo Sample</span>{corner}</div></header>\n"
    )
}

/// The upper right corner: who is signed in, or the way to be.
fn corner(user: Option<&str>) -> String {
    match user {
        Some(user) => format!(
            "<div class=\"user\"><span class=\"face\">{}</span><span>{}</span><a href=\"logout\">Sign out</a></div>",
            escaped(&initial(user)),
            escaped(user)
        ),
        None => "<details class=\"sign-in\"><summary>Sign in</summary>\n\
            <form method=\"post\" action=\"login\" name=\"login_form\">\n\
            <label>User name<input id=\"username\" name=\"username\" required></label>\n\
            <label>Password<input id=\"password\" name=\"passwd\" type=\"password\"></label>\n\
            <button type=\"submit\">Sign in</button>\n</form></details>"
            .to_owned(),
    }
}

fn details_of(details: &Told) -> String {
    if details.status != 200 {
        return trouble("Error fetching product details!", details);
    }
    let columns = [
        ("ISBN-10", "ISBN-10"),
        ("Publisher", "publisher"),
        ("Pages", "pages"),
        ("Type", "type"),
        ("Language", "language"),
    ];
    let (mut names, mut values) = (String::new(), String::new());
    for (name, field) in columns {
        let _ = write!(names, "<th>{name}</th>");
        let value = match &details.body[field] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let _ = write!(values, "<td>{}</td>", escaped(&value));
    }
    format!("<h2>Book Details</h2>\n<table>\n<tr>{names}</tr>\n<tr>{values}</tr>\n</table>\n")
}

fn reviews_of(reviews: &Told) -> String {
    if reviews.status != 200 {
        return trouble("Error fetching product reviews!", reviews);
    }
    let list = reviews.body["reviews"].as_array().map_or(&[][..], Vec::as_slice);
    let cards: String = list.iter().map(review).collect();
    let mut served = format!(
        "Reviews served by: <code>{}</code>",
        escaped(text(&reviews.body["podname"]))
    );
    let cluster = text(&reviews.body["clustername"]);
    if !matches!(cluster, "" | "null") {
        let _ = write!(served, " on cluster <code>{}</code>", escaped(cluster));
    }
    format!("<h2>Book Reviews</h2>\n<div class=\"cards\">\n{cards}</div>\n<p class=\"served\">{served}</p>\n")
}

fn review(review: &Value) -> String {
    let reviewer = text(&review["reviewer"]);
    format!(
        "<article class=\"card\">\n{}<blockquote>{}</blockquote>\n\
         <div class=\"by\"><span class=\"face\">{}</span><b>{}</b></div>\n</article>\n",
        rating(&review["rating"]),
        escaped(text(&review["text"])),
        escaped(&initial(reviewer)),
        escaped(reviewer),
    )
}

/// Nothing, stars, or why there are none.
fn rating(rating: &Value) -> String {
    if let Some(stars) = rating["stars"].as_i64() {
        let full = usize::try_from(stars.clamp(0, STARS)).unwrap_or_default();
        let empty = usize::try_from(STARS).unwrap_or_default() - full;
        let colour = escaped(text(&rating["color"]));
        return format!(
            "<div class=\"stars text-{colour}-500\" title=\"{stars} of {STARS}\">{}{}</div>\n",
            star("glyphicon glyphicon-star", "fill=\"currentColor\"").repeat(full),
            star(
                "glyphicon glyphicon-star-empty",
                "fill=\"none\" stroke=\"currentColor\""
            )
            .repeat(empty),
        );
    }
    match rating["error"].as_str() {
        Some(error) => format!("<div class=\"stars text-red-500\">{}</div>\n", escaped(error)),
        None => String::new(),
    }
}

fn star(class: &str, paint: &str) -> String {
    format!(
        "<svg class=\"{class}\" viewBox=\"0 0 24 24\" {paint} aria-hidden=\"true\">\
         <polygon points=\"12,2.5 14.8,9.1 22,9.8 16.6,14.5 18.2,21.5 12,17.8 5.8,21.5 7.4,14.5 2,9.8 9.2,9.1\"/></svg>"
    )
}

fn trouble(title: &str, told: &Told) -> String {
    let why = escaped(text(&told.body["error"]));
    format!("<div class=\"trouble\"><b>{title}</b><p>{why}</p></div>\n")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn initial(name: &str) -> String {
    name.chars().take(1).collect()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{product, sorry};
    use super::*;

    fn told(body: Value) -> Told {
        Told { status: 200, body }
    }

    fn reviews(rating: &Value) -> Told {
        told(json!({"podname": "reviews-v3-x", "clustername": "null",
            "reviews": [{"reviewer": "Reviewer1", "text": "good", "rating": rating}]}))
    }

    #[test]
    fn stars_have_the_colour_and_the_number_that_reviews_said() {
        let page = book(
            &product(),
            &told(json!({"pages": 200, "publisher": "P"})),
            &reviews(&json!({"stars": 4, "color": "red"})),
            Some("jason"),
        );
        assert!(page.contains("<title>Simple Bookstore App</title>"));
        assert_eq!(page.matches("\"glyphicon glyphicon-star\"").count(), 4);
        assert_eq!(page.matches("\"glyphicon glyphicon-star-empty\"").count(), 1);
        assert!(page.contains("text-red-500") && page.contains("reviews-v3-x") && page.contains("Sign out"));
        assert!(page.contains("<td>200</td>"));
    }

    #[test]
    fn without_a_rating_there_are_no_stars() {
        let page = book(&product(), &told(json!({})), &reviews(&Value::Null), None);
        assert!(!page.contains("glyphicon") && page.contains("action=\"login\""));
    }

    #[test]
    fn what_is_not_there_is_said() {
        let page = book(&product(), &sorry("details", 503), &sorry("reviews", 500), None);
        assert!(page.contains("Error fetching product details!"));
        assert!(page.contains("Sorry, product reviews are currently unavailable for this book."));
        let page = book(
            &product(),
            &told(json!({})),
            &reviews(&json!({"error": "none to be had"})),
            None,
        );
        assert!(page.contains("none to be had"));
    }

    #[test]
    fn what_comes_from_elsewhere_is_escaped() {
        let page = book(
            &product(),
            &told(json!({"publisher": "<script>"})),
            &reviews(&json!({"stars": 900, "color": "\"><script>"})),
            Some("<script>"),
        );
        assert!(!page.contains("<script>"));
        assert_eq!(page.matches("\"glyphicon glyphicon-star\"").count(), 5);
    }
}
