//! JSON as cJSON prints it, which is what mosquitto_sub uses.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value. Objects keep their order, and members that come twice.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// Printed as it is: UTF-8, but for what mosquitto's dialect does with other payloads.
    Text(Vec<u8>),
    Array(Vec<Self>),
    Object(Vec<(Vec<u8>, Self)>),
}

/// How numbers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// As exactly as they came.
    Exact,
    /// As a `double` with 15 or 17 digits, like cJSON.
    Double,
}

impl Json {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }

    /// Writes the value, on one line or, pretty, over several.
    pub(crate) fn write(&self, pretty: bool, numbers: Numbers, out: &mut Vec<u8>) {
        Writer {
            pretty,
            numbers,
            out,
        }
        .value(self, 0);
    }
}

struct Writer<'a> {
    pretty: bool,
    numbers: Numbers,
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn value(&mut self, value: &Json, depth: usize) {
        match value {
            Json::Null => self.out.extend_from_slice(b"null"),
            Json::Bool(value) => self.out.extend_from_slice(value.to_string().as_bytes()),
            Json::Unsigned(number) if self.numbers == Numbers::Exact => {
                self.out.extend_from_slice(number.to_string().as_bytes());
            }
            Json::Signed(number) if self.numbers == Numbers::Exact => {
                self.out.extend_from_slice(number.to_string().as_bytes());
            }
            #[expect(clippy::cast_precision_loss, reason = "cJSON has doubles only")]
            Json::Unsigned(number) => self.float(*number as f64),
            #[expect(clippy::cast_precision_loss, reason = "cJSON has doubles only")]
            Json::Signed(number) => self.float(*number as f64),
            Json::Float(number) => self.float(*number),
            Json::Text(text) => self.string(text),
            Json::Array(items) => self.array(items, depth),
            Json::Object(members) => self.object(members, depth),
        }
    }

    fn float(&mut self, number: f64) {
        let text = match self.numbers {
            Numbers::Exact => serde_json::Number::from_f64(number)
                .map_or_else(|| "null".to_owned(), |n| n.to_string()),
            Numbers::Double => double(number),
        };
        self.out.extend_from_slice(text.as_bytes());
    }

    fn string(&mut self, text: &[u8]) {
        self.out.push(b'"');
        for byte in text {
            match byte {
                b'"' => self.out.extend_from_slice(b"\\\""),
                b'\\' => self.out.extend_from_slice(b"\\\\"),
                0x08 => self.out.extend_from_slice(b"\\b"),
                0x0c => self.out.extend_from_slice(b"\\f"),
                b'\n' => self.out.extend_from_slice(b"\\n"),
                b'\r' => self.out.extend_from_slice(b"\\r"),
                b'\t' => self.out.extend_from_slice(b"\\t"),
                0..0x20 => self
                    .out
                    .extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                other => self.out.push(*other),
            }
        }
        self.out.push(b'"');
    }

    fn array(&mut self, items: &[Json], depth: usize) {
        self.out.push(b'[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out
                    .extend_from_slice(if self.pretty { b", " } else { b"," });
            }
            self.value(item, depth + 1);
        }
        self.out.push(b']');
    }

    fn object(&mut self, members: &[(Vec<u8>, Json)], depth: usize) {
        self.out.push(b'{');
        if self.pretty {
            self.out.push(b'\n');
        }
        for (index, (name, value)) in members.iter().enumerate() {
            self.tabs(depth + 1);
            self.string(name);
            self.out.push(b':');
            self.tabs(1);
            self.value(value, depth + 1);
            if index + 1 < members.len() {
                self.out.push(b',');
            }
            if self.pretty {
                self.out.push(b'\n');
            }
        }
        self.tabs(depth);
        self.out.push(b'}');
    }

    fn tabs(&mut self, count: usize) {
        if self.pretty {
            self.out.resize(self.out.len() + count, b'\t');
        }
    }
}

/// A number as cJSON prints it: 15 digits if that is near enough, else 17.
fn double(number: f64) -> String {
    if !number.is_finite() {
        return "null".to_owned();
    }
    let short = general(number, 15);
    let read = short.parse::<f64>().unwrap_or(f64::NAN);
    let largest = number.abs().max(read.abs());
    if (number - read).abs() <= largest * f64::EPSILON {
        short
    } else {
        general(number, 17)
    }
}

/// C's `%.{digits}g`.
fn general(number: f64, digits: usize) -> String {
    let scientific = format!("{number:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let precision = i32::try_from(digits).unwrap_or(17);
    if exponent < -4 || exponent >= precision {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", without_zeros(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(precision - 1 - exponent).unwrap_or(0);
    without_zeros(&format!("{number:.decimals$}")).to_owned()
}

fn without_zeros(number: &str) -> &str {
    if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Signed(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        while let Some((name, value)) = members.next_entry::<String, Json>()? {
            object.push((name.into_bytes(), value));
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::{Json, Numbers};

    fn reprint(text: &str, pretty: bool, numbers: Numbers) -> String {
        let mut out = Vec::new();
        serde_json::from_str::<Json>(text)
            .unwrap()
            .write(pretty, numbers, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// Measured: what mosquitto_sub 2.0.11 with cJSON prints for these payloads with %J.
    #[test]
    fn objects_keep_order_and_twins() {
        let text = "{\"b\":1.0, \"a\":[1,2,{\"x\":null}],\"a\":\"\u{e9}\\n\"}";
        assert_eq!(
            reprint(text, false, Numbers::Double),
            "{\"b\":1,\"a\":[1,2,{\"x\":null}],\"a\":\"\u{e9}\\n\"}"
        );
        assert_eq!(
            reprint(&format!("{{\"payload\":{text}}}"), true, Numbers::Double),
            "{\n\t\"payload\":\t{\n\t\t\"b\":\t1,\n\t\t\"a\":\t[1, 2, {\n\t\t\t\t\"x\":\tnull\n\t\t\t}],\n\t\t\"a\":\t\
             \"\u{e9}\\n\"\n\t}\n}"
        );
    }

    #[test]
    fn numbers_are_cjsons_or_exact() {
        for (number, double, exact) in [
            ("0.1", "0.1", "0.1"),
            ("1e100", "1e+100", "1e+100"),
            ("-0.00001", "-1e-05", "-0.00001"),
            ("0.000012345", "1.2345e-05", "0.000012345"),
            (
                "123456789012345678",
                "1.2345678901234568e+17",
                "123456789012345678",
            ),
            (
                "12345678901234567890",
                "1.2345678901234567e+19",
                "12345678901234567890",
            ),
            ("1e20", "1e+20", "1e+20"),
            ("0.30000000000000004", "0.3", "0.30000000000000004"),
            (
                "3.141592653589793",
                "3.1415926535897931",
                "3.141592653589793",
            ),
            ("100000", "100000", "100000"),
            ("1E5", "100000", "100000.0"),
            ("-0", "-0", "-0.0"),
            ("-7", "-7", "-7"),
            ("20.25", "20.25", "20.25"),
        ] {
            assert_eq!(reprint(number, false, Numbers::Exact), exact, "{number}");
            assert_eq!(reprint(number, false, Numbers::Double), double, "{number}");
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        let mut out = Vec::new();
        Json::Text(b"\x00\x1f\x7f\"\\\x08".to_vec()).write(false, Numbers::Exact, &mut out);
        assert_eq!(out, b"\"\\u0000\\u001f\x7f\\\"\\\\\\b\"");
    }
}
