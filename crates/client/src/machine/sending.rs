//! Messages on their way out: admitted, queued, sent.

use std::cell::Cell;
use std::time::Duration;

use martlet_codec::{PacketId, QoS, Version};
use martlet_session::AliasUse;

use super::queue::{Outgoing, Push};
use super::{Event, Machine, OpId, Outcome, Storage, StoreOp, Time, wire};
use crate::error::{Delivered, ErrorKind, Feature, Receipt};
use crate::message::Message;
use crate::options::OnFull;
use crate::state::{Limits, PACKET_SIZE_MAX};
use crate::topic::describe;

/// A publish that was not admitted: nothing was or will be sent.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub kind: ErrorKind,
    /// What there is to say about it.
    pub reason: Option<String>,
    /// The message.
    pub message: Message,
    /// Whether there may be room later ([`Event::Room`]), and the policy is to wait for it.
    pub may_wait: bool,
}

impl Machine {
    /// Admits a message: sent at once, or queued. `op` is completed when it is done with. Returns the number under which a
    /// file outbox stores it.
    pub fn publish(
        &mut self,
        now: Time,
        message: Message,
        op: Option<OpId>,
    ) -> Result<Option<u64>, Box<Refusal>> {
        let kept = self.config.stores && message.qos != QoS::AtMostOnce;
        self.publish_kept(now, message, op, kept)
    }

    /// As [`Machine::publish`]; `kept`: the outbox's file stores it.
    pub(super) fn publish_kept(
        &mut self,
        now: Time,
        message: Message,
        op: Option<OpId>,
        kept: bool,
    ) -> Result<Option<u64>, Box<Refusal>> {
        if let Some((kind, reason)) = self.fault_of(&message) {
            return Err(refuse(kind, reason, message));
        }
        let direct = self.is_online()
            && self.out.len() < OUTPUT_HIGH
            && !self.queue.has_waiting(message.qos)
            && self.window_is_open(message.qos);
        let busy = kept && self.storage == Storage::Busy;
        if busy || !direct && !self.queue.has_room(message.cost()) {
            match self.config.outbox.on_full {
                OnFull::Wait => {
                    self.room_wanted = true;
                    let mut refusal = refuse(ErrorKind::QueueFull, None, message);
                    refusal.may_wait = true;
                    return Err(refusal);
                }
                OnFull::Reject => return Err(refuse(ErrorKind::QueueFull, None, message)),
                OnFull::DropNewest => {
                    self.stats.dropped += 1;
                    return Err(refuse(ErrorKind::QueueFull, None, message));
                }
                OnFull::DropOldest => {}
            }
        }
        let mut outgoing = self.admit(now, message, op);
        if kept {
            self.store(now, &mut outgoing);
        }
        let stored = outgoing.stored;
        if direct {
            self.send(now, outgoing);
        } else {
            self.enqueue(outgoing);
            self.clean_identifiers();
        }
        Ok(stored)
    }

    /// A message that an earlier process has left in the outbox's file. To be called before
    /// [`Machine::start`], in the order of the numbers.
    pub fn restore(
        &mut self,
        now: Time,
        number: u64,
        message: Message,
        expires_in: Option<Duration>,
    ) {
        let mut outgoing = self.admit(now, message, None);
        outgoing.stored = Some(number);
        outgoing.expires = expires_in.map(|left| now.plus(left)).or(outgoing.expires);
        // It may have been sent before.
        outgoing.resent.set(true);
        self.last_stored = self.last_stored.max(number);
        self.queue.push_restored(outgoing);
    }

    /// The writer of the outbox's file is behind, or has caught up.
    pub fn set_storage_busy(&mut self, busy: bool) {
        if self.storage == Storage::Failed {
            return;
        }
        self.storage = if busy { Storage::Busy } else { Storage::Ready };
        self.announce_room();
    }

    /// The outbox's file cannot be written: no message that would have to be is admitted any more.
    pub fn on_storage_failed(&mut self) {
        self.storage = Storage::Failed;
        self.announce_room();
    }

