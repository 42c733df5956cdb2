//! `--decode`: payloads that are no text, as JSON.
//!
//! Map: here the choice, and the bytes that all of them read; `cbor`, `msgpack` and `protobuf` are the forms. None
//! trusts a length that it reads: nothing is reserved for what has not come, and nesting has a bound.

mod cbor;
mod msgpack;
mod protobuf;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::format::{Json, Numbers};

/// The forms that a payload may have, tried in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decoder(Vec<Form>);

/// One form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Cbor,
    MessagePack,
    /// Without a schema: fields by their number.
    Protobuf,
}

impl Decoder {
    /// `cbor`, or several with commas between them; None for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let forms = text.split(',').map(|name| match name {
            "json" => Some(Form::Json),
            "cbor" => Some(Form::Cbor),
            "msgpack" => Some(Form::MessagePack),
            "protobuf" => Some(Form::Protobuf),
            _ => None,
        });
        forms.collect::<Option<Vec<Form>>>().map(Self)
    }

    /// The payload as JSON; the error says why it is none of the forms.
    pub(crate) fn decode(&self, payload: &[u8], pretty: bool) -> Result<Vec<u8>, String> {
        let mut complaints = Vec::new();
        for form in &self.0 {
            match form.decode(payload) {
                Ok(value) => {
                    let mut out = Vec::new();
                    value.write(pretty, Numbers::Exact, &mut out);
                    return Ok(out);
                }
                Err(flaw) => complaints.push(format!("no {}: {flaw}", form.name())),
            }
        }
        Err(complaints.join("; "))
    }
}

impl Form {
    const fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Cbor => "CBOR",
            Self::MessagePack => "MessagePack",
            Self::Protobuf => "Protobuf",
        }
    }

    fn decode(self, payload: &[u8]) -> Result<Json, Flaw> {
        let mut bytes = Bytes { rest: payload };
        let value = match self {
            Self::Json => {
                return serde_json::from_slice(payload)
                    .map_err(|error| Flaw::Json(error.to_string()));
            }
            Self::Cbor => cbor::value(&mut bytes, 0)?,
            Self::MessagePack => msgpack::value(&mut bytes, 0)?,
            Self::Protobuf => return protobuf::message(payload, 0),
        };
        match bytes.rest.len() {
            0 => Ok(value),
            count => Err(Flaw::Behind(count)),
        }
    }
}

/// Why bytes are not what they were taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Flaw {
    /// They end in the middle of a value.
    Short,
    /// Nested deeper than anybody means it.
    Deep,
    /// A value cannot start with this byte.
    Unknown(u8),
    /// So many bytes behind the value.
    Behind(usize),
    /// A text that is not UTF-8.
    Text,
    /// A field number, or a kind of field, that there is not.
    Field,
    Json(String),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("it ends in the middle of a value"),
            Self::Deep => write!(f, "nested deeper than {DEPTH_MAX} levels"),
            Self::Unknown(byte) => write!(f, "no value starts with the byte {byte:#04x}"),
            Self::Behind(count) => write!(f, "{count} bytes stand behind the value"),
            Self::Text => f.write_str("a text in it is not UTF-8"),
            Self::Field => f.write_str("a field in it has no number or an unknown kind"),
            Self::Json(why) => f.write_str(why),
        }
    }
}

/// Bytes that are read from the front.
struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    fn take(&mut self, count: u64) -> Result<&'a [u8], Flaw> {
        let count = usize::try_from(count).map_err(|_| Flaw::Short)?;
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Flaw::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Flaw::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, Flaw> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// An unsigned number of 1, 2, 4 or 8 bytes, the highest first.
    fn number(&mut self, size: usize) -> Result<u64, Flaw> {
        let bytes = self.take(u64::try_from(size).unwrap_or(u64::MAX))?;
        let number = bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Ok(number)
    }
}

/// One level down.
const fn deeper(depth: u8) -> Result<u8, Flaw> {
    if depth >= DEPTH_MAX {
        return Err(Flaw::Deep);
    }
    Ok(depth + 1)
}

fn text(bytes: &[u8]) -> Result<Json, Flaw> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Json::text(text)),
        Err(_) => Err(Flaw::Text),
    }
}

/// JSON has no bytes: base64, as `payload_b64` has it.
fn binary(bytes: &[u8]) -> Json {
    Json::text(&STANDARD.encode(bytes))
}

/// Names of members are texts: another key is written as JSON.
fn name(key: &Json) -> Vec<u8> {
    if let Json::Text(text) = key {
        return text.clone();
    }
    let mut out = Vec::new();
    key.write(false, Numbers::Exact, &mut out);
    out
}

/// The number that people read: 0.1, and not the nearest that a `double` has.
fn single(number: f32) -> Json {
    Json::Float(
        number
            .to_string()
            .parse()
            .unwrap_or_else(|_| f64::from(number)),
    )
}

/// Levels of nesting: what reads the JSON again stops at 128.
const DEPTH_MAX: u8 = 100;

#[cfg(test)]
mod tests {
    use super::Decoder;

    /// What a form makes of hexadecimal digits.
    pub(super) fn decode(form: &str, digits: &str) -> Result<String, String> {
        let digits: Vec<char> = digits.chars().filter(|digit| *digit != ' ').collect();
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
            .collect();
        let json = Decoder::parse(form).unwrap().decode(&bytes, false)?;
        Ok(String::from_utf8(json).unwrap())
    }

    #[test]
    fn several_forms_are_tried_in_their_order() {
        let decoder = Decoder::parse("json,cbor").unwrap();
        assert_eq!(decoder.decode(b" [1 , 2]", false).unwrap(), b"[1,2]");
        assert_eq!(decoder.decode(b"\x82\x01\x02", false).unwrap(), b"[1,2]");
        let why = decoder.decode(b"\xff", false).unwrap_err();
        assert!(
            why.starts_with("no JSON: ") && why.contains("; no CBOR: no value starts with"),
            "{why}"
        );
        for wrong in ["", "xml", "json,", "JSON"] {
            assert_eq!(Decoder::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn json_keeps_its_numbers_and_can_be_pretty() {
        let decoder = Decoder::parse("json").unwrap();
        let payload = br#"{"b":18446744073709551615,"a":0.1,"a":-1}"#;
        assert_eq!(decoder.decode(payload, false).unwrap(), payload);
        assert_eq!(
            decoder.decode(b"{\"a\":1}", true).unwrap(),
            b"{\n\t\"a\":\t1\n}"
        );
    }

    #[test]
    fn nothing_that_is_cut_off_or_random_does_harm() {
        // Every start of good values, and bytes of a fixed generator.
        let good: &[u8] = &[
            0xbf, 0x61, 0x61, 0x9f, 0x01, 0xff, 0x61, 0x62, 0x5f, 0x41, 0x00, 0xff, 0xff,
        ];
        for end in 0..good.len() {
            let cut = good.get(..end).unwrap();
            assert!(Decoder::parse("cbor").unwrap().decode(cut, false).is_err());
        }
        let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..24)
                .map(|_| {
                    dice ^= dice << 13;
                    dice ^= dice >> 7;
                    dice ^= dice << 17;
                    dice.to_le_bytes()[0]
                })
                .collect();
            for form in ["json", "cbor", "msgpack", "protobuf"] {
                if let Ok(json) = Decoder::parse(form).unwrap().decode(&bytes, false) {
                    let read = serde_json::from_slice::<serde_json::Value>(&json);
                    assert!(read.is_ok(), "{form} {bytes:x?}: {json:x?}");
                }
            }
        }
    }
}
