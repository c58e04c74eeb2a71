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
}
