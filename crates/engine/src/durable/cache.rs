//! Bodies in memory: those that are not stable yet, those that came last, and those that were read back.
//!
//! ```text
//!   published ─▶ cached, not stable ──▶ cached ──▶ in the store only
//!                                         ▲               │ wanted
//!                                         └─── answer ◀── asked for
//! ```
//! Whoever holds a message by its body's id ([`Delivery::message`](crate::sending::delivery::Delivery) is `None`) looks here
//! first. What is in nobody's hands any more goes at once if it is stable; of the rest the oldest untouched ones go when there
//! are more bytes than there may be. What was read back has room of its own until it is used: whoever drains its queue beside
//! thousands of others would else read everything many times. A body is asked for once, however many wait for it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};

use crate::collections::slab::Key;
use crate::config::StoreConfig;
use crate::effects::StoreTicket;
use crate::message::Message;
use crate::record::BodyId;

/// The bodies that a shard has in memory, and those that it waits for.
#[derive(Debug)]
pub(crate) struct BodyCache {
    bodies: HashMap<BodyId, Cached, foldhash::fast::FixedState>,
    /// The order in which they came; some may be gone already.
    order: VecDeque<BodyId>,
    bytes: usize,
    bytes_max: usize,
    /// The same of those that were read back and not used yet.
    ahead: VecDeque<BodyId>,
    ahead_bytes: usize,
    ahead_bytes_max: usize,
    /// Who waits for what the store has been asked for.
    asked: HashMap<BodyId, Vec<Key>, foldhash::fast::FixedState>,
    /// Sessions that will ask when there are fewer questions.
    later: VecDeque<Key>,
    /// The same, to name each once.
    is_later: HashSet<Key, foldhash::fast::FixedState>,
    /// What the store has just said that it does not have.
    pub(super) missing: HashSet<BodyId, foldhash::fast::FixedState>,
}

#[derive(Debug)]
struct Cached {
    message: Message,
    /// The batch that it is in.
    ticket: StoreTicket,
    /// How many hold it by its id; 0 if that is not known.
    holders: u32,
    /// Somebody has looked at it since it was last passed over.
    touched: bool,
    /// It was read back, and nobody has used it yet.
    ahead: bool,
}

impl BodyCache {
    pub(super) fn new(config: StoreConfig, state: foldhash::fast::FixedState) -> Self {
        Self {
            bodies: HashMap::with_hasher(state.clone()),
            order: VecDeque::new(),
            bytes: 0,
            bytes_max: config.body_cache_bytes,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            ahead_bytes_max: config.read_ahead_bytes,
            asked: HashMap::with_hasher(state.clone()),
            later: VecDeque::new(),
            is_later: HashSet::with_hasher(state.clone()),
            missing: HashSet::with_hasher(state),
        }
    }

    /// Somebody holds this message by its id from now on.
    pub(crate) fn hold(&mut self, body: BodyId, message: &Message, ticket: StoreTicket) {
        match self.bodies.entry(body) {
            Entry::Occupied(mut entry) => {
                let cached = entry.get_mut();
                // One that was read back may have others: how many is not known.
                cached.holders += u32::from(cached.holders > 0);
            }
            Entry::Vacant(entry) => {
                self.bytes += message.size();
                entry.insert(Cached {
                    message: message.clone(),
                    ticket,
                    holders: 1,
                    touched: false,
                    ahead: false,
                });
                self.order.push_back(body);
            }
        }
    }

    /// One less does.
    pub(crate) fn let_go(&mut self, body: BodyId, stable: StoreTicket) {
        let Entry::Occupied(mut entry) = self.bodies.entry(body) else {
            return;
        };
        let cached = entry.get_mut();
        match cached.holders {
            0 => self.used(body),
            1 if cached.ticket <= stable => {
                let gone = entry.remove();
                self.bytes = self.bytes.saturating_sub(gone.message.size());
                self.forget_order();
            }
            // It goes when it is stable and old.
            1 => cached.holders = 0,
            _ => cached.holders -= 1,
        }
    }

