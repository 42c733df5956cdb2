//! What the server allows, and what we do.

use martlet_codec::{Property, QoS, ReasonCode, Version};

use super::rig::{Rig, both};
use crate::error::{ErrorKind, Feature};
use crate::machine::{Config, Outcome};
use crate::message::Message;
use crate::state::State;

fn online_with(config: Config, properties: &[Property<'_>]) -> Rig {
    let mut rig = Rig::new(config);
    rig.machine.start(rig.now, None);
    rig.accept_with(false, properties);
    rig.sent();
    rig
}

fn v5() -> Config {
    Config::new(Version::V5)
}

//= mqtt5 3.3.4-7 test
//= mqtt5 3.3.4-8 test
//= mqtt5 4.9.0-1 test
//= mqtt5 4.9.0-2 test
//= mqtt5 4.9.0-3 test
#[test]
fn the_servers_receive_maximum_holds_back_publishes_and_nothing_else() {
    let mut rig = online_with(v5(), &[Property::ReceiveMaximum(2)]);
    for n in 1..=3 {
        rig.send(Message::new("a", n).qos(if n == 2 { 2 } else { 1 }));
    }
    rig.send(Message::new("a", 0));
    rig.subscribe(&["b"], 1);
    assert_eq!(
        rig.sent(),
        [
            "PUBLISH q1 #1 a=1",
            "PUBLISH q2 #2 a=2",
            "PUBLISH q0 a=0",
            "SUBSCRIBE #3 b:1 id=1"
        ]
    );
    rig.pubrec(2, ReasonCode::Success);
    assert_eq!(rig.sent(), ["PUBREL #2"], "no room yet");
    rig.pubcomp(2);
    assert_eq!(rig.sent(), ["PUBLISH q1 #4 a=3"]);
}

//= mqtt5 3.2.2-11 test
//= mqtt5 3.2.2-14 test
//= mqtt5 3.2.2-15 test
#[test]
fn what_the_server_does_not_take_is_refused_here() {
    let mut rig = online_with(
        v5(),
        &[
            Property::MaximumQoS(0),
            Property::RetainAvailable(0),
            Property::MaximumPacketSize(100),
        ],
    );
    let kind = |rig: &mut Rig, message| rig.try_send(message).unwrap_err().0;
    let one = Message::new("a", "").qos(1);
    assert_eq!(kind(&mut rig, one), ErrorKind::NotSupported(Feature::QoS));
    let kept = Message::new("a", "").retain();
    assert_eq!(
        kind(&mut rig, kept),
        ErrorKind::NotSupported(Feature::Retain)
    );
    let large = Message::new("a", vec![0; 95]);
    assert_eq!(kind(&mut rig, large), ErrorKind::TooLarge { max: 100 });
    rig.send(Message::new("a", vec![0; 94]));
    assert_eq!(rig.sent(), ["PUBLISH q0 a=(94 bytes)"]);
}

#[test]
fn what_was_queued_and_turns_out_to_be_too_much_fails_then() {
    let mut rig = Rig::new(v5());
    rig.machine.start(rig.now, None);
    let two = rig.send(Message::new("a", "").qos(2));
    let large = rig.send(Message::new("a", vec![0; 200]).qos(1));
    rig.accept_with(
        false,
        &[Property::MaximumQoS(1), Property::MaximumPacketSize(100)],
    );
    assert_eq!(rig.fate(two), "NotSupported(QoS) No");
    assert_eq!(rig.fate(large), "TooLarge { max: 100 } No");
    assert_eq!(rig.sent().len(), 1);
}

//= mqtt5 3.2.2-17 test
//= mqtt5 3.2.2-18 test
//= mqtt5 3.3.2-7 test
//= mqtt5 3.3.2-8 test
//= mqtt5 3.3.2-9 test
#[test]
fn topic_aliases_come_with_the_second_message_and_end_with_the_connection() {
    let maximum = [Property::TopicAliasMaximum(3)];
    let mut rig = online_with(v5(), &maximum);
    for _ in 0..3 {
        rig.send(Message::new("meter/power", "1"));
    }
    let sent = rig.sent();
    let alias = sent[1].rsplit('=').next().unwrap().to_owned();
    assert!((1..=3).contains(&alias.parse::<u16>().unwrap()));
    let expected = [
        "PUBLISH q0 meter/power=1".to_owned(),
        format!("PUBLISH q0 meter/power=1 alias={alias}"),
        format!("PUBLISH q0 =1 alias={alias}"),
    ];
    assert_eq!(sent, expected);
    rig.reconnect(false);
    rig.send(Message::new("meter/power", "1"));
    assert_eq!(rig.sent()[1..], ["PUBLISH q0 meter/power=1"]);
    // A server that says nothing gets none.
    let mut rig = online_with(v5(), &[]);
    for _ in 0..3 {
        rig.send(Message::new("meter/power", "1"));
    }
    assert_eq!(rig.sent(), ["PUBLISH q0 meter/power=1"; 3]);
}

//= mqtt5 3.3.2-10 test
#[test]
fn the_servers_aliases_are_understood_up_to_what_we_announced() {
    let mut config = v5();
    config.aliases_in_max = 2;
    let mut rig = Rig::online(config);
    let stream = rig.stream(&["#"], 0);
    rig.publish_with(0, 0, "a/b", "1", false, &[Property::TopicAlias(2)]);
    rig.publish_with(0, 0, "", "2", false, &[Property::TopicAlias(2)]);
    assert_eq!(rig.machine.recv(stream).unwrap().0.topic, "a/b");
    assert_eq!(rig.machine.recv(stream).unwrap().0.topic, "a/b");
    rig.publish_with(0, 0, "a/b", "3", false, &[Property::TopicAlias(3)]);
    assert_eq!(rig.sent(), ["DISCONNECT topic alias invalid (0x94)"]);
    let mut rig = Rig::online(v5());
    rig.publish_with(0, 0, "", "4", false, &[Property::TopicAlias(1)]);
    assert_eq!(rig.sent(), ["DISCONNECT protocol error (0x82)"]);
}

#[test]
fn a_server_that_exceeds_our_receive_maximum_is_thrown_out() {
    for qos in [1, 2] {
        let mut config = v5();
        config.receive_maximum = 2;
        let mut rig = Rig::online(config);
        rig.stream(&["a"], 2);
        for id in 1..=3 {
            rig.publish(id, qos, "a", "x", false);
        }
        assert_eq!(rig.sent(), ["DISCONNECT receive maximum exceeded (0x93)"]);
    }
}

#[test]
fn a_packet_larger_than_announced_ends_the_connection_at_its_header() {
    both(|mut config| {
        config.packet_size_max = 1_000;
        let v5 = config.version.is_v5();
        let mut rig = Rig::online(config);
        rig.transport.clear();
        rig.receive_bytes(b"\x30\x80\x08");
        assert_eq!(rig.transport, ["close"]);
        let said = ["DISCONNECT packet too large (0x95)".to_owned()];
        assert_eq!(rig.sent(), said[..usize::from(v5)]);
    });
}

#[test]
fn messages_that_pile_up_beyond_the_bound_end_the_connection() {
    both(|mut config| {
        config.inbound_bytes_max = 10_000;
        let mut rig = Rig::online(config);
        rig.stream(&["a"], 1);
        rig.transport.clear();
        for id in 1..=20 {
            rig.publish(id, 1, "a", &"x".repeat(1_000), false);
        }
        assert_eq!(rig.transport, ["close"]);
    });
}

#[test]
fn filters_that_the_server_cannot_do_are_refused_here() {
    let mut rig = online_with(
        v5(),
        &[
            Property::WildcardSubscriptionAvailable(0),
            Property::SharedSubscriptionAvailable(0),
            Property::SubscriptionIdentifierAvailable(0),
        ],
    );
    for (filter, feature) in [
        ("a/#", Feature::Wildcards),
        ("$share/g/a", Feature::SharedSubscriptions),
    ] {
        let filters = vec![crate::Filter::new(filter)];
        let options = crate::machine::StreamOptions::default();
        let refused = rig.machine.subscribe(rig.now, filters, options, None);
        assert_eq!(
            refused.unwrap_err().kind(),
            ErrorKind::NotSupported(feature)
        );
    }
    rig.subscribe(&["a"], 1);
    assert_eq!(rig.sent(), ["SUBSCRIBE #1 a:1"], "without an identifier");
}

#[test]
fn the_state_tells_what_the_server_allows() {
    let rig = online_with(
        v5(),
        &[
            Property::ReceiveMaximum(9),
            Property::AssignedClientIdentifier("given"),
            Property::SessionExpiryInterval(5),
            Property::UserProperty("region", "north"),
        ],
    );
    let State::Connected { limits, .. } = rig.machine.state(rig.now) else {
        panic!("connected");
    };
    assert_eq!((limits.receive_maximum, limits.session_expiry_s), (9, 5));
    assert_eq!(limits.assigned_client_id.as_deref(), Some("given"));
    assert_eq!(limits.maximum_qos, QoS::ExactlyOnce);
    assert_eq!(limits.user_properties, [("region".into(), "north".into())]);
}

#[test]
fn wrong_filters_and_options_are_refused() {
    both(|config| {
        let v5 = config.version.is_v5();
        let mut rig = Rig::online(config);
        let mut refused = |filter: crate::Filter| {
            let options = crate::machine::StreamOptions::default();
            let id = rig.machine.subscribe(rig.now, vec![filter], options, None);
            id.unwrap_err().kind()
        };
        assert_eq!(
            refused(crate::Filter::new("a/#/b")),
            ErrorKind::InvalidTopic
        );
        assert_eq!(refused(crate::Filter::new("")), ErrorKind::InvalidTopic);
        assert_eq!(
            refused(crate::Filter::new("a").qos(3)),
            ErrorKind::InvalidOption
        );
        //= mqtt5 3.8.3-4 test
        let shared = refused(crate::Filter::new("$share/g/a").no_local());
        let v311 = ErrorKind::NotSupported(Feature::Mqtt5);
        assert_eq!(shared, if v5 { ErrorKind::InvalidOption } else { v311 });
        assert_eq!(rig.sent(), [""; 0]);
        let none = rig.op();
        rig.machine.flush(none);
        assert!(matches!(rig.outcome(none), Some(Outcome::Flushed)));
    });
}

//= mqtt5 3.1.2-24 test
//= mqtt5 3.2.2-15 test
//= mqtt5 3.2.2-11 test
#[test]
fn a_resend_that_the_server_does_not_take_any_more_fails_and_the_rest_goes_on() {
    let mut config = v5();
    config.session = crate::Session::persistent(std::time::Duration::from_secs(60));
    config.client_id = "me".into();
    let mut rig = Rig::online(config);
    let long = "x".repeat(100);
    let large = [1, 2].map(|qos| rig.send(Message::new("a", long.clone()).qos(qos)));
    let released = rig.send(Message::new("a", long).qos(2));
    let small = [1, 2].map(|qos| rig.send(Message::new("a", "small").qos(qos)));
    rig.pubrec(3, ReasonCode::Success);
    rig.cut();
    let later = rig.send(Message::new("a", "later").qos(2));
    rig.wait_for_open();
    rig.accept_with(true, &[Property::MaximumPacketSize(50)]);
    for op in large {
        assert_eq!(rig.fate(op), "TooLarge { max: 50 } Maybe");
    }
    assert_eq!(
        rig.sent()[1..],
        [
            // The server may have had it: its identifier must not be used before it is free there, too.
            "PUBREL #2",
            "PUBREL #3",
            "PUBLISH dup q1 #4 a=small",
            "PUBLISH dup q2 #5 a=small",
            "PUBLISH q2 #6 a=later",
        ]
    );
    rig.pubcomp(2);
    rig.pubcomp(3);
    rig.puback(4);
    for id in [5, 6] {
        rig.pubrec(id, ReasonCode::Success);
        rig.pubcomp(id);
    }
    for op in small.into_iter().chain([released, later]) {
        assert_eq!(rig.fate(op), "published");
    }
    assert_eq!(rig.machine.stats().in_flight, 0);
    // Another server of the cluster, which does less.
    let op = rig.send(Message::new("a", "once").qos(2));
    rig.cut();
    rig.wait_for_open();
    rig.accept_with(true, &[Property::MaximumQoS(1)]);
    assert_eq!(rig.fate(op), "NotSupported(QoS) Maybe");
}

#[test]
fn an_unsubscribe_that_is_too_large_is_not_sent() {
    let mut config = v5();
    config.session = crate::Session::persistent(std::time::Duration::from_secs(60));
    config.client_id = "me".into();
    let mut rig = Rig::online(config);
    let filter = "f".repeat(100);
    let stream = rig.stream(&[&filter], 1);
    rig.cut();
    rig.wait_for_open();
    rig.accept_with(true, &[Property::MaximumPacketSize(50)]);
    rig.sent();
    let op = rig.unsubscribe(stream);
    assert_eq!(rig.sent(), [""; 0]);
    let Some(Outcome::Unsubscribed(Err(error))) = rig.outcome(op) else {
        panic!("it was not refused");
    };
    assert_eq!(error.kind(), ErrorKind::TooLarge { max: 50 });
}
