//! Counters, gauges and histograms with labels, and the text form in which Prometheus reads them.
//!
//! A family never has more than [`SERIES`] series; what comes later is counted together under the label value
//! `overflow`. [`Text`] alone is for those who count elsewhere, as the data workers do.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The content type of [`Registry::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Bound of series per family.
pub const SERIES: usize = 2000;

const OVERFLOW: &str = "overflow";

/// What a family measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How values are spread.
    Histogram,
}

/// All families of a process or part. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    families: Arc<Mutex<Families>>,
}

type Families = BTreeMap<&'static str, Arc<Family>>;
/// By label values.
type SeriesMap = BTreeMap<Vec<String>, Arc<Series>>;

#[derive(Debug)]
struct Family {
    help: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    bounds: &'static [f64],
    series: Mutex<SeriesMap>,
}

/// The numbers of one combination of label values; floats as their bits.
#[derive(Debug)]
struct Series {
    /// The value, or the sum of a histogram.
    value: AtomicU64,
    /// Observations up to each bound, not cumulated; the last without bound.
    buckets: Box<[AtomicU64]>,
}

/// A counter for each combination of label values.
#[derive(Clone, Debug)]
pub struct Counters(Arc<Family>);
/// A gauge for each combination of label values.
#[derive(Clone, Debug)]
pub struct Gauges(Arc<Family>);
/// A histogram for each combination of label values.
#[derive(Clone, Debug)]
pub struct Histograms(Arc<Family>);

/// One counter. Keep it where it is counted often: finding it again takes a lock.
#[derive(Clone, Debug)]
pub struct Counter(Arc<Series>);
/// One gauge.
#[derive(Clone, Debug)]
pub struct Gauge(Arc<Series>);
/// One histogram.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Series>, &'static [f64]);

impl Registry {
    /// A registry without families.
    pub fn new() -> Self {
        Self::default()
    }

