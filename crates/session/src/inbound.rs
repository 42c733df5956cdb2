//! QoS 1 and 2 messages coming from the peer.
//!
//! ```text
//!            PUBLISH (fresh)              PUBREL
//!   free ─────────────────────▶ unreleased ──────▶ free
//!            ▲                    │  ▲
//!            └── PUBREC >= 0x80 ──┘  └─ PUBLISH again: PUBREC again, nothing is delivered
//! ```

use alloc::boxed::Box;
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
/// Survives reconnects with its session. Owns at most 65,535 packet identifiers (256 KiB), and nothing before the
/// first QoS 2 message: two words then. `T` is what the caller wants to remember with each of them: a broker nothing.
#[derive(Debug, Clone)]
pub struct Inbound<T = ()> {
    unreleased: Option<Box<Unreleased<T>>>,
    receive_maximum: u16,
}

/// What is between PUBREC and PUBREL.
#[derive(Debug, Clone, Default)]
struct Unreleased<T> {
    /// Sorted by identifier.
    entries: Vec<Entry<T>>,
    /// How many of them the peer has sent on this connection: only those use its quota.
    on_this_connection: u16,
}

impl<T> Default for Inbound<T> {
    fn default() -> Self {
        Self {
            unreleased: None,
            receive_maximum: u16::MAX,
        }
    }
}

impl Inbound {
    /// A QoS 2 PUBLISH has arrived. `Fresh` and `Duplicate` leave the identifier unreleased.
    pub fn on_publish_qos2(&mut self, id: PacketId) -> InboundPublish {
        self.on_marked_publish_qos2(id, ())
    }
}

impl<T: Copy + Default> Inbound<T> {
    /// A new connection of the session begins, with this Receive Maximum announced to the peer
    /// (65,535 for MQTT 3.x, which has none).
    pub fn start_connection(&mut self, receive_maximum: u16) {
        self.receive_maximum = receive_maximum;
        if let Some(unreleased) = &mut self.unreleased {
            unreleased.on_this_connection = 0;
            for entry in &mut unreleased.entries {
                entry.on_this_connection = false;
            }
        }
        self.release_memory();
    }

    /// Gives the memory back if no identifier is unreleased. For a session that loses its connection: while
    /// messages come and go the memory is used again.
    pub fn release_memory(&mut self) {
        if self.unreleased_count() == 0 {
            self.unreleased = None;
        }
    }

    /// A QoS 1 PUBLISH has arrived: whether the peer kept our Receive Maximum.
    #[must_use]
    //= mqtt5 4.3.2-5
    pub fn on_publish_qos1(&self) -> InboundPublish {
        let used = self.unreleased.as_ref().map_or(0, |u| u.on_this_connection);
        if used >= self.receive_maximum {
            return InboundPublish::ReceiveMaximumExceeded;
        }
        InboundPublish::Fresh
    }

    /// A QoS 2 PUBLISH has arrived. `Fresh` and `Duplicate` leave the identifier unreleased; `Fresh` with this mark.
    pub fn on_marked_publish_qos2(&mut self, id: PacketId, mark: T) -> InboundPublish {
        let receive_maximum = self.receive_maximum;
        let unreleased = self.unreleased.get_or_insert_default();
        match unreleased.place_of(id) {
            Ok(at) => {
                //= mqtt5 4.3.3-10
                //= mqtt311 4.3.3-2
                if let Some(entry) = unreleased.entries.get_mut(at)
                    && !entry.on_this_connection
                {
                    entry.on_this_connection = true;
                    unreleased.on_this_connection = unreleased.on_this_connection.saturating_add(1);
                }
                InboundPublish::Duplicate
            }
            Err(_) if unreleased.on_this_connection >= receive_maximum => {
                InboundPublish::ReceiveMaximumExceeded
            }
            Err(at) => {
                let entry = Entry {
                    id,
                    on_this_connection: true,
                    mark,
                };
                unreleased.entries.insert(at, entry);
                unreleased.on_this_connection = unreleased.on_this_connection.saturating_add(1);
                InboundPublish::Fresh
            }
        }
    }

    /// PUBREL has arrived, or PUBREC was sent with a reason of 0x80 or more: the identifier is free.
    /// Returns whether it was known.
    pub fn release(&mut self, id: PacketId) -> bool {
        //= mqtt5 4.3.3-9
        //= mqtt5 4.3.3-12
        let Some(unreleased) = &mut self.unreleased else {
            return false;
        };
        let Ok(at) = unreleased.place_of(id) else {
            return false;
        };
        if unreleased.entries.remove(at).on_this_connection {
            unreleased.on_this_connection = unreleased.on_this_connection.saturating_sub(1);
        }
        if unreleased.entries.is_empty() && unreleased.entries.capacity() > KEPT_CAPACITY {
            self.unreleased = None;
        }
        true
    }

