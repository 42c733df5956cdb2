//! How one session gets a message: its QoS there, the subscriptions that ask for it, the shared subscription that gives it.

use alloc::boxed::Box;
use alloc::sync::Arc;

use martlet_codec::QoS;
use triomphe::ThinArc;

use crate::collections::slab::Key;

/// How one session gets a message, or messages of a run: what its subscriptions make of it.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// The lower of the published and the granted QoS.
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// So many messages of a run.
    pub(super) count: u8,
    giver: Giver,
}

/// Through what a session gets a message.
#[derive(Debug, Clone)]
enum Giver {
    Own(SubscriptionIds),
    /// A shared subscription. What is known of it lies here: in memory of its own it would have to be fetched from afar for
    /// each message that is acknowledged.
    Group {
        owner: u8,
        /// How far behind the one before each of several messages stands in the group's order.
        stride: u16,
        /// The subscription identifier; 0: none.
        id: u32,
        group: Key,
        sequence: u64,
    },
    /// One that has the message in its store. Or whose shard has a number above 255, which none has.
    StoredGroup {
        id: u32,
        tag: Box<GroupTag>,
    },
}

impl Terms {
    /// Of a session's one subscription, which asks for nothing of its own.
    pub(crate) const fn bare(qos: QoS, retain: bool) -> Self {
        Self::with_ids(qos, retain, SubscriptionIds::None)
    }

    /// Of a session's own subscriptions.
    pub(crate) const fn with_ids(qos: QoS, retain: bool, ids: SubscriptionIds) -> Self {
        Self {
            qos,
            retain,
            count: 1,
            giver: Giver::Own(ids),
        }
    }

    /// Of a shared subscription with this subscription identifier (0: none).
    #[inline]
    pub(crate) fn of_group(qos: QoS, retain: bool, id: u32, tag: GroupTag) -> Self {
        let giver = match u8::try_from(tag.owner) {
            Ok(owner) if tag.stored.is_none() => Giver::Group {
                owner,
                stride: 0,
                id,
                group: tag.group,
                sequence: tag.sequence,
            },
            Ok(_) | Err(_) => Giver::StoredGroup {
                id,
                tag: Box::new(tag),
            },
        };
        Self {
            qos,
            retain,
            count: 1,
            giver,
        }
    }

    /// Of several messages of a run; `stride_of_group`: how far apart their places are there.
    #[inline]
    pub(crate) fn of_several(mut self, count: u8, stride_of_group: u16) -> Self {
        self.count = count;
        if let Giver::Group { stride, .. } = &mut self.giver {
            *stride = stride_of_group;
        }
        self
    }

    /// Of the messages of a run from the nth on: so many.
    pub(super) fn of_some(&self, nth: u8, some: u8) -> Self {
        let mut terms = self.clone();
        terms.count = some;
        if let Giver::Group {
            stride, sequence, ..
        } = &mut terms.giver
        {
            *sequence += u64::from(*stride) * u64::from(nth);
        }
        terms
    }

    /// Whether a subscription identifier goes with the message.
    #[inline]
    pub(crate) fn has_ids(&self) -> bool {
        match &self.giver {
            Giver::Own(ids) => *ids != SubscriptionIds::None,
            Giver::Group { id, .. } | Giver::StoredGroup { id, .. } => *id != 0,
        }
    }

    /// The subscription identifiers that go with it.
    pub(crate) fn ids(&self) -> &[u32] {
        match &self.giver {
            Giver::Own(ids) => ids.as_slice(),
            Giver::Group { id: 0, .. } | Giver::StoredGroup { id: 0, .. } => &[],
            Giver::Group { id, .. } | Giver::StoredGroup { id, .. } => core::slice::from_ref(id),
        }
    }

    pub(crate) fn into_ids(self) -> SubscriptionIds {
        match self.giver {
            Giver::Own(ids) => ids,
            Giver::Group { id, .. } | Giver::StoredGroup { id, .. } => {
                SubscriptionIds::from_option(id)
            }
        }
    }

    /// One more of the session's own subscriptions has matched.
    pub(crate) fn push_id(&mut self, id: u32) {
        match &mut self.giver {
            Giver::Own(ids) => ids.push(id),
            Giver::Group { .. } | Giver::StoredGroup { .. } => {
                debug_assert!(false, "a shared subscription gives on its own");
            }
        }
    }

    /// What shows in the packet: the shared subscription does not.
    pub(crate) fn on_wire(&self) -> Self {
        let ids = match &self.giver {
            Giver::Own(ids) => ids.clone(),
            Giver::Group { id, .. } | Giver::StoredGroup { id, .. } => {
                SubscriptionIds::from_option(*id)
            }
        };
        Self::with_ids(self.qos, self.retain, ids)
    }

