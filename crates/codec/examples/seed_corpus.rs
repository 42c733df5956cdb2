//! Writes the fuzz targets' seed corpus: one small file per kind of packet, encoded by the codec.
//!
//! `cargo run -p martlet-codec --example seed_corpus` writes below `fuzz/corpus`; another folder may
//! be given as the argument. The same seeds come out each time.

use martlet_codec::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, Properties, PropertiesBuf, Property,
    Publish, QoS, ReasonCode, RetainHandling, Sender, SubAck, Subscribe, SubscribeFiltersBuf,
    SubscriptionOptions, TopicFilter, TopicName, Unsubscribe, UnsubscribeFiltersBuf, Version, Will,
};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A packet as bytes, with what the control byte of an input has to say about it.
struct Seed {
    name: String,
    version: Version,
    sender: Sender,
    bytes: Vec<u8>,
}

fn main() -> Result<()> {
    let root = std::env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from("fuzz/corpus"), PathBuf::from);
    let mut seeds = Vec::new();
    for version in [Version::V31, Version::V311, Version::V5] {
        from_client(version, &mut seeds)?;
        from_server(version, &mut seeds)?;
        for sender in [Sender::Client, Sender::Server] {
            add_stream(version, sender, &mut seeds);
        }
    }
    for seed in &seeds {
        write(&root, seed)?;
    }
    Ok(())
}

fn write(root: &Path, seed: &Seed) -> Result<()> {
    let sender = u8::from(seed.sender == Sender::Server);
    let version = seed.version.level() - 3;
    let decode = if seed.version.is_v5() {
        "decode_v5"
    } else {
        "decode_v3"
    };
    let decode_control = sender | u8::from(seed.version == Version::V31) << 1;
    for (target, control) in [
        (decode, decode_control),
        ("round_trip", sender | version << 1),
        // Reads of three bytes.
        ("split_reads", sender | version << 1 | 2 << 3),
    ] {
        let folder = root.join(target);
        fs::create_dir_all(&folder)?;
        let mut input = vec![control];
        input.extend(&seed.bytes);
        fs::write(folder.join(format!("seed-{}", seed.name)), input)?;
    }
    Ok(())
}

/// All packets of one side behind each other.
fn add_stream(version: Version, sender: Sender, seeds: &mut Vec<Seed>) {
    let bytes = seeds
        .iter()
        .filter(|seed| (seed.version, seed.sender) == (version, sender))
        .flat_map(|seed| seed.bytes.clone())
        .collect();
    let name = name(version, sender, "stream");
    seeds.push(Seed {
        name,
        version,
        sender,
        bytes,
    });
}

fn name(version: Version, sender: Sender, packet: &str) -> String {
    let sender = if sender == Sender::Client {
        "client"
    } else {
        "server"
    };
    format!("v{version}-{sender}-{packet}")
}

fn from_client(version: Version, seeds: &mut Vec<Seed>) -> Result<()> {
    let mut add =
        |packet: Packet<'_>, variant: &str| add(packet, variant, version, Sender::Client, seeds);
    let v5 = version.is_v5();
    connects(version, &mut add)?;
    publishes(v5, &mut add)?;
    acknowledgements(v5, &mut add)?;
    subscriptions(v5, &mut add)?;
    add(Packet::PingReq, "")?;
    let bye = Disconnect {
        reason: ReasonCode::Success,
        properties: Properties::EMPTY,
    };
    add(Packet::Disconnect(bye), "plain")?;
    if v5 {
        let properties = properties(
            v5,
            &[
                Property::SessionExpiryInterval(0),
                Property::ReasonString("why"),
            ],
        );
        let reason = ReasonCode::DisconnectWithWillMessage;
        add(
            Packet::Disconnect(Disconnect {
                reason,
                properties: properties.as_properties(),
            }),
            "full",
        )?;
        auth(ReasonCode::ReAuthenticate, &mut add)?;
    }
    Ok(())
}

