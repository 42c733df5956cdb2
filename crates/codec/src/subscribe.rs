//! SUBSCRIBE and UNSUBSCRIBE: lists of topic filters, checked when decoded and read again by their
//! iterators.

use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::field::Field;
use crate::properties::Properties;
use crate::property::Place;
use crate::publish::decode_packet_id;
use crate::reader::Reader;
use crate::topic::{TopicErrorKind, TopicFilter};
use crate::types::{PacketId, PacketType, QoS, Sender, Version};
use crate::writer::{Sink, Target};
use alloc::vec::Vec;
use core::fmt;

/// SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Subscribe<'a> {
    /// The packet identifier that SUBACK repeats.
    pub packet_id: PacketId,
    /// Properties; none in 3.x.
    pub properties: Properties<'a>,
    /// What is subscribed to; at least one filter.
    pub filters: SubscribeFilters<'a>,
}

impl<'a> Subscribe<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let (packet_id, properties) = decode_head(PacketType::Subscribe, reader, version)?;
        let list = reader.rest();
        let mut count = 0;
        while !reader.is_empty() {
            //= mqtt5 3.8.3-1
            //= mqtt311 3.8.3-1
            let filter = decode_filter(reader)?;
            let options_at = reader.offset();
            let options = reader.byte(Field::SubscriptionOptions)?;
            check_options(options, filter, version)
                .map_err(|kind| DecodeError::new(kind, Field::SubscriptionOptions, options_at))?;
            count += 1;
        }
        let filters = SubscribeFilters { bytes: list, count };
        Ok(Self {
            packet_id,
            properties,
            filters,
        })
    }

    pub(crate) fn check(&self, version: Version) -> Result<(), EncodeError> {
        self.properties
            .check(Place::Packet(PacketType::Subscribe), version)?;
        if self.filters.is_empty() {
            return Err(EncodeError::Missing(Field::TopicFilter));
        }
        for (filter, options) in self.filters {
            if !version.is_v5() && options.byte() != options.qos.bits() {
                return Err(EncodeError::NotInThisVersion(Field::SubscriptionOptions));
            }
            //= mqtt5 3.8.3-4
            if options.no_local && filter.share_name().is_some() {
                return Err(EncodeError::Contradiction(Field::SubscriptionOptions));
            }
        }
        Ok(())
    }

    pub(crate) fn write(&self, version: Version, sink: &mut impl Sink) {
        write_head(self.packet_id, self.properties, version, sink);
        sink.bytes(self.filters.bytes);
    }
}

/// UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unsubscribe<'a> {
    /// The packet identifier that UNSUBACK repeats.
    pub packet_id: PacketId,
    /// Properties; none in 3.x.
    pub properties: Properties<'a>,
    /// Which subscriptions are ended; at least one filter.
    pub filters: UnsubscribeFilters<'a>,
}

impl<'a> Unsubscribe<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let (packet_id, properties) = decode_head(PacketType::Unsubscribe, reader, version)?;
        let list = reader.rest();
        let mut count = 0;
        while !reader.is_empty() {
            //= mqtt5 3.10.3-1
            //= mqtt311 3.10.3-1
            decode_filter(reader)?;
            count += 1;
        }
        let filters = UnsubscribeFilters { bytes: list, count };
        Ok(Self {
            packet_id,
            properties,
            filters,
        })
    }

    pub(crate) fn check(&self, version: Version) -> Result<(), EncodeError> {
        self.properties
            .check(Place::Packet(PacketType::Unsubscribe), version)?;
        if self.filters.is_empty() {
            return Err(EncodeError::Missing(Field::TopicFilter));
        }
        Ok(())
    }

    pub(crate) fn write(&self, version: Version, sink: &mut impl Sink) {
        write_head(self.packet_id, self.properties, version, sink);
        sink.bytes(self.filters.bytes);
    }
}

