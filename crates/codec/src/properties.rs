//! A block of properties: borrowed from a packet ([`Properties`]) or being built
//! ([`PropertiesBuf`]).
//!
//! Both carry a set of the ids inside, so that asking for an absent property, which is the common
//! case, reads one word, and so that the checks before sending need not look at the bytes.

use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::field::Field;
use crate::property::{Flaw, Place, Property, PropertyId};
use crate::reader::Reader;
use crate::table::property_table;
use crate::types::{Sender, Version};
use crate::writer::{Sink, Target};
use alloc::vec::Vec;
use core::fmt;

/// The properties of a packet or a will: checked bytes without the length in front of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Properties<'a> {
    bytes: &'a [u8],
    set: PropertySet,
}

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Properties<'static> = Properties {
        bytes: &[],
        set: PropertySet::EMPTY,
    };

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes on the wire, without the length in front.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether a property is there.
    #[must_use]
    pub const fn contains(self, id: PropertyId) -> bool {
        self.set.contains(id)
    }

    /// All properties in their order.
    #[must_use]
    pub const fn iter(self) -> PropertiesIter<'a> {
        PropertiesIter(self.iter_raw())
    }

    /// All properties in their order, as the bytes of id and value.
    #[must_use]
    pub const fn iter_raw(self) -> RawPropertiesIter<'a> {
        RawPropertiesIter(Reader::new(self.bytes, self.bytes.len()))
    }

    /// All user properties in their order.
    #[must_use]
    pub const fn user_properties(self) -> UserProperties<'a> {
        let any = self.contains(PropertyId::UserProperty);
        UserProperties(if any {
            self.iter()
        } else {
            Properties::EMPTY.iter()
        })
    }

    /// All subscription identifiers in their order.
    #[must_use]
    pub const fn subscription_identifiers(self) -> SubscriptionIdentifiers<'a> {
        let any = self.contains(PropertyId::SubscriptionIdentifier);
        SubscriptionIdentifiers(if any {
            self.iter()
        } else {
            Properties::EMPTY.iter()
        })
    }

    /// Reads a block of properties with its length and checks all of them.
    pub(crate) fn read(
        reader: &mut Reader<'a>,
        place: Place,
        sender: Sender,
    ) -> Result<Self, DecodeError> {
        let length = reader.variable(Field::PropertyLength)?;
        if length == 0 {
            return Ok(Properties::EMPTY);
        }
        let block = reader.block(length, Field::PropertyLength)?;
        let mut rest = block;
        let mut set = PropertySet::EMPTY;
        while !rest.is_empty() {
            let start = rest;
            let id = rest.variable(Field::PropertyIdentifier)?;
            let Some(id) = PropertyId::from_u32(id) else {
                return Err(
                    start.error(DecodeErrorKind::PropertyUnknown, Field::PropertyIdentifier)
                );
            };
            if !id.allowed_in(place, sender) {
                return Err(start.error(wrong_place(id, place), Field::Property(id)));
            }
            if set.contains(id) && !id.repeatable(place, sender) {
                return Err(start.error(DecodeErrorKind::PropertyRepeated, Field::Property(id)));
            }
            set.insert(id);
            Property::read(id, &mut rest)?;
        }
        Ok(Self {
            bytes: block.rest(),
            set,
        })
    }

    /// Whether these properties can be sent in this place by one side or the other.
    pub(crate) fn check(self, place: Place, version: Version) -> Result<(), EncodeError> {
        if self.is_empty() && !self.set.is_flawed() {
            return Ok(());
        }
        if !version.is_v5() {
            return Err(EncodeError::NotInThisVersion(Field::Properties));
        }
        self.set.check_flaws()?;
        let mut seen = PropertySet::EMPTY;
        for (id, _) in self.iter_raw() {
            if id.places() & place.by_any() == 0 {
                return Err(EncodeError::PropertyNotAllowed(id));
            }
            if seen.contains(id) && id.places_many() & place.by_any() == 0 {
                return Err(EncodeError::PropertyRepeated);
            }
            seen.insert(id);
        }
        Ok(())
    }

    /// Writes the block with its length.
    pub(crate) fn write(self, sink: &mut impl Sink) {
        //= mqtt5 2.2.2-1
        sink.variable(self.bytes.len());
        sink.bytes(self.bytes);
    }

    /// The first property with this id.
    fn find(self, wanted: PropertyId) -> Option<Property<'a>> {
        if !self.contains(wanted) {
            return None;
        }
        let (_, bytes) = self.iter_raw().find(|&(id, _)| id == wanted)?;
        PropertiesIter(RawPropertiesIter(Reader::new(bytes, bytes.len()))).next()
    }
}

impl Default for Properties<'_> {
    fn default() -> Self {
        Properties::EMPTY
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

macro_rules! getters {
    ($($id:literal $Variant:ident($($part:ident: $Type:ty),+): $Kind:ident, $getter:ident, $name:literal,
        in $($place:ident)|+, many $($many:ident)|+, forward $forward:literal;)+) => {
        impl<'a> Properties<'a> {
            $(
                #[doc = concat!("The ", $name, ", if there is one (the first, if there are several).")]
                #[must_use]
                pub fn $getter(self) -> Option<Value!($($Type),+)> {
                    match self.find(PropertyId::$Variant) {
                        Some(Property::$Variant($($part),+)) => Some(Parts!($($part),+)),
                        Some(_) | None => None,
                    }
                }
            )+
        }
    };
}

/// The type of a getter's value: the type itself, or a pair of types.
macro_rules! Value {
    ($Type:ty) => {
        $Type
    };
    ($First:ty, $Second:ty) => {
        ($First, $Second)
    };
}

/// The value of a getter: the part itself, or a pair of parts.
macro_rules! Parts {
    ($part:ident) => {
        $part
    };
    ($first:ident, $second:ident) => {
        ($first, $second)
    };
}

property_table!(getters);

/// Iterator over properties, made by [`Properties::iter`].
#[derive(Clone, Debug)]
pub struct PropertiesIter<'a>(RawPropertiesIter<'a>);

