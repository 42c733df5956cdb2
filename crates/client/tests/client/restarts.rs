//! A program that starts again while the broker still has its session.

use std::time::Duration;

use martlet_client::test::Broker;
use martlet_client::{Client, Outbox, Session, Version};
use martlet_codec::{
    Connect, Decoded, Packet, PacketId, Properties, PropertiesBuf, Property, Publish, QoS, Rules,
    Sender, TopicName, decode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HOUR: Duration = Duration::from_secs(3_600);

/// A process that dies between PUBREC and PUBREL of each of its messages: bare packets, as a client would finish what it began.
async fn die_in_the_handshake(broker: &Broker, version: Version, ids: impl Iterator<Item = u16>) {
    let address = broker.url().trim_start_matches("mqtt://").to_owned();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let mut properties = PropertiesBuf::new();
    if version.is_v5() {
        properties.push(Property::SessionExpiryInterval(3_600));
    }
    let connect = Packet::Connect(Connect {
        version,
        clean_start: false,
        keep_alive_s: 0,
        properties: properties.as_properties(),
        client_id: "meter",
        will: None,
        user_name: None,
        password: None,
    });
    let mut bytes = Vec::new();
    connect.encode(version, &mut bytes).unwrap();
    let mut wanted = 1;
    for id in ids {
        let publish = Packet::Publish(Publish {
            dup: false,
            qos: QoS::ExactlyOnce,
            retain: false,
            topic: TopicName::new("meter").ok(),
            packet_id: PacketId::new(id),
            properties: Properties::EMPTY,
            payload: b"old",
        });
        publish.encode(version, &mut bytes).unwrap();
        wanted += 1;
    }
    socket.write_all(&bytes).await.unwrap();
    let rules = Rules {
        version,
        sender: Sender::Server,
        max_packet_size: u32::MAX,
    };
    let mut read = Vec::new();
    while wanted > 0 {
        socket.read_buf(&mut read).await.unwrap();
        while let Ok(Decoded::Packet { length, packet }) = decode(&read, rules) {
            assert!(matches!(packet, Packet::ConnAck(_) | Packet::PubRec(_)));
            read.drain(..length);
            wanted -= 1;
        }
    }
}

//= mqtt5 4.3.3-2 test
#[tokio::test]
async fn a_new_process_loses_no_message_to_identifiers_of_the_one_before() {
    for version in [Version::V311, Version::V5] {
        let broker = Broker::start().await.unwrap();
        let observer = Client::builder(broker.url()).connect().await.unwrap();
        let mut seen = observer.subscribe("meter").qos(2).await.unwrap();
        die_in_the_handshake(&broker, version, (1..40).step_by(3)).await;
        for _ in (1..40).step_by(3) {
            assert_eq!(seen.recv().await.unwrap().text(), "old");
        }
        let directory = tempfile::tempdir().unwrap();
        let client = Client::builder(broker.url())
            .version(version)
            .client_id("meter")
            .session(Session::persistent(HOUR))
            .outbox(Outbox::file(directory.path()).unwrap())
            .connect()
            .await
            .unwrap();
        for n in 0..100 {
            drop(client.publish("meter", n).qos(2).enqueue().await.unwrap());
        }
        client.flush(HOUR).await.unwrap();
        client.close(HOUR).await.unwrap();
        for n in 0..100 {
            assert_eq!(seen.recv().await.unwrap().text(), n.to_string());
        }
    }
}
