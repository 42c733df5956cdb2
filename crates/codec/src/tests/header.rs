//! The fixed header: type, flags, length, and what is refused before the body has arrived.

use super::{MAX, SENDERS, VERSIONS, accept, field, frame, refuse, refused, rules};
use crate::{
    DecodeErrorKind, Decoded, Field, Packet, PacketType, ReasonCode, Rules, Sender, Version, decode,
};

#[test]
fn type_0_is_forbidden() {
    for version in VERSIONS {
        for sender in SENDERS {
            let error = refuse(version, sender, &[0x00]);
            assert_eq!(error.kind(), DecodeErrorKind::PacketTypeReserved);
            assert_eq!((error.field(), error.offset()), (Field::PacketType, 0));
            assert_eq!(error.packet_type(), None);
            assert_eq!(error.reason(), ReasonCode::ProtocolError);
        }
    }
}

#[test]
fn a_packet_from_the_wrong_side_is_refused_by_its_first_byte() {
    for (first, wrong) in [
        (0x10, Sender::Server),
        (0x20, Sender::Client),
        (0x82, Sender::Server),
        (0x90, Sender::Client),
        (0xA2, Sender::Server),
        (0xB0, Sender::Client),
        (0xC0, Sender::Server),
        (0xD0, Sender::Client),
    ] {
        for version in VERSIONS {
            let error = refuse(version, wrong, &[first]);
            assert_eq!(
                error.kind(),
                DecodeErrorKind::PacketTypeFromWrongSide,
                "{first:02X}"
            );
            assert_eq!(error.reason(), ReasonCode::ProtocolError);
            let right = if wrong == Sender::Client {
                Sender::Server
            } else {
                Sender::Client
            };
            assert_eq!(
                decode(&[first], rules(version, right)),
                Ok(Decoded::Incomplete { at_least: 2 })
            );
        }
    }
}

#[test]
fn a_server_disconnects_and_anybody_authenticates_in_v5_only() {
    for version in [Version::V31, Version::V311] {
        let disconnect = refuse(version, Sender::Server, &[0xE0]);
        assert_eq!(disconnect.kind(), DecodeErrorKind::PacketTypeFromWrongSide);
        for sender in SENDERS {
            let auth = refuse(version, sender, &[0xF0]);
            assert_eq!(auth.kind(), DecodeErrorKind::PacketTypeNotInVersion);
        }
    }
    accept(Version::V5, Sender::Server, &[0xE0, 0x00]);
}

#[test]
fn wrong_flags_are_refused_by_the_first_byte() {
    //= mqtt5 2.1.3-1 test
    //= mqtt311 2.2.2-1 test
    //= mqtt311 2.2.2-2 test
    //= mqtt5 3.6.1-1 test
    //= mqtt5 3.8.1-1 test
    //= mqtt5 3.10.1-1 test
    //= mqtt5 3.14.1-1 test
    //= mqtt5 3.15.1-1 test
    //= mqtt311 3.6.1-1 test
    //= mqtt311 3.8.1-1 test
    //= mqtt311 3.10.1-1 test
    //= mqtt311 3.14.1-1 test
    for (packet_type, right, v5, v311) in [
        (1, 0b0000, "MQTT-2.1.3-1", "MQTT-2.2.2-2"),
        (2, 0b0000, "MQTT-2.1.3-1", "MQTT-2.2.2-2"),
        (4, 0b0000, "MQTT-2.1.3-1", "MQTT-2.2.2-2"),
        (5, 0b0000, "MQTT-2.1.3-1", "MQTT-2.2.2-2"),
        (6, 0b0010, "MQTT-3.6.1-1", "MQTT-3.6.1-1"),
        (7, 0b0000, "MQTT-2.1.3-1", "MQTT-2.2.2-2"),
        (8, 0b0010, "MQTT-3.8.1-1", "MQTT-3.8.1-1"),
        (9, 0b0000, "MQTT-2.1.3-1", "MQTT-2.2.2-2"),
        (10, 0b0010, "MQTT-3.10.1-1", "MQTT-3.10.1-1"),
        (11, 0b0000, "MQTT-2.1.3-1", "MQTT-2.2.2-2"),
        (12, 0b0000, "MQTT-2.1.3-1", "MQTT-2.2.2-2"),
        (13, 0b0000, "MQTT-2.1.3-1", "MQTT-2.2.2-2"),
        (14, 0b0000, "MQTT-3.14.1-1", "MQTT-3.14.1-1"),
        (15, 0b0000, "MQTT-3.15.1-1", ""),
    ] {
        for flags in 0..16 {
            let first = packet_type << 4 | flags;
            let sender = if matches!(packet_type, 2 | 9 | 11 | 13) {
                Sender::Server
            } else {
                Sender::Client
            };
            for (version, statement) in [(Version::V5, v5), (Version::V311, v311)] {
                if statement.is_empty() {
                    continue;
                }
                if flags == right {
                    let bytes = [first];
                    let decoded = decode(&bytes, rules(version, sender));
                    assert_eq!(
                        decoded,
                        Ok(Decoded::Incomplete { at_least: 2 }),
                        "{first:02X}"
                    );
                } else {
                    let kind = DecodeErrorKind::FixedHeaderFlags;
                    let reason = ReasonCode::MalformedPacket;
                    refused(
                        version,
                        sender,
                        &[first],
                        (kind, Field::FixedHeaderFlags, 0, reason, Some(statement)),
                    );
                }
            }
        }
    }
}

