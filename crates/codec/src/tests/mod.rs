//! Tests of the whole codec. `tables` compares the tables with the specification's packet sections,
//! `topics` is about names and filters, `header` about the fixed header, `fields` about everything
//! inside packets of 5.0, `fields_311` and `fields_31` about the older versions, `encoding` about
//! what is sent; `generate` makes packets for `properties`.
#![expect(
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "tests write lengths as bytes, and read as one transcript"
)]

mod encoding;
mod fields;
mod fields_31;
mod fields_311;
mod generate;
mod header;
mod properties;
mod simple;
mod tables;
mod topics;

use crate::{
    DecodeError, DecodeErrorKind, Decoded, Field, Packet, ReasonCode, Rules, Sender, Version,
    decode,
};
use std::vec::Vec;

const MAX: u32 = 1 << 20;

fn rules(version: Version, sender: Sender) -> Rules {
    Rules {
        version,
        sender,
        max_packet_size: MAX,
    }
}

/// The packet that `bytes` are, with nothing behind it.
fn accept(version: Version, sender: Sender, bytes: &[u8]) -> Packet<'_> {
    match decode(bytes, rules(version, sender)) {
        Ok(Decoded::Packet { packet, length }) => {
            assert_eq!(length, bytes.len(), "{packet:?}");
            packet
        }
        other => panic!("{other:?} from {bytes:02X?}"),
    }
}

fn refuse(version: Version, sender: Sender, bytes: &[u8]) -> DecodeError {
    match decode(bytes, rules(version, sender)) {
        Err(error) => error,
        Ok(decoded) => panic!("{decoded:?} from {bytes:02X?}"),
    }
}

/// All of an error in one line: kind, field, offset, reply, statement of that version.
#[track_caller]
fn refused(
    version: Version,
    sender: Sender,
    bytes: &[u8],
    expected: (
        DecodeErrorKind,
        Field,
        usize,
        ReasonCode,
        Option<&'static str>,
    ),
) {
    let error = refuse(version, sender, bytes);
    let statement = error.statement(version);
    let found = (
        error.kind(),
        error.field(),
        error.offset(),
        error.reason(),
        statement,
    );
    assert_eq!(found, expected, "{bytes:02X?}");
}

#[track_caller]
fn refused_v5_client(
    bytes: &[u8],
    kind: DecodeErrorKind,
    field: Field,
    offset: usize,
    reason: ReasonCode,
    statement: impl Into<Option<&'static str>>,
) {
    refused(
        Version::V5,
        Sender::Client,
        bytes,
        (kind, field, offset, reason, statement.into()),
    );
}

#[track_caller]
fn refused_v5_server(
    bytes: &[u8],
    kind: DecodeErrorKind,
    field: Field,
    offset: usize,
    reason: ReasonCode,
    statement: impl Into<Option<&'static str>>,
) {
    refused(
        Version::V5,
        Sender::Server,
        bytes,
        (kind, field, offset, reason, statement.into()),
    );
}

/// A packet from its first byte and the parts of its body.
fn frame(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut bytes = std::vec![first];
    let mut rest = body.len();
    while rest > 127 {
        bytes.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    bytes.push(rest as u8);
    bytes.extend(body);
    bytes
}

/// Bytes behind a two-byte length.
fn field(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut out = (bytes.len() as u16).to_be_bytes().to_vec();
    out.extend(bytes);
    out
}

fn encoded(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(version, &mut out).unwrap();
    assert_eq!(out.len(), packet.encoded_len(version), "{packet:?}");
    out
}

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const SENDERS: [Sender; 2] = [Sender::Client, Sender::Server];
