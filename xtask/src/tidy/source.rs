//! A small lexer: strings and comments blanked, braces matched. Good to a few per cent, which is enough here.

/// A Rust file with strings and comments blanked, line structure kept.
pub(super) struct Source {
    lines: Vec<String>,
}

/// A function and its size.
#[derive(Debug, PartialEq)]
pub(super) struct Function {
    pub(super) name: String,
    /// Line of its `fn`, from 1.
    pub(super) at: usize,
    /// From `fn` to the closing brace.
    pub(super) lines: usize,
}

impl Source {
    pub(super) fn new(text: &str) -> Self {
        Self {
            lines: blank(text).lines().map(str::to_owned).collect(),
        }
    }

    /// Lines that are neither blank nor comment, up to the test module.
    pub(super) fn production_lines(&self) -> usize {
        self.production()
            .iter()
            .filter(|line| !line.trim().is_empty())
            .count()
    }

    fn production(&self) -> &[String] {
        let tests = |line: &String| line.trim() == "#[cfg(test)]";
        let end = self.lines.iter().enumerate().find(|(at, line)| {
            tests(line)
                && self
                    .lines
                    .get(at + 1)
                    .is_some_and(|next| next.trim_start().starts_with("mod "))
                && self.lines.get(at + 1).is_some_and(|next| next.contains('{'))
        });
        &self.lines[..end.map_or(self.lines.len(), |(at, _)| at)]
    }

    /// Functions with a body, nested ones included.
    pub(super) fn functions(&self) -> Vec<Function> {
        let mut open: Vec<(Function, usize)> = Vec::new();
        let mut done = Vec::new();
        let mut announced: Option<Function> = None;
        let mut depth = 0;
        for (number, line) in self.production().iter().enumerate() {
            if let Some(name) = function_name(line) {
                announced = Some(Function {
                    name,
                    at: number + 1,
                    lines: 0,
                });
            }
            for letter in line.chars() {
                match letter {
                    '{' => {
                        if let Some(function) = announced.take() {
                            open.push((function, depth));
                        }
                        depth += 1;
                    }
                    '}' => {
                        depth = depth.saturating_sub(1);
                        if open.last().is_some_and(|(_, at)| *at == depth)
                            && let Some((function, _)) = open.pop()
                        {
                            done.push(Function {
                                lines: number + 2 - function.at,
                                ..function
                            });
                        }
                    }
                    // A declaration without a body.
                    ';' if announced
                        .as_ref()
                        .is_some_and(|function| function.at == number + 1) =>
                    {
                        announced = None
                    }
                    _ => {}
                }
            }
        }
        done
    }
}

fn function_name(line: &str) -> Option<String> {
    let (before, after) = line.split_once("fn ")?;
    let starts_word = before.is_empty() || before.ends_with(' ') || before.ends_with('(');
    let name: String = after
        .chars()
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect();
    (starts_word && !name.is_empty()).then_some(name)
}

/// Replaces the inside of strings and comments by spaces.
fn blank(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < letters.len() {
        let next = letters.get(at + 1).copied();
        let end = match (letters[at], next) {
            ('/', Some('/')) => until(&letters, at, |rest| rest[0] == '\n', 0),
            ('/', Some('*')) => until(&letters, at + 2, |rest| rest.starts_with(&['*', '/']), 2),
            ('r', Some('"' | '#')) if !previous_is_word(&letters, at) => raw_string(&letters, at),
            ('"', _) => string(&letters, at + 1, '"'),
            ('\'', Some('\\')) => string(&letters, at + 1, '\''),
            ('\'', Some(_)) if letters.get(at + 2) == Some(&'\'') => at + 3,
            _ => {
                out.push(letters[at]);
                at += 1;
                continue;
            }
        };
        out.extend(
            letters[at..end]
                .iter()
                .map(|letter| if *letter == '\n' { '\n' } else { ' ' }),
        );
        at = end;
    }
    out
}

fn previous_is_word(letters: &[char], at: usize) -> bool {
    at > 0 && (letters[at - 1].is_alphanumeric() || letters[at - 1] == '_')
}

fn until(letters: &[char], from: usize, stop: impl Fn(&[char]) -> bool, length: usize) -> usize {
    let found = (from..letters.len()).find(|at| stop(&letters[*at..]));
    found.map_or(letters.len(), |at| at + length)
}

fn string(letters: &[char], from: usize, quote: char) -> usize {
    let mut at = from;
    while at < letters.len() && letters[at] != quote {
        at += if letters[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(letters.len())
}

fn raw_string(letters: &[char], from: usize) -> usize {
    let hashes = letters[from + 1..]
        .iter()
        .take_while(|letter| **letter == '#')
        .count();
    if letters.get(from + 1 + hashes) != Some(&'"') {
        return from + 1;
    }
    let close: Vec<char> = std::iter::once('"')
        .chain(std::iter::repeat_n('#', hashes))
        .collect();
    until(
        letters,
        from + 2 + hashes,
        |rest| rest.starts_with(&close),
        close.len(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_and_strings_do_not_confuse() {
        let text = "fn a() {\n    let x = \"}\"; // }\n    let c = '{';\n}\n\ntrait T {\n    fn b(&self);\n}\nfn c() { r#\"{\"# }\n";
        let functions = Source::new(text).functions();
        let sizes: Vec<(&str, usize)> = functions.iter().map(|f| (f.name.as_str(), f.lines)).collect();
        assert_eq!(sizes, [("a", 4), ("c", 1)]);
    }

    #[test]
    fn a_test_module_is_not_production() {
        let source = Source::new("//! x\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n");
        assert_eq!(source.production_lines(), 1);
    }
}
