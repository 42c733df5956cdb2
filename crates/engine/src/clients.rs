//! Finds the session of a client identifier.
//!
//! Map: `client_slots` says which shard has it; `client_session` is a session, `connection` and `rare` what a connection has.

pub(crate) mod client_session;
pub(crate) mod client_slots;
pub(crate) mod connection;
pub(crate) mod rare;

use core::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::clients::client_session::ClientSession;
use crate::collections::slab::{Key, Slab};

/// An index over the sessions of a shard. Five bytes for each: the identifiers themselves stand in the sessions.
#[derive(Debug)]
pub(crate) struct Clients {
    /// Slots of sessions.
    index: HashTable<u32>,
    hasher: FixedState,
}

impl Clients {
    pub(crate) const fn new(hasher: FixedState) -> Self {
        Self {
            index: HashTable::new(),
            hasher,
        }
    }

    pub(crate) fn get(&self, client_id: &str, sessions: &Slab<ClientSession>) -> Option<Key> {
        let same = |slot: &u32| id_at(sessions, *slot) == client_id;
        let slot = self.index.find(self.hasher.hash_one(client_id), same)?;
        sessions.key_of(*slot)
    }

    /// Enters a session, which is in `sessions` already, and whose client has no other.
    pub(crate) fn insert(&mut self, key: Key, sessions: &Slab<ClientSession>) {
        let hash = |slot: &u32| self.hasher.hash_one(id_at(sessions, *slot));
        self.index.insert_unique(hash(&key.index), key.index, hash);
    }

    /// Takes out a session, which is in `sessions` still.
    pub(crate) fn remove(&mut self, key: Key, sessions: &Slab<ClientSession>) {
        let hash = |slot: &u32| self.hasher.hash_one(id_at(sessions, *slot));
        if let Ok(entry) = self
            .index
            .find_entry(hash(&key.index), |slot| *slot == key.index)
        {
            entry.remove();
        }
        if self.index.capacity() > KEPT_CAPACITY && self.index.len() < self.index.capacity() / 8 {
            self.index.shrink_to(2 * self.index.len(), hash);
        }
    }
}

fn id_at(sessions: &Slab<ClientSession>, slot: u32) -> &str {
    sessions.at(slot).map_or("", |session| &*session.client_id)
}

/// An index of this size is kept even if it is empty.
const KEPT_CAPACITY: usize = 1024;

#[cfg(test)]
mod tests {
    use super::{Clients, FixedState};
    use crate::clients::client_session::ClientSession;
    use crate::collections::slab::Slab;
    use alloc::format;
    use alloc::vec::Vec;
    use martlet_codec::Version;

    #[test]
    fn sessions_are_found_until_they_are_taken_out() {
        let mut sessions = Slab::new();
        let mut clients = Clients::new(FixedState::with_seed(1));
        let keys: Vec<_> = (0..5_000)
            .map(|n| {
                let id = format!("client-{n}");
                assert_eq!(clients.get(&id, &sessions), None);
                let key = sessions.insert(ClientSession::new((*id).into(), Version::V5));
                clients.insert(key, &sessions);
                key
            })
            .collect();
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(clients.get(&format!("client-{n}"), &sessions), Some(*key));
        }
        for key in &keys[..4_990] {
            clients.remove(*key, &sessions);
            sessions.remove(*key);
        }
        for (n, key) in keys.iter().enumerate() {
            let found = clients.get(&format!("client-{n}"), &sessions);
            assert_eq!(found, (n >= 4_990).then_some(*key), "{n}");
        }
        assert!(clients.index.capacity() < 2_000);
    }
}
