//! Packets of a [`Link`]: events from those that come, bytes from those that go, `-d` lines for both.

use martlet_codec::{
    Ack, ConnAck, Connect, Disconnect, Packet, PacketId, Properties, PropertiesBuf, Property,
    Publish, QoS, ReasonCode, SubAck, Subscribe, SubscribeFiltersBuf, SubscriptionOptions,
    TopicFilter, TopicName, Unsubscribe, UnsubscribeFiltersBuf, Version,
};

use super::{Event, Flight, Link, Lost};
use crate::properties;
use crate::screen::Screen;

/// A message that arrived.
#[derive(Debug, Clone)]
pub(in crate::mosquitto) struct Incoming {
    pub(in crate::mosquitto) topic: String,
    pub(in crate::mosquitto) payload: Vec<u8>,
    pub(in crate::mosquitto) qos: QoS,
    pub(in crate::mosquitto) retain: bool,
    pub(in crate::mosquitto) id: u16,
    pub(in crate::mosquitto) properties: PropertiesBuf,
}

/// A message to send.
#[derive(Debug, Clone, Copy)]
pub(in crate::mosquitto) struct Outgoing<'a> {
    /// None: the topic alias says it.
    pub(in crate::mosquitto) topic: Option<&'a str>,
    pub(in crate::mosquitto) payload: &'a [u8],
    pub(in crate::mosquitto) qos: QoS,
    pub(in crate::mosquitto) retain: bool,
    pub(in crate::mosquitto) properties: Properties<'a>,
}

/// A packet that cannot be written: a value that MQTT has no form for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mosquitto) struct Unsendable;

/// The properties as the codec wants them.
pub(in crate::mosquitto) fn encoded(list: &properties::Properties) -> PropertiesBuf {
    let mut buffer = PropertiesBuf::new();
    for property in list.iter().filter_map(properties::Owned::as_property) {
        buffer.push(property);
    }
    buffer
}

/// CONNECT's properties with the Receive Maximum that mosquitto always sends.
pub(in crate::mosquitto) fn with_receive_maximum(
    mut properties: PropertiesBuf,
    maximum: u16,
) -> PropertiesBuf {
    if properties.as_properties().receive_maximum().is_none() {
        properties.push(Property::ReceiveMaximum(maximum));
    }
    properties
}

impl Link {
    pub(in crate::mosquitto) fn connect(
        &mut self,
        connect: &Connect<'_>,
        screen: &mut Screen,
    ) -> Result<(), Unsendable> {
        self.tell(screen, |name| format!("Client {name} sending CONNECT"));
        self.put(&Packet::Connect(*connect))
    }

    pub(in crate::mosquitto) fn subscribe(
        &mut self,
        filters: &[(&str, SubscriptionOptions)],
        properties: Properties<'_>,
        screen: &mut Screen,
    ) -> Result<(), Unsendable> {
        let (id, packet_id) = self.next_id();
        let mut list = SubscribeFiltersBuf::new();
        for (filter, options) in filters {
            list.push(TopicFilter::new(filter).map_err(|_| Unsendable)?, *options);
            let (qos, bits) = (options.qos as u8, option_bits(*options));
            self.tell(screen, |name| {
                format!("Client {name} sending SUBSCRIBE (Mid: {id}, Topic: {filter}, QoS: {qos}, Options: 0x{bits:02x})")
            });
        }
        self.put(&Packet::Subscribe(Subscribe {
            packet_id,
            properties: self.of_v5(properties),
            filters: list.as_filters(),
        }))
    }

    pub(in crate::mosquitto) fn unsubscribe(
        &mut self,
        filter: &str,
        properties: Properties<'_>,
        screen: &mut Screen,
    ) -> Result<(), Unsendable> {
        let (id, packet_id) = self.next_id();
        let mut list = UnsubscribeFiltersBuf::new();
        list.push(TopicFilter::new(filter).map_err(|_| Unsendable)?);
        self.tell(screen, |name| {
            format!("Client {name} sending UNSUBSCRIBE (Mid: {id}, Topic: {filter})")
        });
        self.put(&Packet::Unsubscribe(Unsubscribe {
            packet_id,
            properties: self.of_v5(properties),
            filters: list.as_filters(),
        }))
    }

