//! Acknowledgements: those of the server for our messages, and ours for its messages.

use martlet_codec::{Ack, ReasonCode};
use martlet_session::PubRec;

use super::unacked::AckId;
use super::{Failure, Machine, Outcome, Releasing, Time, wire};
use crate::error::{Delivered, ErrorKind, Receipt};

impl Machine {
    /// The application is done with a message of a manual stream. `reason`: not with success.
    pub fn ack(&mut self, id: AckId, reason: Option<ReasonCode>) {
        self.unacked.settle(id, reason);
        self.send_due_acks();
    }

    /// The application has dropped a message of a manual stream without a word.
    pub fn abandon(&mut self, id: AckId) {
        self.stats.unacked_dropped += 1;
        self.unacked.abandon(id);
        self.send_due_acks();
    }

    pub(super) fn on_puback(&mut self, now: Time, ack: &Ack<'_>) {
        // An identifier that we do not know: of a message that a lost session has ended.
        let Some(outgoing) = self.outbound.on_puback(ack.packet_id) else {
            return;
        };
        //= mqtt5 4.3.2-3
        //= mqtt5 4.4.0-2
        if ack.reason.is_error() {
            let reason = ack.properties.reason_string().map(str::to_owned);
            self.fail_with(
                outgoing,
                ErrorKind::Rejected(ack.reason),
                Delivered::No,
                reason,
            );
        } else {
            self.published(now, &outgoing, ack.reason);
        }
    }

    pub(super) fn on_pubrec(&mut self, ack: &Ack<'_>) {
        let version = self.config.version;
        let answer = |reason, out: &mut Vec<u8>| {
            wire::ack(wire::AckKind::Rel, ack.packet_id, reason, version, out);
        };
        match self
            .outbound
            .on_pubrec(ack.packet_id, ack.reason.is_error())
        {
            //= mqtt5 4.3.3-3
            //= mqtt5 4.3.3-4
            //= mqtt5 4.3.3-6
            //= mqtt311 4.3.3-1
            //= mqtt5 4.6.0-4
            //= mqtt311 4.6.0-4
            PubRec::Release(message) => {
                if let Some(outgoing) = message {
                    self.releasing.push_back(Releasing {
                        id: ack.packet_id,
                        op: outgoing.op,
                        epoch: outgoing.epoch,
                        reason: ack.reason,
                        admitted: outgoing.admitted,
                        sent: outgoing.sent,
                        resent: outgoing.resent.get(),
                        stored: outgoing.stored,
                    });
                }
                answer(ReasonCode::Success, &mut self.out);
            }
            PubRec::Refused(outgoing) => {
                self.outbound_qos2 = self.outbound_qos2.saturating_sub(1);
                let reason = ack.properties.reason_string().map(str::to_owned);
                self.fail_with(
                    outgoing,
                    ErrorKind::Rejected(ack.reason),
                    Delivered::No,
                    reason,
                );
            }
            PubRec::Unknown if ack.reason.is_error() => {}
            PubRec::Unknown => answer(ReasonCode::PacketIdentifierNotFound, &mut self.out),
        }
    }

    pub(super) fn on_pubcomp(&mut self, now: Time, ack: &Ack<'_>) {
        if self.on_cleaned(ack.packet_id) {
            return;
        }
        //= mqtt5 4.3.3-5
        if !self.outbound.on_pubcomp(ack.packet_id) {
            return;
        }
        self.outbound_qos2 = self.outbound_qos2.saturating_sub(1);
        let Some(at) = self
            .releasing
            .iter()
            .position(|one| one.id == ack.packet_id)
        else {
            return;
        };
        let Some(released) = self.releasing.remove(at) else {
            return;
        };
        self.stats.published += 1;
        let receipt = Receipt {
            reason: released.reason,
            no_subscribers: released.reason == ReasonCode::NoMatchingSubscribers,
            retransmitted: released.resent,
            queued_for: released.sent.since(released.admitted),
            rtt: now.since(released.sent),
        };
        self.unstore(released.stored);
        self.complete(released.op, Outcome::Published(receipt));
        self.finish_epoch(released.epoch);
    }

    /// PUBREL: the server will not send this message again.
    pub(super) fn on_pubrel(&mut self, ack: &Ack<'_>) {
        //= mqtt5 4.3.3-11
        //= mqtt5 4.3.3-12
        //= mqtt5 4.3.3-13
        //= mqtt5 2.2.1-5
        //= mqtt311 2.3.1-6
        let known = self.inbound.release(ack.packet_id);
        let reason = if known {
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        let version = self.config.version;
        wire::ack(
            wire::AckKind::Comp,
            ack.packet_id,
            reason,
            version,
            &mut self.out,
        );
    }

    /// A QoS 2 message whose PUBREC we had is lost with its session.
    pub(super) fn fail_released(&mut self, released: &Releasing, kind: ErrorKind) {
        self.stats.failed += 1;
        self.unstore(released.stored.filter(|_| kind != ErrorKind::Closed));
        let failure = Failure {
            kind,
            delivered: Delivered::Maybe,
            reason: None,
            message: None,
        };
        self.complete(released.op, Outcome::PublishFailed(Box::new(failure)));
        self.finish_epoch(released.epoch);
    }

    /// Writes the acknowledgements that nothing in front of them holds back.
    pub(super) fn send_due_acks(&mut self) {
        if !self.is_online() {
            return;
        }
        while let Some(due) = self.unacked.next_due() {
            if due.abandoned {
                if due.exactly_once {
                    // Not acknowledged, so when it comes again it is new to the application.
                    self.inbound.release(due.packet_id);
                }
                continue;
            }
            //= mqtt5 3.3.4-1
            //= mqtt311 3.3.4-1
            //= mqtt5 4.3.2-4
            //= mqtt5 4.3.3-8
            //= mqtt311 4.3.2-2
            //= mqtt5 4.6.0-2
            //= mqtt5 4.6.0-3
            //= mqtt311 4.6.0-2
            //= mqtt311 4.6.0-3
            let kind = if due.exactly_once {
                if due.reason.is_error() {
                    //= mqtt5 4.3.3-9
                    self.inbound.release(due.packet_id);
                }
                wire::AckKind::Rec
            } else {
                wire::AckKind::Ack
            };
            wire::ack(
                kind,
                due.packet_id,
                due.reason,
                self.config.version,
                &mut self.out,
            );
        }
    }
}
