//! Values in the ranges that fortio counts in, with its interpolated percentiles. Its size does not grow.

/// Upper ends of the ranges, in units of the resolution; what lies above has a range of its own.
const ENDS: [u32; 55] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 18, 20, 25, 30, 35, 40, 45, 50, 60, 70, 80, 90, 100, 120,
    140, 160, 180, 200, 250, 300, 350, 400, 450, 500, 600, 700, 800, 900, 1000, 2000, 3000, 4000, 5000, 7500,
    10000, 20000, 30000, 40000, 50000, 75000, 100_000,
];

/// Counts by range, and what is needed for mean and deviation.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: [u64; ENDS.len() + 1],
    unit: f64,
    pub(super) count: u64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) sum: f64,
    squares: f64,
}

/// A range that holds values.
#[derive(Debug, PartialEq)]
pub(super) struct Range {
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) count: u64,
    /// Share of all values up to its end, in percent.
    pub(super) percent: f64,
}

impl Histogram {
    pub(super) fn new(unit: f64) -> Self {
        Self {
            counts: [0; ENDS.len() + 1],
            unit,
            count: 0,
            min: f64::INFINITY,
            max: 0.0,
            sum: 0.0,
            squares: 0.0,
        }
    }

    pub(super) fn record(&mut self, value: f64) {
        let at = ENDS.partition_point(|end| f64::from(*end) * self.unit < value);
        self.counts[at] += 1;
        self.count += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum += value;
        self.squares += value * value;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.squares += other.squares;
    }

    pub(super) fn mean(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.sum / self.count as f64
        }
    }

    pub(super) fn deviation(&self) -> f64 {
        let mean = self.mean();
        let variance = if self.count == 0 {
            0.0
        } else {
            self.squares / self.count as f64 - mean * mean
        };
        variance.max(0.0).sqrt()
    }

    /// Ranges that hold values; the outer ones end where the values do.
    pub(super) fn ranges(&self) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::new();
        let mut so_far = 0;
        for (at, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            so_far += count;
            let edge = |at: usize| f64::from(ENDS[at]) * self.unit;
            let start = if at == 0 { 0.0 } else { edge(at - 1) };
            let last = so_far == self.count;
            ranges.push(Range {
                start: if ranges.is_empty() { self.min } else { start },
                end: if last || at == ENDS.len() {
                    self.max
                } else {
                    edge(at)
                },
                count,
                percent: 100.0 * so_far as f64 / self.count as f64,
            });
        }
        ranges
    }

    /// The value that `percent` of all values do not exceed, as far as ranges tell.
    pub(super) fn percentile(&self, percent: f64) -> f64 {
        let mut before = 0.0;
        for range in self.ranges() {
            if percent <= range.percent {
                let part = (percent - before) / (range.percent - before);
                return range.start + part * (range.end - range.start);
            }
            before = range.percent;
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Histogram {
        let mut histogram = Histogram::new(0.001);
        values.iter().for_each(|value| histogram.record(*value));
        histogram
    }

    #[test]
    fn ranges_and_percentiles_are_fortio_s() {
        let histogram = of(&[0.0005, 0.0015, 0.0015, 0.013]);
        let ranges = histogram.ranges();
        assert_eq!(
            ranges.iter().map(|range| range.count).collect::<Vec<_>>(),
            [1, 2, 1]
        );
        assert_eq!((ranges[0].start, ranges[0].end), (0.0005, 0.001));
        assert_eq!((ranges[2].start, ranges[2].end), (0.012, 0.013));
        assert!((histogram.percentile(50.0) - 0.0015).abs() < 1e-9);
        assert!((histogram.percentile(100.0) - 0.013).abs() < 1e-9);
        assert!((histogram.percentile(0.0) - 0.0005).abs() < 1e-9);
    }

    #[test]
    fn nothing_and_too_much_have_a_place() {
        let empty = of(&[]);
        assert!(
            empty.ranges().is_empty()
                && empty.percentile(50.0).abs() < 1e-9
                && empty.deviation().abs() < 1e-9
        );
        let huge = of(&[1e9, 2e9]);
        assert_eq!(huge.ranges().len(), 1);
        assert!((huge.percentile(100.0) - 2e9).abs() < 1.0);
    }

    #[test]
    fn merged_histograms_are_one() {
        let (mut one, two) = (of(&[0.001, 0.002]), of(&[0.004]));
        one.merge(&two);
        assert_eq!((one.count, one.ranges().len()), (3, 3));
        assert!((one.mean() - 0.007 / 3.0).abs() < 1e-9);
    }
}
