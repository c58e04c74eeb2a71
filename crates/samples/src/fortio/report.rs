//! What `fortio load` prints: the lines that tutorials show and scripts read.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::histogram::Histogram;
use super::load::Results;
use super::options::Options;

/// Before the first call.
pub(super) fn beginning(options: &Options) -> String {
    let url = options.url.as_deref().unwrap_or_default();
    let rate = if options.rate > 0.0 { options.rate } else { 0.0 };
    let connections = options.connections;
    let (how_long, exactly) = match options.calls {
        Some(calls) => {
            let each = format!(
                "{} per thread + {}",
                calls / connections as u64,
                calls % connections as u64
            );
            (
                format!("for {calls} calls"),
                format!("for exactly {calls} calls ({each})"),
            )
        }
        None => {
            let lasts = span(options.lasts);
            (format!("for {lasts}"), format!("for {lasts}"))
        }
    };
    let pace = if rate > 0.0 {
        format!("{rate} qps")
    } else {
        "max qps".to_owned()
    };
    format!(
        "Fortio 1.60.3-amime running at {rate} queries per second, 1->1 procs, {how_long}: {url}\n\
         Starting at {pace} with {connections} thread(s) [gomax 1] {exactly}\n"
    )
}

/// After the last one.
pub(super) fn end(options: &Options, results: &Results) -> String {
    let times = &results.times;
    let rate = times.count as f64 / results.took.as_secs_f64().max(1e-9);
    let mut text = format!(
        "Ended after {} : {} calls. qps={rate:.5}\n",
        span(results.took),
        times.count
    );
    if !options.quiet {
        text += &histogram("Aggregated Function Time", times, &options.percentiles);
        if results.failures.count > 0 {
            text += &histogram("Error cases", &results.failures, &options.percentiles);
        }
        text += &sockets(options, results);
    }
    for (status, count) in &results.statuses {
        let share = 100.0 * *count as f64 / times.count.max(1) as f64;
        let _ = writeln!(text, "Code {status:3} : {count} ({share:.1} %)");
    }
    if !options.quiet {
        text += &line("Response Header Sizes", &results.head_sizes);
        text += &line("Response Body/Total Sizes", &results.sizes);
    }
    let _ = writeln!(
        text,
        "All done {} calls (plus 0 warmup) {:.3} ms avg, {rate:.1} qps",
        times.count,
        times.mean() * 1000.0
    );
    text
}

fn line(name: &str, values: &Histogram) -> String {
    let min = if values.count == 0 { 0.0 } else { values.min };
    format!(
        "{name} : count {} avg {} +/- {} min {} max {} sum {}\n",
        values.count,
        short(values.mean()),
        short(values.deviation()),
        short(min),
        short(values.max),
        short(values.sum)
    )
}

fn histogram(name: &str, values: &Histogram, percentiles: &[f64]) -> String {
    let mut text = line(name, values);
    text += "# range, mid point, percentile, count\n";
    for (at, range) in values.ranges().iter().enumerate() {
        let sign = if at == 0 { ">=" } else { ">" };
        let middle = f64::midpoint(range.start, range.end);
        let _ = writeln!(
            text,
            "{sign} {} <= {} , {} , {:.2}, {}",
            short(range.start),
            short(range.end),
            short(middle),
            range.percent,
            range.count
        );
    }
    for percentile in percentiles {
        let _ = writeln!(
            text,
            "# target {percentile}% {}",
            short(values.percentile(*percentile))
        );
    }
    text
}

fn sockets(options: &Options, results: &Results) -> String {
    let mut text = "# Socket and IP used for each connection:\n".to_owned();
    let mut by_address: BTreeMap<String, usize> = BTreeMap::new();
    for (number, opened) in results.opened.iter().enumerate() {
        let mut took = Histogram::new(options.resolution);
        opened
            .iter()
            .for_each(|socket| took.record(socket.took.as_secs_f64()));
        for socket in opened {
            *by_address.entry(socket.address.to_string()).or_default() += 1;
        }
        let last = opened
            .last()
            .map(|socket| socket.address.to_string())
            .unwrap_or_default();
        let timing = line("connection timing", &took);
        let _ = write!(
            text,
            "[{number}] {:3} socket used, resolved to {last}, {timing}",
            opened.len()
        );
    }
    let used: usize = by_address.values().sum();
    let perfect = if options.keepalive {
        options.connections as u64
    } else {
        results.times.count
    };
    let _ = writeln!(
        text,
        "Sockets used: {used} (for perfect keepalive, would be {perfect})"
    );
    text += "Uniform: false, Jitter: false, Catchup allowed: true\nIP addresses distribution:\n";
    for (address, count) in by_address {
        let _ = writeln!(text, "{address}: {count}");
    }
    text
}

/// A number as `%g` prints it: at most nine significant digits.
fn short(value: f64) -> String {
    let text = format!("{value:.9}");
    let digits = (value.abs().max(1.0).log10().floor() as usize).min(8);
    let cut = text.len() - digits;
    text[..cut].trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `59.8524ms`, `5.003s`.
fn span(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        return format!("{}ms", short(time.as_secs_f64() * 1000.0));
    }
    let seconds = time.as_secs();
    let rest = time.as_secs_f64() - (seconds - seconds % 60) as f64;
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{}s", short(rest)),
        (0, minutes) => format!("{minutes}m{}s", short(rest)),
        (hours, minutes) => format!("{hours}h{minutes}m{}s", short(rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.001, "0.001"),
            (0.0015, "0.0015"),
            (729.9, "729.9"),
            (14598.0, "14598"),
        ] {
            assert_eq!(short(value), text);
        }
        assert_eq!(span(Duration::from_secs(5)), "5s");
        assert_eq!(span(Duration::from_millis(90_500)), "1m30.5s");
        assert_eq!(span(Duration::from_micros(59_852)), "59.852ms");
    }

    #[test]
    fn the_begin_says_what_will_be_done() {
        let options = Options {
            calls: Some(20),
            connections: 2,
            rate: 0.0,
            ..Options::default()
        };
        let text = beginning(&options);
        assert!(text.contains(
            "Starting at max qps with 2 thread(s) [gomax 1] for exactly 20 calls (10 per thread + 0)"
        ));
    }
}
