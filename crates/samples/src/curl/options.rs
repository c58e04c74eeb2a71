//! The command line: short options may be joined (`-sS`), values may follow at once (`-m5`).

use std::time::Duration;

use bytes::Bytes;

use super::Failure;

/// What the command line asks for.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) urls: Vec<String>,
    pub(super) method: Option<String>,
    /// Name and value, in order; an empty value removes a header that curl sends by itself.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Bytes>,
    pub(super) output: Option<String>,
    pub(super) write_out: Option<String>,
    pub(super) max_time: Option<Duration>,
    pub(super) connect_timeout: Option<Duration>,
    /// Least time between the starts of two transfers.
    pub(super) pace: Option<Duration>,
    pub(super) include: bool,
    pub(super) head: bool,
    pub(super) fail: bool,
    pub(super) verbose: bool,
    pub(super) http2: bool,
    /// Redirects are followed.
    pub(super) follow: bool,
    pub(super) globbing: bool,
    silent: bool,
    show_error: bool,
}

impl Options {
    /// Whether error messages are kept back.
    pub(super) fn quiet(&self) -> bool {
        self.silent && !self.show_error
    }

    /// The request method.
    pub(super) fn method(&self) -> &str {
        match (&self.method, self.head, &self.body) {
            (Some(method), _, _) => method,
            (None, true, _) => "HEAD",
            (None, false, Some(_)) => "POST",
            (None, false, None) => "GET",
        }
    }
}

/// What to do.
pub(super) enum Parsed {
    Run(Box<Options>),
    Print(String),
}

const USAGE: &str = "Usage: curl [options...] <url>
 -b, --cookie <data>        Send these cookies
 -d, --data <data>          HTTP POST data (@file reads a file)
     --connect-timeout <s>  Longest time to connect
 -f, --fail                 Fail on HTTP errors, without a body
 -g, --globoff              URLs are not patterns
 -H, --header <header>      Send this header
     --http2-prior-knowledge  HTTP/2 without upgrade
 -i, --include              Print response headers too
 -I, --head                 Ask for headers only
 -L, --location             Follow redirects
 -m, --max-time <s>         Longest time for a transfer
 -o, --output <file>        Write the body to a file
     --rate <n/unit>        At most so many transfers: 200/s, 10/m
 -s, --silent               No progress, no errors
 -S, --show-error           Errors even when silent
 -u, --user <user:password> Basic authentication
 -v, --verbose              Show the exchange on stderr
 -w, --write-out <format>   Print after each transfer: %{http_code} %{time_total} ...
 -X, --request <method>     Method
This is Amime's sample curl: URL ranges [1-100] and lists {a,b} work, https does not.";

/// Long names with their short form; a NUL stands for none.
const NAMES: &[(&str, char)] = &[
    ("data", 'd'),
    ("data-raw", 'd'),
    ("data-binary", 'd'),
    ("fail", 'f'),
    ("globoff", 'g'),
    ("header", 'H'),
    ("help", 'h'),
    ("include", 'i'),
    ("head", 'I'),
    ("insecure", 'k'),
    ("location", 'L'),
    ("max-time", 'm'),
    ("output", 'o'),
    ("silent", 's'),
    ("show-error", 'S'),
    ("user-agent", 'A'),
    ("user", 'u'),
    ("cookie", 'b'),
    ("referer", 'e'),
    ("no-buffer", 'N'),
    ("path-as-is", 'N'),
    ("no-progress-meter", 'N'),
    ("ipv4", '4'),
    ("verbose", 'v'),
    ("version", 'V'),
    ("write-out", 'w'),
    ("request", 'X'),
    ("connect-timeout", 'c'),
    ("http2-prior-knowledge", '2'),
    ("rate", 'r'),
    ("http1.1", '1'),
];

/// Short options with a value.
const TAKE_VALUES: &str = "dHmoAwXube";

/// Reads the command line.
pub(super) fn parse(arguments: &[String]) -> Result<Parsed, Failure> {
    let mut options = Options {
        globbing: true,
        ..Options::default()
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut next = || rest.next().cloned();
        if let Some(long) = argument.strip_prefix("--").filter(|name| !name.is_empty()) {
            let (_, short) = NAMES
                .iter()
                .find(|(name, _)| *name == long)
                .ok_or_else(|| unknown(argument))?;
            if let Some(text) = apply(&mut options, *short, argument, &mut next)? {
                return Ok(Parsed::Print(text));
            }
        } else if argument.len() > 1 && argument.starts_with('-') {
            if let Some(text) = joined(&mut options, argument, &mut next)? {
                return Ok(Parsed::Print(text));
            }
        } else {
            options.urls.push(argument.clone());
        }
    }
    if options.urls.is_empty() {
        return Err(Failure::new(
            2,
            "no URL specified\ncurl: try 'curl --help' for more information",
        ));
    }
    Ok(Parsed::Run(Box::new(options)))
}

fn unknown(argument: &str) -> Failure {
    Failure::new(
        2,
        format!("option {argument}: is unknown\ncurl: try 'curl --help' for more information"),
    )
}