    /// Whether a shared subscription gave the message to this session.
    #[inline]
    pub(crate) const fn is_of_group(&self) -> bool {
        !matches!(self.giver, Giver::Own(_))
    }

    /// The shared subscription that gave the message, and its place there; of several the place of the first one.
    #[inline]
    pub(crate) fn tag(&self) -> Option<GroupTag> {
        match &self.giver {
            Giver::Own(_) => None,
            Giver::Group {
                owner,
                group,
                sequence,
                ..
            } => Some(GroupTag {
                owner: usize::from(*owner),
                group: *group,
                sequence: *sequence,
                stored: None,
            }),
            Giver::StoredGroup { tag, .. } => Some(GroupTag::clone(tag)),
        }
    }

    /// Its filter and the message's place there, if the message is in its store.
    pub(crate) fn stored_in(&self) -> Option<(&Arc<str>, u64)> {
        match &self.giver {
            Giver::Own(_) | Giver::Group { .. } => None,
            Giver::StoredGroup { tag, .. } => Some((tag.stored.as_ref()?, tag.sequence)),
        }
    }
}

/// The subscription identifiers of all subscriptions that matched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum SubscriptionIds {
    #[default]
    None,
    One(u32),
    /// In one word: messages that wait are many.
    Many(ThinArc<(), u32>),
}

impl SubscriptionIds {
    pub(crate) const fn from_option(id: u32) -> Self {
        if id == 0 { Self::None } else { Self::One(id) }
    }

    pub(crate) fn push(&mut self, id: u32) {
        if id == 0 {
            return;
        }
        *self = match core::mem::take(self) {
            Self::None => Self::One(id),
            Self::One(first) => Self::Many(ThinArc::from_header_and_slice((), &[first, id])),
            Self::Many(ids) => {
                let mut all = ids.slice.to_vec();
                all.push(id);
                Self::Many(ThinArc::from_header_and_slice((), &all))
            }
        };
    }

    pub(crate) fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(id) => core::slice::from_ref(id),
            Self::Many(ids) => &ids.slice,
        }
    }
}

/// Which shared subscription a message belongs to, and its place in that one's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupTag {
    /// The shard that owns the group.
    pub(crate) owner: usize,
    pub(crate) group: Key,
    pub(crate) sequence: u64,
    /// The group's whole filter, if the message is in its store and has to be ended there.
    pub(crate) stored: Option<Arc<str>>,
}

#[cfg(test)]
mod tests {
    use core::num::NonZeroU32;

    use super::*;
    use crate::sending::delivery::Delivery;

    fn tag(owner: usize, stored: Option<&str>) -> GroupTag {
        GroupTag {
            owner,
            group: Key {
                index: 7,
                generation: NonZeroU32::MAX,
            },
            sequence: u64::MAX - 1,
            stored: stored.map(Arc::from),
        }
    }

    /// Nothing of it lies in memory of its own, and it takes no more room than a session's own subscription does.
    #[test]
    fn what_a_group_gives_is_one_piece() {
        let terms = Terms::of_group(QoS::AtLeastOnce, false, 0, tag(63, None));
        assert!(matches!(terms.giver, Giver::Group { .. }));
        assert_eq!(size_of::<Terms>(), 32);
        assert_eq!(size_of::<Delivery>(), 56);
    }

    #[test]
    fn the_tag_comes_back_as_it_was() {
        for (owner, stored) in [(0, None), (63, None), (63, Some("$share/g/a")), (300, None)] {
            for id in [0, 1, 268_435_455] {
                let tag = tag(owner, stored);
                let terms = Terms::of_group(QoS::ExactlyOnce, true, id, tag.clone());
                let expected: &[u32] = if id == 0 { &[] } else { &[id] };
                assert!(terms.is_of_group());
                assert_eq!((terms.ids(), terms.has_ids()), (expected, id != 0));
                let place = stored.map(|filter| (filter, tag.sequence));
                let stored_in = terms.stored_in().map(|(filter, place)| (&**filter, place));
                assert_eq!(stored_in, place);
                assert_eq!(terms.tag(), Some(tag));
                let wire = terms.on_wire();
                assert_eq!((wire.qos, wire.retain), (QoS::ExactlyOnce, true));
                assert_eq!((wire.ids(), wire.tag()), (expected, None));
                assert_eq!(terms.into_ids().as_slice(), expected);
            }
        }
    }
}
