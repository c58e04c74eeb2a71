//! What is told of a call, for people as lines and for programs as data.

use serde::Serialize;
use translate::Outcome;

/// Columns of what a line is about.
const ABOUT: usize = 12;

/// Everything that is told of a call.
#[derive(Serialize)]
pub(super) struct Report {
    /// `GET http://backend:9090/`.
    pub(super) call: String,
    pub(super) caller: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outbound: Option<Half>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inbound: Option<Half>,
    pub(super) answer: Ending,
}

/// What happens in one proxy.
#[derive(Serialize)]
pub(super) struct Half {
    /// Its pod.
    pub(super) at: String,
    /// Why it is this one, where there are others.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) chosen: String,
    pub(super) says: Vec<Fact>,
    /// All that is known of it; nothing where there is no proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<Outcome>,
}

/// One line.
#[derive(Serialize)]
pub(super) struct Fact {
    pub(super) about: &'static str,
    /// Empty where the rule says it all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<Reference>,
}

/// A rule, and where it stands.
#[derive(Serialize)]
pub(super) struct Reference {
    /// `AuthorizationPolicy shop/viewers`.
    pub(super) object: String,
    /// `spec.rules[0]`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) path: String,
    /// `policy.yaml:9`, or the line that kubectl prints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<String>,
}

/// How it ends.
#[derive(Serialize)]
pub(super) struct Ending {
    pub(super) says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    /// Envoy's response code details, or, of a connection, termination details.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) details: Option<String>,
    /// Envoy's response flag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) flag: Option<String>,
}

/// What details mean.
#[derive(Serialize)]
pub(super) struct Meaning {
    pub(super) details: String,
    pub(super) means: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) says: Vec<Fact>,
}

impl Half {
    /// A pod where nobody decides anything.
    pub(super) fn without_proxy(at: String, chosen: String) -> Self {
        let says = "none, as far as can be seen: nobody decides anything here, whatever policies say";
        Self {
            at,
            chosen,
            says: vec![Fact::new("Proxy", says)],
            outcome: None,
        }
    }
}

impl Fact {
    pub(super) fn new(about: &'static str, says: impl Into<String>) -> Self {
        Self {
            about,
            says: says.into(),
            by: None,
        }
    }

    pub(super) fn by(self, by: Option<Reference>) -> Self {
        Self { by, ..self }
    }

    fn line(&self) -> String {
        match &self.by {
            Some(by) if self.says.is_empty() => line(self.about, &by.text()),
            Some(by) => line(self.about, &format!("{}, by {}", self.says, by.text())),
            None => line(self.about, &self.says),
        }
    }
}

fn line(about: &str, says: &str) -> String {
    format!("  {about:ABOUT$}{says}\n")
}

impl Reference {
    pub(super) fn text(&self) -> String {
        let path = match self.path.as_str() {
            "" => String::new(),
            path => format!(" {path}"),
        };
        let place = self.place.as_ref();
        let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
        format!("{}{path}{place}", self.object)
    }
}

impl Report {
    /// For people.
    pub(super) fn text(&self) -> String {
        let mut out = format!("{}\nfrom {}\n", self.call, self.caller);
        for (name, half) in [("Outbound", &self.outbound), ("Inbound", &self.inbound)] {
            let Some(half) = half else { continue };
            let chosen = match half.chosen.as_str() {
                "" => String::new(),
                chosen => format!(" ({chosen})"),
            };
            out += &format!("\n{name} at {}{chosen}\n", half.at);
            out.extend(half.says.iter().map(Fact::line));
        }
        out += "\nAnswer\n";
        out += &line("Result", &self.answer.says);
        if let Some(details) = &self.answer.details {
            out += &line("Details", details);
        }
        if let Some(flag) = &self.answer.flag {
            out += &line("Flag", flag);
        }
        out
    }
}

impl Meaning {
    /// For people.
    pub(super) fn text(&self) -> String {
        let facts: String = self.says.iter().map(Fact::line).collect();
        format!("{}\n  {}\n{facts}", self.details, self.means)
    }
}
