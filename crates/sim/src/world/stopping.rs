//! A planned stop: one shard or all of them tell their clients and end their connections.
//!
//! It is there in runs with [`Options::stops`](crate::Options::stops). Without a store the shards go on afterwards, with everything that they
//! know, as if the listeners had been closed for a moment. With one, everything that the stop leaves is stored, and another process begins.

use super::{Failure, World, fail};
use crate::disk::Crash;

impl World {
    pub(super) fn planned_stop(&mut self) -> Result<(), Failure> {
        self.observe()?;
        self.ledger.stopped();
        let count = self.shards.len();
        if self.storage.is_none() && self.rng.one_in(2) {
            let shard = self.rng.below(count);
            return self.stop_shard(shard);
        }
        let first = self.rng.below(count);
        for n in 0..count {
            self.stop_shard((first + n) % count)?;
            for _ in 0..self.rng.below(4) {
                self.some_mail_arrives();
            }
        }
        if self.storage.is_some() {
            self.store_comes_to_rest()?;
            self.observe()?;
            return self.crash(Crash::Kill);
        }
        Ok(())
    }

    fn stop_shard(&mut self, shard: usize) -> Result<(), Failure> {
        self.trace(8, shard, &[]);
        let now = self.shard_now();
        self.shards[shard].shut_down(now, &mut self.effects[shard]);
        self.harvest(shard);
        let left = self.shards[shard].connection_count();
        if left > 0 {
            return Err(fail("planned_stop", format!("{left} connections are left")));
        }
        self.observe()
    }
}
