//! Values of settings and their units: `"16 MiB"`, `"7d"`, whole numbers.

/// What kind of value a setting takes, and its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole number.
    Count {
        /// The least that is right.
        min: u64,
        /// The most that is right.
        max: u64,
    },
    /// A number of bytes, or a string with a unit.
    Bytes {
        /// The least that is right.
        min: u64,
        /// The most that is right.
        max: u64,
    },
    /// A number of seconds, or a string with a unit; held in milliseconds.
    Duration {
        /// The least that is right, in milliseconds.
        min_ms: u64,
        /// The most that is right, in milliseconds.
        max_ms: u64,
        /// Whether `"never"` is right, too.
        never: bool,
    },
    /// `true` or `false`.
    Switch,
    /// Any text.
    Text,
    /// One of some words.
    Choice(&'static [&'static str]),
}

/// A value of the right kind, in its range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A count, bytes, or milliseconds.
    Number(u64),
    /// The duration without end.
    Never,
    /// A switch.
    Switch(bool),
    /// Text, or the chosen word.
    Text(String),
}

impl Kind {
    /// What would be right, in words.
    pub(super) fn expectation(self) -> String {
        match self {
            Self::Count { min, max } => format!("a whole number from {min} to {max}"),
            Self::Bytes { min, max } => {
                format!("a number of bytes from {min} to {max}, or a string like \"16 MiB\"")
            }
            Self::Duration {
                min_ms,
                max_ms,
                never,
            } => {
                let never = if never { " or \"never\"" } else { "" };
                format!(
                    "a number of seconds or a string like \"90s\" or \"7d\"{never}, from {} to {}",
                    words_of_duration(min_ms),
                    words_of_duration(max_ms)
                )
            }
            Self::Switch => "true or false".to_owned(),
            Self::Text => "a string".to_owned(),
            Self::Choice(words) => format!("one of \"{}\"", words.join("\", \"")),
        }
    }

    /// Takes a number as it stands in a file or a variable; `None` if it is not of this kind or out of range.
    pub(super) fn number(self, number: u64) -> Option<Value> {
        let (number, min, max) = match self {
            Self::Count { min, max } | Self::Bytes { min, max } => (number, min, max),
            Self::Duration { min_ms, max_ms, .. } => (number.checked_mul(1_000)?, min_ms, max_ms),
            Self::Switch | Self::Text | Self::Choice(_) => return None,
        };
        (min..=max)
            .contains(&number)
            .then_some(Value::Number(number))
    }

    /// Takes a string of a file; `None` if it is not of this kind or out of range.
    pub(super) fn text(self, text: &str) -> Option<Value> {
        match self {
            Self::Count { .. } | Self::Switch => None,
            Self::Bytes { min, max } => {
                let bytes = with_unit(text, BYTE_UNITS)?;
                (min..=max).contains(&bytes).then_some(Value::Number(bytes))
            }
            Self::Duration { never: true, .. } if text == "never" => Some(Value::Never),
            Self::Duration { min_ms, max_ms, .. } => {
                let millis = with_unit(text, DURATION_UNITS_MS)?;
                (min_ms..=max_ms)
                    .contains(&millis)
                    .then_some(Value::Number(millis))
            }
            Self::Text => Some(Value::Text(text.to_owned())),
            Self::Choice(words) => words.contains(&text).then(|| Value::Text(text.to_owned())),
        }
    }

    /// Takes the text of an environment variable, where everything is a string.
    pub(super) fn variable(self, text: &str) -> Option<Value> {
        let text = text.trim();
        match self {
            Self::Switch => match text {
                "true" | "1" | "yes" => Some(Value::Switch(true)),
                "false" | "0" | "no" => Some(Value::Switch(false)),
                _ => None,
            },
            Self::Text | Self::Choice(_) => self.text(text),
            Self::Count { .. } | Self::Bytes { .. } | Self::Duration { .. } => text
                .parse()
                .map_or_else(|_| self.text(text), |number: u64| self.number(number)),
        }
    }
}

/// A whole number directly before one of some units, with or without a space between them.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim_start();
    let (_, factor) = units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.checked_mul(*factor)
}

/// A duration in the largest unit that says it exactly.
fn words_of_duration(millis: u64) -> String {
    DURATION_UNITS_MS
        .iter()
        .rev()
        .find(|(_, factor)| millis >= *factor && millis.is_multiple_of(*factor))
        .map_or_else(
            || format!("{millis}ms"),
            |(name, factor)| format!("{}{name}", millis / factor),
        )
}

const BYTE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// Smallest first.
const DURATION_UNITS_MS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

#[cfg(test)]
mod tests {
    use super::{Kind, Value, words_of_duration};

    const SIZE: Kind = Kind::Bytes {
        min: 1,
        max: 1 << 40,
    };
    const SPAN: Kind = Kind::Duration {
        min_ms: 0,
        max_ms: 86_400_000 * 30,
        never: true,
    };

    #[test]
    fn sizes_take_binary_and_decimal_units() {
        assert_eq!(SIZE.text("16 MiB"), Some(Value::Number(16 << 20)));
        assert_eq!(SIZE.text("64KiB"), Some(Value::Number(65_536)));
        assert_eq!(SIZE.text("1 kB"), Some(Value::Number(1_000)));
        for wrong in [
            "",
            "MiB",
            "1.5 MiB",
            "16 MiBs",
            "-1 B",
            "99999999999999999999 B",
            "12",
        ] {
            assert_eq!(SIZE.text(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn durations_are_seconds_or_carry_a_unit() {
        assert_eq!(SPAN.number(90), Some(Value::Number(90_000)));
        assert_eq!(SPAN.text("7d"), Some(Value::Number(604_800_000)));
        assert_eq!(SPAN.text("250 ms"), Some(Value::Number(250)));
        assert_eq!(SPAN.text("never"), Some(Value::Never));
        assert_eq!(SPAN.text("31d"), None, "over the range");
        assert_eq!(SPAN.number(u64::MAX), None, "no overflow");
    }

    #[test]
    fn variables_are_read_as_the_kind_asks() {
        let count = Kind::Count { min: 1, max: 64 };
        assert_eq!(count.variable(" 4 "), Some(Value::Number(4)));
        assert_eq!(count.variable("65"), None);
        assert_eq!(SIZE.variable("4096"), Some(Value::Number(4_096)));
        assert_eq!(SIZE.variable("4 KiB"), Some(Value::Number(4_096)));
        assert_eq!(Kind::Switch.variable("yes"), Some(Value::Switch(true)));
        assert_eq!(Kind::Switch.variable("maybe"), None);
        assert_eq!(
            Kind::Choice(&["human", "json"]).variable("json"),
            Some(Value::Text("json".to_owned()))
        );
    }

    #[test]
    fn durations_are_worded_in_the_largest_exact_unit() {
        assert_eq!(words_of_duration(0), "0ms");
        assert_eq!(words_of_duration(90_000), "90s");
        assert_eq!(words_of_duration(3_600_000), "1h");
        assert_eq!(words_of_duration(86_400_000 * 30), "30d");
    }
}
