//! Templates of paths. `*` is one segment, `**` is the rest, `{name}` and `{name=*}` are the same with a name. Envoy:
//! `envoy.path.match.uri_template.uri_template_matcher`.

use regex::bytes::Regex;

use crate::route::compile_regex;

/// What is no longer than this compiles to less than an expression may (see the test).
const ALWAYS_COMPILES: usize = 1024;
/// What a segment may be made of: `pchar` of RFC 3986 without `*`.
const SEGMENT: &str = r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]";

/// Makes the expression that a whole path has to match. The error says what is wrong with the template.
pub fn compile_template(template: &str) -> Result<Regex, String> {
    compile_regex(&expression(template)?)
}

/// Whether [`compile_template`] takes it. Cheap, unless it is longer than templates are.
///
/// # Errors
/// What is wrong with it.
pub fn check_template(template: &str) -> Result<(), String> {
    let expression = expression(template)?;
    if template.len() > ALWAYS_COMPILES {
        compile_regex(&expression)?;
    }
    Ok(())
}

/// What comes before the first place that may be anything.
pub(super) fn literal_prefix(template: &str) -> &str {
    let end = template.find(['*', '{']).unwrap_or(template.len());
    &template[..end]
}

fn expression(template: &str) -> Result<String, String> {
    let Some(mut rest) = template.strip_prefix('/') else {
        return Err(format!("path template {template:?} does not begin with a slash"));
    };
    let (mut out, mut open_end) = (String::from("/"), false);
    while !rest.is_empty() {
        let (piece, after) = match rest.strip_prefix('{') {
            Some(variable) => {
                let (inner, after) = variable
                    .split_once('}')
                    .ok_or_else(|| format!("path template {template:?} has a bracket without end"))?;
                // A name alone is one segment.
                (inner.split_once('=').map_or("*", |(_, pattern)| pattern), after)
            }
            None => {
                let end = match rest.find(['/', '{']) {
                    _ if rest.starts_with("**") => 2,
                    _ if rest.starts_with('*') => 1,
                    end => end.unwrap_or(rest.len()),
                };
                rest.split_at(end)
            }
        };
        for (position, part) in piece.split('/').enumerate() {
            if position > 0 {
                out.push('/');
            }
            push(part, &mut out, &mut open_end)
                .map_err(|problem| format!("path template {template:?} {problem}"))?;
        }
        rest = after;
        if let Some(after) = rest.strip_prefix('/') {
            out.push('/');
            rest = after;
        } else if rest.contains(['/', '*', '{']) {
            return Err(format!(
                "path template {template:?} has more than a suffix behind a star"
            ));
        }
    }
    Ok(out)
}

fn push(part: &str, out: &mut String, open_end: &mut bool) -> Result<(), &'static str> {
    match part {
        "*" | "**" if *open_end => return Err("has a star behind two of them"),
        "*" => out.push_str(&format!("{SEGMENT}+")),
        "**" => {
            *open_end = true;
            out.push_str(&format!("(?:{SEGMENT}|/)*"));
        }
        _ if !part.bytes().all(is_literal) => return Err("has a character that no path has"),
        _ => out.push_str(&regex::escape(part)),
    }
    Ok(())
}

fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_segment_and_two_are_the_rest() {
        let matches =
            |template: &str, path: &str| compile_template(template).unwrap().is_match(path.as_bytes());
        assert!(matches("/a/*/c", "/a/b/c") && matches("/a/{name}/c", "/a/b/c"));
        assert!(!matches("/a/*/c", "/a//c") && !matches("/a/*/c", "/a/b/b/c"));
        assert!(matches("/a/**", "/a/") && matches("/a/**", "/a/b/c") && !matches("/a/**", "/a"));
        assert!(matches("/**/c", "/a/b/c") && matches("/{rest=**}", "/a/b/c"));
        assert!(matches("/a/*.html", "/a/x.html") && !matches("/a/*.html", "/a/xhtml"));
        assert!(matches("/a/", "/a/") && !matches("/a/", "/a"));
    }

    #[test]
    fn a_template_is_judged_without_an_expression() {
        let longest = |piece: &str, end: &str| {
            let mut template = piece.repeat((ALWAYS_COMPILES - end.len()) / piece.len());
            template.push_str(end);
            template
        };
        for template in [
            longest("/*", "/**"),
            longest("/+", ""),
            longest("/{a=*}", "/{b=**}.x"),
        ] {
            assert_eq!(check_template(&template), Ok(()), "{template}");
            assert!(compile_template(&template).is_ok(), "{template}");
        }
        let too_long = "/*".repeat(1 << 15);
        assert!(compile_template(&too_long).is_err() && check_template(&too_long).is_err());
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for wrong in ["", "a", "/**/*", "/a*b/c", "/{a", "/a b", "/**/**", "/*a/b"] {
            assert!(
                compile_template(wrong).is_err() && check_template(wrong).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_beginning_of_a_template_is_known() {
        assert_eq!(literal_prefix("/a/b*"), "/a/b");
        assert_eq!(literal_prefix("/a/{x}/c"), "/a/");
        assert_eq!(literal_prefix("/a"), "/a");
    }
}
