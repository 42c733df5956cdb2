//! What is sent: refused before a byte is written, or exactly these bytes.

use super::{accept, encoded, frame};
use crate::{
    Ack, Auth, ConnAck, Connect, Disconnect, EncodeError, Field, Packet, PacketId, Properties,
    PropertiesBuf, Property, PropertyId, Publish, PublishHead, QoS, ReasonCode, Sender, SubAck,
    Subscribe, SubscribeFiltersBuf, SubscriptionOptions, TopicFilter, TopicName, Unsubscribe,
    UnsubscribeFiltersBuf, Version, Will,
};
use std::string::String;
use std::vec::Vec;

fn error(packet: &Packet<'_>, version: Version) -> EncodeError {
    let mut out = std::vec![0xAA];
    let error = packet.encode(version, &mut out).unwrap_err();
    assert_eq!(out, [0xAA], "nothing is written: {error}");
    error
}

fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

const CONNECT: Connect<'static> = Connect {
    version: Version::V5,
    clean_start: true,
    keep_alive_s: 0,
    properties: Properties::EMPTY,
    client_id: "",
    will: None,
    user_name: None,
    password: None,
};

fn publish() -> Publish<'static> {
    Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: TopicName::new("t").ok(),
        packet_id: None,
        properties: Properties::EMPTY,
        payload: b"x",
    }
}

#[test]
fn connect_goes_by_its_own_version() {
    let bytes = encoded(&Packet::Connect(CONNECT), Version::V31);
    assert_eq!(bytes, b"\x10\x0D\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00");
    assert_eq!(encoded(&Packet::Connect(CONNECT), Version::V5), bytes);
}

#[test]
fn what_a_connect_cannot_say() {
    let long: String = core::iter::repeat_n('x', 65_536).collect();
    let check = |connect| error(&Packet::Connect(connect), Version::V5);
    let client_id = Connect {
        client_id: &long,
        ..CONNECT
    };
    assert_eq!(
        check(client_id),
        EncodeError::StringTooLong(Field::ClientIdentifier)
    );
    //= mqtt5 1.5.4-2 test
    let nul = Connect {
        user_name: Some("a\0"),
        ..CONNECT
    };
    assert_eq!(check(nul), EncodeError::Nul(Field::UserName));
    let password = Connect {
        password: Some(long.as_bytes()),
        ..CONNECT
    };
    assert_eq!(check(password), EncodeError::StringTooLong(Field::Password));
    //= mqtt311 3.1.2-22 test
    let password = Connect {
        version: Version::V311,
        password: Some(b"p"),
        ..CONNECT
    };
    assert_eq!(check(password), EncodeError::Missing(Field::UserName));
    let mut properties = PropertiesBuf::new();
    properties.push(Property::SessionExpiryInterval(1));
    let in_311 = Connect {
        version: Version::V311,
        properties: properties.as_properties(),
        ..CONNECT
    };
    assert_eq!(
        check(in_311),
        EncodeError::NotInThisVersion(Field::Properties)
    );
    let will = Will {
        qos: QoS::AtMostOnce,
        retain: false,
        properties: properties.as_properties(),
        topic: TopicName::new("t").unwrap(),
        payload: b"",
    };
    let misplaced = Connect {
        will: Some(will),
        ..CONNECT
    };
    assert_eq!(
        check(misplaced),
        EncodeError::PropertyNotAllowed(PropertyId::SessionExpiryInterval)
    );
    let will = Will {
        payload: long.as_bytes(),
        properties: Properties::EMPTY,
        ..will
    };
    assert_eq!(
        check(Connect {
            will: Some(will),
            ..CONNECT
        }),
        EncodeError::StringTooLong(Field::WillPayload)
    );
    let mut data = PropertiesBuf::new();
    data.push(Property::AuthenticationData(b"x"));
    let missing = Field::Property(PropertyId::AuthenticationMethod);
    assert_eq!(
        check(Connect {
            properties: data.as_properties(),
            ..CONNECT
        }),
        EncodeError::Missing(missing)
    );
}

