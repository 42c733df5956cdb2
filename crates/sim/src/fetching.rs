//! Bodies that shards want to have back: looked for at one moment, read at another, answered in any order.

use martlet_engine::{BodyId, FetchedBody, StoreConfig};
use martlet_store::BodyPlace;

use crate::keeper::{KeeperError, Whereabouts};
use crate::rng::Rng;
use crate::storage::Storage;

/// A body that a shard waits for.
#[derive(Debug)]
pub(crate) struct Want {
    shard: usize,
    body: BodyId,
    /// Where it was when that was asked.
    place: Option<BodyPlace>,
}

impl Storage {
    /// A shard wants to have bodies back.
    pub(crate) fn want(&mut self, shard: usize, bodies: Vec<BodyId>) {
        let wants = bodies.into_iter().map(|body| Want {
            shard,
            body,
            place: None,
        });
        self.wants.extend(wants);
    }

    /// Goes on with some of what is wanted, or with all of it. The answers, each for its shard.
    pub(crate) fn fetch(
        &mut self,
        all: bool,
        config: StoreConfig,
        rng: &mut Rng,
    ) -> Result<Vec<(usize, FetchedBody)>, KeeperError> {
        let count = if all {
            2 * self.wants.len()
        } else {
            rng.portion(self.wants.len().max(1))
        };
        let mut answers = Vec::new();
        for _ in 0..count {
            if self.wants.is_empty() {
                break;
            }
            let at = rng.below(self.wants.len());
            let Want { shard, body, place } = self.wants.swap_remove(at);
            let mut message = None;
            if let Some(place) = place {
                self.keeper().read_place(place, &mut |found| {
                    message = Some(config.message_of(found));
                })?;
            } else {
                match self.keeper().find_body(body)? {
                    Whereabouts::Nowhere => {
                        answers.push((shard, FetchedBody { body, message }));
                        continue;
                    }
                    Whereabouts::Memory => {
                        self.keeper().read_body(body, &mut |found| {
                            message = Some(config.message_of(found));
                        })?;
                    }
                    Whereabouts::Disk(place) => {
                        let place = Some(place);
                        self.wants.push(Want { shard, body, place });
                        continue;
                    }
                }
            }
            if message.is_some() {
                self.facts.read_back += 1;
                answers.push((shard, FetchedBody { body, message }));
            } else {
                // It has moved meanwhile: it is looked for again.
                self.facts.misses += 1;
                self.wants.push(Want {
                    shard,
                    body,
                    place: None,
                });
            }
        }
        Ok(answers)
    }
}
