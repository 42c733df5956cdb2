//! `--probe`: tries what the broker can, on topics of its own, and tidies up behind it.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of all packets only the one waited for matters"
)]

use std::time::{Duration, Instant};

use martlet_codec::{
    Ack, Packet, PacketId, Properties, Publish, QoS, ReasonCode, Subscribe, SubscribeFiltersBuf,
    SubscriptionOptions, TopicFilter, TopicName, Version,
};

use super::wire::{Failure, Wire};
use super::{Greeting, Report};
use crate::exit::{Exit, FAILED};

/// Tries QoS 0 to 2, retained messages and a shared subscription.
pub(super) fn probe(
    wire: &mut Wire,
    version: Version,
    greeting: &Greeting,
    report: &mut Report,
) -> Result<(), Exit> {
    let mut random = [0; 8];
    // Two probes at once would only see each other's messages.
    let _ = getrandom::fill(&mut random);
    let mut probe = Probe {
        wire,
        version,
        topic: format!("martlet/probe/{:016x}", u64::from_le_bytes(random)),
        last_id: 0,
        early: None,
    };
    let most = greeting
        .properties
        .as_properties()
        .maximum_qos()
        .unwrap_or(2);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let start = Instant::now();
        let name = format!("qos{}", qos as u8);
        if qos as u8 > most {
            report.good(&name, start, "the broker does not offer it");
            continue;
        }
        match probe.round_trip(qos) {
            Ok(()) => report.good(&name, start, "a message to ourselves came back"),
            Err(trouble) => return Err(report.bad(&name, &trouble.exit("a message to ourselves"))),
        }
    }
    let start = Instant::now();
    match probe.retained() {
        Ok(true) => report.good(
            "retain",
            start,
            "a retained message was kept, sent and removed",
        ),
        Ok(false) => report.good(
            "retain",
            start,
            "the broker keeps no retained messages for us",
        ),
        Err(trouble) => return Err(report.bad("retain", &trouble.exit("a retained message"))),
    }
    let start = Instant::now();
    match probe.subscribe(
        &format!("$share/martlet/{}/shared", probe.topic),
        QoS::AtMostOnce,
    ) {
        Ok(()) => report.good("shared", start, "shared subscriptions work"),
        Err(Trouble::Refused(reason)) => {
            report.good("shared", start, format!("refused: {}", reason.name()));
        }
        Err(trouble) => return Err(report.bad("shared", &trouble.exit("a shared subscription"))),
    }
    Ok(())
}

struct Probe<'a> {
    wire: &'a mut Wire,
    version: Version,
    topic: String,
    last_id: u16,
    /// A message that came before the acknowledgement that was waited for.
    early: Option<Arrival>,
}

/// A message to ourselves.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Arrival {
    topic: String,
    qos: QoS,
    id: Option<PacketId>,
}

enum Trouble {
    Refused(ReasonCode),
    Lost(Failure),
}

impl Trouble {
    fn exit(&self, what: &str) -> Exit {
        match self {
            Self::Refused(reason) => Exit::new(
                reason.as_u8(),
                format!(
                    "{what}: refused, {}; ask for the rights, or leave --probe out",
                    reason.name()
                ),
            ),
            Self::Lost(Failure::Silence) => Exit::new(
                FAILED,
                format!(
                    "{what}: nothing came in 3 s; the broker may drop it silently for want of rights"
                ),
            ),
            Self::Lost(Failure::Closed) => Exit::new(
                FAILED,
                format!("{what}: the broker closed the connection; it may forbid this topic"),
            ),
            Self::Lost(Failure::Garbage) => Exit::new(
                FAILED,
                format!("{what}: the broker does not speak MQTT as it should"),
            ),
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Lost(failure)
    }
}

impl Probe<'_> {
    fn round_trip(&mut self, qos: QoS) -> Result<(), Trouble> {
        let topic = format!("{}/{}", self.topic, qos as u8);
        self.subscribe(&topic, qos)?;
        self.publish(&topic, qos, false, b"probe")?;
        self.message(&topic, Some(qos))
    }

    fn retained(&mut self) -> Result<bool, Trouble> {
        let topic = format!("{}/retained", self.topic);
        self.publish(&topic, QoS::AtLeastOnce, true, b"kept")?;
        self.subscribe(&topic, QoS::AtMostOnce)?;
        let kept = match self.message(&topic, None) {
            Ok(()) => true,
            Err(Trouble::Lost(Failure::Silence)) => false,
            Err(trouble) => return Err(trouble),
        };
        self.publish(&topic, QoS::AtLeastOnce, true, b"")?;
        Ok(kept)
    }

