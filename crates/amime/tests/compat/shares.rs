//! Whether two lists of answers may come from the same distribution, and whether one has the expected shares.

use std::collections::BTreeMap;

/// How often each answer came.
pub(crate) fn tally(words: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(word.as_str()).or_default() += 1;
    }
    counts
}

/// The statistic of a chi-square test of two samples stays below what chance reaches once in a hundred thousand
/// times (the approximation by Wilson and Hilferty).
pub(crate) fn alike(one: &[String], other: &[String]) -> bool {
    let (a, b) = (tally(one), tally(other));
    let words: std::collections::BTreeSet<&str> = a.keys().chain(b.keys()).copied().collect();
    if words.len() < 2 {
        return true;
    }
    let (all_a, all_b) = (one.len() as f64, other.len() as f64);
    let mut statistic = 0.0;
    for word in &words {
        let count = |tally: &BTreeMap<&str, usize>| tally.get(word).copied().unwrap_or(0) as f64;
        let (in_a, in_b) = (count(&a), count(&b));
        let share = (in_a + in_b) / (all_a + all_b);
        statistic += (in_a - all_a * share).powi(2) / (all_a * share);
        statistic += (in_b - all_b * share).powi(2) / (all_b * share);
    }
    let freedom = (words.len() - 1) as f64;
    let ninth = 2.0 / (9.0 * freedom);
    let bound = freedom * (1.0 - ninth + 4.265 * ninth.sqrt()).powi(3);
    statistic <= bound
}

/// Whether `count` of `all` is `share`, within 4.5 standard deviations.
pub(crate) fn fits(count: usize, all: usize, share: f64) -> bool {
    let (count, all) = (count as f64, all as f64);
    (count - all * share).abs() <= 4.5 * (all * share * (1.0 - share)).sqrt() + 1e-9
}

#[test]
fn what_chance_does_is_alike_and_what_it_does_not_is_not() {
    let words = |counts: &[(&str, usize)]| -> Vec<String> {
        let of = |(word, count): &(&str, usize)| vec![(*word).to_owned(); *count];
        counts.iter().flat_map(of).collect()
    };
    assert!(alike(
        &words(&[("a", 90), ("b", 10)]),
        &words(&[("a", 93), ("b", 7)])
    ));
    assert!(!alike(
        &words(&[("a", 90), ("b", 10)]),
        &words(&[("a", 50), ("b", 50)])
    ));
    assert!(!alike(&words(&[("a", 40)]), &words(&[("b", 40)])));
    assert!(alike(&words(&[("a", 40)]), &words(&[("a", 40)])));
    assert!(fits(88, 100, 0.9) && !fits(60, 100, 0.9) && !fits(1, 100, 0.0));
}
