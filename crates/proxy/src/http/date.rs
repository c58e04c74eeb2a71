//! Dates: the `date` header, made once a second, and times for people.

use std::cell::RefCell;
use std::time::SystemTime;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The text of the current second.
#[derive(Debug, Default)]
pub(crate) struct DateCache(RefCell<(u64, String)>);

impl DateCache {
    /// Hands the date at `seconds` since 1970 to `use_it`.
    pub(crate) fn at<T>(&self, seconds: u64, use_it: impl FnOnce(&str) -> T) -> T {
        let mut cache = self.0.borrow_mut();
        if cache.0 != seconds || cache.1.is_empty() {
            *cache = (seconds, http_date(seconds));
        }
        use_it(&cache.1)
    }
}

/// RFC 9110, 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let name = DAYS[usize::try_from(days % 7).expect("below 7")];
    let month = MONTHS[month];
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{name}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

/// ISO 8601 in UTC with milliseconds: `1994-11-06T08:49:37.000Z`.
pub(crate) fn iso8601(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, of_day) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let (month, millisecond) = (month + 1, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

/// A time in UTC as `strftime` writes it, with Envoy's additions: `%3f` and its like are fractions of a second, `%3s`
/// seconds since 1970 with fraction. What is no conversion stays as it is.
pub(crate) fn strftime(format: &str, at: SystemTime) -> String {
    let parts = Parts::new(at);
    let mut out = String::new();
    let mut left = format.chars();
    while let Some(c) = left.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let rest = left.as_str();
        let digit = rest.chars().next().and_then(|c| c.to_digit(10));
        if digit.is_some() || rest.starts_with('E') {
            left.next();
        }
        let Some(conversion) = left.next() else {
            out.push('%');
            out.push_str(rest);
            break;
        };
        match parts.conversion(conversion, digit) {
            Some(text) => out.push_str(&text),
            None => {
                out.push('%');
                out.push_str(&rest[..rest.len() - left.as_str().len()]);
            }
        }
    }
    out
}

/// A moment, taken apart.
struct Parts {
    seconds: u64,
    nanoseconds: u32,
    year: u64,
    /// From 0.
    month: usize,
    day: u64,
}

impl Parts {
    fn new(at: SystemTime) -> Self {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (year, month, day) = civil(since.as_secs() / 86_400);
        Self {
            seconds: since.as_secs(),
            nanoseconds: since.subsec_nanos(),
            year,
            month,
            day,
        }
    }

    fn conversion(&self, conversion: char, digits: Option<u32>) -> Option<String> {
        let of_day = self.seconds % 86_400;
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        let half_day = match hour % 12 {
            0 => 12,
            hour => hour,
        };
        let weekday = usize::try_from(self.seconds / 86_400 % 7).expect("below 7");
        let fraction = |digits: u32| {
            let digits = digits.clamp(1, 9);
            let value = self.nanoseconds / 10_u32.pow(9 - digits);
            format!("{value:0width$}", width = digits as usize)
        };
        Some(match (conversion, digits) {
            ('f', digits) => fraction(digits.unwrap_or(9)),
            ('s', Some(digits)) => format!("{}{}", self.seconds, fraction(digits)),
            ('s', None) => self.seconds.to_string(),
            (_, Some(_)) => return None,
            ('Y', _) => format!("{:04}", self.year),
            ('y', _) => format!("{:02}", self.year % 100),
            ('m', _) => format!("{:02}", self.month + 1),
            ('d', _) => format!("{:02}", self.day),
            ('e', _) => format!("{:>2}", self.day),
            ('j', _) => format!("{:03}", self.day_of_year()),
            ('H', _) => format!("{hour:02}"),
            ('I', _) => format!("{half_day:02}"),
            ('M', _) => format!("{minute:02}"),
            ('S', _) => format!("{second:02}"),
            ('p', _) => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            ('F', _) => format!("{:04}-{:02}-{:02}", self.year, self.month + 1, self.day),
            ('D', _) => format!("{:02}/{:02}/{:02}", self.month + 1, self.day, self.year % 100),
            ('T', _) => format!("{hour:02}:{minute:02}:{second:02}"),
            ('R', _) => format!("{hour:02}:{minute:02}"),
            ('a', _) => DAYS[weekday].to_owned(),
            ('b' | 'h', _) => MONTHS[self.month].to_owned(),
            // 1970 began on a Thursday.
            ('w', _) => ((weekday + 4) % 7).to_string(),
            ('z', _) => "+0000".to_owned(),
            ('Z', _) => "UTC".to_owned(),
            ('n', _) => "\n".to_owned(),
            ('t', _) => "\t".to_owned(),
            ('%', _) => "%".to_owned(),
            _ => return None,
        })
    }

    fn day_of_year(&self) -> u64 {
        let leap =
            self.year.is_multiple_of(4) && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30];
        lengths.iter().take(self.month).sum::<u64>() + self.day
    }
}

/// Year, month from 0 and day of month, from days since 1970; counted in eras of 400 years that begin in March.
fn civil(days: u64) -> (u64, usize, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12;
    let year = 400 * era + year_of_era + u64::from(month < 2);
    (year, usize::try_from(month).expect("below 12"), day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_standard() {
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(http_date(1_767_225_599), "Wed, 31 Dec 2025 23:59:59 GMT");
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(784_111_777_042);
        assert_eq!(iso8601(time), "1994-11-06T08:49:37.042Z");
    }

    #[test]
    fn times_are_written_as_strftime_and_envoy_write_them() {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::new(784_111_777, 42_003_004);
        for (format, text) in [
            ("%Y/%m/%dT%H:%M:%S%z", "1994/11/06T08:49:37+0000"),
            ("%s.%3f|%6f|%9f|%f", "784111777.042|042003|042003004|042003004"),
            ("%3s %e %j %a %b %w %I%p", "784111777042  6 310 Sun Nov 0 08AM"),
            ("%F %T %D %R %y%%", "1994-11-06 08:49:37 11/06/94 08:49 94%"),
            ("%Q %", "%Q %"),
            ("plain é", "plain é"),
        ] {
            assert_eq!(strftime(format, time), text, "{format}");
        }
    }
}
