//! `MessagePack`. Byte strings become base64; extensions an object of their type and data.

use super::{Bytes, Flaw, binary, deeper, name, single, text};
use crate::format::Json;

/// One value.
pub(super) fn value(bytes: &mut Bytes<'_>, depth: u8) -> Result<Json, Flaw> {
    let depth = deeper(depth)?;
    let head = bytes.byte()?;
    let small = |bits: u8| u64::from(head & bits);
    match head {
        0x00..=0x7f => Ok(Json::Unsigned(u64::from(head))),
        0x80..=0x8f => map(small(15), bytes, depth),
        0x90..=0x9f => array(small(15), bytes, depth),
        0xa0..=0xbf => text(bytes.take(small(31))?),
        0xc0 => Ok(Json::Null),
        0xc2 => Ok(Json::Bool(false)),
        0xc3 => Ok(Json::Bool(true)),
        0xc4..=0xc6 => {
            let count = sized(head - 0xc4, bytes)?;
            bytes.take(count).map(binary)
        }
        0xc7..=0xc9 => {
            let count = sized(head - 0xc7, bytes)?;
            extension(count, bytes)
        }
        0xca => bytes
            .array()
            .map(|number| single(f32::from_be_bytes(number))),
        0xcb => bytes
            .array()
            .map(|number| Json::Float(f64::from_be_bytes(number))),
        0xcc..=0xcf => sized(head - 0xcc, bytes).map(Json::Unsigned),
        0xd0..=0xd3 => signed(head, bytes),
        0xd4..=0xd8 => extension(1 << (head - 0xd4), bytes),
        0xd9..=0xdb => {
            let count = sized(head - 0xd9, bytes)?;
            text(bytes.take(count)?)
        }
        0xdc | 0xdd => {
            let count = sized(head - 0xdb, bytes)?;
            array(count, bytes, depth)
        }
        0xde | 0xdf => {
            let count = sized(head - 0xdd, bytes)?;
            map(count, bytes, depth)
        }
        0xe0..=0xff => Ok(Json::Signed(i64::from(head.cast_signed()))),
        0xc1 => Err(Flaw::Unknown(head)),
    }
}

/// A number of one, two, four or eight bytes.
fn sized(power: u8, bytes: &mut Bytes<'_>) -> Result<u64, Flaw> {
    bytes.number(1 << power)
}

fn signed(head: u8, bytes: &mut Bytes<'_>) -> Result<Json, Flaw> {
    let number = match head {
        0xd0 => i64::from(i8::from_be_bytes(bytes.array()?)),
        0xd1 => i64::from(i16::from_be_bytes(bytes.array()?)),
        0xd2 => i64::from(i32::from_be_bytes(bytes.array()?)),
        _ => i64::from_be_bytes(bytes.array()?),
    };
    Ok(Json::Signed(number))
}

fn array(count: u64, bytes: &mut Bytes<'_>, depth: u8) -> Result<Json, Flaw> {
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(value(bytes, depth)?);
    }
    Ok(Json::Array(items))
}

fn map(count: u64, bytes: &mut Bytes<'_>, depth: u8) -> Result<Json, Flaw> {
    let mut members = Vec::new();
    for _ in 0..count {
        let key = value(bytes, depth)?;
        members.push((name(&key), value(bytes, depth)?));
    }
    Ok(Json::Object(members))
}

fn extension(count: u64, bytes: &mut Bytes<'_>) -> Result<Json, Flaw> {
    let kind = i8::from_be_bytes(bytes.array()?);
    let data = bytes.take(count)?;
    Ok(Json::Object(vec![
        (b"ext".to_vec(), Json::Signed(i64::from(kind))),
        (b"data_b64".to_vec(), binary(data)),
    ]))
}

#[cfg(test)]
mod tests {
    use super::super::tests::decode;

    #[test]
    fn each_kind_of_value_is_read() {
        for (digits, json) in [
            ("00", "0"),
            ("7f", "127"),
            ("e0", "-32"),
            ("ff", "-1"),
            ("cc80", "128"),
            ("cd0100", "256"),
            ("ce00010000", "65536"),
            ("cfffffffffffffffff", "18446744073709551615"),
            ("d080", "-128"),
            ("d1ff7f", "-129"),
            ("d2ffff7fff", "-32769"),
            ("d38000000000000000", "-9223372036854775808"),
            ("ca3dcccccd", "0.1"),
            ("cb3ff199999999999a", "1.1"),
            ("c0", "null"),
            ("c2", "false"),
            ("c3", "true"),
            ("a3616263", "\"abc\""),
            ("d90161", "\"a\""),
            ("da000161", "\"a\""),
            ("db0000000161", "\"a\""),
            ("c402ff00", "\"/wA=\""),
            ("c50001ff", "\"/w==\""),
            ("c600000001ff", "\"/w==\""),
            ("930102a161", "[1,2,\"a\"]"),
            ("dc0001c3", "[true]"),
            ("dd00000001c3", "[true]"),
            ("82a16101 02c0", "{\"a\":1,\"2\":null}"),
            ("de0001a16190", "{\"a\":[]}"),
            ("df00000001a16180", "{\"a\":{}}"),
            ("d4057f", "{\"ext\":5,\"data_b64\":\"fw==\"}"),
            ("d6ff00000000", "{\"ext\":-1,\"data_b64\":\"AAAAAA==\"}"),
            ("c70105ff", "{\"ext\":5,\"data_b64\":\"/w==\"}"),
        ] {
            assert_eq!(decode("msgpack", digits).as_deref(), Ok(json), "{digits}");
        }
    }

    #[test]
    fn what_is_no_messagepack_is_refused() {
        for (digits, part) in [
            ("", "ends in the middle"),
            ("a261", "ends in the middle"),
            ("ddffffffff", "ends in the middle"),
            ("dfffffffff01", "ends in the middle"),
            ("c6ffffffff00", "ends in the middle"),
            ("c1", "starts with the byte 0xc1"),
            ("0000", "1 bytes stand behind"),
            ("a1ff", "not UTF-8"),
        ] {
            let why = decode("msgpack", digits).unwrap_err();
            assert!(why.contains(part), "{digits}: {why}");
        }
        let why = decode("msgpack", &"91".repeat(1_000_000)).unwrap_err();
        assert!(why.contains("nested deeper"), "{why}");
    }
}