fn connects(version: Version, add: &mut impl FnMut(Packet<'_>, &str) -> Result<()>) -> Result<()> {
    let v5 = version.is_v5();
    let connect_properties = properties(
        v5,
        &[
            Property::SessionExpiryInterval(3_600),
            Property::ReceiveMaximum(64),
            Property::MaximumPacketSize(65_536),
            Property::TopicAliasMaximum(32),
            Property::RequestResponseInformation(1),
            Property::RequestProblemInformation(0),
            Property::UserProperty("name", "value"),
            Property::AuthenticationMethod("SCRAM"),
            Property::AuthenticationData(&[0, 255]),
        ],
    );
    let will_properties = properties(
        v5,
        &[
            Property::WillDelayInterval(10),
            Property::PayloadFormatIndicator(1),
            Property::MessageExpiryInterval(60),
            Property::ContentType("text/plain"),
            Property::ResponseTopic("answers"),
            Property::CorrelationData(&[1, 2, 3]),
            Property::UserProperty("", ""),
        ],
    );
    let plain = Connect {
        version,
        clean_start: true,
        keep_alive_s: 60,
        properties: Properties::EMPTY,
        client_id: "client",
        will: None,
        user_name: None,
        password: None,
    };
    add(Packet::Connect(plain), "plain")?;
    let will = Will {
        qos: QoS::ExactlyOnce,
        retain: true,
        properties: will_properties.as_properties(),
        topic: TopicName::new("last/words")?,
        payload: b"gone",
    };
    let full = Connect {
        clean_start: false,
        properties: connect_properties.as_properties(),
        will: Some(will),
        user_name: Some("user"),
        password: Some(b"secret"),
        ..plain
    };
    add(Packet::Connect(full), "full")
}

fn from_server(version: Version, seeds: &mut Vec<Seed>) -> Result<()> {
    let mut add =
        |packet: Packet<'_>, variant: &str| add(packet, variant, version, Sender::Server, seeds);
    let v5 = version.is_v5();
    let none = Properties::EMPTY;
    let refused = ConnAck {
        session_present: false,
        reason: ReasonCode::NotAuthorized,
        properties: none,
    };
    add(Packet::ConnAck(refused), "refused")?;
    let properties = properties(
        v5,
        &[
            Property::SessionExpiryInterval(1),
            Property::AssignedClientIdentifier("assigned"),
            Property::ServerKeepAlive(30),
            Property::ResponseInformation("answers/"),
            Property::ServerReference("other:1883"),
            Property::ReasonString("welcome"),
            Property::ReceiveMaximum(1),
            Property::TopicAliasMaximum(0),
            Property::MaximumQoS(1),
            Property::RetainAvailable(0),
            Property::MaximumPacketSize(1),
            Property::WildcardSubscriptionAvailable(0),
            Property::SubscriptionIdentifierAvailable(0),
            Property::SharedSubscriptionAvailable(0),
        ],
    );
    let accepted = ConnAck {
        session_present: version != Version::V31,
        reason: ReasonCode::Success,
        properties: properties.as_properties(),
    };
    add(Packet::ConnAck(accepted), "accepted")?;
    publishes(v5, &mut add)?;
    acknowledgements(v5, &mut add)?;
    let suback = SubAck {
        packet_id: id(1)?,
        properties: none,
        reasons: &[0, 1, 2],
    };
    add(Packet::SubAck(suback), "")?;
    let unsuback = SubAck {
        reasons: if v5 { &[0, 0x11] } else { &[] },
        ..suback
    };
    add(Packet::UnsubAck(unsuback), "")?;
    add(Packet::PingResp, "")?;
    if v5 {
        let reason = ReasonCode::SessionTakenOver;
        add(
            Packet::Disconnect(Disconnect {
                reason,
                properties: none,
            }),
            "",
        )?;
        let mut ids = PropertiesBuf::new();
        ids.push(Property::SubscriptionIdentifier(1))
            .push(Property::SubscriptionIdentifier(268_435_455));
        let publish = Publish {
            properties: ids.as_properties(),
            ..publish()?
        };
        add(Packet::Publish(publish), "identifiers")?;
        auth(ReasonCode::ContinueAuthentication, &mut add)?;
    }
    Ok(())
}

fn publish() -> Result<Publish<'static>> {
    Ok(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: Some(TopicName::new("a/b")?),
        packet_id: None,
        properties: Properties::EMPTY,
        payload: b"payload",
    })
}

