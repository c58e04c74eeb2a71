//! URL patterns: `[1-100]`, `[a-z]`, `[001-100:2]` and `{one,two}`, expanded in curl's order, one at a time.

use super::Failure;

/// Where one request goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Url {
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query, at least `/`.
    pub(super) target: String,
    /// `host` or `host:port`, as sent in the `Host` header.
    pub(super) authority: String,
}

/// One piece of a pattern.
enum Piece {
    Text(String),
    Choice(Vec<String>),
}

/// The most URLs that one pattern may stand for.
const MOST: usize = 10_000_000;

/// The URLs of a pattern, the last range running fastest.
pub(super) fn expand(pattern: &str, globbing: bool) -> Result<impl Iterator<Item = Url>, Failure> {
    let pieces = if globbing {
        pieces(pattern)?
    } else {
        vec![Piece::Text(pattern.to_owned())]
    };
    let sizes: Vec<usize> = pieces.iter().map(Piece::len).collect();
    let count = sizes
        .iter()
        .try_fold(1_usize, |count, size| count.checked_mul(*size))
        .filter(|count| *count <= MOST)
        .ok_or_else(|| Failure::new(3, "range overflow"))?;
    // One of them tells whether all of them can be parsed: ranges only fill in text.
    parse(&nth(&pieces, &sizes, 0))?;
    Ok((0..count).filter_map(move |index| parse(&nth(&pieces, &sizes, index)).ok()))
}

impl Url {
    /// Where a redirect leads: a URL, a path of this host, or a path beside this one.
    pub(super) fn redirected(&self, location: &str) -> Result<Self, Failure> {
        if location.contains("://") {
            return parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return parse(rest);
        }
        let path = self.target.split('?').next().unwrap_or("/");
        let target = match (location.chars().next(), path.rfind('/')) {
            (Some('/'), _) => location.to_owned(),
            (Some('?'), _) => format!("{path}{location}"),
            (_, Some(slash)) => format!("{}{location}", &path[..=slash]),
            (_, None) => format!("/{location}"),
        };
        parse(&format!("{}{target}", self.authority))
    }
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Text(_) => 1,
            Self::Choice(choices) => choices.len(),
        }
    }
}

fn nth(pieces: &[Piece], sizes: &[usize], index: usize) -> String {
    let mut rest = index;
    let mut picked = vec![0; pieces.len()];
    for (place, size) in sizes.iter().enumerate().rev() {
        picked[place] = rest % size;
        rest /= size;
    }
    let text = |(piece, index): (&Piece, usize)| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Choice(choices) => choices[index].clone(),
    };
    pieces.iter().zip(picked).map(text).collect()
}

fn pieces(pattern: &str) -> Result<Vec<Piece>, Failure> {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let Some(start) = rest.find(['[', '{']) {
        let (close, open) = if rest[start..].starts_with('[') {
            (']', '[')
        } else {
            ('}', '{')
        };
        let length = rest[start..]
            .find(close)
            .ok_or_else(|| Failure::new(3, format!("unmatched {open} in URL")))?;
        let inside = &rest[start + 1..start + length];
        if start > 0 {
            pieces.push(Piece::Text(rest[..start].to_owned()));
        }
        // An IPv6 address stands in brackets too.
        if open == '[' && inside.contains("::") {
            pieces.push(Piece::Text(format!("[{inside}]")));
        } else if open == '[' {
            pieces.push(Piece::Choice(range(inside)?));
        } else {
            pieces.push(Piece::Choice(inside.split(',').map(str::to_owned).collect()));
        }
        rest = &rest[start + length + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

fn range(text: &str) -> Result<Vec<String>, Failure> {
    let bad = || Failure::new(3, format!("bad range in URL: [{text}]"));
    let (ends, step) = match text.split_once(':') {
        Some((ends, step)) => (
            ends,
            step.parse::<usize>()
                .ok()
                .filter(|step| *step > 0)
                .ok_or_else(bad)?,
        ),
        None => (text, 1),
    };
    let (low, high) = ends.split_once('-').ok_or_else(bad)?;
    if let (Ok(first), Ok(last)) = (low.parse::<u64>(), high.parse::<u64>()) {
        let width = if low.starts_with('0') { low.len() } else { 0 };
        let count = last.checked_sub(first).ok_or_else(bad)? / step as u64;
        if count >= MOST as u64 {
            return Err(Failure::new(3, "range overflow"));
        }
        return Ok((first..=last)
            .step_by(step)
            .map(|number| format!("{number:0width$}"))
            .collect());
    }
    match (low.as_bytes(), high.as_bytes()) {
        ([first], [last]) if first.is_ascii_alphabetic() && last.is_ascii_alphabetic() && first <= last => {
            Ok((*first..=*last)
                .step_by(step)
                .map(|letter| char::from(letter).to_string())
                .collect())
        }
        _ => Err(bad()),
    }
}

fn parse(text: &str) -> Result<Url, Failure> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(Failure::new(
            1,
            format!("Protocol \"{scheme}\" not supported or disabled in libcurl"),
        ));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let tail = tail.split('#').next().unwrap_or_default();
    let target = if tail.starts_with('/') {
        tail.to_owned()
    } else {
        format!("/{tail}")
    };
    let malformed = || Failure::new(3, "URL using bad/illegal format or missing URL");
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| malformed())?),
        _ => (authority, 80),
    };
    if host.is_empty() || target.contains(char::is_whitespace) {
        return Err(malformed());
    }
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Url {
        host,
        port,
        target,
        authority: authority.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_to_hosts_and_paths() {
        let url = parse("http://a:8/x/y?q").unwrap();
        for (location, authority, target) in [
            ("/z?1", "a:8", "/z?1"),
            ("z", "a:8", "/x/z"),
            ("?w", "a:8", "/x/y?w"),
            ("http://b/c", "b", "/c"),
            ("//b:9/c", "b:9", "/c"),
        ] {
            let next = url.redirected(location).unwrap();
            assert_eq!(
                (next.authority.as_str(), next.target.as_str()),
                (authority, target),
                "{location}"
            );
        }
        assert_eq!(url.redirected("https://b/").unwrap_err().code, 1);
    }

    fn targets(pattern: &str) -> Vec<String> {
        expand(pattern, true).unwrap().map(|url| url.target).collect()
    }

    #[test]
    fn ranges_and_lists_expand_with_the_last_running_fastest() {
        assert_eq!(targets("http://a/[1-2]/{x,y}"), ["/1/x", "/1/y", "/2/x", "/2/y"]);
        assert_eq!(targets("a/?[08-10]"), ["/?08", "/?09", "/?10"]);
        assert_eq!(targets("a/[a-e:2]"), ["/a", "/c", "/e"]);
    }

    #[test]
    fn a_url_keeps_its_authority_and_gets_a_path() {
        let url = parse("http://backend:9090?x=1#part").unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.target.as_str()),
            ("backend", 9090, "/?x=1")
        );
        assert_eq!(url.authority, "backend:9090");
        assert_eq!(parse("http://[::1]:8080/a").unwrap().host, "::1");
    }

    #[test]
    fn what_curl_refuses_is_refused_with_its_code() {
        assert_eq!(parse("https://a/").unwrap_err().code, 1);
        assert_eq!(parse("http://:80/").unwrap_err().code, 3);
        assert_eq!(expand("http://a/[5-1]", true).err().unwrap().code, 3);
        assert_eq!(expand("http://a/[1-99999999999]", true).err().unwrap().code, 3);
        assert_eq!(expand("http://a/{x", true).err().unwrap().code, 3);
    }
}