impl<'a> Iterator for PropertiesIter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (id, bytes) = self.0.next()?;
        let mut value = Reader::new(bytes.get(1..)?, bytes.len());
        // The bytes were checked when the block was read or built, so there is no error to report.
        Property::read(id, &mut value).ok()
    }
}

/// Iterator over properties as bytes, made by [`Properties::iter_raw`].
#[derive(Clone, Debug)]
pub struct RawPropertiesIter<'a>(Reader<'a>);

impl<'a> Iterator for RawPropertiesIter<'a> {
    type Item = (PropertyId, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.0;
        // Every known id takes one byte.
        let id = PropertyId::from_u32(u32::from(self.0.byte(Field::PropertyIdentifier).ok()?))?;
        Property::skip(id, &mut self.0).ok()?;
        let length = self.0.offset() - start.offset();
        Some((id, start.rest().get(..length)?))
    }
}

/// Iterator over user properties, made by [`Properties::user_properties`].
#[derive(Clone, Debug)]
pub struct UserProperties<'a>(PropertiesIter<'a>);

impl<'a> Iterator for UserProperties<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.find_map(|property| {
            if let Property::UserProperty(name, value) = property {
                Some((name, value))
            } else {
                None
            }
        })
    }
}

/// Iterator over subscription identifiers, made by [`Properties::subscription_identifiers`].
#[derive(Clone, Debug)]
pub struct SubscriptionIdentifiers<'a>(PropertiesIter<'a>);

impl Iterator for SubscriptionIdentifiers<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.find_map(|property| {
            if let Property::SubscriptionIdentifier(id) = property {
                Some(id)
            } else {
                None
            }
        })
    }
}

/// Properties to send.
///
/// Pushing never fails. A property that cannot be sent (a string too long, a value out of range) is
/// left out, and encoding a packet with these properties reports it.
#[derive(Clone, Debug, Default)]
pub struct PropertiesBuf {
    bytes: Vec<u8>,
    set: PropertySet,
}

impl PropertiesBuf {
    /// No properties yet; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            set: PropertySet::EMPTY,
        }
    }

    /// Forgets all properties and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.set = PropertySet::EMPTY;
    }

    /// Appends a property.
    pub fn push(&mut self, property: Property<'_>) -> &mut Self {
        let id = property.id();
        if let Some(flaw) = property.flaw() {
            self.set.insert_flaw(flaw);
        } else {
            self.set.insert(id);
            property.write(&mut Target(&mut self.bytes));
        }
        self
    }

    /// The properties so far.
    #[must_use]
    pub fn as_properties(&self) -> Properties<'_> {
        Properties {
            bytes: &self.bytes,
            set: self.set,
        }
    }

    /// How many bytes the properties take, without the length in front.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl<'p> Extend<Property<'p>> for PropertiesBuf {
    fn extend<I: IntoIterator<Item = Property<'p>>>(&mut self, properties: I) {
        for property in properties {
            self.push(property);
        }
    }
}

/// Which ids a block holds, one bit each, and above them what is wrong with properties that were
/// left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PropertySet(u64);

impl PropertySet {
    const EMPTY: Self = Self(0);
    const FLAW_TOO_LONG: u64 = 1 << 61;
    const FLAW_NUL: u64 = 1 << 62;
    const FLAW_OUT_OF_RANGE: u64 = 1 << 63;
    const FLAWS: u64 = Self::FLAW_TOO_LONG | Self::FLAW_NUL | Self::FLAW_OUT_OF_RANGE;

    const fn contains(self, id: PropertyId) -> bool {
        self.0 & Self::bit(id) != 0
    }

    fn insert(&mut self, id: PropertyId) {
        self.0 |= Self::bit(id);
    }

    fn insert_flaw(&mut self, flaw: Flaw) {
        self.0 |= match flaw {
            Flaw::TooLong => Self::FLAW_TOO_LONG,
            Flaw::Nul => Self::FLAW_NUL,
            Flaw::OutOfRange => Self::FLAW_OUT_OF_RANGE,
        };
    }

    const fn is_flawed(self) -> bool {
        self.0 & Self::FLAWS != 0
    }

    const fn check_flaws(self) -> Result<(), EncodeError> {
        if self.0 & Self::FLAW_TOO_LONG != 0 {
            return Err(EncodeError::StringTooLong(Field::Properties));
        }
        if self.0 & Self::FLAW_NUL != 0 {
            return Err(EncodeError::Nul(Field::Properties));
        }
        if self.0 & Self::FLAW_OUT_OF_RANGE != 0 {
            return Err(EncodeError::PropertyValue);
        }
        Ok(())
    }

    /// The ids end at 0x2A, well below the flaws.
    const fn bit(id: PropertyId) -> u64 {
        1 << (id as u32)
    }
}

const _: () = assert!((PropertyId::SharedSubscriptionAvailable as u32) < 61);

fn wrong_place(id: PropertyId, place: Place) -> DecodeErrorKind {
    if id.places() & place.by_any() == 0 {
        DecodeErrorKind::PropertyNotAllowed
    } else {
        //= mqtt5 3.3.4-6
        //= mqtt5 3.14.2-2
        DecodeErrorKind::PropertyFromWrongSide
    }
}
