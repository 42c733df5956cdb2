//! Values of options: numbers, times, sizes, topics. Ours are read whole; mosquitto's as C reads them.

use std::time::Duration;

use martlet_codec::{TopicFilter, TopicName};

use super::problem::{Problem, What};
use crate::programs::Dialect;

/// A whole number in a range.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) option: &'static str,
    pub(super) least: i64,
    pub(super) most: i64,
    pub(super) wants: &'static str,
}

impl Range {
    /// Reads it; C's atoi makes 0 of what is no number.
    pub(super) fn read(self, text: &str, dialect: Dialect) -> Result<i64, Problem> {
        let number = match dialect {
            Dialect::Martlet => text.parse().ok(),
            Dialect::Mosquitto => Some(atoi(text)),
        };
        match number {
            Some(number) if (self.least..=self.most).contains(&number) => Ok(number),
            _ => Err(Problem::Number {
                option: self.option,
                read: number.unwrap_or(0),
                given: text.to_owned(),
                wants: self.wants,
            }),
        }
    }
}

/// A number as `atoi` reads it: what can be read at the start, else 0.
pub(super) fn atoi(text: &str) -> i64 {
    let text = text.trim_start();
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..)),
        Some(b'+') => (false, text.get(1..)),
        _ => (false, Some(text)),
    };
    let mut number = 0_i64;
    for digit in digits
        .unwrap_or_default()
        .bytes()
        .take_while(u8::is_ascii_digit)
    {
        number = number
            .saturating_mul(10)
            .saturating_add(i64::from(digit - b'0'));
    }
    if negative { -number } else { number }
}

/// A number as `atof` reads it.
pub(super) fn atof(text: &str) -> f64 {
    let text = text.trim_start();
    (0..=text.len())
        .rev()
        .filter_map(|end| text.get(..end))
        .find_map(|start| start.parse().ok())
        .unwrap_or(0.0)
}

/// A session's expiry as `strtol` with base 0 reads it: decimal, 0x hexadecimal, 0 octal; the whole word.
pub(super) fn strtol(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let number = if let Some(hexadecimal) = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        i64::from_str_radix(hexadecimal, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        i64::from_str_radix(digits, 8)
    } else if digits.bytes().all(|digit| digit.is_ascii_digit()) {
        digits.parse()
    } else {
        return None;
    };
    let number = number.ok()?;
    Some(if negative { -number } else { number })
}

/// `5`, `0.5`, `500ms`, `2m`: seconds if nothing is said.
pub(super) fn duration(option: &'static str, text: &str) -> Result<Duration, Problem> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let factor = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        _ => return Err(time(option, text)),
    };
    let seconds: f64 = digits.parse().map_err(|_| time(option, text))?;
    Duration::try_from_secs_f64(seconds * factor).map_err(|_| time(option, text))
}

fn time(option: &'static str, text: &str) -> Problem {
    Problem::Value {
        option,
        given: text.to_owned(),
        wants: "a time; write 5, 0.5, 500ms or 2m",
    }
}

/// `1024`, `1KB`, `2MiB`.
pub(super) fn size(option: &'static str, text: &str) -> Result<usize, Problem> {
    let wrong = || Problem::Value {
        option,
        given: text.to_owned(),
        wants: "a size up to 256MiB; write 100, 1KB or 1MiB",
    };
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "kib" => 1_024,
        "m" | "mb" => 1_000_000,
        "mib" => 1_048_576,
        _ => return Err(wrong()),
    };
    let number: usize = digits.parse().map_err(|_| wrong())?;
    number
        .checked_mul(factor)
        .filter(|bytes| *bytes <= PAYLOAD_MAX)
        .ok_or_else(wrong)
}

