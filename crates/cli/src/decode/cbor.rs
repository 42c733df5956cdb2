//! CBOR (RFC 8949). Tags are passed over; byte strings become base64; `undefined` and numbers that are none, null.

use super::{Bytes, Flaw, binary, deeper, name, single, text};
use crate::format::Json;

/// One value.
pub(super) fn value(bytes: &mut Bytes<'_>, depth: u8) -> Result<Json, Flaw> {
    let head = bytes.byte()?;
    item(head, bytes, depth)
}

fn item(head: u8, bytes: &mut Bytes<'_>, depth: u8) -> Result<Json, Flaw> {
    let depth = deeper(depth)?;
    let length = length(head, bytes)?;
    match (head >> 5, length) {
        (0, Length::Is(number)) => Ok(Json::Unsigned(number)),
        (1, Length::Is(number)) => Ok(negative(number)),
        (2, Length::Is(count)) => bytes.take(count).map(binary),
        (3, Length::Is(count)) => text(bytes.take(count)?),
        (2, Length::Open) => Ok(binary(&chunks(2, bytes)?)),
        (3, Length::Open) => text(&chunks(3, bytes)?),
        (4, length) => array(length, bytes, depth),
        (5, length) => map(length, bytes, depth),
        (6, Length::Is(_tag)) => value(bytes, depth),
        (7, Length::Is(number)) => simple(head, number),
        _ => Err(Flaw::Unknown(head)),
    }
}

/// How much there is of something.
#[derive(Debug, Clone, Copy)]
enum Length {
    Is(u64),
    /// Until a break comes.
    Open,
}

fn length(head: u8, bytes: &mut Bytes<'_>) -> Result<Length, Flaw> {
    Ok(match head & 31 {
        small @ 0..=23 => Length::Is(u64::from(small)),
        24 => Length::Is(bytes.number(1)?),
        25 => Length::Is(bytes.number(2)?),
        26 => Length::Is(bytes.number(4)?),
        27 => Length::Is(bytes.number(8)?),
        31 => Length::Open,
        _ => return Err(Flaw::Unknown(head)),
    })
}

/// -1 less the number: beyond 64 bits only as a floating point number.
fn negative(number: u64) -> Json {
    match i64::try_from(number) {
        Ok(number) => Json::Signed(-1 - number),
        #[expect(clippy::cast_precision_loss, reason = "JSON's readers have no more")]
        Err(_) => Json::Float(-1.0 - number as f64),
    }
}

/// The pieces of a string whose length was not known at its start, joined.
fn chunks(major: u8, bytes: &mut Bytes<'_>) -> Result<Vec<u8>, Flaw> {
    let mut all = Vec::new();
    loop {
        let head = bytes.byte()?;
        if head == BREAK {
            return Ok(all);
        }
        match length(head, bytes)? {
            Length::Is(count) if head >> 5 == major => all.extend_from_slice(bytes.take(count)?),
            Length::Is(_) | Length::Open => return Err(Flaw::Unknown(head)),
        }
    }
}

/// The head of the next item; None when there are no more.
fn next(length: &mut Length, bytes: &mut Bytes<'_>) -> Result<Option<u8>, Flaw> {
    match length {
        Length::Is(0) => Ok(None),
        Length::Is(left) => {
            *left -= 1;
            bytes.byte().map(Some)
        }
        Length::Open => {
            let head = bytes.byte()?;
            Ok((head != BREAK).then_some(head))
        }
    }
}

fn array(mut length: Length, bytes: &mut Bytes<'_>, depth: u8) -> Result<Json, Flaw> {
    let mut items = Vec::new();
    while let Some(head) = next(&mut length, bytes)? {
        items.push(item(head, bytes, depth)?);
    }
    Ok(Json::Array(items))
}

fn map(mut length: Length, bytes: &mut Bytes<'_>, depth: u8) -> Result<Json, Flaw> {
    let mut members = Vec::new();
    while let Some(head) = next(&mut length, bytes)? {
        let key = item(head, bytes, depth)?;
        members.push((name(&key), value(bytes, depth)?));
    }
    Ok(Json::Object(members))
}

