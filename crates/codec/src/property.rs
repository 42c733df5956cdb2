//! One property: its id, its value, how it is read and written. All of it comes from the rows of
//! `table`.

use crate::error::DecodeError;
use crate::field::Field;
use crate::reader::Reader;
use crate::table::property_table;
use crate::types::places::{
    ACKS, AUTH, CONNACK, CONNECT, DISCONNECT, DISCONNECT_BY_CLIENT, DISCONNECT_BY_SERVER, PACKETS,
    PUBLISH, PUBLISH_BY_SERVER, SUBSCRIBE, WILL, both, by,
};
use crate::types::{PacketType, Sender};
use crate::writer::Sink;

/// No place at all: for properties that may never stand twice.
const NOWHERE: u32 = 0;

/// A place where properties stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The variable header of a packet.
    Packet(PacketType),
    /// The will properties inside CONNECT.
    Will,
}

impl Place {
    /// The place as the tables see it when this side sends.
    pub(crate) const fn by(self, sender: Sender) -> u32 {
        match self {
            Self::Packet(packet) => by(packet, sender),
            Self::Will => WILL,
        }
    }

    /// The place as the tables see it, whoever sends.
    pub(crate) const fn by_any(self) -> u32 {
        match self {
            Self::Packet(packet) => both(packet),
            Self::Will => WILL,
        }
    }
}

macro_rules! properties {
    ($($id:literal $Variant:ident($($part:ident: $Type:ty),+): $Kind:ident, $getter:ident, $name:literal,
        in $($place:ident)|+, many $($many:ident)|+, forward $forward:literal;)+) => {
        /// The id of a property of MQTT 5.0.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum PropertyId {
            $(
                #[doc = concat!("The ", $name, ", ", stringify!($id), ".")]
                $Variant = $id,
            )+
        }

        impl PropertyId {
            /// Every property id, in the order of the ids.
            pub const ALL: &'static [Self] = &[$(Self::$Variant),+];

            /// The property's name in lower case, as the specification words it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$Variant => $name,)+ }
            }

            /// Whether a server hands the property's bytes on unchanged with a PUBLISH.
            ///
            /// The message expiry interval is handed on counted down, so it is not among them.
            #[must_use]
            pub const fn is_forwarded(self) -> bool {
                match self { $(Self::$Variant => $forward,)+ }
            }

            pub(crate) const fn from_u32(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$Variant),)+
                    _ => None,
                }
            }

            pub(crate) const fn places(self) -> u32 {
                match self { $(Self::$Variant => $($place)|+,)+ }
            }

            pub(crate) const fn places_many(self) -> u32 {
                match self { $(Self::$Variant => $($many)|+,)+ }
            }
        }

        /// A property of MQTT 5.0 with its value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Property<'a> {
            $(
                #[doc = concat!("The ", $name, ", ", stringify!($id), ".")]
                $Variant($($Type),+),
            )+
        }

        impl<'a> Property<'a> {
            /// The property's id.
            #[must_use]
            pub const fn id(&self) -> PropertyId {
                match self { $(Self::$Variant(..) => PropertyId::$Variant,)+ }
            }

            /// Reads and checks the value that follows the id.
            pub(crate) fn read(id: PropertyId, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                let field = Field::Property(id);
                Ok(match id {
                    $(PropertyId::$Variant => {
                        let ($($part,)+) = kind::$Kind::read(reader, field)?;
                        Self::$Variant($($part),+)
                    })+
                })
            }

            /// Passes over the value that follows the id.
            pub(crate) fn skip(id: PropertyId, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
                let field = Field::Property(id);
                match id {
                    $(PropertyId::$Variant => kind::$Kind::skip(reader, field),)+
                }
            }

            /// What keeps the value from being sent.
            pub(crate) fn flaw(&self) -> Option<Flaw> {
                match *self {
                    $(Self::$Variant($($part),+) => kind::$Kind::flaw($($part),+),)+
                }
            }

            /// Writes id and value.
            pub(crate) fn write(&self, sink: &mut impl Sink) {
                sink.byte(self.id() as u8);
                match *self {
                    $(Self::$Variant($($part),+) => kind::$Kind::write(sink, $($part),+),)+
                }
            }
        }
    };
}

property_table!(properties);

impl PropertyId {
    /// Whether the property may stand in this place when this side sends it.
    #[must_use]
    pub const fn allowed_in(self, place: Place, sender: Sender) -> bool {
        self.places() & place.by(sender) != 0
    }

    /// Whether the property may stand more than once in this place when this side sends it.
    #[must_use]
    pub const fn repeatable(self, place: Place, sender: Sender) -> bool {
        self.places_many() & place.by(sender) != 0
    }
}

/// What keeps a property from being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    TooLong,
    Nul,
    OutOfRange,
}

/// How a value stands on the wire, and which values are legal. One type per kind; the table names
/// them.
pub(crate) mod kind {
    use super::Flaw;
    use crate::error::{DecodeError, DecodeErrorKind};
    use crate::field::Field;
    use crate::reader::Reader;
    use crate::topic::TopicName;
    use crate::writer::Sink;

