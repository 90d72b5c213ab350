//! Dates of HTTP, and of the calendar.

/// Seconds of a day.
const DAY: u64 = 86_400;
/// The first day of 1970 was a Thursday.
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Year, month and day of the month, both from 1, of so many days after the first of 1970.
pub(crate) fn calendar(days: u64) -> (u64, u64, u64) {
    // Days since 0000-03-01, in eras of 400 years: a year begins in March, so that leap days come last.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// The field `Date` of an answer that is made so many seconds after 1970 (RFC 9110 §6.6.1), as a line.
pub(crate) fn date_line(unix: u64) -> String {
    // A clock beyond the year 9999 tells nothing.
    let unix = unix.min(253_402_300_799);
    let (days, rest) = (unix / DAY, unix % DAY);
    let (year, month, day) = calendar(days);
    let (name, month) = (DAYS[(days % 7) as usize], MONTHS[(month - 1) as usize]);
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("Date: {name}, {day:02} {month} {year:04} {hours:02}:{minutes:02}:{seconds:02} GMT\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59"),
        ] {
            assert_eq!(date_line(unix), format!("Date: {date} GMT\r\n"));
        }
    }
}