#[test]
fn what_a_connack_cannot_say() {
    let connack = |session_present, reason| {
        Packet::ConnAck(ConnAck {
            session_present,
            reason,
            properties: Properties::EMPTY,
        })
    };
    let banned = connack(false, ReasonCode::Banned);
    assert_eq!(encoded(&banned, Version::V5), [0x20, 3, 0, 0x8A, 0]);
    assert_eq!(
        error(&banned, Version::V311),
        EncodeError::NotInThisVersion(Field::ReasonCode)
    );
    let takeover = connack(false, ReasonCode::SessionTakenOver);
    assert_eq!(
        error(&takeover, Version::V5),
        EncodeError::ReasonCodeNotAllowed(ReasonCode::SessionTakenOver)
    );
    //= mqtt5 3.2.2-6 test
    //= mqtt311 3.2.2-4 test
    let present = connack(true, ReasonCode::NotAuthorized);
    for version in [Version::V311, Version::V5] {
        assert_eq!(
            error(&present, version),
            EncodeError::Contradiction(Field::AcknowledgeFlags)
        );
    }
}

#[test]
fn what_a_publish_cannot_say() {
    let check = |publish, version| error(&Packet::Publish(publish), version);
    //= mqtt5 2.2.1-2 test
    //= mqtt311 2.3.1-5 test
    let with_id = Publish {
        packet_id: Some(id(1)),
        ..publish()
    };
    assert_eq!(
        check(with_id, Version::V5),
        EncodeError::Contradiction(Field::PacketIdentifier)
    );
    let without = Publish {
        qos: QoS::AtLeastOnce,
        ..publish()
    };
    assert_eq!(
        check(without, Version::V311),
        EncodeError::Missing(Field::PacketIdentifier)
    );
    //= mqtt5 3.3.1-2 test
    //= mqtt311 3.3.1-2 test
    let dup = Publish {
        dup: true,
        ..publish()
    };
    for version in [Version::V311, Version::V5] {
        assert_eq!(
            check(dup, version),
            EncodeError::Contradiction(Field::FixedHeaderFlags)
        );
    }
    let no_topic = Publish {
        topic: None,
        ..publish()
    };
    assert_eq!(
        check(no_topic, Version::V5),
        EncodeError::Missing(Field::TopicName)
    );
    let mut alias = PropertiesBuf::new();
    alias.push(Property::TopicAlias(1));
    let with_alias = Publish {
        properties: alias.as_properties(),
        ..no_topic
    };
    assert_eq!(
        encoded(&Packet::Publish(with_alias), Version::V5),
        [0x30, 7, 0, 0, 3, 0x23, 0, 1, b'x']
    );
    assert_eq!(
        check(with_alias, Version::V311),
        EncodeError::NotInThisVersion(Field::Properties)
    );
}

#[test]
fn a_packet_larger_than_its_length_field() {
    let payload = std::vec![0; 268_435_456];
    let huge = Publish {
        payload: &payload,
        ..publish()
    };
    assert_eq!(
        error(&Packet::Publish(huge), Version::V311),
        EncodeError::PacketTooLarge
    );
}

#[test]
fn an_output_without_room() {
    let mut room = [0; 5];
    let packet = Packet::Publish(publish());
    assert_eq!(
        packet.encode(Version::V311, &mut &mut room[..]),
        Err(EncodeError::OutOfSpace)
    );
    assert_eq!(room, [0; 5]);
    let mut room = [0; 6];
    assert_eq!(packet.encode(Version::V311, &mut &mut room[..]), Ok(()));
    assert_eq!(room, [0x30, 4, 0, 1, b't', b'x']);
}

#[test]
fn acknowledgements_before_v5_only_say_yes() {
    for version in [Version::V31, Version::V311] {
        let fine = Ack {
            reason: ReasonCode::NoMatchingSubscribers,
            ..Ack::success(id(9))
        };
        assert_eq!(encoded(&Packet::PubAck(fine), version), [0x40, 2, 0, 9]);
        let refusal = Ack {
            reason: ReasonCode::QuotaExceeded,
            ..fine
        };
        assert_eq!(
            error(&Packet::PubRec(refusal), version),
            EncodeError::NotInThisVersion(Field::ReasonCode)
        );
    }
    let wrong = Ack {
        reason: ReasonCode::QuotaExceeded,
        ..Ack::success(id(9))
    };
    assert_eq!(
        error(&Packet::PubComp(wrong), Version::V5),
        EncodeError::ReasonCodeNotAllowed(ReasonCode::QuotaExceeded)
    );
}

