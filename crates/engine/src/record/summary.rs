//! What a queue has to know of a message whose body stays in the store.

use super::{Body, WallTime};
use crate::message::{MessageParts, Origin};

/// How large a message is in memory, and when it is worth nothing any more: enough to have it in a queue.
///
/// A start of ten million queued messages reads ten million of these, and no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodySummary {
    /// Bytes that the message takes while it is in memory.
    pub size_bytes: u32,
    /// When it is worth nothing any more.
    pub expires_at: Option<WallTime>,
}

impl BodySummary {
    /// What is to be known of this message.
    #[must_use]
    pub fn of(message: &Body<'_>) -> Self {
        let parts = MessageParts {
            topic: message.topic.into(),
            shared_properties: message.shared_properties,
            payload: message.payload,
            qos: message.qos,
            retain: message.retain,
            expires_at: None,
            origin: Origin::NONE,
        };
        Self {
            size_bytes: u32::try_from(parts.message_size()).unwrap_or(u32::MAX),
            expires_at: message.expires_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_codec::QoS;

    /// Limits and reports count both alike.
    #[test]
    fn a_summary_says_what_the_whole_message_says() {
        let long = alloc::vec![b'x'; 70_000];
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for properties in [&[][..], &[1, 1], &long[..200]] {
                for payload in [&[][..], &long[..100], &long[..130], &long] {
                    let parts = MessageParts {
                        topic: "plant/7/power".into(),
                        shared_properties: properties,
                        payload,
                        qos,
                        retain: false,
                        expires_at: None,
                        origin: Origin::NONE,
                    };
                    let body = Body {
                        topic: parts.topic.as_str(),
                        shared_properties: properties,
                        payload,
                        qos,
                        retain: false,
                        expires_at: Some(WallTime(7)),
                    };
                    let summary = BodySummary::of(&body);
                    assert_eq!(summary.size_bytes as usize, parts.to_message().size());
                    assert_eq!(summary.expires_at, Some(WallTime(7)));
                }
            }
        }
    }
}
