//! The MQTT 5 half of rumqttc.

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{LastWill, Packet, SubscribeReasonCode};
use rumqttc::v5::mqttbytes::{QoS, qos};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

use super::{Client, Message, Seen, Setup};

pub(super) struct V5 {
    client: AsyncClient,
    events: EventLoop,
}

impl Client for V5 {
    fn new(setup: &Setup) -> Self {
        let mut options = MqttOptions::new(&setup.id, &setup.host, setup.port);
        options.set_clean_start(setup.clean);
        options.set_max_packet_size(Some(1024 * 1024));
        if !setup.clean {
            options.set_session_expiry_interval(Some(300));
        }
        if let Some((topic, payload, level)) = &setup.will {
            options.set_last_will(LastWill::new(
                topic,
                *payload,
                level_of(*level),
                false,
                None,
            ));
        }
        let (client, events) = AsyncClient::new(options, 100);
        Self { client, events }
    }

    async fn next(&mut self) -> Result<Option<Seen>, String> {
        let event = self
            .events
            .poll()
            .await
            .map_err(|error| error.to_string())?;
        Ok(match event {
            Event::Incoming(Packet::ConnAck(packet)) => Some(Seen::Connected {
                session_present: packet.session_present,
            }),
            Event::Incoming(Packet::SubAck(packet)) => {
                let granted = packet.return_codes.iter().map(|code| match code {
                    SubscribeReasonCode::Success(level) => *level as u8,
                    _ => 0x80,
                });
                Some(Seen::Subscribed {
                    granted: granted.collect(),
                })
            }
            Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_))
            | Event::Outgoing(Outgoing::Publish(0)) => Some(Seen::Published),
            Event::Outgoing(Outgoing::Disconnect) => Some(Seen::Disconnecting),
            Event::Incoming(Packet::Publish(packet)) => Some(Seen::Message(Message {
                topic: String::from_utf8_lossy(&packet.topic).into_owned(),
                payload: packet.payload.to_vec(),
                qos: packet.qos as u8,
                retain: packet.retain,
            })),
            _ => None,
        })
    }

    async fn subscribe(&self, filter: &str, level: u8) -> Result<(), String> {
        self.client
            .subscribe(filter, level_of(level))
            .await
            .map_err(|error| error.to_string())
    }

    async fn publish(
        &self,
        topic: &str,
        level: u8,
        retain: bool,
        payload: &[u8],
    ) -> Result<(), String> {
        let payload = payload.to_vec();
        self.client
            .publish(topic, level_of(level), retain, payload)
            .await
            .map_err(|error| error.to_string())
    }

    async fn disconnect(&self) -> Result<(), String> {
        self.client
            .disconnect()
            .await
            .map_err(|error| error.to_string())
    }
}

fn level_of(level: u8) -> QoS {
    qos(level).unwrap_or(QoS::AtMostOnce)
}
