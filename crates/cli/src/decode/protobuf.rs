//! Protocol Buffers without their schema, as `protoc --decode_raw` shows them: fields by their number.
//!
//! Varints are unsigned numbers; numbers of 32 and 64 bits are hexadecimal digits, because they may be floating point
//! ones; bytes are taken for text if they are printable, else for a message if they can be one, else they are base64.
//! A field that comes several times is an array.

use super::{Bytes, Flaw, binary, deeper};
use crate::format::Json;

/// A message.
pub(super) fn message(payload: &[u8], depth: u8) -> Result<Json, Flaw> {
    let depth = deeper(depth)?;
    let mut bytes = Bytes { rest: payload };
    let mut members: Vec<(u64, Vec<Json>)> = Vec::new();
    while !bytes.rest.is_empty() {
        let tag = varint(&mut bytes)?;
        let number = tag >> 3;
        if !(1..=FIELD_MAX).contains(&number) {
            return Err(Flaw::Field);
        }
        let value = match tag & 7 {
            0 => Json::Unsigned(varint(&mut bytes)?),
            1 => hexadecimal(u64::from_le_bytes(bytes.array()?), 16),
            2 => {
                let count = varint(&mut bytes)?;
                inner(bytes.take(count)?, depth)
            }
            5 => hexadecimal(u64::from(u32::from_le_bytes(bytes.array()?)), 8),
            _ => return Err(Flaw::Field),
        };
        match members.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(at) => {
                if let Some((_, values)) = members.get_mut(at) {
                    values.push(value);
                }
            }
            Err(at) => members.insert(at, (number, vec![value])),
        }
    }
    let members = members.into_iter().map(|(number, mut values)| {
        let value = match values.pop() {
            Some(only) if values.is_empty() => only,
            last => {
                values.extend(last);
                Json::Array(values)
            }
        };
        (number.to_string().into_bytes(), value)
    });
    Ok(Json::Object(members.collect()))
}

fn inner(bytes: &[u8], depth: u8) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => Json::text(text),
        _ => message(bytes, depth).unwrap_or_else(|_| binary(bytes)),
    }
}

fn hexadecimal(number: u64, digits: usize) -> Json {
    Json::text(&format!("0x{number:0digits$x}"))
}

/// A number of seven bits a byte, the lowest first.
fn varint(bytes: &mut Bytes<'_>) -> Result<u64, Flaw> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = bytes.byte()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Flaw::Field)
}

/// The highest number that a field can have.
const FIELD_MAX: u64 = (1 << 29) - 1;

#[cfg(test)]
mod tests {
    use super::super::tests::decode;

    #[test]
    fn fields_stand_under_their_numbers() {
        for (digits, json) in [
            ("", "{}"),
            ("089601", "{\"1\":150}"),
            ("120774657374696e67", "{\"2\":\"testing\"}"),
            ("1a03089601", "{\"3\":{\"1\":150}}"),
            ("08ffffffffffffffffff01", "{\"1\":18446744073709551615}"),
            ("0d0000803f", "{\"1\":\"0x3f800000\"}"),
            ("09000000000000f03f", "{\"1\":\"0x3ff0000000000000\"}"),
            ("0801 0802 1001", "{\"1\":[1,2],\"2\":1}"),
            ("1002 0801", "{\"1\":1,\"2\":2}"),
            ("0a02ff00", "{\"1\":\"/wA=\"}"),
            ("0a00", "{\"1\":\"\"}"),
        ] {
            assert_eq!(decode("protobuf", digits).as_deref(), Ok(json), "{digits}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for (digits, part) in [
            ("08", "ends in the middle"),
            ("0aff01", "ends in the middle"),
            ("0d0000", "ends in the middle"),
            ("00", "no number"),
            ("0b0c", "unknown kind"),
            ("0e", "unknown kind"),
            ("08ffffffffffffffffffff01", "unknown kind"),
        ] {
            let why = decode("protobuf", digits).unwrap_err();
            assert!(why.contains(part), "{digits}: {why}");
        }
    }
}
