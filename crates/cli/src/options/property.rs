//! `-D PACKET NAME [KEY] VALUE`.

use std::ffi::{OsStr, OsString};

use martlet_codec::{PacketType, Place, PropertyId, Sender};

use super::numbers::atoi;
use super::problem::{Problem, PropertyProblem};
use crate::programs::Dialect;
use crate::properties::{
    Properties, Shape, Target, Value, allowed, hyphenated, property, shape, target,
};
use crate::settings::Settings;

/// Reads a property from the words behind -D into the settings; how many words it took.
pub(super) fn read(words: &[OsString], settings: &mut Settings) -> Result<usize, Problem> {
    let dialect = settings.dialect;
    let [packet, name, third, ..] = words else {
        return Err(Problem::Property(PropertyProblem::TooFew));
    };
    let packet = packet.to_string_lossy();
    let target =
        target(&packet).ok_or_else(|| wrong(PropertyProblem::NoPacket(packet.into_owned())))?;
    let name = name.to_string_lossy();
    let id =
        property(&name).ok_or_else(|| wrong(PropertyProblem::NoProperty(name.into_owned())))?;
    let property = hyphenated(id);
    if !allowed(id, target, dialect) {
        return Err(wrong(PropertyProblem::NotAllowed {
            property,
            packet: target.name,
        }));
    }
    let (value, used) = match shape(id) {
        Shape::Pair => {
            let last = words.get(3).ok_or_else(|| wrong(PropertyProblem::TooFew))?;
            (Value::Pair(text(id, third)?, text(id, last)?), 4)
        }
        Shape::Text => (Value::Text(text(id, third)?), 3),
        Shape::Bytes => (Value::Bytes(bytes(id, third)?), 3),
        Shape::Number(most) => (Value::Number(number(id, third, most, dialect)?), 3),
    };
    let ours = id.allowed_in(target.place, Sender::Client);
    let list = list(settings, target).filter(|_| target.supported && ours);
    let Some(list) = list else {
        return Err(wrong(PropertyProblem::NotSupported {
            property,
            packet: target.name,
        }));
    };
    list.push(id, value);
    Ok(used)
}

/// The list that a packet's properties go to.
fn list(settings: &mut Settings, target: Target) -> Option<&mut Properties> {
    Some(match target.place {
        Place::Will => &mut settings.will.properties,
        Place::Packet(PacketType::Connect) => &mut settings.session.connect,
        Place::Packet(PacketType::Publish) => &mut settings.sending.properties,
        Place::Packet(PacketType::Subscribe) => &mut settings.receiving.subscribe,
        Place::Packet(PacketType::Unsubscribe) => &mut settings.receiving.unsubscribe_properties,
        Place::Packet(PacketType::Disconnect) => &mut settings.session.disconnect,
        Place::Packet(_) => return None,
    })
}

fn wrong(problem: PropertyProblem) -> Problem {
    Problem::Property(problem)
}

fn text(id: PropertyId, word: &OsStr) -> Result<String, Problem> {
    let property = || hyphenated(id);
    let bytes = bytes(id, word)?;
    String::from_utf8(bytes).map_err(|_| {
        wrong(PropertyProblem::NotUtf8 {
            property: property(),
        })
    })
}

fn bytes(id: PropertyId, word: &OsStr) -> Result<Vec<u8>, Problem> {
    let bytes = word.as_encoded_bytes();
    if bytes.len() > usize::from(u16::MAX) {
        let property = hyphenated(id);
        return Err(wrong(PropertyProblem::TooLong { property }));
    }
    Ok(bytes.to_vec())
}

fn number(id: PropertyId, word: &OsStr, most: u32, dialect: Dialect) -> Result<u32, Problem> {
    let given = word.to_string_lossy().into_owned();
    let read = match dialect {
        Dialect::Martlet => given.parse().unwrap_or(-1),
        Dialect::Mosquitto => atoi(&given),
    };
    match u32::try_from(read) {
        Ok(number) if number <= most => Ok(number),
        Ok(_) | Err(_) => Err(wrong(PropertyProblem::Number {
            property: hyphenated(id),
            read,
            given,
        })),
    }
}