fn publishes(v5: bool, add: &mut impl FnMut(Packet<'_>, &str) -> Result<()>) -> Result<()> {
    add(Packet::Publish(publish()?), "qos0")?;
    let properties = properties(
        v5,
        &[
            Property::PayloadFormatIndicator(0),
            Property::MessageExpiryInterval(60),
            Property::TopicAlias(1),
            Property::ContentType("text/plain"),
            Property::ResponseTopic("answers/1"),
            Property::CorrelationData(&[9]),
            Property::UserProperty("a", "1"),
            Property::UserProperty("a", "2"),
        ],
    );
    let full = Publish {
        dup: true,
        qos: QoS::AtLeastOnce,
        retain: true,
        packet_id: Some(id(10)?),
        properties: properties.as_properties(),
        ..publish()?
    };
    add(Packet::Publish(full), "qos1")?;
    let empty = Publish {
        qos: QoS::ExactlyOnce,
        packet_id: Some(id(65_535)?),
        payload: b"",
        ..publish()?
    };
    add(Packet::Publish(empty), "qos2")?;
    // Two length bytes.
    add(
        Packet::Publish(Publish {
            payload: &[7; 200],
            ..publish()?
        }),
        "long",
    )?;
    if v5 {
        add(
            Packet::Publish(Publish {
                topic: None,
                ..full
            }),
            "alias",
        )?;
    }
    Ok(())
}

fn acknowledgements(v5: bool, add: &mut impl FnMut(Packet<'_>, &str) -> Result<()>) -> Result<()> {
    let plain = Ack::success(id(10)?);
    let properties = properties(
        v5,
        &[
            Property::ReasonString("full"),
            Property::UserProperty("a", "b"),
        ],
    );
    let reason = |reason| if v5 { reason } else { ReasonCode::Success };
    let quota = Ack {
        reason: reason(ReasonCode::QuotaExceeded),
        properties: properties.as_properties(),
        ..plain
    };
    let unknown = Ack {
        reason: reason(ReasonCode::PacketIdentifierNotFound),
        ..plain
    };
    add(Packet::PubAck(plain), "plain")?;
    add(Packet::PubAck(quota), "full")?;
    add(Packet::PubRec(quota), "full")?;
    add(Packet::PubRel(unknown), "reason")?;
    add(Packet::PubComp(unknown), "reason")
}

fn subscriptions(v5: bool, add: &mut impl FnMut(Packet<'_>, &str) -> Result<()>) -> Result<()> {
    let plain = SubscriptionOptions::with_qos(QoS::ExactlyOnce);
    let options = SubscriptionOptions {
        no_local: v5,
        retain_as_published: v5,
        retain_handling: if v5 {
            RetainHandling::Never
        } else {
            RetainHandling::Always
        },
        ..plain
    };
    let mut filters = SubscribeFiltersBuf::new();
    filters
        .push(TopicFilter::new("a/+/c")?, options)
        .push(TopicFilter::new("$share/group/#")?, plain);
    let properties = properties(v5, &[Property::SubscriptionIdentifier(200)]);
    add(
        Packet::Subscribe(Subscribe {
            packet_id: id(1)?,
            properties: properties.as_properties(),
            filters: filters.as_filters(),
        }),
        "",
    )?;
    let mut filters = UnsubscribeFiltersBuf::new();
    filters
        .push(TopicFilter::new("a/+/c")?)
        .push(TopicFilter::new("/")?);
    let filters = filters.as_filters();
    let properties = Properties::EMPTY;
    add(
        Packet::Unsubscribe(Unsubscribe {
            packet_id: id(2)?,
            properties,
            filters,
        }),
        "",
    )
}

fn auth(reason: ReasonCode, add: &mut impl FnMut(Packet<'_>, &str) -> Result<()>) -> Result<()> {
    let properties = properties(
        true,
        &[
            Property::AuthenticationMethod("SCRAM"),
            Property::AuthenticationData(b"data"),
        ],
    );
    add(
        Packet::Auth(Auth {
            reason,
            properties: properties.as_properties(),
        }),
        "",
    )
}

fn add(
    packet: Packet<'_>,
    variant: &str,
    version: Version,
    sender: Sender,
    seeds: &mut Vec<Seed>,
) -> Result<()> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes)?;
    let kind = packet.packet_type().to_string().to_lowercase();
    let packet = if variant.is_empty() {
        kind
    } else {
        format!("{kind}-{variant}")
    };
    seeds.push(Seed {
        name: name(version, sender, &packet),
        version,
        sender,
        bytes,
    });
    Ok(())
}

fn properties(v5: bool, list: &[Property<'_>]) -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    if v5 {
        properties.extend(list.iter().copied());
    }
    properties
}

fn id(id: u16) -> Result<PacketId> {
    PacketId::new(id).ok_or_else(|| "a packet identifier is not 0".into())
}