    /// Somebody has it who waited for it: it is one of many now.
    pub(crate) fn used(&mut self, body: BodyId) {
        if let Some(cached) = self.bodies.get_mut(&body)
            && core::mem::take(&mut cached.ahead)
        {
            let size = cached.message.size();
            cached.touched = false;
            self.ahead_bytes = self.ahead_bytes.saturating_sub(size);
            self.bytes += size;
            // Most have one receiver: it goes before what still waits for its own.
            self.order.push_front(body);
            if self.ahead.front() == Some(&body) {
                self.ahead.pop_front();
            }
        }
    }

    /// The message, if it is in memory.
    pub(crate) fn look(&mut self, body: BodyId) -> Option<&Message> {
        let cached = self.bodies.get_mut(&body)?;
        cached.touched = true;
        Some(&cached.message)
    }

    /// Whether the store need not be asked for it.
    fn is_coming(&self, body: BodyId) -> bool {
        self.bodies.contains_key(&body) || self.asked.contains_key(&body)
    }

    /// Makes a session wait for the first body, and asks for it and for those that will be needed next. They are put
    /// into `wanted`.
    pub(super) fn ask(
        &mut self,
        session: Key,
        bodies: impl Iterator<Item = (BodyId, usize)>,
        wanted: &mut Vec<BodyId>,
    ) {
        let mut bytes = 0;
        for (place, (body, size)) in bodies.take(READ_AHEAD_BODIES).enumerate() {
            bytes += size;
            let is_first = place == 0;
            if !is_first && (bytes > READ_AHEAD_BYTES || self.asked.len() >= ASKED_MAX) {
                return;
            }
            if is_first && let Some(waiting) = self.asked.get_mut(&body) {
                if !waiting.contains(&session) {
                    waiting.push(session);
                }
            } else if !self.is_coming(body) {
                if self.asked.len() >= ASKED_MAX {
                    if self.is_later.insert(session) {
                        self.later.push_back(session);
                    }
                    return;
                }
                let waiting = if is_first {
                    alloc::vec![session]
                } else {
                    Vec::new()
                };
                self.asked.insert(body, waiting);
                wanted.push(body);
            }
        }
    }

    /// Who may ask now, of those that could not before.
    pub(super) fn whose_turn(&mut self) -> Option<Key> {
        if self.asked.len() >= ASKED_MAX {
            return None;
        }
        let session = self.later.pop_front()?;
        self.is_later.remove(&session);
        Some(session)
    }

    /// The store has answered; whoever waited for it goes on.
    pub(super) fn answered(&mut self, body: BodyId, message: Option<Message>, next: &mut Vec<Key>) {
        let Some(waiting) = self.asked.remove(&body) else {
            return;
        };
        next.extend(waiting);
        let Some(message) = message else {
            self.missing.insert(body);
            return;
        };
        if let Entry::Vacant(entry) = self.bodies.entry(body) {
            self.ahead_bytes += message.size();
            entry.insert(Cached {
                message,
                ticket: StoreTicket(0),
                holders: 0,
                touched: false,
                ahead: true,
            });
            self.ahead.push_back(body);
        }
    }

    /// Gives memory back as far as it is due.
    pub(super) fn evict(&mut self, stable: StoreTicket) {
        while self.ahead_bytes > self.ahead_bytes_max
            && let Some(body) = self.ahead.pop_front()
        {
            if let Entry::Occupied(entry) = self.bodies.entry(body)
                && entry.get().ahead
            {
                let gone = entry.remove();
                self.ahead_bytes = self.ahead_bytes.saturating_sub(gone.message.size());
            }
        }
        self.forget_used();
        while self.bytes > self.bytes_max {
            let Some(body) = self.order.front().copied() else {
                return;
            };
            let Entry::Occupied(mut entry) = self.bodies.entry(body) else {
                self.order.pop_front();
                continue;
            };
            if entry.get().ticket > stable {
                // All behind it are as young, or were looked at: the next batch makes room.
                return;
            }
            self.order.pop_front();
            if core::mem::take(&mut entry.get_mut().touched) {
                self.order.push_back(body);
            } else {
                let gone = entry.remove();
                self.bytes = self.bytes.saturating_sub(gone.message.size());
            }
        }
    }