#[test]
fn subscribe_and_unsubscribe_from_their_builders() {
    let none = SubscribeFiltersBuf::new();
    let empty = Subscribe {
        packet_id: id(1),
        properties: Properties::EMPTY,
        filters: none.as_filters(),
    };
    let mut filters = SubscribeFiltersBuf::new();
    assert_eq!(
        error(&Packet::Subscribe(empty), Version::V5),
        EncodeError::Missing(Field::TopicFilter)
    );
    filters
        .push(
            TopicFilter::new("a").unwrap(),
            SubscriptionOptions::with_qos(QoS::AtLeastOnce),
        )
        .push(
            TopicFilter::new("#").unwrap(),
            SubscriptionOptions::default(),
        );
    let packet = Packet::Subscribe(Subscribe {
        filters: filters.as_filters(),
        ..empty
    });
    assert_eq!(
        encoded(&packet, Version::V311),
        b"\x82\x0A\x00\x01\x00\x01a\x01\x00\x01#\x00"
    );
    assert_eq!(
        encoded(&packet, Version::V5),
        b"\x82\x0B\x00\x01\x00\x00\x01a\x01\x00\x01#\x00"
    );
    let no_local = SubscriptionOptions {
        no_local: true,
        ..SubscriptionOptions::default()
    };
    let mut shared = SubscribeFiltersBuf::new();
    shared.push(TopicFilter::new("$share/g/a").unwrap(), no_local);
    //= mqtt5 3.8.3-4 test
    let packet = Packet::Subscribe(Subscribe {
        filters: shared.as_filters(),
        ..empty
    });
    assert_eq!(
        error(&packet, Version::V5),
        EncodeError::Contradiction(Field::SubscriptionOptions)
    );
    assert_eq!(
        error(&packet, Version::V311),
        EncodeError::NotInThisVersion(Field::SubscriptionOptions)
    );

    let none = UnsubscribeFiltersBuf::new();
    let empty = Unsubscribe {
        packet_id: id(1),
        properties: Properties::EMPTY,
        filters: none.as_filters(),
    };
    let mut filters = UnsubscribeFiltersBuf::new();
    assert_eq!(
        error(&Packet::Unsubscribe(empty), Version::V5),
        EncodeError::Missing(Field::TopicFilter)
    );
    filters.push(TopicFilter::new("a").unwrap());
    let packet = Packet::Unsubscribe(Unsubscribe {
        filters: filters.as_filters(),
        ..empty
    });
    assert_eq!(encoded(&packet, Version::V31), b"\xA2\x05\x00\x01\x00\x01a");
}

#[test]
fn suback_is_translated_for_311() {
    let reasons = [0, 1, 2, 0x8F, 0x9E];
    let suback = SubAck {
        packet_id: id(1),
        properties: Properties::EMPTY,
        reasons: &reasons,
    };
    //= mqtt311 3.9.3-2 test
    assert_eq!(
        encoded(&Packet::SubAck(suback), Version::V311),
        [0x90, 7, 0, 1, 0, 1, 2, 0x80, 0x80]
    );
    let wrong = SubAck {
        reasons: &[0x11],
        ..suback
    };
    let kind = EncodeError::ReasonCodeNotAllowed(ReasonCode::NoSubscriptionExisted);
    assert_eq!(error(&Packet::SubAck(wrong), Version::V5), kind);
    assert_eq!(
        encoded(&Packet::UnsubAck(wrong), Version::V5),
        [0xB0, 4, 0, 1, 0, 0x11]
    );
    assert_eq!(
        encoded(&Packet::UnsubAck(wrong), Version::V311),
        [0xB0, 2, 0, 1]
    );
    let empty = SubAck {
        reasons: &[],
        ..suback
    };
    assert_eq!(
        error(&Packet::SubAck(empty), Version::V5),
        EncodeError::Missing(Field::ReasonCode)
    );
}

