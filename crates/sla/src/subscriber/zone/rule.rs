//! The rule at the end of a zone file: POSIX's `TZ`, such as `CET-1CEST,M3.5.0,M10.5.0/3`, with the wider hours
//! of RFC 9636, section 3.3.2.

use crate::subscriber::civil::{Civil, DAY, days, is_leap};

/// Standard time and, perhaps, a summer time that comes every year.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Rule {
    standard: i32,
    summer: Option<Summer>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Summer {
    offset: i32,
    start: Change,
    end: Change,
}

/// A moment of each year in the local time that rules before it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Change {
    day: Day,
    /// Seconds after (or before) midnight.
    time: i32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Day {
    /// `n`: days since 1 January, 29 February counted.
    Count(i64),
    /// `Jn`: 1 to 365, 29 February never counted.
    Julian(i64),
    /// `Mm.w.d`: the w-th (5 = last) weekday d (0 = Sunday) of month m.
    Weekday { month: i64, week: i64, day: i64 },
}

impl Rule {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        name(&mut rest)?;
        let standard = -time(&mut rest)?;
        if rest.is_empty() {
            return Some(Self { standard, summer: None });
        }
        name(&mut rest)?;
        let offset = match rest.chars().next() {
            None | Some(',') => standard + HOUR,
            Some(_) => -time(&mut rest)?,
        };
        if rest.is_empty() {
            rest = DEFAULT_CHANGES;
        }
        let (start, end) = (change(&mut rest)?, change(&mut rest)?);
        rest.is_empty().then_some(Self { standard, summer: Some(Summer { offset, start, end }) })
    }

    /// Seconds east of UTC at the moment `at`.
    pub(super) fn offset(&self, at: i64) -> i32 {
        let Some(summer) = &self.summer else { return self.standard };
        let year = Civil::from_seconds(at.saturating_add(i64::from(self.standard))).year;
        let start = summer.start.in_year(year) - i64::from(self.standard);
        let end = summer.end.in_year(year) - i64::from(summer.offset);
        let is_summer = if start <= end {
            start <= at && at < end
        } else {
            // South of the equator summer lasts over the new year.
            at < end || start <= at
        };
        if is_summer { summer.offset } else { self.standard }
    }
}

impl Change {
    /// Seconds from 1970, in the local time before the change.
    fn in_year(self, year: i64) -> i64 {
        let first = days(year, 1, 1);
        let day = match self.day {
            Day::Count(n) => first + n,
            Day::Julian(n) => first + n - 1 + i64::from(n >= 60 && is_leap(year)),
            Day::Weekday { month, week, day } => {
                let start = days(year, month, 1);
                let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                let length = days(next_year, next_month, 1) - start;
                // 1970-01-01 was a Thursday.
                let to_first = (day - (start + 4)).rem_euclid(7);
                let mut of_month = to_first + (week - 1) * 7;
                if of_month >= length {
                    of_month -= 7;
                }
                start + of_month
            }
        };
        day * DAY + i64::from(self.time)
    }
}

/// Skips `CET` or `<+03>`.
fn name(rest: &mut &str) -> Option<()> {
    let end = match rest.strip_prefix('<') {
        Some(quoted) => quoted.find('>')? + 2,
        None => rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len()),
    };
    *rest = rest.get(end..)?;
    (end >= 3).then_some(())
}

/// `,M3.5.0/2`
fn change(rest: &mut &str) -> Option<Change> {
    eat(rest, ',').then_some(())?;
    let day = if eat(rest, 'M') {
        let month = number(rest, 1, 12)?;
        eat(rest, '.').then_some(())?;
        let week = number(rest, 1, 5)?;
        eat(rest, '.').then_some(())?;
        Day::Weekday { month, week, day: number(rest, 0, 6)? }
    } else if eat(rest, 'J') {
        Day::Julian(number(rest, 1, 365)?)
    } else {
        Day::Count(number(rest, 0, 365)?)
    };
    let time = if eat(rest, '/') { time(rest)? } else { 2 * HOUR };
    Some(Change { day, time })
}

