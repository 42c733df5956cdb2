//! A server in memory that does as it is told.

use martlet_client::{Transport, Version, transport_fn};
use martlet_codec::{
    Ack, ConnAck, Decoded, Packet, PacketId, Properties, Publish, QoS, ReasonCode, Rules, Sender,
    SubAck, TopicName, decode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

/// One connection, seen from the server.
pub(crate) struct Server {
    stream: DuplexStream,
    version: Version,
    buffer: Vec<u8>,
}

/// What a client sent, as far as tests look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sent {
    Connect {
        clean: bool,
    },
    Publish {
        id: Option<u16>,
        qos: u8,
        dup: bool,
        payload: String,
    },
    PubAck(u16),
    PubRec(u16),
    PubRel(u16),
    PubComp(u16),
    Subscribe(u16),
    Unsubscribe(u16),
    Ping,
    Disconnect,
}

/// A transport, and where its connections come out.
pub(crate) fn pipe(version: Version) -> (impl Transport, mpsc::UnboundedReceiver<Server>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let transport = transport_fn(move || {
        let (client, stream) = tokio::io::duplex(64 * 1_024);
        let server = Server {
            stream,
            version,
            buffer: Vec::new(),
        };
        let sent = sender.send(server);
        async move {
            sent.map_err(|_| std::io::Error::other("the test is over"))?;
            Ok(client)
        }
    });
    (transport, receiver)
}

impl Server {
    /// Takes CONNECT and accepts.
    pub(crate) async fn accept(&mut self, session_present: bool) {
        assert!(matches!(self.next().await, Some(Sent::Connect { .. })));
        self.send(&Packet::ConnAck(ConnAck {
            session_present,
            reason: ReasonCode::Success,
            properties: Properties::EMPTY,
        }))
        .await;
    }

    /// The next packet; `None`: the client has closed the connection.
    pub(crate) async fn next(&mut self) -> Option<Sent> {
        loop {
            let rules = Rules {
                version: self.version,
                sender: Sender::Client,
                max_packet_size: u32::MAX,
            };
            if let Decoded::Packet { packet, length } = decode(&self.buffer, rules).unwrap() {
                let sent = seen(&packet);
                self.buffer.drain(..length);
                return Some(sent);
            }
            if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn send(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    pub(crate) async fn puback(&mut self, id: u16, reason: ReasonCode) {
        self.send(&Packet::PubAck(ack(id, reason))).await;
    }

    pub(crate) async fn suback(&mut self, id: u16, code: u8) {
        let packet_id = PacketId::new(id).unwrap();
        let properties = Properties::EMPTY;
        let reasons = &[code];
        self.send(&Packet::SubAck(SubAck {
            packet_id,
            properties,
            reasons,
        }))
        .await;
    }

    pub(crate) async fn publish(&mut self, id: u16, qos: u8, topic: &str, payload: &str) {
        self.send(&Packet::Publish(Publish {
            dup: false,
            qos: QoS::from_bits(qos).unwrap(),
            retain: false,
            topic: TopicName::new(topic).ok(),
            packet_id: PacketId::new(id),
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
        }))
        .await;
    }

    /// Answers SUBSCRIBE, whose identifier it gives back.
    pub(crate) async fn grant(&mut self, qos: u8) -> u16 {
        let Some(Sent::Subscribe(id)) = self.next().await else {
            panic!("SUBSCRIBE");
        };
        self.suback(id, qos).await;
        id
    }
}

pub(crate) fn ack(id: u16, reason: ReasonCode) -> Ack<'static> {
    Ack {
        packet_id: PacketId::new(id).unwrap(),
        reason,
        properties: Properties::EMPTY,
    }
}

fn seen(packet: &Packet<'_>) -> Sent {
    match packet {
        Packet::Connect(connect) => Sent::Connect {
            clean: connect.clean_start,
        },
        Packet::Publish(publish) => Sent::Publish {
            id: publish.packet_id.map(PacketId::get),
            qos: publish.qos.bits(),
            dup: publish.dup,
            payload: String::from_utf8_lossy(publish.payload).into_owned(),
        },
        Packet::PubAck(ack) => Sent::PubAck(ack.packet_id.get()),
        Packet::PubRec(ack) => Sent::PubRec(ack.packet_id.get()),
        Packet::PubRel(ack) => Sent::PubRel(ack.packet_id.get()),
        Packet::PubComp(ack) => Sent::PubComp(ack.packet_id.get()),
        Packet::Subscribe(subscribe) => Sent::Subscribe(subscribe.packet_id.get()),
        Packet::Unsubscribe(unsubscribe) => Sent::Unsubscribe(unsubscribe.packet_id.get()),
        Packet::PingReq => Sent::Ping,
        Packet::Disconnect(_) => Sent::Disconnect,
        Packet::ConnAck(_)
        | Packet::SubAck(_)
        | Packet::UnsubAck(_)
        | Packet::PingResp
        | Packet::Auth(_) => panic!("{packet:?} from a client"),
    }
}
