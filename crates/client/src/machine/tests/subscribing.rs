//! SUBSCRIBE, its answers, and what they do to streams.

use super::rig::{Rig, both};
use crate::error::ErrorKind;
use crate::machine::{Config, Outcome};
use crate::message::Message;
use martlet_codec::{Property, QoS, ReasonCode, Version};

#[test]
fn a_refused_subscription_is_an_error_and_leaves_nothing() {
    both(|config| {
        let v5 = config.version.is_v5();
        let mut rig = Rig::online(config);
        let (id, op) = rig.subscribe(&["secret"], 1);
        rig.sent();
        rig.suback(1, &[if v5 { 0x87 } else { 0x80 }]);
        let Some(Outcome::SubscribeFailed(error)) = rig.outcome(op) else {
            panic!("refused");
        };
        let reason = if v5 {
            ReasonCode::NotAuthorized
        } else {
            ReasonCode::UnspecifiedError
        };
        assert_eq!(error.kind(), ErrorKind::Rejected(reason));
        assert!(rig.machine.has_stream_ended(id));
        rig.unsubscribe(id);
        assert_eq!(rig.sent(), [""; 0], "there is nothing to unsubscribe from");
    });
}

#[test]
fn a_partly_refused_subscription_tells_which_part() {
    both(|config| {
        let mut rig = Rig::online(config);
        let (id, op) = rig.subscribe(&["a", "b"], 2);
        rig.sent();
        rig.suback(1, &[0x80, 1]);
        let Some(Outcome::Subscribed(granted)) = rig.outcome(op) else {
            panic!("granted in part");
        };
        let refused = Err(ReasonCode::UnspecifiedError);
        assert_eq!(granted, [refused, Ok(QoS::AtLeastOnce)]);
        assert_eq!(rig.machine.granted(id), granted);
        rig.reconnect(false);
        assert!(
            rig.sent()[1].contains(" b:2"),
            "the refused filter is not asked for again"
        );
    });
}

#[test]
fn a_stream_whose_renewal_is_refused_ends() {
    both(|config| {
        let mut rig = Rig::online(config);
        let stream = rig.stream(&["a"], 1);
        rig.publish(0, 0, "a", "before", false);
        rig.reconnect(false);
        let sent = rig.sent();
        let id = sent[1].split(['#', ' ']).nth(2).unwrap().parse().unwrap();
        rig.suback(id, &[0x80]);
        assert_eq!(rig.take(stream), ["before"]);
        assert!(rig.machine.has_stream_ended(stream));
    });
}

#[test]
fn a_suback_that_does_not_fit_ends_the_connection() {
    both(|config| {
        let mut rig = Rig::online(config);
        rig.subscribe(&["a", "b"], 1);
        rig.transport.clear();
        rig.suback(1, &[0]);
        assert_eq!(rig.transport, ["close"]);
    });
}

//= mqtt5 2.2.1-3 test
//= mqtt311 2.3.1-2 test
//= mqtt311 2.3.1-1 test
#[test]
fn requests_and_messages_never_share_an_identifier() {
    both(|mut config| {
        config.in_flight_max = u16::MAX;
        let mut rig = Rig::online(config);
        rig.subscribe(&["a"], 1);
        rig.send(Message::new("a", "1").qos(1));
        rig.subscribe(&["b"], 1);
        let sent = rig.sent();
        let ids: Vec<&str> = sent
            .iter()
            .filter_map(|line| line.split('#').nth(1))
            .collect();
        let ids: Vec<&str> = ids.iter().map(|id| id.split(' ').next().unwrap()).collect();
        assert_eq!(ids, ["1", "2", "3"]);
        // All the way round, 1 and 3 are still taken.
        for _ in 0..65_535 {
            rig.send(Message::new("a", "x").qos(1));
            let sent = rig.sent();
            let Some(id) = sent.first().and_then(|line| line.split(['#', ' ']).nth(3)) else {
                continue;
            };
            let id: u16 = id.parse().unwrap();
            assert!(id != 1 && id != 2 && id != 3, "{sent:?}");
            rig.puback(id);
        }
    });
}

#[test]
fn a_stream_that_is_dropped_while_its_subscribe_is_under_way_is_unsubscribed() {
    both(|config| {
        let mut rig = Rig::online(config);
        let (id, op) = rig.subscribe(&["a"], 1);
        rig.unsubscribe(id);
        let sent = rig.sent();
        assert!(sent[0].starts_with("SUBSCRIBE") && sent[1].starts_with("UNSUBSCRIBE"));
        assert!(matches!(rig.outcome(op), Some(Outcome::SubscribeFailed(_))));
        rig.suback(1, &[1]);
        rig.unsuback(2);
        // The same again, before there is a connection: nothing is sent at all.
        let mut rig = Rig::new(Config::new(rig.version));
        rig.machine.start(rig.now, None);
        let (id, _) = rig.subscribe(&["a"], 1);
        rig.unsubscribe(id);
        rig.accept(false);
        assert_eq!(rig.sent().len(), 1);
    });
}

//= mqtt311 2.3.1-3 test
#[test]
fn identifiers_of_answered_requests_are_free_again() {
    let mut rig = Rig::online(Config::new(Version::V311));
    let id_of = |n: u32| u16::try_from(n % 65_535 + 1).unwrap();
    for n in (0..66_000).step_by(2) {
        let (stream, _) = rig.subscribe(&["a"], 0);
        assert_eq!(rig.sent(), [format!("SUBSCRIBE #{} a:0", id_of(n))]);
        rig.suback(id_of(n), &[0]);
        rig.unsubscribe(stream);
        assert_eq!(rig.sent(), [format!("UNSUBSCRIBE #{} a", id_of(n + 1))]);
        rig.unsuback(id_of(n + 1));
    }
}

#[test]
fn messages_under_an_identifier_of_before_find_their_streams() {
    let mut rig = Rig::online(Config::new(Version::V5));
    let wide = rig.stream(&["a/#"], 1);
    let first = rig.stream(&["a/b"], 1);
    let second = rig.stream(&["a/b"], 1);
    // The server has queued it before it heard of the last SUBSCRIBE.
    let ids = [
        Property::SubscriptionIdentifier(1),
        Property::SubscriptionIdentifier(2),
    ];
    rig.publish_with(1, 1, "a/b", "queued", false, &ids);
    for stream in [wide, first, second] {
        assert_eq!(rig.take(stream), ["queued"]);
    }
}

#[test]
fn a_filter_of_several_streams_has_the_highest_qos_that_any_asked_for() {
    both(|config| {
        let mut rig = Rig::online(config);
        rig.stream(&["a"], 2);
        rig.subscribe(&["a"], 0);
        let sent = rig.sent();
        assert!(sent[0].contains(" a:2"), "{sent:?}");
    });
}
