//! Clients that break the rules, each in one way at a time. They must be put out, and cost the others nothing.

mod excess;

use martlet_codec::{
    Ack, Connect, Packet, PacketId, Properties, Publish, QoS, ReasonCode, TopicName, Version, Will,
};
use martlet_engine::Limits;

use crate::ledger::LinkId;
use crate::rng::Rng;

/// A hostile client: connects, does its mischief, and comes again.
#[derive(Debug)]
pub(crate) struct Hostile {
    name: String,
    version: Version,
    pub(crate) link: Option<LinkId>,
    /// What it may do.
    scripts: &'static [Script],
    script: Script,
    step: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    Garbage,
    PartialConnect,
    NotConnectFirst,
    ReservedFlag,
    GarbageInside,
    SecondConnect,
    ServersPacket,
    PartialPublish,
    ReceiveMaximum,
    UnknownAcks,
    NeverReads,
    Excess,
}

impl Hostile {
    /// `exceeds`: it also runs into the bounds of the broker on purpose.
    pub(crate) fn new(name: String, exceeds: bool) -> Self {
        Self {
            name,
            version: Version::V5,
            link: None,
            scripts: &SCRIPTS[..SCRIPTS.len() - if exceeds { 0 } else { EXCESSES }],
            script: Script::Garbage,
            step: 0,
        }
    }

    pub(crate) fn begin(&mut self, link: LinkId, rng: &mut Rng) {
        self.link = Some(link);
        self.version = *rng.pick(&[Version::V31, Version::V311, Version::V5]);
        self.script = *rng.pick(self.scripts);
        self.step = 0;
    }

    /// Bytes to send now; whether the server has to close for them; whether the client stops reading.
    pub(crate) fn act(&mut self, rng: &mut Rng, limits: &Limits) -> (Vec<u8>, bool, bool) {
        self.step += 1;
        let mut out = Vec::new();
        let mut must_close = false;
        let connects = !matches!(
            self.script,
            Script::Garbage
                | Script::PartialConnect
                | Script::NotConnectFirst
                | Script::ReservedFlag
        ) && (self.script != Script::Excess || rng.percent(60));
        if self.step == 1 && connects {
            self.put_connect(&mut out);
            return (out, false, self.script == Script::NeverReads);
        }
        match self.script {
            Script::Garbage | Script::GarbageInside => out = garbage(rng),
            Script::PartialConnect => {
                if self.step == 1 {
                    self.put_connect(&mut out);
                    out.truncate(rng.between(1, out.len() - 1));
                }
            }
            Script::NotConnectFirst => {
                out.extend_from_slice(&[0xC0, 0x00]);
                must_close = true;
            }
            Script::ReservedFlag => {
                self.put_connect(&mut out);
                out[0] |= 0x01;
                must_close = true;
            }
            Script::SecondConnect => {
                self.put_connect(&mut out);
                must_close = true;
            }
            Script::ServersPacket => {
                let packets: [&[u8]; 4] = [
                    &[0x20, 0x02, 0x00, 0x00],
                    &[0x90, 0x03, 0x00, 0x01, 0x00],
                    &[0xD0, 0x00],
                    &[0x00, 0x00],
                ];
                let packet: &[u8] = packets[rng.below(packets.len())];
                out.extend_from_slice(packet);
                must_close = true;
            }
            Script::PartialPublish => {
                if self.step == 2 {
                    self.put_publish(1, &mut out);
                    out.truncate(rng.between(1, out.len() - 1));
                }
            }
            Script::ReceiveMaximum => {
                // No PUBREL ever.
                for n in 0..4 {
                    let id = u16::try_from(self.step * 4 + n).unwrap_or(1);
                    self.put_publish(id, &mut out);
                }
                let sent = (self.step - 1) * 4;
                must_close =
                    self.version == Version::V5 && sent > usize::from(limits.receive_maximum);
            }
            Script::UnknownAcks => self.put_unknown_ack(rng, &mut out),
            Script::Excess => must_close = self.put_excess(rng, limits, &mut out),
            Script::NeverReads => {
                for _ in 0..rng.between(1, 200) {
                    out.extend_from_slice(&[0xC0, 0x00]);
                }
            }
        }
        (out, must_close, self.script == Script::NeverReads)
    }

    fn put(&self, packet: &Packet<'_>, out: &mut Vec<u8>) {
        packet.encode(self.version, out).expect("encodable");
    }

    fn put_connect(&self, out: &mut Vec<u8>) {
        self.put_connect_as(&self.name, None, out);
    }

    fn put_connect_as(&self, client_id: &str, will: Option<Will<'_>>, out: &mut Vec<u8>) {
        let connect = Connect {
            version: self.version,
            clean_start: true,
            keep_alive_s: 5,
            properties: Properties::EMPTY,
            client_id,
            will,
            user_name: None,
            password: None,
        };
        self.put(&Packet::Connect(connect), out);
    }

    fn put_publish(&self, id: u16, out: &mut Vec<u8>) {
        let publish = Publish {
            dup: false,
            qos: QoS::ExactlyOnce,
            retain: false,
            topic: Some(TopicName::new("hostile/x").expect("legal")),
            packet_id: PacketId::new(id),
            properties: Properties::EMPTY,
            payload: b"hostile",
        };
        self.put(&Packet::Publish(publish), out);
    }

    fn put_unknown_ack(&self, rng: &mut Rng, out: &mut Vec<u8>) {
        let ack = Ack {
            packet_id: PacketId::new(u16::try_from(rng.between(1, 9)).unwrap_or(1)).expect("not 0"),
            reason: ReasonCode::Success,
            properties: Properties::EMPTY,
        };
        let packet = match rng.below(4) {
            0 => Packet::PubAck(ack),
            1 => Packet::PubRec(ack),
            2 => Packet::PubRel(ack),
            _ => Packet::PubComp(ack),
        };
        self.put(&packet, out);
    }
}

fn garbage(rng: &mut Rng) -> Vec<u8> {
    let len = rng.between(1, 40);
    (0..len)
        .map(|_| u8::try_from(rng.below(256)).unwrap_or(0))
        .collect()
}

/// How many of the scripts, at the end, are for who exceeds bounds.
const EXCESSES: usize = 3;

const SCRIPTS: [Script; 11 + EXCESSES] = [
    Script::Garbage,
    Script::PartialConnect,
    Script::NotConnectFirst,
    Script::ReservedFlag,
    Script::GarbageInside,
    Script::SecondConnect,
    Script::ServersPacket,
    Script::PartialPublish,
    Script::ReceiveMaximum,
    Script::UnknownAcks,
    Script::NeverReads,
    Script::Excess,
    Script::Excess,
    Script::Excess,
];