fn simple(head: u8, number: u64) -> Result<Json, Flaw> {
    Ok(match (head & 31, number) {
        (20, _) => Json::Bool(false),
        (21, _) => Json::Bool(true),
        (22 | 23, _) => Json::Null,
        (0..=19, number) | (24, number @ 32..) => Json::Unsigned(number),
        (25, number) => single(half(u16::try_from(number).unwrap_or(0))),
        (26, number) => single(f32::from_bits(u32::try_from(number).unwrap_or(0))),
        (27, number) => Json::Float(f64::from_bits(number)),
        _ => return Err(Flaw::Unknown(head)),
    })
}

/// A floating point number of 16 bits.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10 & 31);
    let fraction = u32::from(bits & 0x3ff);
    match exponent {
        // Too small for an exponent: so many 2^-24.
        0 => {
            #[expect(clippy::cast_precision_loss, reason = "ten bits")]
            let size = fraction as f32 / 16_777_216.0;
            if sign == 0 { size } else { -size }
        }
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        exponent => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

const BREAK: u8 = 0xff;

#[cfg(test)]
mod tests {
    use super::super::tests::decode;

    /// From appendix A of RFC 8949.
    #[test]
    fn the_examples_of_the_rfc_are_what_it_says() {
        for (digits, json) in [
            ("00", "0"),
            ("17", "23"),
            ("1818", "24"),
            ("1903e8", "1000"),
            ("1a000f4240", "1000000"),
            ("1bffffffffffffffff", "18446744073709551615"),
            ("20", "-1"),
            ("3903e7", "-1000"),
            ("3bffffffffffffffff", "-1.8446744073709552e+19"),
            ("f90000", "0.0"),
            ("f98000", "-0.0"),
            ("f93c00", "1.0"),
            ("f93e00", "1.5"),
            ("f97bff", "65504.0"),
            ("f90001", "5.9604645e-8"),
            ("f9c400", "-4.0"),
            ("fa47c35000", "100000.0"),
            ("fb3ff199999999999a", "1.1"),
            ("f97c00", "null"),
            ("f97e00", "null"),
            ("f4", "false"),
            ("f5", "true"),
            ("f6", "null"),
            ("f7", "null"),
            ("f0", "16"),
            ("f8ff", "255"),
            ("c11a514b67b0", "1363896240"),
            ("4401020304", "\"AQIDBA==\""),
            ("40", "\"\""),
            ("6449455446", "\"IETF\""),
            ("62c3bc", "\"\u{fc}\""),
            ("83010203", "[1,2,3]"),
            ("8301820203820405", "[1,[2,3],[4,5]]"),
            ("a201020304", "{\"1\":2,\"3\":4}"),
            ("a26161016162820203", "{\"a\":1,\"b\":[2,3]}"),
            ("5f42010243030405ff", "\"AQIDBAU=\""),
            ("7f657374726561646d696e67ff", "\"streaming\""),
            ("9fff", "[]"),
            ("9f018202039f0405ffff", "[1,[2,3],[4,5]]"),
            ("bf61610161629f0203ffff", "{\"a\":1,\"b\":[2,3]}"),
        ] {
            let found = decode("cbor", digits).unwrap();
            let (found, json): (serde_json::Value, serde_json::Value) = (
                serde_json::from_str(&found).unwrap(),
                serde_json::from_str(json).unwrap(),
            );
            assert_eq!(found, json, "{digits}");
        }
    }

    #[test]
    fn what_is_no_cbor_is_refused() {
        for (digits, part) in [
            ("", "ends in the middle"),
            ("1903", "ends in the middle"),
            ("5bffffffffffffffff00", "ends in the middle"),
            ("9bffffffffffffffff00", "ends in the middle"),
            ("0000", "1 bytes stand behind"),
            ("1c", "starts with the byte 0x1c"),
            ("ff", "starts with the byte 0xff"),
            ("1f", "starts with the byte 0x1f"),
            ("df00", "starts with the byte 0xdf"),
            ("f818", "starts with the byte 0xf8"),
            ("5f6161ff", "starts with the byte 0x61"),
            ("61ff", "not UTF-8"),
        ] {
            let why = decode("cbor", digits).unwrap_err();
            assert!(why.contains(part), "{digits}: {why}");
        }
        let deep = "81".repeat(1_000_000);
        let why = decode("cbor", &deep).unwrap_err();
        assert!(why.contains("nested deeper"), "{why}");
    }
}
