//! Replies made to order: statuses, redirects, sizes, kinds of content, caches.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use http::header;
use serde_json::{Value, json};

use super::{error, json_reply, told};
use crate::call::{self, Call, pairs};
use crate::server::{self, Reply, with_header};

const MOST_BYTES: usize = 100 << 10;
const HTML: &str = "text/html; charset=utf-8";

/// By the path's parts.
pub(super) fn made_to_order(call: &Call, parts: &[&str]) -> Reply {
    match parts {
        ["status", codes] => status(codes),
        ["unstable"] => unstable(call),
        ["bytes" | "stream-bytes", count] => bytes(count),
        ["range", count] => range(call, count),
        ["redirect", count] => redirect(
            call,
            count,
            call.parameter("absolute").is_some_and(|value| value == "true"),
        ),
        ["relative-redirect", count] => redirect(call, count, false),
        ["absolute-redirect", count] => redirect(call, count, true),
        ["redirect-to"] => redirect_to(call),
        ["response-headers"] => response_headers(call),
        ["uuid"] => json_reply(&json!({"uuid": uuid(rand::random())})),
        ["base64", text] | ["base64", "decode", text] => base64(text),
        ["cache"] => cache(call),
        ["cache", seconds] => cache_for(call, seconds),
        ["etag", tag] => etag(call, tag),
        ["html"] => page(
            "A page",
            "<p>Once upon a time there was a request, and it was answered.</p>",
        ),
        ["xml"] => server::reply(
            200,
            "application/xml",
            "<?xml version=\"1.0\"?>\n<slideshow title=\"Sample Slide Show\"/>\n",
        ),
        ["json"] => {
            json_reply(&json!({"slideshow": {"title": "Sample Slide Show", "author": "Amime", "slides": []}}))
        }
        ["encoding", "utf8"] => page("UTF-8", "<p>網目 · ∮ E⋅da = Q · ⠓⠑⠇⠇⠕ · სამყარო</p>"),
        ["robots.txt"] => server::text(200, "User-agent: *\nDisallow: /deny\n"),
        ["deny"] => server::text(200, "Nobody should see this.\n"),
        ["forms", "post"] => page("A form", FORM),
        ["links", count, rest @ ..] => links(count, rest.first().copied()),
        ["image", rest @ ..] => image(call, rest.first().copied()),
        _ => error(404, ""),
    }
}

const FORM: &str = "<form method=\"post\" action=\"/post\"><label>Name <input name=\"custname\"></label> <button>Send</button></form>";

pub(super) fn page(title: &str, content: &str) -> Reply {
    let head = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title></head>\n"
    );
    server::reply(
        200,
        HTML,
        format!("{head}<body>\n<h1>{title}</h1>\n{content}\n</body>\n</html>\n"),
    )
}

/// `/status/503` or `/status/200:0.9,503:0.1`.
fn status(codes: &str) -> Reply {
    let choices: Option<Vec<(u16, f64)>> = codes
        .split(',')
        .map(|choice| {
            let (code, weight) = choice.split_once(':').unwrap_or((choice, "1"));
            let code = code
                .trim()
                .parse()
                .ok()
                .filter(|code| (200..600).contains(code))?;
            let weight = weight.trim().parse().ok();
            Some((
                code,
                weight.filter(|weight: &f64| weight.is_finite() && *weight >= 0.0)?,
            ))
        })
        .collect();
    let Some(choices) = choices else {
        return error(400, "invalid status code");
    };
    let sum: f64 = choices.iter().map(|(_, weight)| weight).sum();
    let mut left = rand::random::<f64>() * sum;
    for (code, weight) in &choices {
        left -= weight;
        if left < 0.0 {
            return with_status(*code);
        }
    }
    with_status(choices.last().map_or(200, |(code, _)| *code))
}

/// Some statuses say more than their number.
fn with_status(code: u16) -> Reply {
    match code {
        301 | 302 | 303 | 305 | 307 => with_header(server::text(code, ""), "location", "/redirect/1"),
        308 => with_header(server::text(code, ""), "location", "/image/png"),
        401 => with_header(
            server::text(code, ""),
            "www-authenticate",
            "Basic realm=\"Fake Realm\"",
        ),
        407 => with_header(
            server::text(code, ""),
            "proxy-authenticate",
            "Basic realm=\"Fake Realm\"",
        ),
        418 => {
            let more = "http://tools.ietf.org/html/rfc2324";
            with_header(server::text(code, "I'm a teapot!"), "x-more-info", more)
        }
        _ => server::text(code, ""),
    }
}