    fn store(&mut self, now: Time, outgoing: &mut Outgoing) {
        self.last_stored += 1;
        outgoing.stored = Some(self.last_stored);
        let put = StoreOp::Put {
            number: self.last_stored,
            message: outgoing.message.clone(),
            expires_in: outgoing.expires.map(|expires| expires.since(now)),
        };
        self.push_event(Event::Store(put));
    }

    /// Takes a message back if it is still in the queue; it comes with
    /// [`Outcome::PublishFailed`]. False: it is too late.
    pub fn cancel(&mut self, op: OpId) -> bool {
        let Some(outgoing) = self.queue.cancel(op) else {
            return false;
        };
        self.fail(outgoing, ErrorKind::Cancelled, Delivered::No);
        self.announce_room();
        true
    }

    /// Whether the queue takes a message without dropping another.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.queue.has_room(0)
    }

    /// The transport has accepted this many bytes of the output.
    pub fn on_written(&mut self, now: Time, count: usize) {
        self.link.written += count as u64;
        self.link.last_sent = now;
        self.stats.bytes_sent += count as u64;
        while let Some((end, _)) = self.link.unwritten.front() {
            if *end > self.link.written {
                break;
            }
            let Some((_, outgoing)) = self.link.unwritten.pop_front() else {
                break;
            };
            self.published(now, &outgoing, martlet_codec::ReasonCode::Success);
        }
        self.pump(now);
    }

    fn fault_of(&self, message: &Message) -> Option<(ErrorKind, Option<String>)> {
        if self.closing.is_some() || self.is_closed() {
            return Some((ErrorKind::Closed, None));
        }
        if !message.qos_valid {
            return Some((ErrorKind::InvalidOption, Some("QoS is 0, 1 or 2".into())));
        }
        if let Some(fault) = message.topic.fault() {
            return Some((ErrorKind::InvalidTopic, Some(describe(fault))));
        }
        if message.properties.is_some() {
            if !self.config.version.is_v5() {
                return Some((ErrorKind::NotSupported(Feature::Mqtt5), None));
            }
            if let Err(error) = wire::check(message, self.config.version) {
                return Some((ErrorKind::InvalidOption, Some(error.to_string())));
            }
        }
        if self.storage == Storage::Failed && message.qos != QoS::AtMostOnce {
            return Some((ErrorKind::Storage, None));
        }
        if !self.is_online() {
            if message.payload.len() + message.topic.len() + 16 > PACKET_SIZE_MAX as usize {
                return Some((
                    ErrorKind::TooLarge {
                        max: PACKET_SIZE_MAX,
                    },
                    None,
                ));
            }
            if message.qos == QoS::AtMostOnce && !self.config.outbox.qos0 {
                return Some((ErrorKind::Offline, None));
            }
            return None;
        }
        self.limit_of(message).map(|kind| (kind, None))
    }

    fn limit_of(&self, message: &Message) -> Option<ErrorKind> {
        limit_of(&self.link.limits, self.config.version, message)
    }

    fn admit(&mut self, now: Time, message: Message, op: Option<OpId>) -> Outgoing {
        let own = message.properties().expiry_s;
        let own = own.map(|s| now.plus(Duration::from_secs(s.into())));
        let age = self.config.outbox.age_max.map(|age| now.plus(age));
        Outgoing {
            message,
            op,
            epoch: self.epochs.admit(),
            admitted: now,
            expires: match (own, age) {
                (Some(own), Some(age)) => Some(own.min(age)),
                (own, age) => own.or(age),
            },
            sent: Time::default(),
            resent: Cell::new(false),
            stored: None,
        }
    }

    fn enqueue(&mut self, outgoing: Outgoing) {
        let waiting_retained =
            outgoing.message.retain && !self.is_online() && self.config.outbox.newest_retained;
        if waiting_retained && let Some(older) = self.queue.take_retained(&outgoing.message.topic) {
            self.stats.superseded += 1;
            self.fail(older, ErrorKind::Superseded, Delivered::No);
        }
        match self.queue.push(outgoing, waiting_retained) {
            Push::Done => {}
            Push::Dropped(dropped) => {
                for oldest in dropped {
                    self.stats.dropped += 1;
                    self.fail(oldest, ErrorKind::QueueFull, Delivered::No);
                }
            }
            // Room was seen to before.
            Push::Full(outgoing) => self.fail(*outgoing, ErrorKind::QueueFull, Delivered::No),
        }
    }

    /// Sends what may be sent now.
    pub(super) fn pump(&mut self, now: Time) {
        if !self.is_online() {
            return;
        }
        self.send_wanted_subscriptions(now);
        self.send_again(now);
        //= mqtt5 3.3.4-7
        //= mqtt5 3.3.4-8
        while self.out.len() < OUTPUT_HIGH
            && let Some(qos) = self.queue.next_paced_qos()
            && self.window_is_open(qos)
        {
            let Some(outgoing) = self.queue.pop(true) else {
                break;
            };
            if !self.send_queued(now, outgoing) {
                break;
            }
        }
        //= mqtt5 4.9.0-3
        while self.out.len() < OUTPUT_HIGH
            && let Some(outgoing) = self.queue.pop(false)
        {
            self.send_queued(now, outgoing);
        }
        self.clean_identifiers();
        self.announce_room();
    }

    pub(super) fn announce_room(&mut self) {
        if self.room_wanted && self.queue.has_room(0) && self.storage != Storage::Busy {
            self.room_wanted = false;
            self.push_event(Event::Room);
        }
    }

    /// Fails what has waited for too long.
    pub(super) fn expire(&mut self, now: Time) {
        for outgoing in self.queue.take_expired(now) {
            self.stats.expired += 1;
            self.fail(outgoing, ErrorKind::Expired, Delivered::No);
        }
        self.announce_room();
    }

    pub(super) fn send_birth(&mut self, now: Time) {
        let Some(birth) = self.config.birth.clone() else {
            return;
        };
        if self.limit_of(&birth).is_some() {
            return;
        }
        let outgoing = self.admit(now, birth, None);
        if outgoing.message.qos == QoS::AtMostOnce {
            self.send(now, outgoing);
        } else {
            // Behind what is sent again, in front of what was never sent.
            self.queue.push_front(outgoing);
        }
    }

    /// Whether a message at this QoS may be sent now.
    fn window_is_open(&self, qos: QoS) -> bool {
        let room = |open, max: u16| open < usize::from(max.max(1));
        let config = &self.config;
        match qos {
            QoS::AtMostOnce => true,
            QoS::AtLeastOnce | QoS::ExactlyOnce => {
                self.outbound.can_send()
                    && room(self.outbound.open_count(), config.in_flight_max)
                    && (qos == QoS::AtLeastOnce
                        || room(self.outbound_qos2, config.in_flight_qos2_max())
                            && self.has_clean_id())
            }
        }
    }

    /// Sends a message of the queue, or fails it. False: it is back in the queue.
    fn send_queued(&mut self, now: Time, outgoing: Outgoing) -> bool {
        if outgoing.expires.is_some_and(|expires| expires <= now) {
            self.stats.expired += 1;
            self.fail(outgoing, ErrorKind::Expired, Delivered::No);
        } else if let Some(kind) = self.limit_of(&outgoing.message) {
            self.fail(outgoing, kind, Delivered::No);
        } else {
            return self.send(now, outgoing);
        }
        true
    }

    /// Sends a message for the first time. False: there was no identifier, and it is in the queue.
    fn send(&mut self, now: Time, mut outgoing: Outgoing) -> bool {
        //= mqtt5 4.3.1-1
        //= mqtt311 4.3.1-1
        //= mqtt311 3.3.1-3
        //= mqtt311 4.3.2-1
        //= mqtt5 4.3.2-2
        //= mqtt5 4.3.3-2
        outgoing.sent = now;
        if outgoing.message.qos == QoS::AtMostOnce {
            self.write_publish(now, &outgoing, None, false);
            let end = self.link.taken + self.out.len() as u64;
            self.link.unwritten.push_back((end, outgoing));
            return true;
        }
        let exactly_once = outgoing.message.qos == QoS::ExactlyOnce;
        let Some(packet_id) = self.outbound.next_id() else {
            self.queue.push_front(outgoing);
            return false;
        };
        self.write_publish(now, &outgoing, Some(packet_id), false);
        self.outbound.send(exactly_once, outgoing);
        self.outbound_qos2 += usize::from(exactly_once);
        true
    }

    fn write_publish(
        &mut self,
        now: Time,
        outgoing: &Outgoing,
        packet_id: Option<PacketId>,
        duplicate: bool,
    ) {
        let link = &mut self.link;
        let sending = wire::Sending {
            packet_id,
            duplicate,
            alias: choose_alias(&mut link.aliases_out, &outgoing.message, &link.limits),
            expiry_s: expiry_left(outgoing, now),
        };
        let message = &outgoing.message;
        let (scratch, out) = (&mut self.scratch, &mut self.out);
        wire::publish(message, sending, self.config.version, scratch, out);
    }

    pub(super) fn published(
        &mut self,
        now: Time,
        outgoing: &Outgoing,
        reason: martlet_codec::ReasonCode,
    ) {
        self.stats.published += 1;
        self.unstore(outgoing.stored);
        let epoch = outgoing.epoch;
        if outgoing.op.is_some() {
            let receipt = Receipt {
                reason,
                no_subscribers: reason == martlet_codec::ReasonCode::NoMatchingSubscribers,
                retransmitted: outgoing.resent.get(),
                queued_for: outgoing.sent.since(outgoing.admitted),
                rtt: now.since(outgoing.sent),
            };
            self.complete(outgoing.op, Outcome::Published(receipt));
        }
        self.finish_epoch(epoch);
    }
}

