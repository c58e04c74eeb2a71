//! The server that Python samples run in: manifests name it in `command`, as `gunicorn -b [::]:80 httpbin:app`.
//!
//! Which sample it is, the application says; options other than the address change nothing here.

use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::helloworld::port_of;
use crate::{bookinfo, helloworld, httpbin};

/// What gunicorn listens on by itself.
const BIND: &str = "127.0.0.1:8000";

pub(crate) fn run(arguments: Vec<String>) -> anyhow::Result<ExitCode> {
    let (bind, application) = parse(&arguments)?;
    let port = port_of(&bind)?;
    match application.split(':').next().unwrap_or_default() {
        "httpbin" => httpbin::serve(port, httpbin::Style::Python),
        "productpage" => bookinfo::run(vec!["productpage".to_owned(), port.to_string()]),
        "app" => helloworld::serve(port),
        other => {
            bail!("no module named {other:?}: this stand-in has httpbin, productpage and app (helloworld)")
        }
    }
}

/// Options that stand alone; every other one takes a value.
const FLAGS: [&str; 4] = ["--reload", "--preload", "--daemon", "-D"];

/// Address and application.
fn parse(arguments: &[String]) -> anyhow::Result<(String, String)> {
    let (mut bind, mut application) = (BIND.to_owned(), None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if let Some(value) = argument.strip_prefix("--bind=") {
            bind = value.to_owned();
        } else if argument == "-b" || argument == "--bind" {
            bind = rest
                .next()
                .with_context(|| format!("{argument} needs an address"))?
                .clone();
        } else if argument.starts_with('-') {
            if !argument.contains('=') && !FLAGS.contains(&argument.as_str()) {
                rest.next();
            }
        } else {
            application = Some(argument.clone());
        }
    }
    Ok((bind, application.context("no application module specified")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_application_is_found_between_options() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let expected = |bind: &str, application: &str| (bind.to_owned(), application.to_owned());
        for (line, bind, application) in [
            (
                "--access-logfile - -b [::]:8080 httpbin:app",
                "[::]:8080",
                "httpbin:app",
            ),
            ("-b 0.0.0.0:80 httpbin:app -k gevent", "0.0.0.0:80", "httpbin:app"),
            ("--bind=:9 --reload app:app", ":9", "app:app"),
        ] {
            assert_eq!(
                parse(&words(line)).unwrap(),
                expected(bind, application),
                "{line}"
            );
        }
        assert!(parse(&words("-b")).is_err());
        assert!(parse(&words("-b :80")).is_err());
    }
}