/// How a subscription wants its messages. All but the QoS is 5.0 only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscriptionOptions {
    /// The highest QoS at which messages are sent.
    pub qos: QoS,
    /// Not the messages that this client published itself.
    pub no_local: bool,
    /// Keep the RETAIN flag as the publisher set it.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// When a new subscription is sent the retained messages that match it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// With every SUBSCRIBE.
    #[default]
    Always = 0,
    /// Only if the subscription did not exist before.
    IfNew = 1,
    /// Not at all.
    Never = 2,
}

impl SubscriptionOptions {
    /// Options with this QoS and nothing else set, which is all that 3.x can say.
    #[must_use]
    pub const fn with_qos(qos: QoS) -> Self {
        Self {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Always,
        }
    }

    /// The options byte of 5.0; the one of 3.x is the same with only the QoS in it.
    const fn byte(self) -> u8 {
        self.qos.bits()
            | if self.no_local { NO_LOCAL } else { 0 }
            | if self.retain_as_published {
                RETAIN_AS_PUBLISHED
            } else {
                0
            }
            | (self.retain_handling as u8) << RETAIN_HANDLING_SHIFT
    }

    /// What an options byte of 5.0 means; that of 3.x is the same with only the QoS in it.
    fn from_byte(byte: u8) -> Result<Self, DecodeErrorKind> {
        let qos = QoS::from_bits(byte & 0b11).ok_or(DecodeErrorKind::SubscriptionQoSReserved)?;
        let retain_handling = match byte >> RETAIN_HANDLING_SHIFT & 0b11 {
            0 => RetainHandling::Always,
            1 => RetainHandling::IfNew,
            2 => RetainHandling::Never,
            _ => return Err(DecodeErrorKind::RetainHandlingReserved),
        };
        let no_local = byte & NO_LOCAL != 0;
        let retain_as_published = byte & RETAIN_AS_PUBLISHED != 0;
        Ok(Self {
            qos,
            no_local,
            retain_as_published,
            retain_handling,
        })
    }
}

/// Whether an options byte may follow this filter.
fn check_options(
    byte: u8,
    filter: TopicFilter<'_>,
    version: Version,
) -> Result<(), DecodeErrorKind> {
    let reserved = if version.is_v5() {
        0b1100_0000
    } else {
        0b1111_1100
    };
    //= mqtt5 3.8.3-5
    //= mqtt311 3.8.3-4
    if byte & reserved != 0 {
        return Err(DecodeErrorKind::SubscriptionOptionsReserved);
    }
    let options = SubscriptionOptions::from_byte(byte)?;
    //= mqtt5 3.8.3-4
    if options.no_local && filter.share_name().is_some() {
        return Err(DecodeErrorKind::NoLocalOnSharedSubscription);
    }
    Ok(())
}

const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const RETAIN_HANDLING_SHIFT: u8 = 4;

/// The two lists differ in one thing: whether an options byte follows each filter.
macro_rules! filter_list {
    ($List:ident, $Iter:ident, $Buf:ident, $packet:literal, $Item:ty, |$reader:ident| $next:expr,
        push($($arg:ident: $Arg:ty),+) |$sink:ident| $write:block) => {
        #[doc = concat!("The topic filters of ", $packet, ", checked, still in their packet.")]
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $List<'a> {
            bytes: &'a [u8],
            count: usize,
        }

        impl<'a> $List<'a> {
            /// All filters in their order.
            #[must_use]
            pub const fn iter(self) -> $Iter<'a> {
                $Iter { reader: Reader::new(self.bytes, self.bytes.len()), left: self.count }
            }

            /// How many filters there are.
            #[must_use]
            pub const fn len(self) -> usize {
                self.count
            }

            /// Whether there is none, which only a list that is being built can be.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.count == 0
            }
        }

        impl<'a> IntoIterator for $List<'a> {
            type Item = $Item;
            type IntoIter = $Iter<'a>;

            fn into_iter(self) -> $Iter<'a> {
                self.iter()
            }
        }

        impl fmt::Debug for $List<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_list().entries(self.iter()).finish()
            }
        }

        #[doc = concat!("Iterator over the topic filters of ", $packet, ".")]
        #[derive(Clone, Debug)]
        pub struct $Iter<'a> {
            reader: Reader<'a>,
            left: usize,
        }

        impl<'a> Iterator for $Iter<'a> {
            type Item = $Item;

            fn next(&mut self) -> Option<Self::Item> {
                let $reader = &mut self.reader;
                let item = $next;
                self.left = self.left.saturating_sub(1);
                Some(item)
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                (self.left, Some(self.left))
            }
        }

        impl ExactSizeIterator for $Iter<'_> {}

        #[doc = concat!("Topic filters for a ", $packet, " to send.")]
        #[derive(Clone, Debug, Default)]
        pub struct $Buf {
            bytes: Vec<u8>,
            count: usize,
        }

        impl $Buf {
            /// No filters yet; allocates nothing.
            #[must_use]
            pub const fn new() -> Self {
                Self { bytes: Vec::new(), count: 0 }
            }

            /// Appends a filter.
            pub fn push(&mut self, $($arg: $Arg),+) -> &mut Self {
                let $sink = &mut Target(&mut self.bytes);
                $write
                self.count += 1;
                self
            }

            /// The filters so far.
            #[must_use]
            pub fn as_filters(&self) -> $List<'_> {
                $List { bytes: &self.bytes, count: self.count }
            }
        }
    };
}