fn unstable(call: &Call) -> Reply {
    let rate = call
        .parameter("failure_rate")
        .map_or(Ok(0.5), |rate| rate.parse::<f64>());
    match rate {
        Ok(rate) if (0.0..=1.0).contains(&rate) => {
            server::text(if rand::random::<f64>() < rate { 500 } else { 200 }, "")
        }
        _ => error(400, "invalid failure rate: not in range [0, 1]"),
    }
}

fn bytes(count: &str) -> Reply {
    let Ok(count) = count.parse::<usize>() else {
        return error(400, "invalid byte count");
    };
    let body: Vec<u8> = (0..count.min(MOST_BYTES)).map(|_| rand::random()).collect();
    server::reply(200, "application/octet-stream", body)
}

/// Letters of which a part may be asked for: `Range: bytes=3-7`.
fn range(call: &Call, count: &str) -> Reply {
    let Some(count) = count
        .parse::<usize>()
        .ok()
        .filter(|count| (1..=MOST_BYTES).contains(count))
    else {
        return error(404, "number of bytes must be in range (0, 102400]");
    };
    let all: Vec<u8> = (b'a'..=b'z').cycle().take(count).collect();
    let asked = call.header("range");
    let reply = match asked.strip_prefix("bytes=").map(|range| part(range, count)) {
        None => server::text(200, all),
        Some(Some((from, to))) => {
            let reply = server::text(206, all[from..=to].to_vec());
            with_header(reply, "content-range", &format!("bytes {from}-{to}/{count}"))
        }
        Some(None) => with_header(
            server::text(416, ""),
            "content-range",
            &format!("bytes */{count}"),
        ),
    };
    let reply = with_header(reply, "etag", &format!("range{count}"));
    with_header(reply, "accept-ranges", "bytes")
}

fn part(range: &str, count: usize) -> Option<(usize, usize)> {
    let (from, to) = range.split_once('-')?;
    let (from, to) = match (from, to) {
        ("", last) => (count.checked_sub(last.parse().ok()?)?, count - 1),
        (from, "") => (from.parse().ok()?, count - 1),
        (from, to) => (from.parse().ok()?, to.parse::<usize>().ok()?.min(count - 1)),
    };
    (from <= to).then_some((from, to))
}

fn redirect(call: &Call, count: &str, absolute: bool) -> Reply {
    let Some(count) = count.parse::<u32>().ok().filter(|count| *count > 0) else {
        return error(400, "redirect count must be > 0");
    };
    let kind = if absolute { "absolute" } else { "relative" };
    let path = if count == 1 {
        "/get".to_owned()
    } else {
        format!("/{kind}-redirect/{}", count - 1)
    };
    let place = if absolute {
        format!("http://{}{path}", call.host())
    } else {
        path
    };
    with_header(server::text(302, ""), header::LOCATION.as_str(), &place)
}

fn redirect_to(call: &Call) -> Reply {
    let Some(place) = call.parameter("url").filter(|url| !url.is_empty()) else {
        return error(400, "missing required query parameter: url");
    };
    let code = call
        .parameter("status_code")
        .map_or(Ok(302), |code| code.parse::<u16>());
    match code {
        Ok(code) if (300..400).contains(&code) => with_header(server::text(code, ""), "location", &place),
        _ => error(400, "invalid status code: not in range [300, 399]"),
    }
}

/// Each query parameter becomes a header.
fn response_headers(call: &Call) -> Reply {
    let mut told = call::lists(&call.query);
    let own_type = pairs(&call.query).find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if own_type.is_none() {
        told["Content-Type"] = json!(["application/json; charset=utf-8"]);
    }
    // As another type it could be a page with somebody else's script.
    let text = told.to_string().replace('<', "\\u003c");
    let kind = own_type.map_or("application/json; charset=utf-8".to_owned(), |(_, kind)| kind);
    let reply = server::reply(200, &kind, text + "\n");
    pairs(&call.query)
        .filter(|(name, _)| {
            !matches!(
                name.to_ascii_lowercase().as_str(),
                "content-type" | "content-length" | "transfer-encoding"
            )
        })
        .fold(reply, |reply, (name, value)| with_header(reply, &name, &value))
}

