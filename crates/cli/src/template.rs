//! `--template`: a payload with fields that are filled in for each message.
//!
//! A field stands between double braces, `{{n}}`, because payloads are often JSON, where single ones are common.

use std::fmt;
use std::time::Duration;

/// A checked template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

/// One part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Number,
    Topic,
    /// What the line of standard input gave.
    Line,
    /// RFC 3339, in UTC.
    Time,
    Unix,
    UnixMs,
    /// A whole number in this range, both ends included.
    Random(i64, i64),
}

/// What the fields stand for.
pub(crate) struct Filling<'a> {
    /// Which message it is, from 1.
    pub(crate) number: u64,
    pub(crate) topic: &'a str,
    pub(crate) line: &'a [u8],
    /// Since 1970.
    pub(crate) now: Duration,
    /// 64 random bits.
    pub(crate) random: &'a mut dyn FnMut() -> u64,
}

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TemplateError {
    NotClosed,
    UnknownField(String),
    /// The range of `{{random:..}}`.
    Range(String),
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = find(rest, b"{{") {
            let (literal, behind) = rest.split_at(open);
            let behind = behind.get(OPEN..).unwrap_or_default();
            let close = find(behind, b"}}").ok_or(TemplateError::NotClosed)?;
            let (name, after) = behind.split_at(close);
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_vec()));
            }
            pieces.push(piece(&String::from_utf8_lossy(name))?);
            rest = after.get(OPEN..).unwrap_or_default();
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.to_vec()));
        }
        Ok(Self(pieces))
    }

    /// Whether it takes up what a line of standard input says.
    pub(crate) fn wants_line(&self) -> bool {
        self.0.contains(&Piece::Line)
    }

    /// The payload of one message.
    pub(crate) fn fill(&self, with: &mut Filling<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Number => out.extend_from_slice(with.number.to_string().as_bytes()),
                Piece::Topic => out.extend_from_slice(with.topic.as_bytes()),
                Piece::Line => out.extend_from_slice(with.line),
                Piece::Time => out.extend_from_slice(rfc3339(with.now).as_bytes()),
                Piece::Unix => out.extend_from_slice(with.now.as_secs().to_string().as_bytes()),
                Piece::UnixMs => {
                    out.extend_from_slice(with.now.as_millis().to_string().as_bytes());
                }
                Piece::Random(low, high) => {
                    let number = between(*low, *high, (with.random)());
                    out.extend_from_slice(number.to_string().as_bytes());
                }
            }
        }
        out
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotClosed => {
                f.write_str("'{{' without '}}'; write {{brace}} for two braces that are text")
            }
            Self::UnknownField(name) => write!(
                f,
                "there is no field '{{{{{name}}}}}'; there are n, topic, line, time, unix, unix_ms, random:LOW:HIGH and brace"
            ),
            Self::Range(range) => write!(
                f,
                "'{range}' is no range of whole numbers; write {{{{random:1:6}}}}"
            ),
        }
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len())
        .position(|window| window == wanted)
}

fn piece(name: &str) -> Result<Piece, TemplateError> {
    let name = name.trim();
    Ok(match name {
        "n" => Piece::Number,
        "topic" => Piece::Topic,
        "line" => Piece::Line,
        "time" => Piece::Time,
        "unix" => Piece::Unix,
        "unix_ms" => Piece::UnixMs,
        "brace" => Piece::Literal(b"{{".to_vec()),
        _ => {
            let Some(range) = name.strip_prefix("random:") else {
                return Err(TemplateError::UnknownField(name.to_owned()));
            };
            let numbers = range.split_once(':').and_then(|(low, high)| {
                let (low, high) = (low.parse().ok()?, high.parse().ok()?);
                (low <= high).then_some((low, high))
            });
            let (low, high) = numbers.ok_or_else(|| TemplateError::Range(range.to_owned()))?;
            Piece::Random(low, high)
        }
    })
}

/// Which number the random bits stand for. The ends of the widest ranges are rarer by a part in 2^64 at most: these
/// are values for tests, not secrets.
fn between(low: i64, high: i64, random: u64) -> i64 {
    let span = i128::from(high) - i128::from(low) + 1;
    let number = i128::from(low) + i128::from(random) % span;
    i64::try_from(number).unwrap_or(high)
}

/// `2026-11-21T12:30:00.123Z`
fn rfc3339(since_1970: Duration) -> String {
    let seconds = i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX);
    // Beyond the calendar only a clock that is very wrong gets.
    match tz::UtcDateTime::from_timespec(seconds, 0) {
        Ok(time) => format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            time.year(),
            time.month(),
            time.month_day(),
            time.hour(),
            time.minute(),
            time.second(),
            since_1970.subsec_millis()
        ),
        Err(_) => String::new(),
    }
}

/// The length of two braces.
const OPEN: usize = 2;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Filling, Template, TemplateError};

    fn fill(text: &str, random: u64) -> String {
        let mut random = move || random;
        let mut filling = Filling {
            number: 7,
            topic: "a/b",
            line: b"the line",
            now: Duration::from_millis(1_795_264_200_045),
            random: &mut random,
        };
        let bytes = Template::parse(text.as_bytes()).unwrap().fill(&mut filling);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn fields_are_filled_in_and_single_braces_are_text() {
        assert_eq!(
            fill(
                "{\"n\":{{n}},\"t\":\"{{ topic }}\",\"v\":{\"x\":\"{{line}}\"}}",
                0
            ),
            "{\"n\":7,\"t\":\"a/b\",\"v\":{\"x\":\"the line\"}}"
        );
        assert_eq!(
            fill("{{unix}} {{unix_ms}} {{time}}", 0),
            "1795264200 1795264200045 2026-11-21T12:30:00.045Z"
        );
        assert_eq!(fill("{{brace}}n}}", 0), "{{n}}");
        assert_eq!(fill("plain { } text", 0), "plain { } text");
        assert_eq!(fill("", 0), "");
    }

    #[test]
    fn random_numbers_keep_to_their_range() {
        for (random, low, high, number) in [
            (0, "1", "6", "1"),
            (5, "1", "6", "6"),
            (6, "1", "6", "1"),
            (u64::MAX, "-3", "-3", "-3"),
            (
                0,
                "-9223372036854775808",
                "9223372036854775807",
                "-9223372036854775808",
            ),
            (
                u64::MAX,
                "-9223372036854775808",
                "9223372036854775807",
                "9223372036854775807",
            ),
        ] {
            let text = format!("{{{{random:{low}:{high}}}}}");
            assert_eq!(fill(&text, random), number, "{text} {random}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused_with_a_remedy() {
        for (text, part) in [
            ("a {{n", "write {{brace}}"),
            ("{{m}}", "no field '{{m}}'; there are n, topic"),
            ("{{}}", "no field '{{}}'"),
            ("{{random:6:1}}", "write {{random:1:6}}"),
            ("{{random:1}}", "'1' is no range"),
            ("{{random:a:b}}", "'a:b' is no range"),
        ] {
            let error = Template::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert_eq!(
            Template::parse(b"{{ {{n}}"),
            Err(TemplateError::UnknownField("{{n".to_owned()))
        );
    }
}
