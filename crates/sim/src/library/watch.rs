//! What goes over a program's wire, read along: which subscriptions the broker has, which messages went before which, and
//! which may have come to it twice.

use std::collections::{BTreeMap, BTreeSet};

use martlet_codec::{Decoded, Packet, PacketId, ReasonCode, Rules, Sender, Version, decode};

use super::books::{Facts, number_of};

#[derive(Debug)]
pub(super) struct Watch {
    version: Version,
    /// Whose it is, if every packet is told.
    tells: Option<usize>,
    /// Filters that have to be subscribed to again before anything is published.
    owed_filters: BTreeSet<String>,
    /// SUBSCRIBE packets that have no answer yet: the how manieth each was, and its filters.
    requests: BTreeMap<PacketId, (u64, Vec<String>)>,
    /// SUBSCRIBE packets so far.
    pub(super) subscribes: u64,
    /// Filters that were subscribed to again.
    pub(super) resubscribed: u64,
    /// A CONNECT is under way.
    asked: bool,
    /// One before it had no answer, so the broker may have begun another session.
    in_doubt: bool,
    /// Messages that were written to some connection.
    sent: BTreeSet<u64>,
    /// Those written again, to be entered in the books.
    resent: Vec<u64>,
    pub(super) fault: Option<(&'static str, String)>,
}

/// What a program has got.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// A CONNACK of a session that has just begun. The connection may have ended right behind it.
    pub(super) is_new: bool,
    /// Filters that the broker has subscribed to, each with the number of its SUBSCRIBE.
    pub(super) granted: Vec<(u64, String)>,
}

impl Watch {
    pub(super) const fn new(version: Version) -> Self {
        Self {
            version,
            tells: None,
            owed_filters: BTreeSet::new(),
            requests: BTreeMap::new(),
            subscribes: 0,
            resubscribed: 0,
            asked: false,
            in_doubt: false,
            sent: BTreeSet::new(),
            resent: Vec::new(),
            fault: None,
        }
    }

    /// Tells every packet to the error output.
    pub(super) const fn tell(&mut self, program: usize) {
        self.tells = Some(program);
    }

    /// The socket is gone.
    pub(super) fn on_lost(&mut self) {
        self.requests.clear();
        self.owed_filters.clear();
    }

    pub(super) const fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// The message went over some connection.
    pub(super) fn was_sent(&self, number: u64) -> bool {
        self.sent.contains(&number)
    }

    /// The session may be another one: this filter is to be subscribed to before anything is published.
    pub(super) fn owe(&mut self, filter: &str) {
        self.owed_filters.insert(filter.to_owned());
    }

    /// Which messages were sent again.
    pub(super) fn enter(&mut self, facts: &mut Facts) {
        for number in self.resent.drain(..) {
            if let Some(fact) = facts.get_mut(&number) {
                fact.resent = true;
            }
        }
    }

    pub(super) fn on_sent(&mut self, mut bytes: &[u8]) {
        let rules = self.rules(Sender::Client);
        while let Ok(Decoded::Packet { packet, length }) = decode(bytes, rules) {
            self.say("to the broker", &packet);
            match packet {
                Packet::Connect(_) => self.in_doubt |= std::mem::replace(&mut self.asked, true),
                Packet::Subscribe(subscribe) => {
                    let filters = subscribe.filters.iter();
                    let filters: Vec<String> =
                        filters.map(|(one, _)| one.as_str().to_owned()).collect();
                    for filter in &filters {
                        self.resubscribed += u64::from(self.owed_filters.remove(filter));
                    }
                    self.subscribes += 1;
                    let request = (self.subscribes, filters);
                    self.requests.insert(subscribe.packet_id, request);
                }
                Packet::Unsubscribe(unsubscribe) => {
                    // The answer to an earlier SUBSCRIBE says nothing about a later stream.
                    for (_, filters) in self.requests.values_mut() {
                        let ended = |filter: &String| {
                            unsubscribe.filters.iter().any(|one| one.as_str() == filter)
                        };
                        filters.retain(|filter| !ended(filter));
                    }
                }
                Packet::Publish(publish) => {
                    let number = number_of(&String::from_utf8_lossy(publish.payload));
                    if !self.sent.insert(number) {
                        self.resent.push(number);
                    }
                    if !self.owed_filters.is_empty() {
                        let what = format!("{number} before {:?}", self.owed_filters);
                        self.fault = Some(("resubscribed_first", what));
                    }
                }
                _ => {}
            }
            bytes = bytes.get(length..).unwrap_or_default();
        }
    }

    /// What has come.
    pub(super) fn on_received(&mut self, mut bytes: &[u8]) -> Seen {
        let rules = self.rules(Sender::Server);
        let mut seen = Seen::default();
        while let Ok(Decoded::Packet { packet, length }) = decode(bytes, rules) {
            self.say("from the broker", &packet);
            if let Packet::ConnAck(connack) = packet {
                seen.is_new |= connack.reason == ReasonCode::Success && !connack.session_present;
                (self.asked, self.in_doubt) = (false, false);
            }
            if let Packet::SubAck(suback) = packet {
                let (number, filters) = self.requests.remove(&suback.packet_id).unwrap_or_default();
                let granted = filters.into_iter().map(|filter| (number, filter));
                seen.granted.extend(granted);
            }
            bytes = bytes.get(length..).unwrap_or_default();
        }
        seen
    }

    #[expect(clippy::print_stderr, reason = "asked for by --trace")]
    fn say(&self, way: &str, packet: &Packet<'_>) {
        if let Some(program) = self.tells {
            let payload = match packet {
                Packet::Publish(publish) => number_of(&String::from_utf8_lossy(publish.payload)),
                _ => 0,
            };
            let mut text = format!("{packet:?}");
            text.truncate(TOLD_MAX);
            eprintln!("  program {program} {way}: [{payload}] {text}");
        }
    }

    fn rules(&self, sender: Sender) -> Rules {
        Rules {
            version: self.version,
            sender,
            max_packet_size: u32::MAX,
        }
    }
}

const TOLD_MAX: usize = 300;