    /// A family of counters; the same again for a name that exists.
    pub fn counters(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Counters {
        Counters(self.family(name, Family::new(help, Kind::Counter, labels, &[])))
    }

    /// A family of gauges; the same again for a name that exists.
    pub fn gauges(&self, name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Gauges {
        Gauges(self.family(name, Family::new(help, Kind::Gauge, labels, &[])))
    }

    /// A family of histograms with ascending upper bounds; the same again for a name that exists.
    pub fn histograms(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        bounds: &'static [f64],
    ) -> Histograms {
        Histograms(self.family(name, Family::new(help, Kind::Histogram, labels, bounds)))
    }

    /// Everything, as Prometheus reads it.
    pub fn text(&self) -> String {
        let mut text = Text::new();
        for (name, family) in lock(&self.families).iter() {
            family.write(name, &mut text);
        }
        text.finish()
    }

    fn family(&self, name: &'static str, family: Family) -> Arc<Family> {
        let mut families = lock(&self.families);
        let known = families.entry(name).or_insert_with(|| Arc::new(family)).clone();
        drop(families);
        known
    }
}

impl Family {
    fn new(help: &'static str, kind: Kind, labels: &'static [&'static str], bounds: &'static [f64]) -> Self {
        Self {
            help,
            kind,
            labels,
            bounds,
            series: Mutex::default(),
        }
    }

    fn series(&self, values: &[&str]) -> Arc<Series> {
        debug_assert_eq!(values.len(), self.labels.len(), "one value for each label");
        let mut series = lock(&self.series);
        let mut key: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        if series.len() >= SERIES && !series.contains_key(&key) {
            key.fill(OVERFLOW.to_owned());
        }
        let buckets = if self.kind == Kind::Histogram {
            self.bounds.len() + 1
        } else {
            0
        };
        series
            .entry(key)
            .or_insert_with(|| Arc::new(Series::new(buckets)))
            .clone()
    }

    fn write(&self, name: &str, text: &mut Text) {
        text.family(name, self.help, self.kind);
        for (values, series) in lock(&self.series).iter() {
            let labels: Vec<(&str, &str)> = self
                .labels
                .iter()
                .copied()
                .zip(values.iter().map(String::as_str))
                .collect();
            if self.kind == Kind::Histogram {
                let counts: Vec<u64> = series
                    .buckets
                    .iter()
                    .map(|count| count.load(Ordering::Relaxed))
                    .collect();
                let spread = Spread {
                    bounds: self.bounds,
                    counts: &counts,
                    sum: series.get(),
                };
                text.histogram(name, &labels, &spread);
            } else {
                text.sample(name, &labels, series.get());
            }
        }
    }
}

impl Series {
    fn new(buckets: usize) -> Self {
        Self {
            value: AtomicU64::new(0),
            buckets: (0..buckets).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn get(&self) -> f64 {
        f64::from_bits(self.value.load(Ordering::Relaxed))
    }

    fn add(&self, amount: f64) {
        let sum = |bits| Some((f64::from_bits(bits) + amount).to_bits());
        // The closure never refuses.
        let _ = self.value.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
    }
}

impl Counters {
    /// The counter for these label values, in the order of the family's labels.
    pub fn with(&self, values: &[&str]) -> Counter {
        Counter(self.0.series(values))
    }
}

impl Gauges {
    /// The gauge for these label values, in the order of the family's labels.
    pub fn with(&self, values: &[&str]) -> Gauge {
        Gauge(self.0.series(values))
    }
}

impl Histograms {
    /// The histogram for these label values, in the order of the family's labels.
    pub fn with(&self, values: &[&str]) -> Histogram {
        Histogram(self.0.series(values), self.0.bounds)
    }
}

impl Counter {
    /// Counts one.
    pub fn increment(&self) {
        self.0.add(1.0);
    }

    /// Counts `amount`.
    pub fn add(&self, amount: u64) {
        self.0.add(amount as f64);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.get() as u64
    }
}

impl Gauge {
    /// The value is now `value`.
    pub fn set(&self, value: f64) {
        self.0.value.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Adds `amount`, which may be negative.
    pub fn add(&self, amount: f64) {
        self.0.add(amount);
    }

    /// The value.
    pub fn get(&self) -> f64 {
        self.0.get()
    }
}

impl Histogram {
    /// Counts one observation.
    pub fn observe(&self, value: f64) {
        let bucket = self
            .1
            .iter()
            .position(|bound| value <= *bound)
            .unwrap_or(self.1.len());
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.add(value);
    }

    /// How many observations there were.
    pub fn count(&self) -> u64 {
        self.0
            .buckets
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }
}

/// The numbers of one histogram.
#[derive(Clone, Copy, Debug)]
pub struct Spread<'a> {
    /// Upper bounds, ascending.
    pub bounds: &'a [f64],
    /// Observations up to each bound and not up to the one before; one more for those above all bounds.
    pub counts: &'a [u64],
    /// Sum of all observations.
    pub sum: f64,
}

/// Writes the text form, family by family.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a family; its samples follow.
    pub fn family(&mut self, name: &str, help: &str, kind: Kind) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// One number.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.line(name, labels, None, value);
    }

    /// The lines of one histogram.
    pub fn histogram(&mut self, name: &str, labels: &[(&str, &str)], spread: &Spread<'_>) {
        let bucket = format!("{name}_bucket");
        let mut cumulated = 0;
        for (index, count) in spread.counts.iter().enumerate() {
            cumulated += count;
            let bound = spread.bounds.get(index).copied().unwrap_or(f64::INFINITY);
            self.line(&bucket, labels, Some(bound), cumulated as f64);
        }
        self.line(&format!("{name}_sum"), labels, None, spread.sum);
        self.line(&format!("{name}_count"), labels, None, cumulated as f64);
    }

    /// What was written.
    pub fn finish(self) -> String {
        self.0
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], bound: Option<f64>, value: f64) {
        self.0.push_str(name);
        let mut separator = '{';
        for (label, value) in labels {
            self.put(format_args!("{separator}{label}=\"{}\"", escape(value)));
            separator = ',';
        }
        if let Some(bound) = bound {
            self.put(format_args!("{separator}le=\"{}\"", number(bound)));
            separator = ',';
        }
        if separator == ',' {
            self.0.push('}');
        }
        self.put(format_args!(" {}\n", number(value)));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a String takes every text");
    }
}

fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}

/// A thread that panicked while it held the lock has left whole numbers behind.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let registry = Registry::new();
        let pushes = registry.counters("pilot_xds_pushes", "Pushes by type.", &["type"]);
        pushes.with(&["cds"]).increment();
        pushes.with(&["a\"b\\c\nd"]).add(2);
        registry
            .gauges("pilot_xds", "Connected proxies.", &[])
            .with(&[])
            .set(1.5);
        let times = registry.histograms("pilot_xds_push_time", "Seconds.", &["type"], &[0.1, 1.0]);
        for value in [0.0625, 0.5, 0.5, 30.0] {
            times.with(&["cds"]).observe(value);
        }
        let expected = r#"# HELP pilot_xds Connected proxies.
# TYPE pilot_xds gauge
pilot_xds 1.5
# HELP pilot_xds_push_time Seconds.
# TYPE pilot_xds_push_time histogram
pilot_xds_push_time_bucket{type="cds",le="0.1"} 1
pilot_xds_push_time_bucket{type="cds",le="1"} 3
pilot_xds_push_time_bucket{type="cds",le="+Inf"} 4
pilot_xds_push_time_sum{type="cds"} 31.0625
pilot_xds_push_time_count{type="cds"} 4
# HELP pilot_xds_pushes Pushes by type.
# TYPE pilot_xds_pushes counter
pilot_xds_pushes{type="a\"b\\c\nd"} 2
pilot_xds_pushes{type="cds"} 1
"#;
        assert_eq!(registry.text(), expected);
    }

    #[test]
    fn a_name_means_one_family() {
        let registry = Registry::new();
        registry.counters("c", "", &[]).with(&[]).increment();
        registry.counters("c", "", &[]).with(&[]).increment();
        assert_eq!(registry.counters("c", "", &[]).with(&[]).get(), 2);
    }

    #[test]
    fn series_are_bounded() {
        let registry = Registry::new();
        let counters = registry.counters("c", "", &["host"]);
        for host in 0..SERIES + 10 {
            counters.with(&[&host.to_string()]).increment();
        }
        assert_eq!(counters.with(&[OVERFLOW]).get(), 10);
        assert_eq!(
            counters.with(&["5"]).get(),
            1,
            "what was there before goes on being counted"
        );
    }

    #[test]
    fn gauges_go_both_ways_and_histograms_count() {
        let registry = Registry::new();
        let gauge = registry.gauges("g", "", &[]).with(&[]);
        gauge.add(3.0);
        gauge.add(-1.0);
        assert!((gauge.get() - 2.0).abs() < f64::EPSILON);
        let histogram = registry.histograms("h", "", &[], &[1.0]).with(&[]);
        histogram.observe(f64::INFINITY);
        histogram.observe(1.0);
        assert_eq!(histogram.count(), 2);
        assert_eq!([number(f64::NEG_INFINITY), number(3.0)], ["-Inf", "3"]);
    }
}