#[test]
fn disconnect_and_auth_belong_to_v5() {
    let disconnect = |reason| {
        Packet::Disconnect(Disconnect {
            reason,
            properties: Properties::EMPTY,
        })
    };
    assert_eq!(
        encoded(&disconnect(ReasonCode::Success), Version::V311),
        [0xE0, 0]
    );
    assert_eq!(
        encoded(&disconnect(ReasonCode::SessionTakenOver), Version::V5),
        [0xE0, 1, 0x8E]
    );
    assert_eq!(
        error(&disconnect(ReasonCode::SessionTakenOver), Version::V311),
        EncodeError::NotInThisVersion(Field::ReasonCode)
    );
    let auth = Packet::Auth(Auth {
        reason: ReasonCode::Success,
        properties: Properties::EMPTY,
    });
    assert_eq!(
        error(&auth, Version::V311),
        EncodeError::NotInThisVersion(Field::PacketType)
    );
    let method = Field::Property(PropertyId::AuthenticationMethod);
    assert_eq!(error(&auth, Version::V5), EncodeError::Missing(method));
}

#[test]
fn a_property_that_cannot_be_sent_is_reported_by_the_packet() {
    let long: String = core::iter::repeat_n('x', 65_536).collect();
    for (property, expected) in [
        (
            Property::ContentType(&long),
            EncodeError::StringTooLong(Field::Properties),
        ),
        (
            Property::UserProperty("a", "\0"),
            EncodeError::Nul(Field::Properties),
        ),
        (Property::ResponseTopic("a/#"), EncodeError::PropertyValue),
        (Property::TopicAlias(0), EncodeError::PropertyValue),
        (
            Property::SubscriptionIdentifier(268_435_456),
            EncodeError::PropertyValue,
        ),
    ] {
        let mut properties = PropertiesBuf::new();
        properties.push(property);
        assert!(properties.is_empty());
        let packet = Packet::Publish(Publish {
            properties: properties.as_properties(),
            ..publish()
        });
        assert_eq!(error(&packet, Version::V5), expected);
        properties.clear();
        let packet = Packet::Publish(Publish {
            properties: properties.as_properties(),
            ..publish()
        });
        assert_eq!(packet.encode(Version::V5, &mut Vec::new()), Ok(()));
    }
    let mut properties = PropertiesBuf::new();
    properties.extend([Property::TopicAlias(1), Property::TopicAlias(1)]);
    let packet = Packet::Publish(Publish {
        properties: properties.as_properties(),
        ..publish()
    });
    assert_eq!(error(&packet, Version::V5), EncodeError::PropertyRepeated);
}

#[test]
fn a_head_in_front_of_a_shared_payload_is_a_publish() {
    let mut own = PropertiesBuf::new();
    own.push(Property::MessageExpiryInterval(3))
        .push(Property::SubscriptionIdentifier(200));
    let mut shared = PropertiesBuf::new();
    shared
        .push(Property::ContentType("text"))
        .push(Property::UserProperty("a", "b"));
    let head = PublishHead {
        dup: true,
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: "a/b",
        packet_id: Some(id(300)),
        own_properties: own.as_properties().as_bytes(),
        shared_properties: shared.as_properties().as_bytes(),
        payload_len: 200,
    };
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut bytes = Vec::new();
        head.encode(version, &mut bytes);
        bytes.extend([7; 200]);
        assert_eq!(head.packet_len(version), bytes.len());
        let Packet::Publish(publish) = accept(version, Sender::Server, &bytes) else {
            panic!()
        };
        assert_eq!(
            (publish.dup, publish.qos, publish.retain),
            (true, QoS::AtLeastOnce, true)
        );
        assert_eq!(
            (publish.topic.unwrap().as_str(), publish.packet_id),
            ("a/b", Some(id(300)))
        );
        assert_eq!(publish.payload, [7; 200]);
        assert_eq!(publish.properties.is_empty(), !version.is_v5());
    }
    let mut bytes = Vec::new();
    PublishHead {
        topic: "",
        packet_id: None,
        qos: QoS::AtMostOnce,
        dup: false,
        retain: false,
        payload_len: 0,
        own_properties: &[0x23, 0, 1],
        shared_properties: &[],
    }
    .encode(Version::V5, &mut bytes);
    assert_eq!(bytes, frame(0x30, &[&[0, 0, 3, 0x23, 0, 1]]));
}