filter_list!(
    SubscribeFilters, SubscribeFiltersIter, SubscribeFiltersBuf, "SUBSCRIBE",
    (TopicFilter<'a>, SubscriptionOptions),
    |reader| {
        let filter = reread_filter(reader)?;
        let byte = reader.byte(Field::SubscriptionOptions).ok()?;
        // The byte was checked when the list was decoded or built.
        (filter, SubscriptionOptions::from_byte(byte).unwrap_or_default())
    },
    push(filter: TopicFilter<'_>, options: SubscriptionOptions) |sink| {
        sink.binary(filter.as_str().as_bytes());
        sink.byte(options.byte());
    }
);

filter_list!(
    UnsubscribeFilters, UnsubscribeFiltersIter, UnsubscribeFiltersBuf, "UNSUBSCRIBE",
    TopicFilter<'a>,
    |reader| reread_filter(reader)?,
    push(filter: TopicFilter<'_>) |sink| { sink.binary(filter.as_str().as_bytes()); }
);

fn decode_head<'a>(
    packet_type: PacketType,
    reader: &mut Reader<'a>,
    version: Version,
) -> Result<(PacketId, Properties<'a>), DecodeError> {
    let packet_id = decode_packet_id(reader)?;
    let properties = if version.is_v5() {
        Properties::read(reader, Place::Packet(packet_type), Sender::Client)?
    } else {
        Properties::EMPTY
    };
    //= mqtt5 3.8.3-2
    //= mqtt5 3.10.3-2
    //= mqtt311 3.8.3-3
    //= mqtt311 3.10.3-2
    if reader.is_empty() {
        return Err(reader.error(DecodeErrorKind::NoTopicFilters, Field::TopicFilter));
    }
    Ok((packet_id, properties))
}

fn write_head(
    packet_id: PacketId,
    properties: Properties<'_>,
    version: Version,
    sink: &mut impl Sink,
) {
    sink.short(packet_id.get());
    if version.is_v5() {
        properties.write(sink);
    }
}

fn decode_filter<'a>(reader: &mut Reader<'a>) -> Result<TopicFilter<'a>, DecodeError> {
    let text = reader.utf8(Field::TopicFilter)?;
    TopicFilter::new(text).map_err(|error| {
        let kind = if error.kind() == TopicErrorKind::Nul {
            DecodeErrorKind::Nul
        } else {
            DecodeErrorKind::TopicFilter(error.kind())
        };
        let start = reader.offset() - text.len();
        DecodeError::new(kind, Field::TopicFilter, start + error.offset())
    })
}

/// A filter that was checked when its list was decoded or built.
fn reread_filter<'a>(reader: &mut Reader<'a>) -> Option<TopicFilter<'a>> {
    reader
        .utf8(Field::TopicFilter)
        .ok()
        .map(TopicFilter::from_checked)
}
