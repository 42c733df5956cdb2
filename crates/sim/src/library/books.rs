//! What the programs were told, and what they got: the books that the checks read.

use std::collections::BTreeMap;

use martlet_codec::QoS;

/// One message, from its admission.
#[derive(Debug)]
pub(super) struct Fact {
    pub(super) topic: String,
    pub(super) qos: QoS,
    pub(super) publisher: usize,
    /// The world's tick at its admission.
    pub(super) admitted: u64,
    /// Its future has said that it was published; or it was on disk when its program died.
    pub(super) owed: bool,
    /// It was published once more: by a later process of the program, or in what may be another session.
    pub(super) again: bool,
    /// It was sent again on another connection, so that it may come twice at QoS 1.
    pub(super) resent: bool,
}

/// One stream of one program.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) filter: String,
    pub(super) qos: QoS,
    /// SUBSCRIBE packets that had been written when it began: the answers to those say nothing about it.
    pub(super) subscribes_before: u64,
    /// Since this tick the broker has the subscription, as far as the program knows; none: it is not sure.
    pub(super) stands_since: Option<u64>,
    /// It is still read.
    pub(super) is_read: bool,
    /// Its buffer drops nothing.
    pub(super) keeps_all: bool,
    /// Messages in the order in which the application got them.
    pub(super) got: Vec<u64>,
}

/// All messages by number.
pub(super) type Facts = BTreeMap<u64, Fact>;

/// The number with which every payload begins.
pub(super) fn number_of(payload: &str) -> u64 {
    let number = payload.split(' ').next().and_then(|word| word.parse().ok());
    number.expect("all payloads begin with a number")
}

impl Reader {
    /// Each message that the stream had to get is there, as often as its QoS allows, in the order of each publisher.
    pub(super) fn check(&self, facts: &Facts, calm: bool) -> Result<(), (&'static str, String)> {
        let mut counts = BTreeMap::<u64, usize>::new();
        let mut last = BTreeMap::<(usize, bool, bool), u64>::new();
        for number in &self.got {
            let Some(fact) = facts.get(number) else {
                return Err((
                    "no_phantom",
                    format!("message {number} was never published"),
                ));
            };
            if !martlet_codec::topic_matches(&self.filter, &fact.topic) {
                return Err((
                    "no_phantom",
                    format!("{} does not match {}", fact.topic, self.filter),
                ));
            }
            let count = counts.entry(*number).or_default();
            *count += 1;
            // What was under way when it subscribed may come twice, and only the second time to it.
            if *count > 1
                || fact.again
                || self.stands_since.is_none_or(|since| fact.admitted <= since)
            {
                continue;
            }
            // What has to be acknowledged and what has not keep their order each for itself.
            if !self.keeps_all {
                continue;
            }
            let plain = fact.qos.min(self.qos) == QoS::AtMostOnce;
            if plain && fact.qos == QoS::AtLeastOnce && fact.resent {
                // The first copy may be lost, and the second is late.
                continue;
            }
            let before = last.insert(
                (fact.publisher, fact.qos == QoS::AtMostOnce, plain),
                *number,
            );
            if before.is_some_and(|before| before > *number) {
                return Err((
                    "order",
                    format!("{number} came behind {before:?} in {}", self.filter),
                ));
            }
        }
        self.check_counts(&counts, facts, calm)
    }

    fn check_counts(
        &self,
        counts: &BTreeMap<u64, usize>,
        facts: &Facts,
        calm: bool,
    ) -> Result<(), (&'static str, String)> {
        for (number, count) in counts {
            let fact = &facts[number];
            let once = fact.qos != QoS::AtLeastOnce && self.qos != QoS::AtLeastOnce && !fact.again;
            if *count > 1 && (once || calm) {
                return Err((
                    "exactly_once",
                    format!(
                        "message {number} came {count} times to {}: {fact:?}",
                        self.filter
                    ),
                ));
            }
        }
        let Some(since) = self.stands_since.filter(|_| self.keeps_all && self.is_read) else {
            return Ok(());
        };
        let acknowledged = self.qos != QoS::AtMostOnce;
        for (number, fact) in facts {
            let wanted = martlet_codec::topic_matches(&self.filter, &fact.topic);
            if wanted
                && acknowledged
                && fact.owed
                && fact.qos != QoS::AtMostOnce
                && fact.admitted > since
                && !counts.contains_key(number)
            {
                return Err((
                    "at_least_once",
                    format!(
                        "message {number} has not come to {}, which stands since {since}: {fact:?}",
                        self.filter
                    ),
                ));
            }
        }
        Ok(())
    }
}
