//! What a broker can do wrong, counted by kind; the first of each kind are kept in words.

use std::fmt;

/// The kinds of faults, in the order of the report. All must stay at zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A message was acknowledged and has not reached a durable session that was owed it.
    Lost,
    /// A will of a durable session, due because its connection broke, was never published.
    WillLost,
    /// Session Present 0 where the session had been acknowledged.
    SessionLost,
    /// A subscription whose SUBACK was seen gets nothing any more.
    SubscriptionLost,
    /// A QoS 2 message came twice.
    Doubled,
    /// A message overtook an earlier one of the same publisher, topic and quality of service.
    Order,
    /// The retained message of a topic is none of those that it may be.
    Retained,
    /// A session or subscription that was ended, with acknowledgement, is back.
    Resurrected,
    /// Something arrived that was never sent, or under the wrong topic.
    Phantom,
    /// A packet identifier in use was given to another message.
    IdentifierReused,
    /// The broker broke the protocol, or closed a connection without cause.
    Protocol,
    /// Flows did not come to their end, though nobody was killed.
    Stuck,
    /// The broker ended by itself, or did not come up.
    Broker,
}

impl Kind {
    pub(crate) const ALL: [Self; 13] = [
        Self::Lost,
        Self::WillLost,
        Self::SessionLost,
        Self::SubscriptionLost,
        Self::Doubled,
        Self::Order,
        Self::Retained,
        Self::Resurrected,
        Self::Phantom,
        Self::IdentifierReused,
        Self::Protocol,
        Self::Stuck,
        Self::Broker,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "acknowledged but lost",
            Self::WillLost => "wills lost",
            Self::SessionLost => "sessions lost",
            Self::SubscriptionLost => "subscriptions lost",
            Self::Doubled => "QoS 2 duplicates",
            Self::Order => "order violations",
            Self::Retained => "retained differences",
            Self::Resurrected => "ended but back",
            Self::Phantom => "never sent",
            Self::IdentifierReused => "identifiers reused",
            Self::Protocol => "protocol violations",
            Self::Stuck => "flows stuck",
            Self::Broker => "broker ended or hung",
        })
    }
}

/// All faults of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    counts: [u64; Kind::ALL.len()],
    texts: Vec<(Kind, String)>,
}

impl Faults {
    /// Notes one.
    pub(crate) fn add(&mut self, kind: Kind, text: impl Into<String>) {
        self.counts[kind as usize] += 1;
        if self.counts[kind as usize] <= TEXTS_OF_A_KIND {
            self.texts.push((kind, text.into()));
        }
    }

    pub(crate) const fn count(&self, kind: Kind) -> u64 {
        self.counts[kind as usize]
    }

    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds the counts of others.
    pub(crate) fn merge(&mut self, others: &Self) {
        for (count, other) in self.counts.iter_mut().zip(others.counts) {
            *count += other;
        }
    }

    /// Takes the texts, oldest first.
    pub(crate) fn take_texts(&mut self) -> Vec<(Kind, String)> {
        std::mem::take(&mut self.texts)
    }
}

/// How many faults of one kind are kept in words; the rest is only counted.
const TEXTS_OF_A_KIND: u64 = 8;
