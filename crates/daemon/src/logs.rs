//! Log lines: in the text form that Istio's users and scripts know, or as JSON with the same keys.
//!
//! ```text
//! 2026-08-01T10:00:00.000000Z<TAB>info<TAB>ads<TAB>push complete<TAB>proxies=3 version=7
//! ```
//!
//! The scope is the event's target. Filters are written as `info,proxy::listen=debug` or, as Istio's flags have it,
//! `default:info,ads:debug`.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Fields separated by tabs.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Where lines go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Standard output: what a container's log is.
    #[default]
    Stdout,
    /// Standard error: for programs whose output is data.
    Stderr,
}

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter cannot be read.
    #[error("log filter {text:?}: {reason}")]
    Filter {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It has begun already.
    #[error("logging is set up already")]
    Twice,
}

/// Begins logging, once per process.
///
/// # Errors
/// A filter that cannot be read; a second call.
pub fn init(filter: &str, format: Format, target: Target) -> Result<(), Error> {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(parse_filter(filter)?)
        .event_format(Lines(format));
    let begun = match target {
        Target::Stdout => lines.try_init(),
        Target::Stderr => lines.with_writer(std::io::stderr).try_init(),
    };
    begun.map_err(|_| Error::Twice)
}

fn parse_filter(text: &str) -> Result<EnvFilter, Error> {
    let directives: Vec<String> = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(directive)
        .collect();
    let directives = if directives.is_empty() {
        "info".to_owned()
    } else {
        directives.join(",")
    };
    EnvFilter::builder()
        .parse(directives)
        .map_err(|error| Error::Filter {
            text: text.to_owned(),
            reason: error.to_string(),
        })
}

/// Istio's `scope:level` in the form that the filter reads; everything else as it is.
fn directive(item: &str) -> String {
    let Some((scope, level)) = item.split_once(':') else {
        return level_name(item).to_owned();
    };
    match (scope, level) {
        // The `::` of a module path.
        (_, level) if level.starts_with(':') => item.to_owned(),
        ("default" | "all", level) => level_name(level).to_owned(),
        (scope, level) => format!("{scope}={}", level_name(level)),
    }
}

/// Istio's and Envoy's names for levels.
fn level_name(level: &str) -> &str {
    match level {
        "none" => "off",
        "fatal" | "critical" => "error",
        "warning" => "warn",
        other => other,
    }
}

struct Lines(Format);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = Line {
            time: &time,
            level: *event.metadata().level(),
            scope: event.metadata().target(),
            fields,
        };
        match self.0 {
            Format::Text => writeln!(writer, "{}", line.text()),
            Format::Json => writeln!(writer, "{}", line.json()),
        }
    }
}

struct Line<'a> {
    time: &'a str,
    level: Level,
    scope: &'a str,
    fields: Fields,
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Line<'_> {
    fn text(&self) -> String {
        let mut line = [
            self.time,
            level(self.level),
            self.scope,
            &one_line(&self.fields.message),
        ]
        .join("\t");
        for (index, (name, value)) in self.fields.others.iter().enumerate() {
            line.push(if index == 0 { '\t' } else { ' ' });
            line.push_str(name);
            line.push('=');
            match value {
                Value::String(text) if text.is_empty() || text.contains([' ', '"', '\n', '\t']) => {
                    line.push_str(&value.to_string());
                }
                Value::String(text) => line.push_str(text),
                other => line.push_str(&other.to_string()),
            }
        }
        line
    }

    fn json(&self) -> String {
        let mut object = Map::new();
        object.insert("level".into(), level(self.level).into());
        object.insert("time".into(), self.time.into());
        object.insert("scope".into(), self.scope.into());
        object.insert("msg".into(), self.fields.message.as_str().into());
        for (name, value) in &self.fields.others {
            object.entry(name).or_insert_with(|| value.clone());
        }
        Value::Object(object).to_string()
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// One event, one line: text from outside cannot forge a second one.
fn one_line(text: &str) -> String {
    text.replace('\n', "\\n").replace('\r', "\\r")
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::from(format!("{value:?}")));
    }
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("message", other) => self.message = other.to_string(),
            (name, value) => {
                self.others.insert(name.to_owned(), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line<'static> {
        let mut fields = Fields {
            message: "push\ncomplete".to_owned(),
            ..Fields::default()
        };
        fields.others.insert("proxies".to_owned(), Value::from(3));
        fields
            .others
            .insert("reason".to_owned(), Value::from("two words"));
        Line {
            time: "2026-08-01T10:00:00.000000Z",
            level: Level::INFO,
            scope: "ads",
            fields,
        }
    }

    #[test]
    fn text_has_tabs_between_its_parts_and_never_a_second_line() {
        let expected =
            "2026-08-01T10:00:00.000000Z\tinfo\tads\tpush\\ncomplete\tproxies=3 reason=\"two words\"";
        assert_eq!(line().text(), expected);
    }

    #[test]
    fn json_has_the_same_parts() {
        let expected = concat!(
            r#"{"level":"info","time":"2026-08-01T10:00:00.000000Z","scope":"ads","#,
            r#""msg":"push\ncomplete","proxies":3,"reason":"two words"}"#
        );
        assert_eq!(line().json(), expected);
    }

    #[test]
    fn filters_of_both_kinds_are_understood() {
        for (given, meant) in [
            ("default:info", "info"),
            ("ads:debug", "ads=debug"),
            ("all:none", "off"),
            ("warning", "warn"),
            ("proxy::listen=debug", "proxy::listen=debug"),
            ("misc:critical", "misc=error"),
        ] {
            assert_eq!(directive(given), meant);
        }
        assert!(parse_filter("default:info,ads:debug").is_ok());
        assert!(parse_filter("").is_ok());
        assert!(matches!(parse_filter("ads=loud"), Err(Error::Filter { .. })));
    }
}