fn refuse(kind: ErrorKind, reason: Option<String>, message: Message) -> Box<Refusal> {
    Box::new(Refusal {
        kind,
        reason,
        message,
        may_wait: false,
    })
}

/// The limit of the server that forbids the message, if one does.
pub(super) fn limit_of(limits: &Limits, version: Version, message: &Message) -> Option<ErrorKind> {
    //= mqtt5 3.2.2-11
    if message.qos > limits.maximum_qos {
        return Some(ErrorKind::NotSupported(Feature::QoS));
    }
    //= mqtt5 3.2.2-14
    if message.retain && !limits.retain_available {
        return Some(ErrorKind::NotSupported(Feature::Retain));
    }
    //= mqtt5 3.2.2-15
    let max = limits.maximum_packet_size;
    if wire::may_exceed(message, max) && wire::publish_len(message, version) > max as usize {
        return Some(ErrorKind::TooLarge { max });
    }
    None
}

pub(super) fn choose_alias(
    aliases: &mut martlet_session::OutboundAliases,
    message: &Message,
    limits: &Limits,
) -> AliasUse {
    if limits.topic_alias_maximum == 0 {
        return AliasUse::None;
    }
    // The property that defines an alias must not be what makes the packet too large.
    if wire::may_exceed(message, limits.maximum_packet_size) {
        return AliasUse::None;
    }
    aliases.choose(&message.topic, super::routing::hash(&message.topic))
}

/// The expiry that the message has left, if it has one. What was sent once does not expire here.
pub(super) fn expiry_left(outgoing: &Outgoing, now: Time) -> Option<u32> {
    let all = outgoing.message.properties().expiry_s?;
    let waited = u32::try_from(now.since(outgoing.admitted).as_secs()).unwrap_or(u32::MAX);
    //= mqtt5 4.3.3-7
    Some(all.saturating_sub(waited).max(1))
}

/// Beyond this many bytes of unwritten output, messages wait in the queue.
pub(super) const OUTPUT_HIGH: usize = 64 * 1_024;