/// `-sSo/dev/null`: flags until one takes a value, which may follow at once.
fn joined(
    options: &mut Options,
    argument: &str,
    next: &mut dyn FnMut() -> Option<String>,
) -> Result<Option<String>, Failure> {
    for (at, letter) in argument.char_indices().skip(1) {
        if !NAMES.iter().any(|(_, short)| *short == letter) || matches!(letter, 'c' | 'r' | '1' | '2') {
            return Err(unknown(argument));
        }
        let tail = &argument[at + letter.len_utf8()..];
        if TAKE_VALUES.contains(letter) && !tail.is_empty() {
            return apply(options, letter, argument, &mut || Some(tail.to_owned()));
        }
        if let Some(text) = apply(options, letter, argument, next)? {
            return Ok(Some(text));
        }
        if TAKE_VALUES.contains(letter) {
            break;
        }
    }
    Ok(None)
}

/// Applies one option; a text to print ends the program.
fn apply(
    options: &mut Options,
    letter: char,
    argument: &str,
    next: &mut dyn FnMut() -> Option<String>,
) -> Result<Option<String>, Failure> {
    let mut value =
        || next().ok_or_else(|| Failure::new(2, format!("option {argument}: requires parameter")));
    match letter {
        'd' => add_data(options, &value()?)?,
        'H' => options.headers.push(header(&value()?)),
        'A' => options.headers.push(("user-agent".to_owned(), value()?)),
        'm' => options.max_time = Some(seconds(argument, &value()?)?),
        'c' => options.connect_timeout = Some(seconds(argument, &value()?)?),
        'r' => options.pace = Some(pace(&value()?)?),
        'o' => options.output = Some(value()?),
        'w' => options.write_out = Some(value()?),
        'X' => options.method = Some(value()?),
        'f' => options.fail = true,
        'g' => options.globbing = false,
        'i' => options.include = true,
        'I' => options.head = true,
        's' => options.silent = true,
        'S' => options.show_error = true,
        'v' => options.verbose = true,
        '2' => options.http2 = true,
        // Nothing to do: no TLS to be insecure about, HTTP/1.1 is the default.
        'k' | '1' | 'N' | '4' => {}
        'L' => options.follow = true,
        'u' => options
            .headers
            .push(("authorization".to_owned(), basic(&value()?))),
        'b' => options.headers.push(("cookie".to_owned(), value()?)),
        'e' => options.headers.push(("referer".to_owned(), value()?)),
        'h' => return Ok(Some(USAGE.to_owned())),
        _ => return Ok(Some("curl 8.0.0 (amime sample) Protocols: http".to_owned())),
    }
    Ok(None)
}

fn add_data(options: &mut Options, value: &str) -> Result<(), Failure> {
    let data = match value.strip_prefix('@') {
        Some(path) => std::fs::read(path)
            .map_err(|error| Failure::new(26, format!("Failed to open {path}: {error}")))?,
        None => value.as_bytes().to_vec(),
    };
    options.body = Some(match options.body.take() {
        Some(before) => [before.as_ref(), b"&", &data].concat().into(),
        None => data.into(),
    });
    Ok(())
}

fn basic(user: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user))
}

fn header(text: &str) -> (String, String) {
    let (name, value) = text.split_once([':', ';']).unwrap_or((text, ""));
    (name.trim().to_ascii_lowercase(), value.trim().to_owned())
}

fn seconds(argument: &str, text: &str) -> Result<Duration, Failure> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| {
            Failure::new(
                2,
                format!("option {argument}: expected a proper numerical parameter"),
            )
        })
}

/// `200/s` → 5 ms. Without a unit, curl counts by the hour.
fn pace(text: &str) -> Result<Duration, Failure> {
    let bad = || {
        Failure::new(
            2,
            "unsupported --rate unit\ncurl: try 'curl --help' for more information",
        )
    };
    let (count, unit) = text.split_once('/').unwrap_or((text, "h"));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    let count: u32 = count.parse().ok().filter(|count| *count > 0).ok_or_else(bad)?;
    Ok(Duration::from_secs(seconds) / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Options {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        match parse(&arguments) {
            Ok(Parsed::Run(options)) => *options,
            _ => panic!("not a run: {line}"),
        }
    }

    #[test]
    fn short_options_join_and_take_values_at_once() {
        let parsed = options("-sSo/dev/null -m5 -XPUT -H a:b http://x/");
        assert_eq!(parsed.output.as_deref(), Some("/dev/null"));
        assert_eq!(
            (parsed.max_time, parsed.method()),
            (Some(Duration::from_secs(5)), "PUT")
        );
        assert_eq!(parsed.headers, [("a".to_owned(), "b".to_owned())]);
        assert!(!parsed.quiet());
    }

    #[test]
    fn users_cookies_and_redirects_are_understood() {
        let parsed = options("-Lu a:b -b c=d x");
        assert!(parsed.follow);
        let expected = [("authorization", "Basic YTpi"), ("cookie", "c=d")];
        assert_eq!(
            parsed.headers,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn data_makes_a_post_and_is_joined() {
        let parsed = options("-d a=1 --data b=2 x");
        assert_eq!(
            (parsed.method(), parsed.body.as_deref()),
            ("POST", Some(&b"a=1&b=2"[..]))
        );
    }

    #[test]
    fn a_rate_is_the_time_between_transfers() {
        assert_eq!(options("--rate 200/s x").pace, Some(Duration::from_millis(5)));
        assert_eq!(pace("0/s").unwrap_err().code, 2);
        assert_eq!(pace("1/fortnight").unwrap_err().code, 2);
    }

    #[test]
    fn an_unknown_option_is_named() {
        let failure = parse(&["--nosuch".to_owned()]).err().unwrap();
        assert_eq!(failure.code, 2);
        assert!(failure.message.contains("--nosuch"));
    }
}
