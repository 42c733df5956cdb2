//! The retained messages of the topics that one shard owns.
//!
//! An ordered set, so that a subscription with wildcards is answered by *walking* it: in pieces, each picking up
//! behind the last topic of the one before, whatever has changed in between. The walk jumps over what cannot
//! match: for `+/state` it looks at two or three topics per first level, not at all that lie below it.
//!
//! **The order.** Topics are ordered level by level, which is the order of their bytes with `/` taken as the
//! lowest of all. By plain bytes `a!` would come between `a` and `a/b`; in this order everything below a level
//! stands together, directly behind it, and `jump` is about such ranges only.

mod jump;

use alloc::collections::BTreeSet;
use alloc::collections::btree_set::Range;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt;
use core::ops::Bound;

use crate::message::Message;
use crate::time::Time;
use jump::Next;

/// The last message with RETAIN of each topic. The topic is stored once: in the message.
#[derive(Default)]
pub(crate) struct Retained {
    messages: BTreeSet<ByTopic>,
    bytes: usize,
    /// How many of them expire some day.
    expiring: usize,
    /// One that expires some day was among them.
    had_expiry: bool,
    /// The last one that the sweep has looked at; it goes on behind it.
    swept: Option<Message>,
}

impl Retained {
    pub(crate) const fn new() -> Self {
        Self {
            messages: BTreeSet::new(),
            bytes: 0,
            expiring: 0,
            had_expiry: false,
            swept: None,
        }
    }

    /// These messages, one for each topic. Quickest if they come in the order of their topics, or nearly so.
    pub(crate) fn of(messages: impl Iterator<Item = Message>) -> Self {
        let (mut bytes, mut expiring) = (0, 0);
        let counted = messages.inspect(|message| {
            bytes += message.size();
            expiring += usize::from(message.expires_at().is_some());
        });
        Self {
            messages: counted.map(ByTopic).collect(),
            bytes,
            expiring,
            had_expiry: expiring > 0,
            swept: None,
        }
    }

    /// How many topics have a retained message, expired ones that were not swept yet included.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether a message was here that may go without being cleared.
    pub(crate) const fn may_expire(&self) -> bool {
        self.had_expiry
    }

    /// The memory that the messages take.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps a message as the last one of its topic; returns the one that it replaces.
    pub(crate) fn set(&mut self, message: Message) -> Option<Message> {
        self.bytes += message.size();
        self.expiring += usize::from(message.expires_at().is_some());
        self.had_expiry |= message.expires_at().is_some();
        let ByTopic(replaced) = self.messages.replace(ByTopic(message))?;
        self.uncount(&replaced);
        Some(replaced)
    }

    /// Forgets the message of a topic.
    pub(crate) fn clear(&mut self, topic: &str) -> Option<Message> {
        let ByTopic(removed) = self.messages.take(&Topic(topic.as_bytes()) as &dyn Keyed)?;
        self.uncount(&removed);
        Some(removed)
    }

    /// The message of a topic. It may have expired.
    pub(crate) fn get(&self, topic: &str) -> Option<&Message> {
        let found = self.messages.get(&Topic(topic.as_bytes()) as &dyn Keyed);
        found.map(|ByTopic(message)| message)
    }

    /// Reports messages that match a filter, `limit` at most, in the order of their topics; begins behind the
    /// topic `after`. Returns the topic behind which to go on, or `None` if there are no more.
    ///
    /// The work is bounded too: where few topics match, a call may return before `limit` is reached, or with
    /// nothing at all. A topic that is there all the time is reported exactly once, whatever happens to others.
    pub(crate) fn scan(
        &self,
        filter: &str,
        after: Option<&str>,
        limit: usize,
        now: Time,
        found: &mut impl FnMut(&Message),
    ) -> Option<&str> {
        let filter = filter.as_bytes();
        let mut target = Vec::new();
        let mut messages = match after {
            None => {
                jump::to_first(filter, &mut target);
                self.from(Bound::Included(&Topic(&target)))
            }
            Some(after) => match jump::behind(filter, after.as_bytes(), &mut target).1 {
                Next::Successor => self.from(Bound::Excluded(&Topic(after.as_bytes()))),
                Next::Target => self.from(Bound::Included(&Topic(&target))),
                Next::Nothing => return None,
            },
        };
        let mut hits_left = limit.max(1);
        let mut visits_left = hits_left.saturating_mul(VISITS_PER_HIT);
        let mut is_behind_target = true;
        loop {
            let ByTopic(message) = messages.next()?;
            if !is_behind_target && in_order(message.topic_bytes(), &target) == Ordering::Less {
                messages = self.from(Bound::Included(&Topic(&target)));
                is_behind_target = true;
                continue;
            }
            let (matches, next) = jump::behind(filter, message.topic_bytes(), &mut target);
            //= mqtt5 3.3.2-5
            if matches && !message.is_expired(now) {
                found(message);
                hits_left -= 1;
            }
            visits_left -= 1;
            match next {
                Next::Nothing => return None,
                Next::Target => is_behind_target = false,
                Next::Successor => is_behind_target = true,
            }
            if hits_left == 0 || visits_left == 0 {
                return Some(message.topic());
            }
        }
    }

