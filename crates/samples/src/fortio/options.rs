//! Flags as Go programs read them: one dash or two, `-name value` or `-name=value`, switches without a value.

use std::time::Duration;

use crate::echo_basic::duration;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options {
    pub(super) url: Option<String>,
    pub(super) connections: usize,
    /// Requests a second over all connections; 0 is as many as possible.
    pub(super) rate: f64,
    pub(super) calls: Option<u64>,
    pub(super) lasts: Duration,
    pub(super) timeout: Duration,
    pub(super) headers: Vec<(String, String)>,
    pub(super) method: Option<String>,
    pub(super) payload: String,
    pub(super) percentiles: Vec<f64>,
    /// Seconds.
    pub(super) resolution: f64,
    pub(super) keepalive: bool,
    pub(super) quiet: bool,
    /// `load -curl`: a single request, printed.
    pub(super) once: bool,
    pub(super) http_port: u16,
    pub(super) tcp_port: u16,
    pub(super) redirect_port: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: None,
            connections: 4,
            rate: 8.0,
            calls: None,
            lasts: Duration::from_secs(5),
            timeout: Duration::from_secs(3),
            headers: Vec::new(),
            method: None,
            payload: String::new(),
            percentiles: vec![50.0, 75.0, 90.0, 99.0, 99.9],
            resolution: 0.001,
            keepalive: true,
            quiet: false,
            once: false,
            http_port: 8080,
            tcp_port: 8078,
            redirect_port: 8081,
        }
    }
}

/// Bounds, so that a slip of the finger is told instead of done.
const MOST_CONNECTIONS: usize = 1000;
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Switches: they take no value unless it is joined by `=`.
const SWITCHES: [&str; 13] = [
    "a",
    "curl",
    "quiet",
    "k",
    "h2",
    "keepalive",
    "stdclient",
    "uniform",
    "nocatchup",
    "jitter",
    "gomaxprocs",
    "allow-initial-errors",
    "sequential-warmup",
];
/// Flags that change nothing here.
const IGNORED: [&str; 14] = [
    "a",
    "stdclient",
    "uniform",
    "nocatchup",
    "jitter",
    "gomaxprocs",
    "allow-initial-errors",
    "sequential-warmup",
    "loglevel",
    "config-dir",
    "data-dir",
    "labels",
    "json",
    "grpc-port",
];

/// Reads the flags; what is wrong with them, in one line.
pub(super) fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(flag) = argument.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
            if options.url.replace(argument.clone()).is_some() {
                return Err(format!("more than one URL: {argument}"));
            }
            continue;
        };
        let flag = flag.strip_prefix('-').unwrap_or(flag);
        let (name, joined) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let value = match joined {
            Some(value) => value,
            None if SWITCHES.contains(&name) => "true".to_owned(),
            None => rest
                .next()
                .cloned()
                .ok_or_else(|| format!("flag needs an argument: -{name}"))?,
        };
        apply(&mut options, name, &value)?;
    }
    Ok(options)
}

fn apply(options: &mut Options, name: &str, value: &str) -> Result<(), String> {
    let bad = || format!("invalid value {value:?} for flag -{name}");
    let switch = || match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(bad()),
    };
    let time = || duration(value).ok_or_else(bad);
    let port = || value.parse().map_err(|_| bad());
    match name {
        "c" => {
            let count = value.parse().ok();
            options.connections = count
                .filter(|count| (1..=MOST_CONNECTIONS).contains(count))
                .ok_or_else(bad)?;
        }
        "qps" => {
            let rate = value.parse().ok();
            options.rate = rate
                .filter(|rate: &f64| rate.is_finite() && *rate <= 1e6)
                .ok_or_else(bad)?
                .max(0.0);
        }
        "n" => options.calls = Some(value.parse().map_err(|_| bad())?).filter(|calls| *calls > 0),
        "t" => {
            options.lasts = Some(time()?)
                .filter(|lasts| !lasts.is_zero() && *lasts <= LONGEST)
                .ok_or_else(bad)?
        }
        "timeout" => options.timeout = time()?,
        "H" | "header" => options.headers.push(header(value).ok_or_else(bad)?),
        "user" => options.headers.push(("authorization".to_owned(), basic(value))),
        "content-type" => options
            .headers
            .push(("content-type".to_owned(), value.to_owned())),
        "X" => options.method = Some(value.to_owned()),
        "payload" => options.payload = value.to_owned(),
        "p" => options.percentiles = percentiles(value).ok_or_else(bad)?,
        "r" => {
            let resolution = value.parse().ok();
            options.resolution = resolution
                .filter(|resolution: &f64| *resolution > 0.0)
                .ok_or_else(bad)?;
        }
        "keepalive" => options.keepalive = switch()?,
        "quiet" => options.quiet = switch()?,
        "curl" => options.once = switch()?,
        "k" => {}
        "http-port" => options.http_port = port()?,
        "tcp-port" => options.tcp_port = port()?,
        "redirect-port" => options.redirect_port = port()?,
        "h2" | "grpc" => return Err(format!("-{name}: this stand-in speaks HTTP/1.1 only")),
        _ if IGNORED.contains(&name) => {}
        _ => return Err(format!("flag provided but not defined: -{name}")),
    }
    Ok(())
}

fn header(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once(':')?;
    Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

fn basic(user: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user))
}

fn percentiles(text: &str) -> Option<Vec<f64>> {
    let all: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    all.filter(|all| all.iter().all(|percentile| (0.0..=100.0).contains(percentile)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_tutorial_s_lines_are_understood() {
        let options = parsed("-c 3 -qps 0 -n 30 -loglevel Warning http://httpbin:8000/get").unwrap();
        assert_eq!((options.connections, options.calls), (3, Some(30)));
        assert!(options.rate.abs() < f64::EPSILON);
        assert_eq!(options.url.as_deref(), Some("http://httpbin:8000/get"));
        let options = parsed("--t=30s -H user:jason -keepalive=false -curl u").unwrap();
        assert_eq!(options.lasts, Duration::from_secs(30));
        assert_eq!(options.headers, [("user".to_owned(), "jason".to_owned())]);
        assert!(!options.keepalive && options.once);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, part) in [
            ("-c 0 u", "-c"),
            ("-c 100000 u", "-c"),
            ("-qps inf u", "-qps"),
            ("-t never u", "-t"),
            ("-nosuch 1 u", "-nosuch"),
            ("-n", "needs an argument"),
            ("a b", "more than one URL"),
            ("-h2 u", "HTTP/1.1"),
            ("-p 50,101 u", "-p"),
        ] {
            let why = parsed(line).unwrap_err();
            assert!(why.contains(part), "{line}: {why}");
        }
    }
}
