//! The format of a printed message, as mosquitto_sub's `-F` writes it.
//!
//! Map: here the grammar and its check; `fields` prints one `%` field, `json` the objects of `%j` and `%J`, `time`
//! the local time of `%I`, `%U` and `@`. [`Printer`] is what the programs use: it knows `-v`, `-N`, `--output`, too.

mod fields;
mod json;
mod printer;
mod time;

pub(crate) use self::json::{Json, Numbers};
use self::printer::Complaint;
pub(crate) use self::printer::{Incoming, Printer};

use std::fmt;

use crate::programs::Dialect;

/// A checked format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format(Vec<Piece>);

/// One part of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Field(Field),
    /// A conversion of strftime.
    Clock(u8),
}

/// A `%` field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    kind: u8,
    left: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
    /// Stands between groups of hexadecimal digits.
    separator: Option<u8>,
}

/// What is wrong with a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FormatError {
    IncompleteField,
    UnknownField(u8),
    IncompleteEscape,
    UnknownEscape(u8),
    TooWide,
}

impl Format {
    /// Reads a format.
    pub(crate) fn parse(text: &[u8], dialect: Dialect) -> Result<Self, FormatError> {
        let mut reader = Reader { text, at: 0 };
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        while let Some(byte) = reader.next() {
            let piece = match byte {
                b'%' => {
                    let field = reader.field(dialect)?;
                    if field.kind == b'%' {
                        literal.push(b'%');
                        continue;
                    }
                    Piece::Field(field)
                }
                b'@' => match reader.next().ok_or(FormatError::IncompleteField)? {
                    b'@' => {
                        literal.push(b'@');
                        continue;
                    }
                    conversion => Piece::Clock(conversion),
                },
                b'\\' => {
                    let escape = reader.next().ok_or(FormatError::IncompleteEscape)?;
                    literal.push(unescape(escape).ok_or(FormatError::UnknownEscape(escape))?);
                    continue;
                }
                other => {
                    literal.push(other);
                    continue;
                }
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self(pieces))
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IncompleteField => {
                f.write_str("it ends in the middle of a field; write %% for a percent sign")
            }
            Self::UnknownField(kind) => write!(
                f,
                "there is no field '%{}'; there are %t %p %x %X %l %q %r %m %j %J %I %U %A %C %D %E %F %P %R %S %d %f",
                char::from(*kind)
            ),
            Self::IncompleteEscape => f.write_str("it ends in a backslash; write \\\\ for one"),
            Self::UnknownEscape(escape) => write!(
                f,
                "there is no escape '\\{}'; there are \\\\ \\0 \\a \\e \\n \\r \\t \\v",
                char::from(*escape)
            ),
            Self::TooWide => write!(f, "a field is wider than {WIDTH_MAX}"),
        }
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn number(&mut self) -> Result<usize, FormatError> {
        let mut number = 0_usize;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            number = number * 10 + usize::from(digit - b'0');
            if number > WIDTH_MAX {
                return Err(FormatError::TooWide);
            }
            self.at += 1;
        }
        Ok(number)
    }

    /// What stands behind a `%`: `[-][0][width][.precision]letter`.
    fn field(&mut self, dialect: Dialect) -> Result<Field, FormatError> {
        let left = self.skip(b'-');
        let zero = self.skip(b'0');
        let width = self.number()?;
        let precision = if self.skip(b'.') {
            Some(self.number()?)
        } else {
            None
        };
        let mut separator = None;
        let mut kind = self.next().ok_or(FormatError::IncompleteField)?;
        if dialect == Dialect::Martlet
            && matches!(self.peek(), Some(b'x' | b'X'))
            && !is_field(kind, dialect)
        {
            // `%.2:x`: hexadecimal digits in groups of two bytes, as mosquitto 2.1 has it.
            separator = Some(kind);
            kind = self.next().ok_or(FormatError::IncompleteField)?;
        }
        if !is_field(kind, dialect) {
            return Err(FormatError::UnknownField(kind));
        }
        Ok(Field {
            kind,
            left,
            zero,
            width,
            precision,
            separator,
        })
    }
}

fn is_field(kind: u8, dialect: Dialect) -> bool {
    b"%ACDEFIJPRSUXjlmpqrtx".contains(&kind) || dialect == Dialect::Martlet && b"df".contains(&kind)
}

fn unescape(escape: u8) -> Option<u8> {
    Some(match escape {
        b'\\' => b'\\',
        b'0' => 0,
        b'a' => 0x07,
        b'e' => 0x1b,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        _ => return None,
    })
}

/// The widest field: more than any terminal, and no way to fill the memory.
const WIDTH_MAX: usize = 65_535;

#[cfg(test)]
mod tests {
    use super::{Format, FormatError};
    use crate::programs::Dialect::{Martlet, Mosquitto};

    #[test]
    fn what_mosquitto_refuses_is_refused() {
        for (format, error) in [
            ("%", FormatError::IncompleteField),
            ("%5", FormatError::IncompleteField),
            ("%-0", FormatError::IncompleteField),
            ("%5.", FormatError::IncompleteField),
            ("a@", FormatError::IncompleteField),
            ("%y", FormatError::UnknownField(b'y')),
            ("%d", FormatError::UnknownField(b'd')),
            ("%0-5p", FormatError::UnknownField(b'-')),
            ("\\y", FormatError::UnknownEscape(b'y')),
            ("\\", FormatError::IncompleteEscape),
            ("%99999p", FormatError::TooWide),
        ] {
            assert_eq!(
                Format::parse(format.as_bytes(), Mosquitto),
                Err(error),
                "{format}"
            );
        }
    }

    #[test]
    fn ours_knows_the_fields_of_mosquitto_2_1() {
        for format in ["%d", "%.2f", "%.2:x", "%.4 X"] {
            assert!(
                Format::parse(format.as_bytes(), Martlet).is_ok(),
                "{format}"
            );
        }
        assert!(Format::parse(b"%.2:p", Martlet).is_err());
    }
}