    /// Looks at `budget` messages, behind those of the last call and in a circle, and forgets what has expired.
    /// Returns those.
    pub(crate) fn sweep_expired(&mut self, now: Time, budget: usize) -> Vec<Message> {
        if self.expiring == 0 {
            self.swept = None;
            return Vec::new();
        }
        let swept = self.swept.take();
        let messages = match &swept {
            None => self.from(Bound::Unbounded),
            Some(last) => self.from(Bound::Excluded(&Topic(last.topic_bytes()))),
        };
        let (mut visited, mut last) = (0, None);
        let mut expired = Vec::new();
        for ByTopic(message) in messages.take(budget) {
            visited += 1;
            last = Some(message.clone());
            if message.is_expired(now) {
                expired.push(message.clone());
            }
        }
        self.swept = last.filter(|_| visited == budget);
        for message in &expired {
            self.clear(message.topic());
        }
        expired
    }

    fn from<'a>(&self, start: Bound<&'a (dyn Keyed + 'a)>) -> Range<'_, ByTopic> {
        self.messages
            .range::<dyn Keyed + 'a, _>((start, Bound::Unbounded))
    }

    fn uncount(&mut self, gone: &Message) {
        self.bytes -= gone.size();
        self.expiring -= usize::from(gone.expires_at().is_some());
    }
}

impl fmt::Debug for Retained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retained")
            .field("len", &self.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// A message that stands for its topic in the set.
struct ByTopic(Message);

/// A topic to look for, without a message.
struct Topic<'a>(&'a [u8]);

/// What has a place in the order of topics. The set is asked with a `Topic` and holds `ByTopic`s: as trait
/// objects they are the same, so no topic has to be stored (or copied, to ask) besides the message.
trait Keyed {
    fn topic(&self) -> &[u8];
}

impl Keyed for ByTopic {
    fn topic(&self) -> &[u8] {
        self.0.topic_bytes()
    }
}

impl Keyed for Topic<'_> {
    fn topic(&self) -> &[u8] {
        self.0
    }
}

impl<'a> Borrow<dyn Keyed + 'a> for ByTopic {
    fn borrow(&self) -> &(dyn Keyed + 'a) {
        self
    }
}

impl Ord for dyn Keyed + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        in_order(self.topic(), other.topic())
    }
}

impl PartialOrd for dyn Keyed + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Keyed + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.topic() == other.topic()
    }
}

impl Eq for dyn Keyed + '_ {}

impl Ord for ByTopic {
    fn cmp(&self, other: &Self) -> Ordering {
        in_order(self.topic(), other.topic())
    }
}

impl PartialOrd for ByTopic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByTopic {
    fn eq(&self, other: &Self) -> bool {
        self.topic() == other.topic()
    }
}

impl Eq for ByTopic {}

/// The order of topics: of their bytes, with `/` below all others (also below 0, which only `jump` uses).
pub(crate) fn in_order(left: &[u8], right: &[u8]) -> Ordering {
    let rank = |byte: u8| if byte == b'/' { 0 } else { u16::from(byte) + 1 };
    match left.iter().zip(right).find(|(left, right)| left != right) {
        Some((left, right)) => rank(*left).cmp(&rank(*right)),
        None => left.len().cmp(&right.len()),
    }
}

/// How many topics a scan looks at for each that it may report.
const VISITS_PER_HIT: usize = 16;

#[cfg(test)]
mod tests;
