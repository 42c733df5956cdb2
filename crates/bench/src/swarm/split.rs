//! Packets out of what was read: the handler hears of them, acknowledgements are put up.

use martlet_codec::{Packet, Version};

use super::Handler;
use crate::wire::{Ack, AckKind, Step, put_ack, step};

/// Splits what was read into packets.
pub(super) struct Split<'a> {
    pub(super) index: usize,
    pub(super) version: Version,
    pub(super) now_ns: u64,
    pub(super) acks: &'a mut Vec<u8>,
}

impl Split<'_> {
    /// How many bytes were whole packets.
    #[inline]
    pub(super) fn packets(
        &mut self,
        input: &[u8],
        handler: &mut impl Handler,
    ) -> Result<usize, String> {
        let mut rest = input;
        loop {
            let taken = match step(rest, self.version) {
                Step::Incomplete => return Ok(input.len() - rest.len()),
                Step::Message(message, taken) => {
                    match message.qos {
                        martlet_codec::QoS::AtMostOnce => {}
                        martlet_codec::QoS::AtLeastOnce => {
                            put_ack(self.acks, AckKind::Ack, message.packet_id);
                        }
                        martlet_codec::QoS::ExactlyOnce => {
                            put_ack(self.acks, AckKind::Received, message.packet_id);
                        }
                    }
                    handler.message(self.index, &message, self.now_ns);
                    taken
                }
                Step::Ack(ack, taken) => {
                    self.acknowledge(ack, handler);
                    taken
                }
                Step::Other(packet, taken) => {
                    self.other(&packet, handler)?;
                    taken
                }
                Step::Broken(why) => return Err(format!("not MQTT: {why}")),
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    fn acknowledge(&mut self, ack: Ack, handler: &mut impl Handler) {
        match ack.kind {
            AckKind::Received if ack.accepted => {
                put_ack(self.acks, AckKind::Release, ack.packet_id);
            }
            AckKind::Release => put_ack(self.acks, AckKind::Complete, ack.packet_id),
            AckKind::Ack | AckKind::Received | AckKind::Complete => {
                handler.acked(self.index, ack.packet_id, ack.accepted, self.now_ns);
            }
        }
    }

    fn other(&self, packet: &Packet<'_>, handler: &mut impl Handler) -> Result<(), String> {
        match packet {
            Packet::ConnAck(connack) if connack.reason.is_error() => Err(format!(
                "the broker refused the connection: {}",
                connack.reason.name()
            )),
            Packet::ConnAck(connack) => {
                handler.opened(self.index, connack);
                Ok(())
            }
            Packet::SubAck(suback) | Packet::UnsubAck(suback) => {
                handler.subscribed(self.index, suback.reasons);
                Ok(())
            }
            Packet::Disconnect(disconnect) => Err(format!(
                "the broker disconnected: {}",
                disconnect.reason.name()
            )),
            Packet::PingResp => Ok(()),
            Packet::Connect(_)
            | Packet::Publish(_)
            | Packet::PubAck(_)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::PubComp(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::Auth(_) => Err(format!("unexpected {:?}", packet.packet_type())),
        }
    }
}
