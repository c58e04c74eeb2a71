//! The tests that `docs/threat-model.md` names: those after `Shown by:` must exist; of those after `Asked for:` it is
//! told which do not yet, and which have come.

use anyhow::{Context, Result};

use crate::command::root;

const DOCUMENT: &str = "docs/threat-model.md";
const SHOWN: &str = "- Shown by: `";
const ASKED: &str = "- Asked for: `";

/// A test that a claim names.
#[derive(Debug, PartialEq)]
struct Named<'a> {
    line: usize,
    file: &'a str,
    /// A function, or a case of a table.
    test: &'a str,
    asked: bool,
}

/// Prints what is asked for; the claims whose tests do not exist.
pub(super) fn problems() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(root().join(DOCUMENT)).context(DOCUMENT)?;
    let (named, mut problems) = named(&text);
    let mut missing = 0;
    for claim in named {
        // A file that is not there has no test.
        let source = std::fs::read_to_string(root().join(claim.file)).unwrap_or_default();
        let place = format!("{}: {}", claim.file, claim.test);
        match (has(claim.file, &source, claim.test), claim.asked) {
            (true, true) => println!("{DOCUMENT}:{}: is there now, say `Shown by`: {place}", claim.line),
            (false, true) => missing += 1,
            (false, false) => problems.push(format!(
                "{DOCUMENT}:{}: there is no such test: {place}",
                claim.line
            )),
            (true, false) => {}
        }
    }
    println!("{DOCUMENT}: {missing} tests are asked for and not there yet");
    Ok(problems)
}

/// Every test that is named, and the lines that cannot be read.
fn named(text: &str) -> (Vec<Named<'_>>, Vec<String>) {
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let (rest, asked) = match (line.strip_prefix(SHOWN), line.strip_prefix(ASKED)) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            _ => continue,
        };
        let place = rest.split_once('`').and_then(|(place, _)| place.split_once(": "));
        match place {
            Some((file, test)) => all.push(Named {
                line: number + 1,
                file,
                test,
                asked,
            }),
            None => problems.push(format!("{DOCUMENT}:{}: `FILE: TEST` is expected", number + 1)),
        }
    }
    (all, problems)
}

fn has(file: &str, source: &str, test: &str) -> bool {
    if file.ends_with(".yaml") {
        return source
            .lines()
            .any(|line| line.trim_start().trim_start_matches("- ") == format!("name: {test}"));
    }
    source.contains(&format!("fn {test}("))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_found_with_their_tests() {
        let text = "- **A claim.**\n  - Shown by: `a/b.rs: it_holds`\n  - Asked for: `c.yaml: a case, too` (them)\n  - Shown by: `x`\n";
        let (all, problems) = named(text);
        let shown = Named {
            line: 2,
            file: "a/b.rs",
            test: "it_holds",
            asked: false,
        };
        let asked = Named {
            line: 3,
            file: "c.yaml",
            test: "a case, too",
            asked: true,
        };
        assert_eq!(all, [shown, asked]);
        assert_eq!(problems, ["docs/threat-model.md:4: `FILE: TEST` is expected"]);
    }

    #[test]
    fn a_test_is_a_function_or_a_case() {
        assert!(has("a.rs", "#[test]\nfn it_holds() {}", "it_holds"));
        assert!(!has("a.rs", "fn it_holds_more() {}", "it_holds"));
        assert!(has("a.yaml", "- name: a case, too\n  calls: []", "a case, too"));
        assert!(!has("a.yaml", "- name: a case", "a case, too"));
    }
}
