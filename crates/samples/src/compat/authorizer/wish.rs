//! What a request asks of the authorizer.

use std::time::Duration;

use crate::echo_basic::duration;

const LONGEST_WAIT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    Deny,
    /// Deny, with what was asked as the body.
    Tell,
    /// No decision.
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// `None` ends the connection.
    pub(super) verdict: Option<Verdict>,
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) wait: Duration,
    pub(super) set: Vec<(String, String)>,
    pub(super) append: Vec<(String, String)>,
    pub(super) remove: Vec<String>,
    pub(super) answer: Vec<(String, String)>,
}

impl Wish {
    /// Who asks for nothing is refused.
    pub(super) fn of(text: Option<&str>) -> Self {
        let mut words = text.unwrap_or("deny").split_whitespace();
        let verdict = match words.next() {
            Some("allow") => Some(Verdict::Allow),
            Some("tell") => Some(Verdict::Tell),
            Some("error") => Some(Verdict::Error),
            Some("reset") => None,
            _ => Some(Verdict::Deny),
        };
        let mut wish = Self {
            verdict,
            status: 403,
            body: "refused".to_owned(),
            wait: Duration::ZERO,
            set: Vec::new(),
            append: Vec::new(),
            remove: Vec::new(),
            answer: Vec::new(),
        };
        words.for_each(|word| wish.add(word));
        wish
    }

    fn add(&mut self, word: &str) {
        let field = |text: &str| {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            (name.to_owned(), value.to_owned())
        };
        if let Some(rest) = word.strip_prefix("append:") {
            self.append.push(field(rest));
        } else if let Some(name) = word.strip_prefix("remove:") {
            self.remove.push(name.to_owned());
        } else if let Some(rest) = word.strip_prefix("answer:") {
            self.answer.push(field(rest));
        } else {
            match word.split_once('=') {
                Some(("status", status)) => self.status = status.parse().unwrap_or(self.status),
                Some(("body", body)) => body.clone_into(&mut self.body),
                Some(("wait", time)) => self.wait = duration(time).unwrap_or_default().min(LONGEST_WAIT),
                _ => self.set.push(field(word)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_what_is_to_be_done() {
        let wish = Wish::of(Some(
            "allow x-user=a=b append:x-many=c remove:x-d answer:x-e=f wait=20ms",
        ));
        assert_eq!(wish.verdict, Some(Verdict::Allow));
        assert_eq!(wish.set, [("x-user".to_owned(), "a=b".to_owned())]);
        assert_eq!(wish.append, [("x-many".to_owned(), "c".to_owned())]);
        assert_eq!(wish.remove, ["x-d"]);
        assert_eq!(wish.answer, [("x-e".to_owned(), "f".to_owned())]);
        assert_eq!(wish.wait, Duration::from_millis(20));
        let wish = Wish::of(Some("deny status=401 body="));
        assert_eq!(
            (wish.verdict, wish.status, wish.body.as_str()),
            (Some(Verdict::Deny), 401, "")
        );
        assert_eq!(Wish::of(None).verdict, Some(Verdict::Deny));
        assert_eq!(Wish::of(Some("reset")).verdict, None);
    }
}
