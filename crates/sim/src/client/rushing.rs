//! A rush, in some runs: bursts of messages with nothing to them but their payload, to topics that nobody else sees.
//!
//! - To shared subscriptions, whose members are in several of them, have room for few messages at a time, and answer late, but
//!   then much at once: what a group gives waits in a member's queue, together as it came, and leaves it together.
//! - To a witness that sees nothing else: where there is a store, a burst is recorded and sent as one run, and if it is at QoS 2, it leaves
//!   when its records are stable. Nothing in front of it in the outbox waits for its own records, and hides that.
//!
//! Elsewhere in a run somebody nearly always has another subscription besides, and bursts are too short and too
//! mixed for that.

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
    /// It sees one topic, and does nothing but answer: what stands in its outbox is of that topic.
    Witness,
    /// It publishes to that topic, and seldom anything else: then the first message of a burst is dealt with as those behind it.
    Stream,
}

impl Client {
    /// Takes part in a rush, if there is one and chance wants it.
    pub(super) fn rush(&mut self, rng: &mut Rng, ledger: &mut Ledger) -> Option<Wish> {
        let rush = self.rushes?;
        if rush == Rush::Member && !self.has_joined(ledger) {
            self.join_rush(ledger);
            return Some(Wish::Nothing);
        }
        if !self.duties.is_empty() && rng.percent(30) {
            for _ in 0..rng.portion(self.duties.len()) {
                self.do_duty(0, ledger);
            }
            return Some(Wish::Nothing);
        }
        if rush == Rush::Member && !self.duties.is_empty() {
            return self.leaves_it_to_others(rng, ledger);
        }
        let topic = match rush {
            Rush::Witness => return Some(Wish::Nothing),
            Rush::Stream if rng.percent(40) => WITNESSED_TOPIC,
            Rush::Stream if rng.percent(75) => return Some(Wish::Nothing),
            Rush::Publisher | Rush::Member if rng.percent(25) => *rng.pick(&SHARED_TOPICS),
            Rush::Stream | Rush::Publisher | Rush::Member => return None,
        };
        let qos = *rng.pick(&[QoS::AtLeastOnce, QoS::ExactlyOnce]);
        for _ in 0..rng.between(5, 24) {
            self.publish_plainly(topic, qos, ledger);
        }
        Some(Wish::Nothing)
    }

    /// A member does not answer, and may go with what it has.
    fn leaves_it_to_others(&mut self, rng: &mut Rng, ledger: &mut Ledger) -> Option<Wish> {
        match rng.below(7) {
            0 if !self.steady => {
                self.disconnect(rng, ledger);
                Some(Wish::Close)
            }
            1 => None,
            _ => Some(Wish::Nothing),
        }
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

    /// A member has room for little; a witness has, and wants copies.
    pub(super) fn rush_terms(&self, terms: &mut ConnectTerms, rng: &mut Rng) {
        match self.rushes {
            Some(Rush::Member) => {
                terms.receive_maximum = Some(*rng.pick(&[1, 2, 3, 5]));
                terms.alias_maximum = terms.alias_maximum.filter(|_| rng.one_in(4));
            }
            Some(Rush::Witness) => {
                terms.receive_maximum = None;
                terms.alias_maximum = None;
            }
            Some(Rush::Publisher | Rush::Stream) | None => {}
        }
    }
}

/// No wildcard in front matches them.
const SHARED_TOPICS: [&str; 3] = ["$r/1", "$r/2", "$r/3"];

/// The one that its witness sees, and nobody else.
pub(crate) const WITNESSED_TOPIC: &str = "$r/4";

const RUSH_FILTERS: [&str; 3] = ["$share/r/$r/1", "$share/r/$r/2", "$share/r/$r/3"];