    /// Whether the identifier is unreleased.
    #[must_use]
    pub fn is_unreleased(&self, id: PacketId) -> bool {
        let unreleased = self.unreleased.as_ref();
        unreleased.is_some_and(|unreleased| unreleased.place_of(id).is_ok())
    }

    /// The mark of an identifier that is unreleased since a connection before, and whose message has not come again on this one.
    #[must_use]
    pub fn mark_of_before(&self, id: PacketId) -> Option<T> {
        let unreleased = self.unreleased.as_ref()?;
        let entry = unreleased.entries.get(unreleased.place_of(id).ok()?)?;
        (!entry.on_this_connection).then_some(entry.mark)
    }

    /// The unreleased identifiers, for a store.
    pub fn unreleased(&self) -> impl Iterator<Item = PacketId> {
        let entries = self.unreleased.iter().flat_map(|u| &u.entries);
        entries.map(|entry| entry.id)
    }

    /// An identifier was unreleased in an earlier life.
    pub fn restore(&mut self, id: PacketId) {
        let unreleased = self.unreleased.get_or_insert_default();
        if let Err(at) = unreleased.place_of(id) {
            let entry = Entry {
                id,
                on_this_connection: false,
                mark: T::default(),
            };
            unreleased.entries.insert(at, entry);
        }
    }

    /// How many QoS 2 messages wait for their PUBREL.
    #[must_use]
    pub fn unreleased_count(&self) -> usize {
        self.unreleased
            .as_ref()
            .map_or(0, |unreleased| unreleased.entries.len())
    }
}

impl<T> Unreleased<T> {
    /// Where an identifier stands, or where it belongs. Mostly peers count up and release in order: the end and
    /// the beginning are looked at before a search.
    fn place_of(&self, id: PacketId) -> Result<usize, usize> {
        match self.entries.as_slice() {
            [.., last] if last.id < id => Err(self.entries.len()),
            [first, ..] if first.id == id => Ok(0),
            entries => entries.binary_search_by_key(&id, |entry| entry.id),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry<T> {
    id: PacketId,
    on_this_connection: bool,
    mark: T,
}

/// Capacity that an empty list may keep while the connection lasts.
const KEPT_CAPACITY: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    #[test]
    fn at_rest_it_is_two_words_and_owns_nothing() {
        assert_eq!(size_of::<Inbound>(), 16);
        assert_eq!(size_of::<Entry<()>>(), 4, "65,535 of them are 256 KiB");
        let mut inbound = <Inbound>::default();
        inbound.start_connection(10);
        assert!(inbound.unreleased.is_none());
        assert_eq!(inbound.on_publish_qos2(id(7)), InboundPublish::Fresh);
        inbound.release_memory();
        assert_eq!(inbound.on_publish_qos2(id(7)), InboundPublish::Duplicate);
        assert!(inbound.release(id(7)));
        assert!(inbound.unreleased.is_some(), "kept for the next message");
        inbound.release_memory();
        assert!(inbound.unreleased.is_none());
    }

    //= mqtt5 4.3.3-10 test
    //= mqtt311 4.3.3-2 test
    #[test]
    fn a_repeated_id_is_a_duplicate_until_released_also_after_a_reconnect() {
        let mut inbound = <Inbound>::default();
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
        let mut inbound = <Inbound>::default();
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

    #[test]
    fn a_mark_is_remembered_until_the_identifier_is_released() {
        let mut inbound = Inbound::<u64>::default();
        inbound.start_connection(10);
        inbound.on_marked_publish_qos2(id(7), 70);
        assert_eq!(inbound.mark_of_before(id(7)), None, "of this connection");
        inbound.start_connection(10);
        assert_eq!(inbound.mark_of_before(id(7)), Some(70));
        assert_eq!(inbound.mark_of_before(id(8)), None);
        inbound.on_marked_publish_qos2(id(7), 71);
        assert_eq!(inbound.mark_of_before(id(7)), None, "it has come again");
        inbound.start_connection(10);
        assert_eq!(inbound.mark_of_before(id(7)), Some(70), "of the first time");
        inbound.release(id(7));
        inbound.on_marked_publish_qos2(id(7), 72);
        inbound.start_connection(10);
        assert_eq!(inbound.mark_of_before(id(7)), Some(72));
    }
}
