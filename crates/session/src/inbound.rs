//! QoS 1 and 2 messages coming from the peer.
//!
//! ```text
//!            PUBLISH (fresh)              PUBREL
//!   free ─────────────────────▶ unreleased ──────▶ free
//!            ▲                    │  ▲
//!            └── PUBREC >= 0x80 ──┘  └─ PUBLISH again: PUBREC again, nothing is delivered
//! ```

use alloc::vec::Vec;
use martlet_codec::PacketId;

/// What an arriving QoS 1 or 2 PUBLISH means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboundPublish {
    /// A new message: deliver it onward, then acknowledge.
    Fresh,
    /// A QoS 2 message whose PUBREL has not come yet: acknowledge, do not deliver again.
    Duplicate,
    /// The peer has more messages unacknowledged than our Receive Maximum allows.
    ReceiveMaximumExceeded,
}

/// The receiving half of a session's QoS 2 state, and the count against our Receive Maximum.
///
/// Survives reconnects with its session. Owns at most 65,535 packet identifiers (128 KiB of ids).
#[derive(Debug, Clone)]
pub struct Inbound {
    /// Sorted by identifier; between PUBREC and PUBREL.
    unreleased: Vec<Unreleased>,
    /// How many of them the peer has sent on this connection: only those use its quota.
    on_this_connection: u16,
    receive_maximum: u16,
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            unreleased: Vec::new(),
            on_this_connection: 0,
            receive_maximum: u16::MAX,
        }
    }
}

impl Inbound {
    /// A new connection of the session begins, with this Receive Maximum announced to the peer
    /// (65,535 for MQTT 3.x, which has none).
    pub fn start_connection(&mut self, receive_maximum: u16) {
        self.receive_maximum = receive_maximum;
        self.on_this_connection = 0;
        for entry in &mut self.unreleased {
            entry.on_this_connection = false;
        }
    }

    /// A QoS 1 PUBLISH has arrived: whether the peer kept our Receive Maximum.
    #[must_use]
    pub const fn on_publish_qos1(&self) -> InboundPublish {
        if self.on_this_connection >= self.receive_maximum {
            return InboundPublish::ReceiveMaximumExceeded;
        }
        InboundPublish::Fresh
    }

    /// A QoS 2 PUBLISH has arrived. `Fresh` and `Duplicate` leave the identifier unreleased.
    pub fn on_publish_qos2(&mut self, id: PacketId) -> InboundPublish {
        match self.unreleased.binary_search_by_key(&id, |entry| entry.id) {
            Ok(at) => {
                //= mqtt5 4.3.3-10
                //= mqtt311 4.3.3-2
                if let Some(entry) = self.unreleased.get_mut(at)
                    && !entry.on_this_connection
                {
                    entry.on_this_connection = true;
                    self.on_this_connection = self.on_this_connection.saturating_add(1);
                }
                InboundPublish::Duplicate
            }
            Err(_) if self.on_this_connection >= self.receive_maximum => {
                InboundPublish::ReceiveMaximumExceeded
            }
            Err(at) => {
                self.unreleased.insert(
                    at,
                    Unreleased {
                        id,
                        on_this_connection: true,
                    },
                );
                self.on_this_connection = self.on_this_connection.saturating_add(1);
                InboundPublish::Fresh
            }
        }
    }

    /// PUBREL has arrived, or PUBREC was sent with a reason of 0x80 or more: the identifier is free.
    /// Returns whether it was known.
    pub fn release(&mut self, id: PacketId) -> bool {
        //= mqtt5 4.3.3-9
        //= mqtt5 4.3.3-12
        let Ok(at) = self.unreleased.binary_search_by_key(&id, |entry| entry.id) else {
            return false;
        };
        if self.unreleased.remove(at).on_this_connection {
            self.on_this_connection = self.on_this_connection.saturating_sub(1);
        }
        if self.unreleased.is_empty() {
            // A session that is at rest owns no memory for this.
            self.unreleased = Vec::new();
        }
        true
    }

    /// How many QoS 2 messages wait for their PUBREL.
    #[must_use]
    pub fn unreleased_count(&self) -> usize {
        self.unreleased.len()
    }
}

#[derive(Debug, Clone, Copy)]
struct Unreleased {
    id: PacketId,
    on_this_connection: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    //= mqtt5 4.3.3-10 test
    //= mqtt311 4.3.3-2 test
    #[test]
    fn a_repeated_id_is_a_duplicate_until_released_also_after_a_reconnect() {
        let mut inbound = Inbound::default();
        inbound.start_connection(10);
        assert_eq!(inbound.on_publish_qos2(id(7)), InboundPublish::Fresh);
        assert_eq!(inbound.on_publish_qos2(id(7)), InboundPublish::Duplicate);
        inbound.start_connection(10);
        assert_eq!(inbound.on_publish_qos2(id(7)), InboundPublish::Duplicate);
        assert!(inbound.release(id(7)));
        assert!(!inbound.release(id(7)));
        assert_eq!(inbound.on_publish_qos2(id(7)), InboundPublish::Fresh);
    }

    #[test]
    fn the_receive_maximum_counts_what_was_sent_on_this_connection() {
        let mut inbound = Inbound::default();
        inbound.start_connection(2);
        assert_eq!(inbound.on_publish_qos2(id(1)), InboundPublish::Fresh);
        assert_eq!(inbound.on_publish_qos2(id(2)), InboundPublish::Fresh);
        assert_eq!(
            inbound.on_publish_qos2(id(3)),
            InboundPublish::ReceiveMaximumExceeded
        );
        assert_eq!(
            inbound.on_publish_qos1(),
            InboundPublish::ReceiveMaximumExceeded
        );
        assert_eq!(inbound.on_publish_qos2(id(2)), InboundPublish::Duplicate);
        // The quota starts anew with each connection; ids from before do not use it up.
        inbound.start_connection(2);
        assert_eq!(inbound.on_publish_qos1(), InboundPublish::Fresh);
        assert_eq!(inbound.on_publish_qos2(id(3)), InboundPublish::Fresh);
        assert_eq!(inbound.on_publish_qos2(id(1)), InboundPublish::Duplicate);
        assert_eq!(
            inbound.on_publish_qos2(id(4)),
            InboundPublish::ReceiveMaximumExceeded
        );
        assert!(inbound.release(id(1)));
        assert_eq!(inbound.on_publish_qos2(id(4)), InboundPublish::Fresh);
    }
}