#[test]
fn in_31_a_repeated_request_has_dup() {
    for first in [0x6A, 0x8A, 0xAA] {
        let bytes = [first];
        let decoded = decode(&bytes, rules(Version::V31, Sender::Client));
        assert_eq!(decoded, Ok(Decoded::Incomplete { at_least: 2 }));
        assert_eq!(
            refuse(Version::V311, Sender::Client, &[first]).kind(),
            DecodeErrorKind::FixedHeaderFlags
        );
        assert_eq!(
            refuse(Version::V31, Sender::Client, &[first | 1]).kind(),
            DecodeErrorKind::FixedHeaderFlags
        );
    }
    assert_eq!(
        accept(Version::V31, Sender::Client, &[0x6A, 2, 0, 7]),
        accept(Version::V31, Sender::Client, &[0x62, 2, 0, 7])
    );
}

#[test]
fn publish_flags() {
    //= mqtt5 3.3.1-4 test
    //= mqtt311 3.3.1-4 test
    for version in VERSIONS {
        for first in [0x36, 0x37, 0x3E, 0x3F] {
            let error = refuse(version, Sender::Client, &[first]);
            assert_eq!(
                (error.kind(), error.offset()),
                (DecodeErrorKind::QoSReserved, 0)
            );
            assert_eq!(error.reason(), ReasonCode::MalformedPacket);
        }
    }
    assert_eq!(
        refuse(Version::V5, Sender::Client, &[0x36]).statement(Version::V5),
        Some("MQTT-3.3.1-4")
    );
    //= mqtt5 3.3.1-2 test
    //= mqtt311 3.3.1-2 test
    for version in [Version::V311, Version::V5] {
        for first in [0x38, 0x39] {
            let error = refuse(version, Sender::Server, &[first]);
            assert_eq!(error.kind(), DecodeErrorKind::DupWithQoS0);
            assert_eq!(error.statement(version), Some("MQTT-3.3.1-2"));
        }
    }
    // 3.1 does not forbid it.
    let bytes = frame(0x38, &[&field("t")]);
    let Packet::Publish(publish) = accept(Version::V31, Sender::Client, &bytes) else {
        panic!()
    };
    assert!(publish.dup);
}