    /// Sends a message, or puts it behind those that wait for an acknowledgement.
    pub(in crate::mosquitto) fn publish(
        &mut self,
        message: &Outgoing<'_>,
        screen: &mut Screen,
    ) -> Result<u16, Unsendable> {
        let (id, packet_id) = self.next_id();
        let topic = message
            .topic
            .map(TopicName::new)
            .transpose()
            .map_err(|_| Unsendable)?;
        let packet = Packet::Publish(Publish {
            dup: false,
            qos: message.qos,
            retain: message.retain,
            topic,
            packet_id: (message.qos != QoS::AtMostOnce).then_some(packet_id),
            properties: self.of_v5(message.properties),
            payload: message.payload,
        });
        let mut bytes = Vec::with_capacity(message.payload.len() + 64);
        packet
            .encode(self.terms.version, &mut bytes)
            .map_err(|_| Unsendable)?;
        let told = format!(
            "q{}, r{}, m{id}, '{}', ... ({} bytes))",
            message.qos as u8,
            u8::from(message.retain),
            message.topic.unwrap_or("(null)"),
            message.payload.len()
        );
        let flight = Flight {
            id,
            released: false,
            packet: bytes,
            told,
        };
        if message.qos == QoS::AtMostOnce {
            self.depart(&flight, false, screen);
            self.at_most_once.push_back(id);
        } else {
            self.waiting.push_back(flight);
            self.fill_window(screen);
        }
        Ok(id)
    }

    pub(in crate::mosquitto) fn disconnect(
        &mut self,
        reason: ReasonCode,
        properties: Properties<'_>,
        screen: &mut Screen,
    ) {
        self.tell(screen, |name| format!("Client {name} sending DISCONNECT"));
        let is_v5 = self.terms.version == Version::V5;
        let packet = Disconnect {
            reason: if is_v5 { reason } else { ReasonCode::Success },
            properties: self.of_v5(properties),
        };
        // What MQTT has no form for is not said; the connection ends all the same.
        let _ = self.put(&Packet::Disconnect(packet));
    }

    /// The largest QoS that the broker takes.
    pub(in crate::mosquitto) const fn qos_max(&self) -> QoS {
        self.qos_max
    }

    pub(super) fn ping(&mut self, screen: &mut Screen) {
        self.tell(screen, |name| format!("Client {name} sending PINGREQ"));
        self.pinged = true;
        // Two bytes that always fit.
        let _ = self.put(&Packet::PingReq);
    }

    /// Takes a packet that came.
    pub(super) fn take(
        &mut self,
        packet: &Packet<'_>,
        screen: &mut Screen,
    ) -> Result<Option<Event>, Lost> {
        match packet {
            Packet::ConnAck(connack) => Ok(Some(self.on_connack(connack, screen))),
            _ if !self.accepted => Err(Lost::Protocol),
            Packet::Publish(publish) => Ok(self.on_publish(publish, screen)),
            Packet::PubAck(ack) => {
                let (id, code) = numbers(ack);
                self.tell(screen, |name| {
                    format!("Client {name} received PUBACK (Mid: {id}, RC:{code})")
                });
                Ok(self.landed(ack, screen))
            }
            Packet::PubRec(ack) => Ok(self.on_pubrec(ack, screen)),
            Packet::PubComp(ack) => {
                let (id, code) = numbers(ack);
                self.tell(screen, |name| {
                    format!("Client {name} received PUBCOMP (Mid: {id}, RC:{code})")
                });
                Ok(self.landed(ack, screen))
            }
            Packet::PubRel(ack) => Ok(self.on_pubrel(ack, screen)),
            Packet::SubAck(suback) => {
                self.tell(screen, |name| format!("Client {name} received SUBACK"));
                Ok(Some(suback_event(suback)))
            }
            Packet::UnsubAck(_) => {
                self.tell(screen, |name| format!("Client {name} received UNSUBACK"));
                Ok(None)
            }
            Packet::PingResp => {
                self.tell(screen, |name| format!("Client {name} received PINGRESP"));
                self.pinged = false;
                Ok(None)
            }
            Packet::Disconnect(disconnect) => {
                let code = disconnect.reason.as_u8();
                self.tell(screen, |_| format!("Received DISCONNECT ({code})"));
                Ok(Some(Event::Disconnected))
            }
            Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::Auth(_) => Err(Lost::Protocol),
        }
    }