    /// Questions that are not answered yet.
    pub(crate) fn asked_count(&self) -> usize {
        self.asked.len()
    }

    /// Bytes of the bodies that are in memory.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes + self.ahead_bytes
    }

    /// The list of those that were not used yet begins with one of them.
    fn forget_used(&mut self) {
        let bodies = &self.bodies;
        let is_used = |body: &BodyId| bodies.get(body).is_none_or(|cached| !cached.ahead);
        while self.ahead.front().is_some_and(is_used) {
            self.ahead.pop_front();
        }
    }

    /// The order names few that are gone.
    fn forget_order(&mut self) {
        if self.order.len() > 2 * self.bodies.len() + ORDER_SLACK {
            let bodies = &self.bodies;
            self.order.retain(|body| bodies.contains_key(body));
        }
    }
}

/// One question for so many messages of a session that is being sent what waits: a full window, by default.
const READ_AHEAD_BODIES: usize = 64;
/// And for so many bytes: what is read ahead may have to be read again.
const READ_AHEAD_BYTES: usize = 256 << 10;
/// Bodies that are asked for at a time; beyond, sessions wait for their turn.
const ASKED_MAX: usize = 4_096;
const ORDER_SLACK: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{MessageParts, Origin};
    use martlet_codec::QoS;

    fn message(len: usize) -> Message {
        MessageParts {
            topic: "t".into(),
            shared_properties: &[],
            payload: &alloc::vec![0; len],
            qos: QoS::AtLeastOnce,
            retain: false,
            expires_at: None,
            origin: Origin::NONE,
        }
        .to_message()
    }

    fn cache(messages: usize) -> BodyCache {
        let config = StoreConfig {
            unix_ms_at_zero: 0,
            body_cache_bytes: messages * message(100).size(),
            read_ahead_bytes: 2 * message(100).size(),
        };
        BodyCache::new(config, foldhash::fast::FixedState::default())
    }

    fn id(number: u64) -> BodyId {
        BodyId::new(number).unwrap()
    }

    fn there(cache: &BodyCache) -> Vec<u64> {
        let mut ids: Vec<u64> = cache.bodies.keys().map(|body| body.as_u64()).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn the_oldest_that_nobody_has_looked_at_goes_first() {
        let mut cache = cache(2);
        for number in 1..=4 {
            cache.hold(id(number), &message(100), StoreTicket(1));
        }
        assert!(cache.look(id(1)).is_some());
        cache.evict(StoreTicket(1));
        assert_eq!(there(&cache), [1, 4]);
        assert_eq!(cache.bytes(), 2 * message(100).size());
    }

    #[test]
    fn what_is_not_stable_stays_whatever_the_bound() {
        let mut cache = cache(0);
        for number in 1..=4 {
            cache.hold(id(number), &message(100), StoreTicket(number));
        }
        cache.let_go(id(4), StoreTicket(0));
        cache.evict(StoreTicket(0));
        assert_eq!(there(&cache), [1, 2, 3, 4]);
        cache.evict(StoreTicket(2));
        assert_eq!(there(&cache), [3, 4]);
        cache.evict(StoreTicket(4));
        assert_eq!((there(&cache), cache.bytes()), (Vec::new(), 0));
    }

    #[test]
    fn what_nobody_holds_goes_at_once() {
        let mut cache = cache(1_000);
        for _ in 0..2 {
            cache.hold(id(1), &message(100), StoreTicket(1));
        }
        cache.let_go(id(1), StoreTicket(1));
        assert_eq!(there(&cache), [1]);
        cache.let_go(id(1), StoreTicket(1));
        assert_eq!(there(&cache), []);
        for number in 2..10_000 {
            cache.hold(id(number), &message(100), StoreTicket(1));
            cache.let_go(id(number), StoreTicket(1));
        }
        assert!(
            cache.order.len() <= 2 * ORDER_SLACK,
            "{}",
            cache.order.len()
        );
    }

    #[test]
    fn what_was_read_has_room_of_its_own_until_it_is_used() {
        let mut cache = cache(0);
        let (mut wanted, mut next) = (Vec::new(), Vec::new());
        let sizes = (1..=3).map(|number| (id(number), 100));
        cache.ask(Key::NOBODY, sizes, &mut wanted);
        for body in wanted {
            cache.answered(body, Some(message(100)), &mut next);
        }
        cache.evict(StoreTicket(0));
        assert_eq!(there(&cache), [2, 3], "the newest");
        cache.let_go(id(2), StoreTicket(0));
        cache.evict(StoreTicket(0));
        assert_eq!(there(&cache), [3]);
        cache.used(id(3));
        cache.evict(StoreTicket(0));
        assert_eq!((there(&cache), cache.bytes()), (Vec::new(), 0));
        assert!(cache.ahead.is_empty() && cache.order.is_empty());
    }

    #[test]
    fn a_body_is_asked_for_once_and_all_who_wait_go_on() {
        let mut cache = cache(1_000);
        let (mut wanted, mut next) = (Vec::new(), Vec::new());
        let sizes = |ids: core::ops::Range<u64>| ids.map(|number| (id(number), 100));
        let key = |index| Key {
            index,
            ..Key::NOBODY
        };
        cache.ask(key(1), sizes(1..3), &mut wanted);
        cache.ask(key(2), sizes(1..4), &mut wanted);
        cache.ask(key(2), sizes(1..4), &mut wanted);
        assert_eq!(wanted, [id(1), id(2), id(3)]);
        cache.answered(id(1), Some(message(100)), &mut next);
        assert_eq!(next, [key(1), key(2)]);
        cache.answered(id(1), Some(message(100)), &mut next);
        assert_eq!((next.len(), cache.asked_count()), (2, 2));
    }

    #[test]
    fn questions_are_bounded_and_nobody_is_forgotten() {
        let mut cache = cache(1_000);
        let (mut wanted, mut next) = (Vec::new(), Vec::new());
        for index in 0..10_000 {
            let key = Key {
                index,
                ..Key::NOBODY
            };
            let first = u64::from(index) * 10 + 1;
            let bodies = (first..first + 10).map(|number| (id(number), 100));
            cache.ask(key, bodies, &mut wanted);
            assert!(cache.asked_count() <= ASKED_MAX);
        }
        let asked = core::mem::take(&mut wanted);
        assert_eq!(asked.len(), ASKED_MAX);
        assert_eq!(cache.whose_turn(), None);
        cache.answered(asked[0], None, &mut next);
        // Most of those who have their turn are gone by now, and do not ask: nobody waits for their answers.
        let turns = core::iter::from_fn(|| cache.whose_turn()).count();
        next.dedup();
        assert_eq!((next.len(), turns), (1, 10_000 - ASKED_MAX / 10 - 1));
    }

    #[test]
    fn who_waits_for_his_turn_stands_there_once() {
        let mut cache = cache(1_000);
        let mut wanted = Vec::new();
        let key = |index| Key {
            index,
            ..Key::NOBODY
        };
        for number in 1..=ASKED_MAX as u64 {
            cache.ask(key(0), [(id(number), 100)].into_iter(), &mut wanted);
        }
        for _ in 0..3 {
            for index in 1..=2 {
                let body = id(10_000 + u64::from(index));
                cache.ask(key(index), [(body, 100)].into_iter(), &mut wanted);
            }
        }
        cache.answered(id(1), None, &mut Vec::new());
        let turns: Vec<Key> = core::iter::from_fn(|| cache.whose_turn()).collect();
        assert_eq!(turns, [key(1), key(2)]);
    }
}
