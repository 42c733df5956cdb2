//! Packet identifiers that the server may hold for a client that is no more.
//!
//! ```text
//!   process before:  PUBLISH #1 ──▶ PUBREC #1, killed      the server keeps #1 until PUBREL
//!   this process:    PUBLISH #1, another message ──▶ PUBREC #1: "a duplicate", and nobody gets it
//! ```
//! A session that is there before this process has sent anything may hold any identifier at QoS 2, and nobody is left who would
//! release it. So each identifier is released once, by a PUBREL of ours, before it is used for a message at QoS 2 for the first time;
//! whatever the server answers, it is free then. Blocks of them at a time, as messages need them: one round trip for each.

use martlet_codec::{PacketId, QoS};

use super::Machine;

/// What is known of the identifiers in a session that another process began.
#[derive(Debug)]
pub(super) struct Inherited {
    /// One bit for each identifier that is known to be free on both sides.
    clean: Vec<u64>,
    /// PUBREL sent, PUBCOMP has not come.
    pending: Vec<PacketId>,
    /// The identifier in front of the block.
    behind: u16,
    block: u16,
}

impl Default for Inherited {
    fn default() -> Self {
        Self {
            clean: Vec::new(),
            pending: Vec::new(),
            behind: 0,
            block: BLOCK_MIN,
        }
    }
}

impl Inherited {
    fn is_clean(&self, id: PacketId) -> bool {
        let (word, bit) = place(id);
        self.clean.get(word).is_some_and(|word| word & bit != 0)
    }

    fn set_clean(&mut self, id: PacketId) {
        let (word, bit) = place(id);
        if self.clean.len() <= word {
            self.clean.resize(word + 1, 0);
        }
        if let Some(word) = self.clean.get_mut(word) {
            *word |= bit;
        }
    }

    /// A new connection: what was not answered is asked again when it is needed.
    pub(super) fn start_connection(&mut self) {
        self.pending.clear();
    }
}

impl Machine {
    /// Whether a message at QoS 2 can have the next identifier.
    pub(super) fn has_clean_id(&self) -> bool {
        let next_is_clean = |inherited: &Inherited| {
            let next = self.outbound.next_id();
            inherited.pending.is_empty() && next.is_some_and(|id| inherited.is_clean(id))
        };
        self.inherited.as_ref().is_none_or(next_is_clean)
    }

    /// Releases the next identifiers if a message waits for that.
    pub(super) fn clean_identifiers(&mut self) {
        if !self.is_online()
            || self.queue.next_paced_qos() != Some(QoS::ExactlyOnce)
            || !self.outbound.can_send()
            || self.has_clean_id()
        {
            return;
        }
        let Some(inherited) = self.inherited.as_mut().filter(|one| one.pending.is_empty()) else {
            return;
        };
        inherited.behind = self.outbound.last_id();
        for _ in 0..inherited.block {
            let Some(id) = self.outbound.reserve() else {
                break;
            };
            if inherited.is_clean(id) {
                self.outbound.release(id);
                break;
            }
            inherited.pending.push(id);
        }
        inherited.block = inherited.block.saturating_mul(2).min(BLOCK_MAX);
        for id in inherited.pending.clone() {
            self.write_pubrel(id);
        }
    }

    /// PUBCOMP: whether it was the answer to a PUBREL of [`Machine::clean_identifiers`].
    pub(super) fn on_cleaned(&mut self, id: PacketId) -> bool {
        let Some(inherited) = &mut self.inherited else {
            return false;
        };
        let Some(at) = inherited.pending.iter().position(|one| *one == id) else {
            return false;
        };
        inherited.pending.swap_remove(at);
        inherited.set_clean(id);
        self.outbound.release(id);
        if inherited.pending.is_empty() {
            self.outbound.continue_behind(inherited.behind);
        }
        true
    }
}

fn place(id: PacketId) -> (usize, u64) {
    (usize::from(id.get() / 64), 1 << (id.get() % 64))
}

/// Enough for a command line; a client that sends a lot has soon what it needs.
const BLOCK_MIN: u16 = 16;
const BLOCK_MAX: u16 = 1_024;