    fn on_connack(&mut self, connack: &ConnAck<'_>, screen: &mut Screen) -> Event {
        if let Some(id) = connack.properties.assigned_client_identifier() {
            id.clone_into(&mut self.name);
        }
        let code = self.connack_code(connack.reason);
        self.tell(screen, |name| {
            format!("Client {name} received CONNACK ({code})")
        });
        self.accepted = code == 0;
        if let Some(maximum) = connack.properties.receive_maximum() {
            self.terms.window = self.terms.window.min(usize::from(maximum));
        }
        match connack.properties.maximum_qos() {
            Some(0) => self.qos_max = QoS::AtMostOnce,
            Some(1) => self.qos_max = QoS::AtLeastOnce,
            Some(_) | None => {}
        }
        if self.accepted {
            let flights = std::mem::take(&mut self.in_flight);
            for flight in &flights {
                if flight.released {
                    self.release(flight.id, screen);
                } else {
                    self.depart(flight, true, screen);
                }
            }
            self.in_flight = flights;
        }
        Event::ConnAck { code }
    }

    /// The byte that was on the wire.
    fn connack_code(&self, reason: ReasonCode) -> u8 {
        if self.terms.version == Version::V5 {
            return reason.as_u8();
        }
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the codec gives these for the five codes of MQTT 3"
        )]
        match reason {
            ReasonCode::Success => 0,
            ReasonCode::UnsupportedProtocolVersion => 1,
            ReasonCode::ClientIdentifierNotValid => 2,
            ReasonCode::ServerUnavailable => 3,
            ReasonCode::BadUserNameOrPassword => 4,
            _ => 5,
        }
    }

    fn on_publish(&mut self, publish: &Publish<'_>, screen: &mut Screen) -> Option<Event> {
        let mut properties = PropertiesBuf::new();
        for property in publish.properties.iter() {
            properties.push(property);
        }
        let message = Incoming {
            topic: publish
                .topic
                .map(|topic| topic.as_str().to_owned())
                .unwrap_or_default(),
            payload: publish.payload.to_vec(),
            qos: publish.qos,
            retain: publish.retain,
            id: publish.packet_id.map_or(0, PacketId::get),
            properties,
        };
        let id = message.id;
        self.tell(screen, |name| {
            format!(
                "Client {name} received PUBLISH (d{}, q{}, r{}, m{id}, '{}', ... ({} bytes))",
                u8::from(publish.dup),
                publish.qos as u8,
                u8::from(publish.retain),
                message.topic,
                message.payload.len()
            )
        });
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(packet_id)) => {
                self.tell(screen, |name| {
                    format!("Client {name} sending PUBACK (m{id}, rc0)")
                });
                let _ = self.put(&Packet::PubAck(Ack::success(packet_id)));
            }
            (QoS::ExactlyOnce, Some(packet_id)) => {
                self.tell(screen, |name| {
                    format!("Client {name} sending PUBREC (m{id}, rc0)")
                });
                let _ = self.put(&Packet::PubRec(Ack::success(packet_id)));
                if !self.unreleased.iter().any(|known| known.id == id) {
                    self.unreleased.push(message);
                }
                return None;
            }
            (QoS::AtMostOnce | QoS::AtLeastOnce | QoS::ExactlyOnce, _) => {}
        }
        Some(Event::Message(message))
    }

    fn on_pubrel(&mut self, ack: &Ack<'_>, screen: &mut Screen) -> Option<Event> {
        let id = ack.packet_id.get();
        self.tell(screen, |name| {
            format!("Client {name} received PUBREL (Mid: {id})")
        });
        self.tell(screen, |name| {
            format!("Client {name} sending PUBCOMP (m{id})")
        });
        let _ = self.put(&Packet::PubComp(Ack::success(ack.packet_id)));
        let at = self
            .unreleased
            .iter()
            .position(|message| message.id == id)?;
        Some(Event::Message(self.unreleased.remove(at)))
    }

    fn on_pubrec(&mut self, ack: &Ack<'_>, screen: &mut Screen) -> Option<Event> {
        let (id, _) = numbers(ack);
        self.tell(screen, |name| {
            format!("Client {name} received PUBREC (Mid: {id})")
        });
        if ack.reason.is_error() {
            return self.landed(ack, screen);
        }
        if let Some(flight) = self.in_flight.iter_mut().find(|flight| flight.id == id) {
            flight.released = true;
        }
        self.release(id, screen);
        None
    }

    fn release(&mut self, id: u16, screen: &mut Screen) {
        self.tell(screen, |name| {
            format!("Client {name} sending PUBREL (m{id})")
        });
        if let Some(packet_id) = PacketId::new(id) {
            let _ = self.put(&Packet::PubRel(Ack::success(packet_id)));
        }
    }

    /// A message of ours needs no more: the next may go.
    fn landed(&mut self, ack: &Ack<'_>, screen: &mut Screen) -> Option<Event> {
        let (id, reason) = numbers(ack);
        let at = self.in_flight.iter().position(|flight| flight.id == id)?;
        self.in_flight.remove(at);
        self.fill_window(screen);
        Some(Event::Sent {
            id,
            reason,
            text: ack.properties.reason_string().map(str::to_owned),
        })
    }

    fn fill_window(&mut self, screen: &mut Screen) {
        while self.in_flight.len() < self.terms.window {
            let Some(flight) = self.waiting.pop_front() else {
                return;
            };
            self.depart(&flight, false, screen);
            self.in_flight.push(flight);
        }
    }

    fn depart(&mut self, flight: &Flight, again: bool, screen: &mut Screen) {
        let told = &flight.told;
        let dup = u8::from(again);
        self.tell(screen, |name| {
            format!("Client {name} sending PUBLISH (d{dup}, {told}")
        });
        let start = self.output.len();
        self.output.extend_from_slice(&flight.packet);
        if let Some(first) = self.output.get_mut(start).filter(|_| again) {
            *first |= DUP;
        }
    }

    fn put(&mut self, packet: &Packet<'_>) -> Result<(), Unsendable> {
        packet
            .encode(self.terms.version, &mut self.output)
            .map_err(|_| Unsendable)
    }

    fn next_id(&mut self) -> (u16, PacketId) {
        self.last_id = self.last_id.wrapping_add(1).max(1);
        (
            self.last_id,
            PacketId::new(self.last_id).unwrap_or(FIRST_ID),
        )
    }

    const fn of_v5<'a>(&self, properties: Properties<'a>) -> Properties<'a> {
        if matches!(self.terms.version, Version::V5) {
            properties
        } else {
            Properties::EMPTY
        }
    }

    fn tell(&self, screen: &mut Screen, line: impl FnOnce(&str) -> String) {
        if self.terms.debug {
            // That nobody reads is found out with the next message.
            let _ = screen.line(&line(&self.name));
        }
    }
}

const fn numbers(ack: &Ack<'_>) -> (u16, u8) {
    (ack.packet_id.get(), ack.reason.as_u8())
}

fn suback_event(suback: &SubAck<'_>) -> Event {
    Event::SubAck {
        id: suback.packet_id.get(),
        codes: suback.reasons.to_vec(),
    }
}

/// The option bits without the QoS.
const fn option_bits(options: SubscriptionOptions) -> u8 {
    (options.no_local as u8) << 2
        | (options.retain_as_published as u8) << 3
        | (options.retain_handling as u8) << 4
}

const DUP: u8 = 0x08;
const FIRST_ID: PacketId = PacketId::new(1).unwrap();