    /// `read` returns the parts of the value as a tuple: one part for all kinds but the pair.
    macro_rules! number {
        ($(#[$doc:meta])* $Kind:ident, $Type:ty, $legal:pat, read $read:ident, write $write:ident) => {
            $(#[$doc])*
            pub(crate) struct $Kind;

            impl $Kind {
                pub(crate) fn read(reader: &mut Reader<'_>, field: Field) -> Result<($Type,), DecodeError> {
                    let range_error = reader.error(DecodeErrorKind::PropertyValue, field);
                    let value = reader.$read(field)?;
                    if matches!(value, $legal) { Ok((value,)) } else { Err(range_error) }
                }

                pub(crate) fn skip(reader: &mut Reader<'_>, field: Field) -> Result<(), DecodeError> {
                    reader.$read(field).map(|_| ())
                }

                pub(crate) fn flaw(value: $Type) -> Option<Flaw> {
                    if matches!(value, $legal) { None } else { Some(Flaw::OutOfRange) }
                }

                pub(crate) fn write(sink: &mut impl Sink, value: $Type) {
                    sink.$write(value);
                }
            }
        };
    }

    number!(/** A byte that is 0 or 1. */ Bit, u8, 0..=1, read byte, write byte);
    number!(/** Two bytes. */ Short, u16, _, read short, write short);
    number!(/** Two bytes, not 0. */ ShortNotZero, u16, 1.., read short, write short);
    number!(/** Four bytes. */ Long, u32, _, read long, write long);
    number!(/** Four bytes, not 0. */ LongNotZero, u32, 1.., read long, write long);
    number!(
        /** A variable byte integer, not 0. */
        VariableNotZero, u32, 1..=268_435_455, read variable, write variable_u32
    );

    /// A string.
    pub(crate) struct Text;

    impl Text {
        pub(crate) fn read<'a>(
            reader: &mut Reader<'a>,
            field: Field,
        ) -> Result<(&'a str,), DecodeError> {
            //= mqtt5 3.3.2-19
            reader.text(field).map(|text| (text,))
        }

        pub(crate) fn skip(reader: &mut Reader<'_>, field: Field) -> Result<(), DecodeError> {
            Binary::skip(reader, field)
        }

        pub(crate) fn flaw(value: &str) -> Option<Flaw> {
            if value.as_bytes().contains(&0) {
                Some(Flaw::Nul)
            } else {
                Binary::flaw(value.as_bytes())
            }
        }

        pub(crate) fn write(sink: &mut impl Sink, value: &str) {
            sink.binary(value.as_bytes());
        }
    }

    /// A string that is a topic name.
    pub(crate) struct Topic;

    impl Topic {
        pub(crate) fn read<'a>(
            reader: &mut Reader<'a>,
            field: Field,
        ) -> Result<(&'a str,), DecodeError> {
            let empty = reader.error(DecodeErrorKind::TopicNameEmpty, field);
            //= mqtt5 3.3.2-13
            //= mqtt5 3.3.2-14
            reader
                .topic_name(field)?
                .map(|topic| (topic.as_str(),))
                .ok_or(empty)
        }

        pub(crate) fn skip(reader: &mut Reader<'_>, field: Field) -> Result<(), DecodeError> {
            Binary::skip(reader, field)
        }

        pub(crate) fn flaw(value: &str) -> Option<Flaw> {
            Text::flaw(value).or_else(|| TopicName::new(value).is_err().then_some(Flaw::OutOfRange))
        }

        pub(crate) fn write(sink: &mut impl Sink, value: &str) {
            Text::write(sink, value);
        }
    }

    /// Bytes.
    pub(crate) struct Binary;

    impl Binary {
        pub(crate) fn read<'a>(
            reader: &mut Reader<'a>,
            field: Field,
        ) -> Result<(&'a [u8],), DecodeError> {
            reader.binary(field).map(|bytes| (bytes,))
        }

        pub(crate) fn skip(reader: &mut Reader<'_>, field: Field) -> Result<(), DecodeError> {
            reader.binary(field).map(|_| ())
        }

        pub(crate) fn flaw(value: &[u8]) -> Option<Flaw> {
            (value.len() > usize::from(u16::MAX)).then_some(Flaw::TooLong)
        }

        pub(crate) fn write(sink: &mut impl Sink, value: &[u8]) {
            sink.binary(value);
        }
    }

    /// Two strings.
    pub(crate) struct Pair;

    impl Pair {
        pub(crate) fn read<'a>(
            reader: &mut Reader<'a>,
            field: Field,
        ) -> Result<(&'a str, &'a str), DecodeError> {
            //= mqtt5 1.5.7-1
            Ok((reader.text(field)?, reader.text(field)?))
        }

        pub(crate) fn skip(reader: &mut Reader<'_>, field: Field) -> Result<(), DecodeError> {
            Binary::skip(reader, field)?;
            Binary::skip(reader, field)
        }

        pub(crate) fn flaw(name: &str, value: &str) -> Option<Flaw> {
            Text::flaw(name).or_else(|| Text::flaw(value))
        }

        pub(crate) fn write(sink: &mut impl Sink, name: &str, value: &str) {
            Text::write(sink, name);
            Text::write(sink, value);
        }
    }
}
