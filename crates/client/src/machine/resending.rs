//! Messages sent again: what the connection before has not seen acknowledged.

use martlet_codec::PacketId;
use martlet_session::Resend;

use super::sending::{choose_alias, expiry_left, limit_of};
use super::{Machine, Time, wire};
use crate::error::{Delivered, ErrorKind};

impl Machine {
    pub(super) fn send_again(&mut self, now: Time) {
        while self.out.len() < super::sending::OUTPUT_HIGH
            && let Some(resend) = self.outbound.next_resend()
        {
            match resend {
                //= mqtt5 3.3.1-1
                //= mqtt311 3.3.1-1
                //= mqtt5 4.6.0-1
                //= mqtt311 4.6.0-1
                //= mqtt311 2.3.1-3
                Resend::Publish(packet_id, _, outgoing) => {
                    let link = &mut self.link;
                    let message = &outgoing.message;
                    // The server may take less than the one before, or than it did before.
                    //= mqtt5 3.1.2-24
                    //= mqtt5 3.2.2-15
                    if let Some(kind) = limit_of(&link.limits, self.config.version, message) {
                        self.give_up(packet_id, kind);
                        continue;
                    }
                    outgoing.resent.set(true);
                    self.stats.resent += 1;
                    let sending = wire::Sending {
                        packet_id: Some(packet_id),
                        duplicate: true,
                        alias: choose_alias(&mut link.aliases_out, message, &link.limits),
                        expiry_s: expiry_left(outgoing, now),
                    };
                    let (scratch, out) = (&mut self.scratch, &mut self.out);
                    wire::publish(message, sending, self.config.version, scratch, out);
                }
                Resend::PubRel(packet_id) => {
                    if let Some(entry) = self.releasing.iter_mut().find(|one| one.id == packet_id) {
                        entry.resent = true;
                    }
                    self.write_pubrel(packet_id);
                }
            }
        }
    }

    /// A message cannot be sent again on this connection.
    fn give_up(&mut self, packet_id: PacketId, kind: ErrorKind) {
        let Some((outgoing, exactly_once)) = self.outbound.give_up(packet_id) else {
            return;
        };
        if exactly_once {
            // The server may hold the identifier, and would take the next message under it for this one.
            self.write_pubrel(packet_id);
        }
        self.fail(outgoing, kind, Delivered::Maybe);
    }

    pub(super) fn write_pubrel(&mut self, packet_id: PacketId) {
        let success = martlet_codec::ReasonCode::Success;
        let version = self.config.version;
        wire::ack(
            wire::AckKind::Rel,
            packet_id,
            success,
            version,
            &mut self.out,
        );
    }
}
