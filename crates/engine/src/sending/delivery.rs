//! A message on its way to one session, and how it becomes bytes. `terms.rs`: how the session gets it.

mod several;
mod terms;

use martlet_codec::{PacketId, Properties, PropertiesBuf, Property, PublishHead, Version};
use martlet_session::AliasUse;

use crate::clients::connection::Connection;
use crate::counters::Counters;
use crate::message::{Kept, MessageParts};
use crate::peering::relay::topic_hash;
use crate::record::BodyId;
use crate::sending::express::{DUP, FIRST_BYTE, Plain, Template};
use crate::sending::outbox::{CHAIN_THRESHOLD, Holder};
use crate::sending::queue::STORED_BYTES;
use crate::time::Time;

pub(crate) use several::SEVERAL_MAX;
pub(crate) use terms::{GroupTag, SubscriptionIds, Terms};

/// A message in a session's queue or in flight to it, or several of a run (`delivery/several.rs`).
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// `None`: it is held by its body's id, and has to be looked up; or, without one, it was sent to a session that ends with
    /// its connection, and nobody will ask for it again.
    pub(crate) message: Option<Kept>,
    /// Its body in the store, if this delivery is recorded there.
    pub(crate) body: Option<BodyId>,
    pub(crate) terms: Terms,
}

impl Delivery {
    /// Bytes of memory that it holds.
    pub(crate) fn held_bytes(&self) -> usize {
        let count = self.count();
        match &self.message {
            Some(kept) => kept.size_of(count),
            None => STORED_BYTES * count,
        }
    }

    /// Whether nothing of its receiver's own goes with it, and it is not in the store.
    pub(crate) fn is_bare(&self) -> bool {
        self.body.is_none() && !self.terms.has_ids()
    }

    /// The same without the message: what was sent to a session that ends with its connection.
    pub(crate) fn forgotten(&self) -> Self {
        let terms = Terms::bare(self.terms.qos, false);
        Self::of_run(None, terms.of_several(self.terms.count, 0))
    }
}

/// The receiver cannot take the packet: it exceeds its Maximum Packet Size.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// How a PUBLISH differs from others of the same message for the same receiver.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) packet_id: Option<PacketId>,
    pub(crate) dup: bool,
    pub(crate) now: Time,
}

/// Appends one PUBLISH to a connection's outbox. Payloads from [`CHAIN_THRESHOLD`] on are chained by
/// reference when somebody holds them, smaller ones are copied. `own` is scratch space.
pub(crate) fn write_publish(
    connection: &mut Connection,
    parts: &MessageParts<'_>,
    holder: Holder<'_>,
    terms: &Terms,
    attempt: Attempt,
    own: &mut PropertiesBuf,
    counters: &mut Counters,
) -> Result<(), TooLarge> {
    if !terms.has_ids()
        && let Some(plain) = Plain::of(
            connection,
            holder.message.map(Template::of_message),
            parts,
            terms.qos,
        )
    {
        //= mqtt311 3.3.1-3
        //= mqtt5 4.3.1-1
        //= mqtt5 4.3.2-2
        //= mqtt5 4.3.3-2
        //= mqtt311 4.3.1-1
        let dup = if attempt.dup { DUP } else { 0 };
        let first = FIRST_BYTE | dup | (terms.qos as u8) << 1 | u8::from(terms.retain);
        plain.write(connection.outbox.bytes(), first, attempt.packet_id, parts);
        return Ok(());
    }
    let version = connection.version();
    write_own_properties(version, parts, terms, attempt.now, own);
    let shared = shared_properties(version, parts);
    let mut topic = parts.topic.as_str();
    let mut head = head_of(parts, terms, attempt, topic, own.as_properties(), shared);
    //= mqtt5 3.1.2-24
    if head.packet_len(version) > connection.packet_bytes_max as usize {
        return Err(TooLarge);
    }
    if let Some(aliases) = &mut connection.aliases_out {
        // A packet that fits without an alias fits with one unless the alias is new: then it is 3
        // bytes longer (and a property length may grow by one).
        let room = connection.packet_bytes_max as usize - head.packet_len(version);
        if room >= ALIAS_OVERHEAD_MAX {
            let before = aliases.replaced();
            let choice = aliases.choose(topic, topic_hash(topic.as_bytes()));
            counters.aliases_replaced += u64::from(aliases.replaced().wrapping_sub(before));
            let alias = match choice {
                AliasUse::None => None,
                AliasUse::Define(alias) => Some(alias),
                AliasUse::Use(alias) => {
                    topic = "";
                    Some(alias)
                }
            };
            if let Some(alias) = alias {
                own.push(Property::TopicAlias(alias));
            }
            head = head_of(parts, terms, attempt, topic, own.as_properties(), shared);
        }
    }
    head.encode(version, connection.outbox.bytes());
    match holder {
        Holder {
            message: Some(message),
            ..
        } if parts.payload.len() >= CHAIN_THRESHOLD => {
            connection.outbox.push_payload(message);
        }
        Holder {
            lent: Some(memory), ..
        } => connection.outbox.push_lent(memory, parts.payload.len()),
        _ => connection.outbox.bytes().extend_from_slice(parts.payload),
    }
    Ok(())
}

/// The length of the whole PUBLISH packet without a topic alias. `own` is scratch space.
pub(crate) fn packet_len(
    version: Version,
    parts: &MessageParts<'_>,
    terms: &Terms,
    now: Time,
    own: &mut PropertiesBuf,
) -> usize {
    write_own_properties(version, parts, terms, now, own);
    let attempt = Attempt {
        packet_id: PacketId::new(1),
        dup: false,
        now,
    };
    head_of(
        parts,
        terms,
        attempt,
        parts.topic.as_str(),
        own.as_properties(),
        shared_properties(version, parts),
    )
    .packet_len(version)
}

fn head_of<'a>(
    parts: &MessageParts<'a>,
    terms: &Terms,
    attempt: Attempt,
    topic: &'a str,
    own_properties: Properties<'a>,
    shared_properties: &'a [u8],
) -> PublishHead<'a> {
    PublishHead {
        dup: attempt.dup,
        qos: terms.qos,
        retain: terms.retain,
        topic,
        packet_id: attempt.packet_id,
        own_properties: own_properties.as_bytes(),
        shared_properties,
        payload_len: parts.payload.len(),
    }
}

fn shared_properties<'a>(version: Version, parts: &MessageParts<'a>) -> &'a [u8] {
    if version.is_v5() {
        parts.shared_properties
    } else {
        &[]
    }
}

/// The properties that this receiver gets and others do not.
fn write_own_properties(
    version: Version,
    parts: &MessageParts<'_>,
    terms: &Terms,
    now: Time,
    own: &mut PropertiesBuf,
) {
    own.clear();
    if !version.is_v5() {
        return;
    }
    push_expiry(parts, now, own);
    for id in terms.ids() {
        //= mqtt5 3.3.4-3
        //= mqtt5 3.3.4-4
        own.push(Property::SubscriptionIdentifier(*id));
    }
}

/// What is left of the Message Expiry Interval, as a property.
pub(crate) fn push_expiry(parts: &MessageParts<'_>, now: Time, own: &mut PropertiesBuf) {
    if let Some(seconds) = parts.remaining_expiry_s(now) {
        //= mqtt5 3.3.2-6
        own.push(Property::MessageExpiryInterval(seconds));
    }
}

/// Alias property, and one byte more of property length and of remaining length.
const ALIAS_OVERHEAD_MAX: usize = 5;