/// `[+-]hh[:mm[:ss]]` in seconds.
fn time(rest: &mut &str) -> Option<i32> {
    let negative = eat(rest, '-');
    if !negative {
        eat(rest, '+');
    }
    let mut seconds = number(rest, 0, 167)? * 3600;
    if eat(rest, ':') {
        seconds += number(rest, 0, 59)? * 60;
        if eat(rest, ':') {
            seconds += number(rest, 0, 59)?;
        }
    }
    let seconds = i32::try_from(seconds).ok()?;
    Some(if negative { -seconds } else { seconds })
}

fn number(rest: &mut &str, least: i64, most: i64) -> Option<i64> {
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, after) = rest.split_at_checked(end)?;
    *rest = after;
    digits.parse().ok().filter(|number| (least..=most).contains(number))
}

fn eat(rest: &mut &str, wanted: char) -> bool {
    let after = rest.strip_prefix(wanted);
    *rest = after.unwrap_or(rest);
    after.is_some()
}

const HOUR: i32 = 3600;
/// What POSIX leaves to the system and all systems fill in so: the rule of the United States.
const DEFAULT_CHANGES: &str = ",M3.2.0,M11.1.0";

#[cfg(test)]
mod tests {
    use super::*;

    /// Year, month, day and hour in UTC.
    type Moment = (i64, i64, i64, i64);

    /// From each moment on, and not a second before, local time is so many hours east.
    fn offsets(rule: &str, cases: &[(Moment, i32)]) {
        let rule = Rule::parse(rule).expect("a rule");
        for &((year, month, day, hour), hours) in cases {
            let at = days(year, month, day) * DAY + hour * 3600;
            assert_eq!(rule.offset(at), hours * 3600, "{year}-{month}-{day} {hour} UTC");
            assert_ne!(rule.offset(at - 1), hours * 3600, "a second before {year}-{month}-{day} {hour} UTC");
        }
    }

    #[test]
    fn european_summer_changes_at_one_utc() {
        offsets(
            "CET-1CEST,M3.5.0,M10.5.0/3",
            &[((2024, 3, 31, 1), 2), ((2024, 10, 27, 1), 1), ((2027, 3, 28, 1), 2), ((2027, 10, 31, 1), 1)],
        );
    }

    #[test]
    fn american_summer_changes_at_two_local() {
        let cases = [((2026, 3, 8, 7), -4), ((2026, 11, 1, 6), -5)];
        offsets("EST5EDT,M3.2.0,M11.1.0", &cases);
        offsets("EST5EDT", &cases);
    }

    #[test]
    fn southern_summer_lasts_over_the_new_year() {
        offsets("AEST-10AEDT,M10.1.0,M4.1.0/3", &[((2026, 4, 4, 16), 10), ((2026, 10, 3, 16), 11)]);
    }

    #[test]
    fn times_before_midnight_and_beyond_a_day_are_understood() {
        // Greenland before 2023, and Gaza.
        offsets("<-03>3<-02>,M3.5.0/-2,M10.5.0/-1", &[((2022, 3, 27, 1), -2), ((2022, 10, 30, 1), -3)]);
        offsets("EET-2EEST,M3.4.4/50,M10.4.4/50", &[((2024, 3, 30, 0), 3), ((2024, 10, 25, 23), 2)]);
    }

    #[test]
    fn julian_days_skip_the_leap_day_and_counted_days_do_not() {
        offsets("AAA0BBB,J60/0,J300/0", &[((2024, 3, 1, 0), 1), ((2025, 3, 1, 0), 1)]);
        offsets("AAA0BBB,59/0,300/0", &[((2024, 2, 29, 0), 1), ((2025, 3, 1, 0), 1)]);
    }

    #[test]
    fn zone_without_summer_stays() {
        let rule = Rule::parse("<+0530>-5:30").expect("a rule");
        assert_eq!(rule.offset(0), 19_800);
        assert_eq!(Rule::parse("UTC0").expect("a rule").offset(1_780_000_000), 0);
    }

    #[test]
    fn nonsense_is_no_rule() {
        for text in
            ["", "Europe/Berlin", "CET", "CET-1CEST,", "CET-1CEST,M13.1.0,M1.1.0", "AB1", "<+03", "CET-1X9"]
        {
            assert_eq!(Rule::parse(text), None, "{text}");
        }
    }
}
