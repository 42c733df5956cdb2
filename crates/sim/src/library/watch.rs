//! What goes over a program's wire, read along: which subscriptions the broker has, which messages went before which, and
//! which may have come to it twice.

use std::collections::{BTreeMap, BTreeSet};

use martlet_codec::{Decoded, Packet, PacketId, Rules, Sender, Version, decode};

use super::books::{Facts, number_of};

#[derive(Debug)]
pub(super) struct Watch {
    version: Version,
    /// Whose it is, if every packet is told.
    tells: Option<usize>,
    /// Filters that have to be subscribed to again before anything is published.
    owed_filters: BTreeSet<String>,
    requests: BTreeMap<PacketId, Vec<String>>,
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

impl Watch {
    pub(super) const fn new(version: Version) -> Self {
        Self {
            version,
            tells: None,
            owed_filters: BTreeSet::new(),
            requests: BTreeMap::new(),
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
                    self.requests.insert(subscribe.packet_id, filters);
                }
                Packet::Unsubscribe(unsubscribe) => {
                    // The answer to an earlier SUBSCRIBE says nothing about a later stream.
                    for filters in self.requests.values_mut() {
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

    /// Which filters the broker has subscribed to, by what has come.
    pub(super) fn on_received(&mut self, mut bytes: &[u8]) -> Vec<String> {
        let rules = self.rules(Sender::Server);
        let mut granted = Vec::new();
        while let Ok(Decoded::Packet { packet, length }) = decode(bytes, rules) {
            self.say("from the broker", &packet);
            if let Packet::ConnAck(_) = packet {
                (self.asked, self.in_doubt) = (false, false);
            }
            if let Packet::SubAck(suback) = packet {
                granted.extend(self.requests.remove(&suback.packet_id).unwrap_or_default());
            }
            bytes = bytes.get(length..).unwrap_or_default();
        }
        granted
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
