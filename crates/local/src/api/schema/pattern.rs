//! Patterns as Go's RE2 reads them: the short classes are ASCII.

use regex::{Regex, RegexBuilder};

/// A compiled pattern and the text it came from.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) text: String,
    compiled: Regex,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Result<Self, regex::Error> {
        let compiled = RegexBuilder::new(&ascii_classes(text))
            .size_limit(4 << 20)
            .build()?;
        Ok(Self {
            text: text.to_owned(),
            compiled,
        })
    }

    pub(super) fn matches(&self, value: &str) -> bool {
        self.compiled.is_match(value)
    }
}

/// `\d`, `\w` and `\s` spelled out, which keeps `\w{1,200}` small too.
fn ascii_classes(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let (mut letters, mut in_class) = (text.chars(), false);
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            in_class = match letter {
                '[' => true,
                ']' => false,
                _ => in_class,
            };
            out.push(letter);
            continue;
        }
        let Some(escaped) = letters.next() else {
            out.push('\\');
            break;
        };
        let members = match escaped.to_ascii_lowercase() {
            'd' => "0-9",
            'w' => "0-9A-Za-z_",
            's' => r"\t\n\f\r ",
            _ => {
                out.extend(['\\', escaped]);
                continue;
            }
        };
        match (in_class, escaped.is_ascii_uppercase()) {
            (true, false) => out.push_str(members),
            (_, negated) => {
                let sign = if negated { "^" } else { "" };
                out.push_str(&format!("[{sign}{members}]"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_classes_are_ascii() {
        let is = |pattern: &str, value: &str| Pattern::new(pattern).expect("is a pattern").matches(value);
        assert!(is(r"^\d+$", "12"));
        assert!(!is(r"^\d+$", "١٢"));
        assert!(is(r"^[\w.-]+$", "a_b.c-d"));
        assert!(is(r"^\S+$", "é"));
        assert!(is(r"^[^\d]$", "x"));
    }
}