fn uuid(random: u128) -> String {
    // Version 4, variant 1 (RFC 9562).
    let bits = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

fn base64(text: &str) -> Reply {
    let text = call::decoded(text);
    let decoded = URL_SAFE.decode(&text).or_else(|_| URL_SAFE_NO_PAD.decode(&text));
    match decoded {
        Ok(bytes) => server::text(200, bytes),
        Err(wrong) => error(400, &format!("decode failed: {wrong}")),
    }
}

fn cache(call: &Call) -> Reply {
    if call.headers.contains_key("if-modified-since") || call.headers.contains_key("if-none-match") {
        return server::text(304, "");
    }
    let reply = json_reply(&whole(call));
    with_header(
        with_header(reply, "etag", "\"amime\""),
        "last-modified",
        "Thu, 01 Jan 2026 00:00:00 GMT",
    )
}

fn cache_for(call: &Call, seconds: &str) -> Reply {
    match seconds.parse::<u64>() {
        Ok(seconds) => with_header(
            json_reply(&whole(call)),
            "cache-control",
            &format!("public, max-age={seconds}"),
        ),
        Err(_) => error(400, "invalid number of seconds"),
    }
}

fn etag(call: &Call, tag: &str) -> Reply {
    let quoted = format!("\"{tag}\"");
    let lists = |name: &str| call.header(name);
    let names = |list: &str| list == "*" || list.split(',').any(|one| one.trim() == quoted);
    let (match_, none_match) = (lists("if-match"), lists("if-none-match"));
    let reply = if !none_match.is_empty() && names(&none_match) {
        server::text(304, "")
    } else if !match_.is_empty() && !names(&match_) {
        server::text(412, "")
    } else {
        json_reply(&whole(call))
    };
    with_header(reply, "etag", &quoted)
}

fn whole(call: &Call) -> Value {
    told::everything(&super::Asked {
        call,
        style: super::Style::Go,
    })
}

fn links(count: &str, at: Option<&str>) -> Reply {
    let (Some(count), Ok(at)) = (
        count.parse::<usize>().ok().filter(|count| *count <= 256),
        at.unwrap_or("0").parse::<usize>(),
    ) else {
        return error(400, "invalid link count: must be in range [0, 256]");
    };
    let link = |number: usize| {
        if number == at {
            format!("{number} ")
        } else {
            format!("<a href=\"/links/{count}/{number}\">{number}</a> ")
        }
    };
    page("Links", &(0..count).map(link).collect::<String>())
}

const SVG: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 8 8\"><path d=\"M0 0h8v8H0z\" fill=\"#3d7cc0\"/>\
    <path d=\"M0 2h8M0 4h8M0 6h8M2 0v8M4 0v8M6 0v8\" stroke=\"#fff\" stroke-width=\".3\"/></svg>\n";

/// One blue dot, the smallest PNG there is of it.
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mOwrTnwHwAE9QKbjpaibwAAAABJRU5ErkJggg==";

/// By name, or the best that the caller accepts.
fn image(call: &Call, kind: Option<&str>) -> Reply {
    let accepted = call.header("accept");
    let kind = kind.unwrap_or(if accepted.contains("image/svg") {
        "svg"
    } else if accepted.is_empty()
        || accepted.contains("image/png")
        || accepted.contains("image/*")
        || accepted.contains("*/*")
    {
        "png"
    } else {
        "none"
    });
    match kind {
        "svg" => server::reply(200, "image/svg+xml", SVG),
        "png" => {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(PNG)
                .unwrap_or_default();
            server::reply(200, "image/png", bytes)
        }
        "none" => error(406, "Client did not request a supported media type"),
        _ => error(404, "only /image/png and /image/svg are here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_of_version_four() {
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn status_refuses_what_is_no_code() {
        assert_eq!(status("503").status(), 503);
        assert_eq!(status("200:0,418:1").status(), 418);
        for bad in ["1000", "abc", "", "200:nan", "200:-1", "200:inf"] {
            assert_eq!(status(bad).status(), 400, "{bad}");
        }
    }

    #[test]
    fn parts_of_a_range_are_cut_to_what_there_is() {
        assert_eq!(part("0-4", 10), Some((0, 4)));
        assert_eq!(part("8-99", 10), Some((8, 9)));
        assert_eq!(part("-3", 10), Some((7, 9)));
        assert_eq!(part("3-", 10), Some((3, 9)));
        for bad in ["10-", "-11", "4-3", "x-y", "-", ""] {
            assert_eq!(part(bad, 10), None, "{bad}");
        }
    }

    #[test]
    fn base64_is_decoded_or_refused() {
        assert_eq!(base64("aGVsbG8").status(), 200);
        assert_eq!(base64("%%%").status(), 400);
    }
}
