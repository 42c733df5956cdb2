//! A rush, in some runs: bursts of messages to topics that only shared subscriptions see, whose members are in several of
//! them, have room for few messages at a time, and answer late, but then much at once.
//!
//! What a group gives waits in a member's queue, together as it came, and leaves it together. Elsewhere in a run somebody
//! nearly always has a subscription to everything besides, and bursts are too short for that.

use martlet_codec::{QoS, SubscriptionOptions};

use super::{Client, Wish};
use crate::ledger::{ConnectTerms, Ledger};
use crate::rng::Rng;

/// What a client does in a rush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rush {
    /// It publishes.
    Publisher,
    /// It shares, and publishes as well.
    Member,
}

impl Client {
    /// Takes part in a rush, if there is one and chance wants it.
    pub(super) fn rush(&mut self, rng: &mut Rng, ledger: &mut Ledger) -> Option<Wish> {
        if self.rushes? == Rush::Member {
            if !self.has_joined(ledger) {
                self.join_rush(ledger);
                return Some(Wish::Nothing);
            }
            if !self.duties.is_empty() {
                return self.share(rng, ledger);
            }
        }
        if !rng.percent(25) {
            return None;
        }
        let topic = *rng.pick(&RUSH_TOPICS);
        let qos = *rng.pick(&[QoS::AtLeastOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
        for _ in 0..rng.between(5, 24) {
            self.publish_plainly(topic, qos, ledger);
        }
        Some(Wish::Nothing)
    }

    /// A member answers, or leaves it to the others.
    fn share(&mut self, rng: &mut Rng, ledger: &mut Ledger) -> Option<Wish> {
        match rng.below(10) {
            0..=2 => {
                for _ in 0..rng.portion(self.duties.len()) {
                    self.do_duty(0, ledger);
                }
            }
            3 if !self.steady => {
                self.disconnect(rng, ledger);
                return Some(Wish::Close);
            }
            4 => return None,
            _ => {}
        }
        Some(Wish::Nothing)
    }

    /// Whether its session has asked for the shared subscriptions: once, whatever it does about them later.
    fn has_joined(&self, ledger: &Ledger) -> bool {
        let session = ledger.actors[self.id].session;
        let changes = session.map(|id| &ledger.sessions[id].changes);
        let mut filters = changes.into_iter().flatten().map(|change| &change.filter);
        filters.any(|filter| filter == RUSH_FILTERS[0])
    }

    fn join_rush(&mut self, ledger: &mut Ledger) {
        let options = SubscriptionOptions::with_qos(QoS::ExactlyOnce);
        let options = [options; RUSH_FILTERS.len()];
        self.subscribe(&RUSH_FILTERS, &options, None, ledger);
    }

    /// It has room for little.
    pub(super) fn narrow_terms(&self, terms: &mut ConnectTerms, rng: &mut Rng) {
        if self.rushes == Some(Rush::Member) {
            terms.receive_maximum = Some(*rng.pick(&[1, 2, 3, 5]));
            terms.alias_maximum = terms.alias_maximum.filter(|_| rng.one_in(4));
        }
    }
}

/// No wildcard in front matches them.
const RUSH_TOPICS: [&str; 3] = ["$r/1", "$r/2", "$r/3"];

const RUSH_FILTERS: [&str; 3] = ["$share/r/$r/1", "$share/r/$r/2", "$share/r/$r/3"];