#[test]
fn the_length_may_be_padded_before_v5_only() {
    //= mqtt5 1.5.5-1 test
    let padded = [0xC0, 0x80, 0x00];
    let kind = DecodeErrorKind::VariableByteIntegerNotShortest;
    let reason = ReasonCode::MalformedPacket;
    refused(
        Version::V5,
        Sender::Client,
        &padded,
        (
            kind,
            Field::RemainingLength,
            1,
            reason,
            Some("MQTT-1.5.5-1"),
        ),
    );
    assert_eq!(
        accept(Version::V311, Sender::Client, &padded),
        Packet::PingReq
    );
    assert_eq!(
        accept(Version::V31, Sender::Client, &padded),
        Packet::PingReq
    );
    // CONNECT says only in its body which rule is its own.
    for (level, legal) in [(4, true), (5, false)] {
        let mut connect = std::vec![0x10, 0x8D, 0x00];
        connect.extend([0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, 60]);
        connect.extend([0, 0, 0]);
        if level == 4 {
            connect.pop();
            connect[1] = 0x8C;
        }
        for version in VERSIONS {
            let decoded = decode(&connect, rules(version, Sender::Client));
            assert_eq!(decoded.is_ok(), legal, "{level} {decoded:?}");
        }
        if !legal {
            let error = refuse(Version::V311, Sender::Client, &connect);
            assert_eq!((error.kind(), error.offset()), (kind, 1));
        }
    }
}

#[test]
fn five_length_bytes_are_too_many() {
    for version in VERSIONS {
        let error = refuse(version, Sender::Client, &[0x30, 0xFF, 0xFF, 0xFF, 0x80]);
        assert_eq!(error.kind(), DecodeErrorKind::VariableByteIntegerTooLong);
        assert_eq!(error.packet_type(), Some(PacketType::Publish));
        let decoded = decode(&[0x30, 0xFF, 0xFF, 0xFF], rules(version, Sender::Client));
        assert_eq!(decoded, Ok(Decoded::Incomplete { at_least: 5 }));
    }
}

#[test]
fn a_packet_that_is_too_large_is_refused_by_its_header() {
    let limit = |max_packet_size| Rules {
        max_packet_size,
        ..rules(Version::V5, Sender::Client)
    };
    // 1 + 2 + 128 bytes.
    let header = [0x30, 0x80, 0x01];
    assert_eq!(
        decode(&header, limit(131)),
        Ok(Decoded::Incomplete { at_least: 131 })
    );
    let error = decode(&header, limit(130)).unwrap_err();
    assert_eq!(error.kind(), DecodeErrorKind::PacketTooLarge);
    assert_eq!(error.reason(), ReasonCode::PacketTooLarge);
    assert_eq!((error.field(), error.offset()), (Field::RemainingLength, 1));
    // The largest packet that can be written down.
    let largest = decode(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], limit(u32::MAX));
    assert_eq!(
        largest,
        Ok(Decoded::Incomplete {
            at_least: 268_435_460
        })
    );
    assert!(decode(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], limit(MAX)).is_err());
}

#[test]
fn a_body_that_cannot_be_legal_is_not_waited_for() {
    for (version, sender, header, offset) in [
        (Version::V5, Sender::Client, [0xC0, 0x01], 2),
        (Version::V5, Sender::Server, [0xD0, 0x7F], 2),
        (Version::V311, Sender::Client, [0xE0, 0x01], 2),
        (Version::V311, Sender::Server, [0x20, 0x03], 4),
        (Version::V311, Sender::Client, [0x40, 0x03], 4),
        (Version::V31, Sender::Client, [0x62, 0x04], 4),
        (Version::V31, Sender::Server, [0xB0, 0x03], 4),
    ] {
        let error = refuse(version, sender, &header);
        assert_eq!(error.kind(), DecodeErrorKind::TrailingBytes);
        assert_eq!(
            (error.field(), error.offset()),
            (Field::EndOfPacket, offset)
        );
    }
}

#[test]
fn nothing_is_reserved_for_what_has_not_arrived() {
    // 256 MiB announced, five bytes there: the answer is a number, not memory.
    let limit = Rules {
        max_packet_size: u32::MAX,
        ..rules(Version::V311, Sender::Client)
    };
    let decoded = decode(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], limit);
    assert_eq!(
        decoded,
        Ok(Decoded::Incomplete {
            at_least: 268_435_460
        })
    );
}