/// A topic or filter for a purpose.
pub(super) fn topic(
    what: What,
    option: &'static str,
    text: &str,
    dialect: Dialect,
) -> Result<String, Problem> {
    let plain = matches!(what, What::Publish | What::Response | What::Will);
    let why = match dialect {
        Dialect::Mosquitto if has_control(text) => return Err(Problem::NotUtf8 { option }),
        Dialect::Mosquitto if plain => text.contains(['+', '#']).then(String::new),
        Dialect::Mosquitto => (!wildcards_alone(text)).then(String::new),
        Dialect::Martlet if plain => TopicName::new(text).err().map(|error| error.to_string()),
        Dialect::Martlet => TopicFilter::new(text).err().map(|error| error.to_string()),
    };
    match why.or_else(|| (text.len() > 65_535).then(String::new)) {
        None => Ok(text.to_owned()),
        Some(why) => Err(Problem::Topic {
            what,
            option,
            given: shortened(text),
            why,
        }),
    }
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 80;
    if text.chars().count() <= SHOWN {
        text.to_owned()
    } else {
        text.chars().take(SHOWN).chain("...".chars()).collect()
    }
}

/// mosquitto takes control characters for ill-formed UTF-8.
fn has_control(text: &str) -> bool {
    text.chars().any(|character| {
        let code = u32::from(character);
        character.is_control() || code & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&code)
    })
}

/// mosquitto's rule for filters: it knows nothing of groups, and an empty one is right.
fn wildcards_alone(filter: &str) -> bool {
    let levels = filter.split('/').count();
    filter
        .split('/')
        .enumerate()
        .all(|(index, level)| match level {
            "+" => true,
            "#" => index + 1 == levels,
            level => !level.contains(['+', '#']),
        })
}

/// The longest payload that a packet can have.
pub(super) const PAYLOAD_MAX: usize = 268_435_455;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{What, atof, atoi, duration, size, strtol, topic};
    use crate::programs::Dialect::{Martlet, Mosquitto};

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        assert_eq!(
            [atoi("12"), atoi(" -3x"), atoi("abc"), atoi("+7")],
            [12, -3, 0, 7]
        );
        for (text, wanted) in [("1.5x", 1.5), ("x", 0.0), ("-1", -1.0), ("1e1", 10.0)] {
            assert!((atof(text) - wanted).abs() < 1e-9, "{text}");
        }
        let read = ["0x10", "010", "10", "-1", "1x", ""].map(strtol);
        assert_eq!(read, [Some(16), Some(8), Some(10), Some(-1), None, None]);
    }

    #[test]
    fn times_and_sizes_have_units() {
        for (text, milliseconds) in [
            ("5", 5_000),
            ("0.5", 500),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                duration("-W", text).unwrap(),
                Duration::from_millis(milliseconds)
            );
        }
        for wrong in ["", "x", "-1", "5 s", "1d", "nan", "inf"] {
            assert!(duration("-W", wrong).is_err(), "{wrong}");
        }
        assert_eq!(size("--size", "1KB").unwrap(), 1_000);
        assert_eq!(size("--size", "2MiB").unwrap(), 2_097_152);
        assert!(size("--size", "1TB").is_err());
        assert!(size("--size", "300MB").is_err());
    }

    #[test]
    fn topics_are_judged_by_the_dialect() {
        assert!(topic(What::Publish, "-t", "", Mosquitto).is_ok());
        assert!(topic(What::Publish, "-t", "", Martlet).is_err());
        assert!(topic(What::Publish, "-t", "a/+", Mosquitto).is_err());
        assert!(topic(What::Subscription, "-t", "$share/g", Mosquitto).is_ok());
        assert!(topic(What::Subscription, "-t", "$share/g", Martlet).is_err());
        for filter in ["a/#/b", "a+", "+#", "#a"] {
            assert!(
                topic(What::Subscription, "-t", filter, Mosquitto).is_err(),
                "{filter}"
            );
            assert!(
                topic(What::Subscription, "-t", filter, Martlet).is_err(),
                "{filter}"
            );
        }
        assert!(topic(What::Filter, "-T", "a\u{1}", Mosquitto).is_err());
    }
}
