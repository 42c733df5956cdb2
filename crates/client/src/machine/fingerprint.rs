//! What a message says, in 64 bits: whether a PUBLISH that comes again is the message that came before.
//!
//! ```text
//!   session 1:   PUBLISH #1 "old" ──▶ PUBREC #1, cut       #1 is taken, until PUBREL
//!   the server starts again, its CONNACK for session 2 is lost, and so is PUBLISH #1 "new" that followed it
//!   session 2:   PUBLISH #1 DUP "new"                      to the client it looks as if "old" came again
//! ```
//! Identifiers do not tell sessions apart, and CONNACK only says that there is one. So the content does, where there is doubt.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::quality::FixedState;
use martlet_codec::Publish;

/// Of the topic, the payload and what the publisher has said with it.
///
/// Without what a server may change from one time to the next: DUP, RETAIN, what is left of the Message Expiry Interval, and the
/// Subscription Identifiers; a Topic Alias stands for its topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    pub(super) fn of(topic: &str, publish: &Publish<'_>) -> Self {
        let mut hasher = FixedState::default().build_hasher();
        topic.hash(&mut hasher);
        publish.payload.hash(&mut hasher);
        for (id, bytes) in publish.properties.iter_raw() {
            if id.is_forwarded() {
                bytes.hash(&mut hasher);
            }
        }
        Self(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use martlet_codec::{PropertiesBuf, Property, QoS};

    use super::*;

    fn of(topic: &str, payload: &str, properties: &[Property<'_>]) -> Fingerprint {
        let mut buf = PropertiesBuf::new();
        buf.extend(properties.iter().copied());
        let publish = Publish {
            dup: false,
            qos: QoS::ExactlyOnce,
            retain: false,
            topic: None,
            packet_id: None,
            properties: buf.as_properties(),
            payload: payload.as_bytes(),
        };
        Fingerprint::of(topic, &publish)
    }

    #[test]
    fn what_a_publisher_says_makes_the_difference() {
        let all = [
            of("a", "x", &[]),
            of("b", "x", &[]),
            of("a", "y", &[]),
            of("a", "", &[]),
            of("ax", "", &[]),
            of("a", "x", &[Property::ContentType("t")]),
            of("a", "x", &[Property::ResponseTopic("t")]),
            of("a", "x", &[Property::CorrelationData(b"t")]),
            of("a", "x", &[Property::PayloadFormatIndicator(1)]),
            of("a", "x", &[Property::UserProperty("t", "u")]),
            of("a", "x", &[Property::UserProperty("tu", "")]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{at}");
        }
        assert_eq!(all[0], of("a", "x", &[]));
    }

    #[test]
    fn what_a_server_says_does_not() {
        let plain = of("a", "x", &[]);
        for property in [
            Property::MessageExpiryInterval(7),
            Property::SubscriptionIdentifier(1),
            Property::TopicAlias(1),
        ] {
            let with = |others: &[Property<'_>]| {
                let all: Vec<_> = others.iter().copied().chain([property]).collect();
                of("a", "x", &all)
            };
            assert_eq!(with(&[]), plain, "{property:?}");
            let typed = Property::ContentType("t");
            assert_eq!(with(&[typed]), of("a", "x", &[typed]), "{property:?}");
        }
    }
}