    fn subscribe(&mut self, filter: &str, qos: QoS) -> Result<(), Trouble> {
        let mut filters = SubscribeFiltersBuf::new();
        let filter = TopicFilter::new(filter).map_err(|_| Failure::Garbage)?;
        filters.push(filter, SubscriptionOptions::with_qos(qos));
        let packet_id = self.next_id();
        let subscribe = Subscribe {
            packet_id,
            properties: Properties::EMPTY,
            filters: filters.as_filters(),
        };
        self.wire
            .send(&Packet::Subscribe(subscribe), self.version)?;
        let reason = self
            .wire
            .receive(self.version, PATIENCE, |packet| match packet {
                Packet::SubAck(suback) if suback.packet_id == packet_id => {
                    suback.reason_codes().next()
                }
                _ => None,
            })?;
        if reason.is_error() {
            Err(Trouble::Refused(reason))
        } else {
            Ok(())
        }
    }

    /// Publishes and goes through the handshake of its QoS.
    fn publish(
        &mut self,
        topic: &str,
        qos: QoS,
        retain: bool,
        payload: &[u8],
    ) -> Result<(), Trouble> {
        let packet_id = self.next_id();
        let publish = Publish {
            dup: false,
            qos,
            retain,
            topic: Some(TopicName::new(topic).map_err(|_| Failure::Garbage)?),
            packet_id: (qos != QoS::AtMostOnce).then_some(packet_id),
            properties: Properties::EMPTY,
            payload,
        };
        self.wire.send(&Packet::Publish(publish), self.version)?;
        if qos == QoS::AtMostOnce {
            return Ok(());
        }
        let mut early = None;
        let answer = self
            .wire
            .receive(self.version, PATIENCE, |packet| match packet {
                Packet::PubAck(ack) | Packet::PubRec(ack) if ack.packet_id == packet_id => {
                    Some(ack.reason)
                }
                packet => {
                    early = arrival(packet).or_else(|| early.take());
                    None
                }
            });
        self.early = early;
        let reason = answer?;
        if reason.is_error() {
            return Err(Trouble::Refused(reason));
        }
        if qos == QoS::ExactlyOnce {
            // PUBCOMP comes in between other packets; the message that comes back is what counts.
            self.wire
                .send(&Packet::PubRel(Ack::success(packet_id)), self.version)?;
        }
        Ok(())
    }

    /// Waits for a message on this topic, at this QoS if it matters, and acknowledges it.
    fn message(&mut self, topic: &str, qos: Option<QoS>) -> Result<(), Trouble> {
        let early = self.early.take().filter(|arrival| arrival.topic == topic);
        let arrival = match early {
            Some(arrival) => arrival,
            None => self.wire.receive(self.version, PATIENCE, |packet| {
                arrival(packet).filter(|arrival| arrival.topic == topic)
            })?,
        };
        let Arrival {
            qos: arrived, id, ..
        } = arrival;
        if let Some(id) = id {
            let ack = Ack::success(id);
            let answer = if arrived == QoS::AtLeastOnce {
                Packet::PubAck(ack)
            } else {
                Packet::PubRec(ack)
            };
            self.wire.send(&answer, self.version)?;
            if arrived == QoS::ExactlyOnce {
                self.wire
                    .receive(self.version, PATIENCE, |packet| match packet {
                        Packet::PubRel(released) if released.packet_id == id => Some(()),
                        _ => None,
                    })?;
                self.wire.send(&Packet::PubComp(ack), self.version)?;
            }
        }
        match qos {
            Some(wanted) if wanted != arrived => Err(Trouble::Refused(ReasonCode::QoSNotSupported)),
            Some(_) | None => Ok(()),
        }
    }

    fn next_id(&mut self) -> PacketId {
        self.last_id = self.last_id.wrapping_add(1).max(1);
        PacketId::new(self.last_id).unwrap_or(FIRST_ID)
    }
}

fn arrival(packet: &Packet<'_>) -> Option<Arrival> {
    let Packet::Publish(publish) = packet else {
        return None;
    };
    publish.topic.map(|topic| Arrival {
        topic: topic.as_str().to_owned(),
        qos: publish.qos,
        id: publish.packet_id,
    })
}

const PATIENCE: Duration = Duration::from_secs(3);
const FIRST_ID: PacketId = PacketId::new(1).unwrap();
