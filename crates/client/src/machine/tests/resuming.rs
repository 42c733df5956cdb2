//! Sessions that are kept, and sessions that are lost.

use std::time::Duration;

use martlet_codec::{Property, ReasonCode};

use super::rig::{Rig, both};
use crate::machine::{Config, StreamOptions};
use crate::message::Message;
use crate::options::{OnSessionLost, Session, Unrouted};

fn persistent(mut config: Config) -> Config {
    config.session = Session::persistent(Duration::from_secs(3_600));
    config.client_id = "me".into();
    config
}

//= mqtt5 4.4.0-1 test
//= mqtt311 4.4.0-1 test
//= mqtt5 3.3.1-1 test
//= mqtt311 3.3.1-1 test
//= mqtt311 3.3.1-3 test
//= mqtt5 3.3.1-3 test
//= mqtt5 4.6.0-1 test
//= mqtt311 4.6.0-1 test
//= mqtt311 2.3.1-3 test
//= mqtt5 4.3.3-6 test
//= mqtt311 3.1.2-4 test
//= mqtt5 3.1.2-23 test
//= mqtt5 4.1.0-1 test
//= mqtt311 4.1.0-1 test
#[test]
fn must_have_5_a_kept_session_goes_on_where_it_was() {
    both(|config| {
        let mut rig = Rig::online(persistent(config));
        let ops: Vec<_> = [1, 2, 2, 1]
            .into_iter()
            .enumerate()
            .map(|(n, qos)| rig.send(Message::new("a", n).qos(qos)))
            .collect();
        assert!(rig.sent().iter().all(|line| !line.contains("dup")));
        rig.pubrec(2, ReasonCode::Success);
        rig.sent();
        rig.cut();
        let late = rig.send(Message::new("a", "late").qos(1));
        rig.wait_for_open();
        rig.accept(true);
        assert_eq!(
            rig.sent()[1..],
            [
                "PUBLISH dup q1 #1 a=0",
                "PUBREL #2",
                "PUBLISH dup q2 #3 a=2",
                "PUBLISH dup q1 #4 a=3",
                "PUBLISH q1 #5 a=late",
            ]
        );
        rig.puback(1);
        rig.pubcomp(2);
        rig.pubrec(3, ReasonCode::Success);
        rig.pubcomp(3);
        rig.puback(4);
        rig.puback(5);
        for op in ops.into_iter().chain([late]) {
            assert_eq!(rig.fate(op), "published");
        }
        assert_eq!(rig.machine.stats().resent, 3);
    });
}

#[test]
fn must_have_5_resends_keep_to_the_new_receive_maximum() {
    let config = persistent(Config::new(martlet_codec::Version::V5));
    let mut rig = Rig::online(config);
    for n in 0..3 {
        rig.send(Message::new("a", n).qos(1));
    }
    rig.cut();
    rig.wait_for_open();
    rig.accept_with(true, &[Property::ReceiveMaximum(1)]);
    assert_eq!(rig.sent()[1..], ["PUBLISH dup q1 #1 a=0"]);
    rig.puback(1);
    assert_eq!(rig.sent(), ["PUBLISH dup q1 #2 a=1"]);
}

//= mqtt5 3.2.2-5 test
//= mqtt5 3.1.2-4 test
//= mqtt311 3.1.2-6 test
#[test]
fn must_have_5_a_lost_session_is_built_anew_and_nothing_unsent_is_lost() {
    both(|config| {
        let mut rig = Rig::online(persistent(config));
        let stream = rig.stream(&["cmd/#"], 1);
        let once = rig.send(Message::new("a", "once").qos(1));
        let twice = rig.send(Message::new("a", "twice").qos(2));
        let released = rig.send(Message::new("a", "released").qos(2));
        rig.sent();
        rig.pubrec(4, ReasonCode::Success);
        rig.cut();
        let unsent = rig.send(Message::new("a", "unsent").qos(2));
        rig.wait_for_open();
        rig.accept(false);
        let sent = rig.sent();
        let subscribe = sent
            .iter()
            .position(|line| line.starts_with("SUBSCRIBE"))
            .unwrap();
        assert_eq!(subscribe, 1, "before anything is published: {sent:?}");
        // QoS 1 as a new message, without DUP; QoS 2 might come twice, so it fails.
        assert!(
            sent[2].starts_with("PUBLISH q1 #") && sent[2].ends_with("a=once"),
            "{sent:?}"
        );
        assert!(
            sent[3].starts_with("PUBLISH q2 #") && sent[3].ends_with("a=unsent"),
            "{sent:?}"
        );
        assert_eq!(sent.len(), 4);
        assert_eq!(rig.fate(twice), "SessionLost Maybe");
        assert_eq!(rig.fate(released), "SessionLost Maybe");
        assert_eq!(
            (rig.fate(once), rig.fate(unsent)),
            ("pending".into(), "pending".into())
        );
        assert_eq!(rig.machine.stats().sessions_lost, 1);
        rig.publish(9, 1, "cmd/x", "still here", false);
        assert_eq!(rig.take(stream), ["still here"]);
    });
}

#[test]
fn what_becomes_of_messages_in_flight_can_be_chosen() {
    both(|mut config| {
        config.lost_qos1 = OnSessionLost::Fail;
        config.lost_qos2 = OnSessionLost::Republish;
        let mut rig = Rig::online(config);
        let one = rig.send(Message::new("a", "1").qos(1));
        rig.send(Message::new("a", "2").qos(2));
        rig.reconnect(false);
        assert_eq!(rig.fate(one), "SessionLost Maybe");
        assert!(rig.sent()[1].ends_with("a=2"));
    });
}

#[test]
fn a_message_taken_before_the_cut_is_acknowledged_after_it_and_not_handed_out_again() {
    both(|config| {
        for qos in [1, 2] {
            let mut rig = Rig::online(persistent(config.clone()));
            let stream = rig.stream(&["a"], 2);
            rig.publish(1, qos, "a", "taken", false);
            rig.publish(2, qos, "a", "buffered", false);
            rig.cut();
            assert_eq!(rig.take_one(stream).0, "taken");
            rig.wait_for_open();
            rig.accept(true);
            rig.sent();
            rig.publish(1, qos, "a", "taken", true);
            rig.publish(2, qos, "a", "buffered", true);
            rig.publish(3, qos, "a", "new", false);
            let ack = if qos == 1 { "PUBACK" } else { "PUBREC" };
            assert_eq!(rig.sent(), [format!("{ack} #1")]);
            assert_eq!(rig.take(stream), ["buffered", "new"], "QoS {qos}");
            assert_eq!(rig.sent(), [format!("{ack} #2"), format!("{ack} #3")]);
        }
    });
}

#[test]
fn an_acknowledgement_never_goes_to_a_connection_that_has_not_seen_the_message() {
    both(|config| {
        let options = StreamOptions {
            manual: true,
            ..StreamOptions::default()
        };
        // The session is kept, but the server does not send the message again.
        let mut rig = Rig::online(persistent(config.clone()));
        let stream = rig.stream_with(&["a"], 1, options);
        rig.publish(1, 1, "a", "x", false);
        let ack = rig.take_one(stream).1.unwrap();
        rig.reconnect(true);
        rig.sent();
        rig.machine.ack(ack, None);
        assert_eq!(rig.sent(), [""; 0]);
        // The session is lost, and the identifier means another message.
        let mut rig = Rig::online(persistent(config));
        let stream = rig.stream_with(&["a"], 1, options);
        rig.publish(1, 1, "a", "old", false);
        let old = rig.take_one(stream).1.unwrap();
        rig.reconnect(false);
        rig.sent();
        rig.publish(1, 1, "a", "new", false);
        let new = rig.take_one(stream).1.unwrap();
        rig.machine.ack(old, None);
        assert_eq!(rig.sent(), [""; 0]);
        rig.machine.ack(new, None);
        assert_eq!(rig.sent(), ["PUBACK #1"]);
    });
}

#[test]
fn messages_of_a_resumed_session_wait_for_their_stream() {
    both(|config| {
        let mut rig = Rig::new(persistent(config.clone()));
        rig.machine.start(rig.now, None);
        rig.accept(true);
        rig.sent();
        rig.publish(1, 1, "a", "1", true);
        rig.publish(2, 2, "b", "2", true);
        rig.publish(0, 0, "a", "0", false);
        assert_eq!(rig.sent(), [""; 0], "unacknowledged");
        assert_eq!(rig.machine.stats().held, 2);
        let b = rig.stream(&["b"], 2);
        assert_eq!(rig.take(b), ["2"]);
        assert_eq!(rig.sent(), [""; 0], "the one in front of it waits still");
        let (a, _) = rig.subscribe(&["a"], 1);
        assert_eq!(rig.take(a), ["1"]);
        assert_eq!(rig.sent()[1..], ["PUBACK #1", "PUBREC #2"]);
        assert_eq!(
            (rig.machine.stats().held, rig.machine.stats().unrouted),
            (0, 1)
        );
        // Unless they are not wanted.
        let mut config = persistent(config);
        config.unrouted = Unrouted::Drop;
        let mut rig = Rig::new(config);
        rig.machine.start(rig.now, None);
        rig.accept(true);
        rig.sent();
        rig.publish(1, 1, "a", "1", true);
        assert_eq!(rig.sent(), ["PUBACK #1"]);
    });
}

#[test]
fn held_messages_are_bounded_and_come_again() {
    both(|config| {
        let mut config = persistent(config);
        config.receive_maximum = 2;
        let v5 = config.version.is_v5();
        let mut rig = Rig::new(config);
        rig.machine.start(rig.now, None);
        rig.accept(true);
        rig.sent();
        for id in 1..=3 {
            rig.publish(id, 1, "a", "x", false);
        }
        if v5 {
            assert!(
                !rig.machine.state(rig.now).is_connected(),
                "it was told two"
            );
            return;
        }
        assert_eq!(rig.machine.stats().held, 2);
        rig.reconnect(true);
        let stream = rig.stream(&["a"], 1);
        assert_eq!(rig.take(stream).len(), 2, "those of before");
        for id in 1..=3 {
            rig.publish(id, 1, "a", "x", true);
        }
        assert_eq!(
            rig.take(stream).len(),
            1,
            "the third came again, the others were known"
        );
        assert_eq!(rig.sent().len(), 3);
    });
}

#[test]
fn a_detached_stream_leaves_its_messages_to_the_next_one() {
    both(|config| {
        let mut rig = Rig::online(persistent(config));
        let stream = rig.stream(&["a"], 1);
        rig.publish(1, 1, "a", "unread", false);
        rig.machine.detach(stream);
        rig.publish(2, 1, "a", "later", false);
        assert_eq!(rig.sent(), [""; 0], "neither UNSUBSCRIBE nor PUBACK");
        let next = rig.stream(&["a"], 1);
        assert_eq!(rig.take(next), ["later"]);
        rig.reconnect(true);
        rig.publish(1, 1, "a", "unread", true);
        assert_eq!(rig.take(next), ["unread"]);
    });
}

#[test]
fn an_unsubscribe_without_a_connection_is_made_up_for() {
    both(|config| {
        let mut rig = Rig::online(persistent(config));
        let stream = rig.stream(&["a"], 1);
        rig.cut();
        let op = rig.unsubscribe(stream);
        assert!(rig.outcome(op).is_none());
        rig.wait_for_open();
        rig.accept(true);
        let sent = rig.sent();
        assert!(
            sent[1].starts_with("UNSUBSCRIBE") && sent.len() == 2,
            "{sent:?}"
        );
        // Once more, and this time nothing is left to unsubscribe from.
        rig.cut();
        rig.wait_for_open();
        rig.accept(false);
        assert!(rig.outcome(op).is_some());
        assert_eq!(rig.sent().len(), 1);
    });
}

#[test]
fn an_unanswered_subscribe_is_sent_again_also_in_a_kept_session() {
    both(|config| {
        let mut rig = Rig::online(persistent(config));
        let done = rig.stream(&["done"], 1);
        let (_, op) = rig.subscribe(&["waiting"], 1);
        rig.reconnect(true);
        let sent = rig.sent();
        assert_eq!(sent.len(), 2, "{sent:?}");
        assert!(sent[1].contains("waiting"));
        let id = sent[1].split(['#', ' ']).nth(2).unwrap().parse().unwrap();
        rig.suback(id, &[1]);
        assert!(rig.outcome(op).is_some());
        rig.publish(1, 1, "done", "x", false);
        assert_eq!(rig.take(done), ["x"]);
    });
}

//= mqtt5 2.2.1-3 test
//= mqtt311 2.3.1-2 test
#[test]
fn identifiers_of_a_process_before_are_released_before_qos_2_uses_them() {
    both(|config| {
        let mut rig = Rig::new(persistent(config));
        rig.machine.start(rig.now, None);
        let first = rig.send(Message::new("a", "first").qos(2));
        rig.accept(true);
        let sent = rig.sent();
        assert_eq!(
            (sent[1].as_str(), sent[16].as_str()),
            ("PUBREL #1", "PUBREL #16")
        );
        assert_eq!(sent.len(), 17, "a block at a time");
        // QoS 1 has nothing to fear, and takes no part in it.
        let mut direct = Rig::new(persistent(Config::new(rig.version)));
        direct.machine.start(direct.now, None);
        direct.accept(true);
        direct.send(Message::new("a", "q1").qos(1));
        assert_eq!(direct.sent()[1..], ["PUBLISH q1 #1 a=q1"]);
        // The link breaks in the middle: it begins again.
        for id in 1..=8 {
            rig.pubcomp(id);
        }
        assert_eq!(rig.sent(), [""; 0]);
        rig.reconnect(true);
        let sent = rig.sent();
        assert!(
            sent[1..].iter().all(|line| line.starts_with("PUBREL")),
            "{sent:?}"
        );
        for line in &sent[1..] {
            rig.pubcomp(line.split('#').nth(1).unwrap().parse().unwrap());
        }
        let line = rig.sent().remove(0);
        let id = line.split(['#', ' ']).nth(3).unwrap().parse().unwrap();
        assert_eq!(line, format!("PUBLISH q2 #{id} a=first"));
        assert!(sent.contains(&format!("PUBREL #{id}")) || id <= 8);
        rig.pubrec(id, ReasonCode::Success);
        rig.pubcomp(id);
        assert_eq!(rig.fate(first), "published");
        // The next one finds a free identifier at once, and one that was used by ourselves needs nothing.
        rig.sent();
        rig.send(Message::new("a", "second").qos(2));
        assert!(rig.sent()[0].starts_with("PUBLISH q2"));
        // A new session has no past.
        rig.reconnect(false);
        for n in 0..100 {
            rig.send(Message::new("a", n).qos(2));
        }
        assert!(rig.sent().iter().all(|line| !line.starts_with("PUBREL")));
    });
}

#[test]
fn every_identifier_of_an_inherited_session_is_released_once_and_none_is_left_out() {
    let mut config = persistent(Config::new(martlet_codec::Version::V5));
    config.in_flight_max = 16;
    let mut rig = Rig::new(config);
    rig.machine.start(rig.now, None);
    rig.accept(true);
    rig.sent();
    // Near the end of the identifiers, so that they begin anew.
    rig.machine.outbound.continue_behind(60_000);
    let mut released = vec![false; 65_536];
    let mut used = vec![false; 65_536];
    let id_of = |line: &str| {
        line.split(['#', ' '])
            .find_map(|word| word.parse::<u16>().ok())
            .unwrap()
    };
    let mut published = 0;
    while published < 10_000 {
        let qos = if published % 5 == 0 { 1 } else { 2 };
        rig.send(Message::new("a", "x").qos(qos));
        published += 1;
        loop {
            let sent = rig.sent();
            if sent.is_empty() {
                break;
            }
            for line in sent {
                let id = id_of(&line);
                if line.starts_with("PUBREL") {
                    assert!(
                        used[usize::from(id)]
                            || !std::mem::replace(&mut released[usize::from(id)], true)
                    );
                    rig.pubcomp(id);
                } else if line.starts_with("PUBLISH q2") {
                    used[usize::from(id)] = true;
                    assert!(released[usize::from(id)], "{line}");
                    rig.pubrec(id, ReasonCode::Success);
                } else {
                    rig.puback(id);
                }
            }
        }
    }
    let count = released.iter().filter(|one| **one).count();
    assert!(released[65_535] && released[1] && count < 12_000, "{count}");
    let stats = rig.machine.stats();
    assert_eq!((stats.published, stats.in_flight), (10_000, 0));
}

#[test]
fn a_session_whose_connack_was_lost_may_be_another_one() {
    both(|config| {
        let mut rig = Rig::online(persistent(config));
        let stream = rig.stream(&["a"], 2);
        rig.publish(1, 2, "a", "old", false);
        assert_eq!(rig.take(stream), ["old"]);
        assert_eq!(rig.sent(), ["PUBREC #1"]);
        rig.cut();
        // The broker has started again and knows nothing. It accepts us; its CONNACK does not arrive.
        rig.wait_for_open();
        rig.open();
        rig.reconnect(true);
        let sent = rig.sent();
        assert!(
            sent[1].starts_with("SUBSCRIBE") && sent[1].contains("a:2"),
            "{sent:?}"
        );
        rig.publish(1, 2, "a", "new", false);
        assert_eq!(rig.take(stream), ["new"], "not taken for a duplicate");
        // The one after that was answered: there is no doubt any more.
        rig.reconnect(true);
        assert_eq!(
            rig.sent().len(),
            2,
            "CONNECT, and the SUBSCRIBE without an answer"
        );
    });
}

#[test]
fn the_doubt_about_a_session_outlives_the_connection() {
    both(|config| {
        let mut rig = Rig::online(persistent(config));
        let stream = rig.stream(&["a"], 2);
        rig.publish(1, 2, "a", "old", false);
        rig.publish(2, 2, "a", "older", false);
        assert_eq!(rig.take(stream), ["old", "older"]);
        rig.cut();
        rig.wait_for_open();
        rig.open();
        rig.reconnect(true);
        rig.reconnect(true);
        // It goes on after all, for this message: it comes again, with DUP.
        rig.publish(2, 2, "a", "older", true);
        rig.publish(1, 2, "a", "new", false);
        assert_eq!(rig.take(stream), ["new"]);
        // Twice on one connection is the server's mistake, not another message.
        rig.publish(1, 2, "a", "new", false);
        assert_eq!(rig.take(stream), [""; 0]);
    });
}

#[test]
fn in_doubt_a_message_that_comes_again_is_told_by_what_it_says() {
    both(|config| {
        for qos in [1, 2] {
            let mut rig = Rig::online(persistent(config.clone()));
            let stream = rig.stream(&["#"], qos);
            let old = [(1, "a", "old"), (2, "a", "same"), (3, "a", "x")];
            for (id, topic, payload) in old {
                rig.publish(id, qos, topic, payload, false);
            }
            if qos == 2 {
                // They are acknowledged, and not released.
                assert_eq!(rig.take(stream), ["old", "same", "x"]);
            }
            rig.cut();
            // The broker starts again; its CONNACK for another session is lost, and so are the messages that follow it.
            rig.wait_for_open();
            rig.open();
            rig.reconnect(true);
            rig.sent();
            rig.publish(1, qos, "a", "new", true);
            rig.publish(2, qos, "a", "same", true);
            rig.publish(3, qos, "b", "x", true);
            let all = rig.take(stream);
            let news: Vec<_> = all.iter().skip_while(|one| *one != "new").collect();
            assert_eq!(news, ["new", "x"], "QoS {qos}: {all:?}");
            assert_eq!(all.len(), if qos == 2 { 2 } else { 5 });
            let kind = if qos == 2 { "PUBREC" } else { "PUBACK" };
            let acknowledged = [1, 2, 3].map(|id| format!("{kind} #{id}"));
            assert_eq!(rig.sent(), acknowledged, "all, once");
            // Not released, they come once more; at QoS 1 they are over.
            rig.reconnect(true);
            rig.publish(1, qos, "a", "new", true);
            rig.publish(3, qos, "b", "x", true);
            let again = rig.take(stream).len();
            assert_eq!(again, if qos == 2 { 0 } else { 2 });
        }
    });
}

#[test]
fn without_doubt_what_has_the_identifier_is_the_message() {
    both(|config| {
        for qos in [1, 2] {
            let mut rig = Rig::online(persistent(config.clone()));
            let stream = rig.stream(&["a"], qos);
            rig.publish(1, qos, "a", "x", false);
            rig.reconnect(true);
            // A server that writes something else into it is no reason to hand it out twice.
            rig.publish(1, qos, "a", "y", true);
            assert_eq!(rig.take(stream), ["x"]);
        }
    });
}

#[test]
fn a_stream_of_the_rest_outlives_the_session() {
    both(|config| {
        let options = StreamOptions {
            rest: true,
            ..StreamOptions::default()
        };
        let mut rig = Rig::online(persistent(config));
        let rest = rig.machine.subscribe(rig.now, Vec::new(), options, None);
        let rest = rest.unwrap();
        rig.reconnect(false);
        assert_eq!(rig.sent().len(), 1, "CONNECT");
        assert!(!rig.machine.has_stream_ended(rest));
        rig.publish(1, 1, "a", "x", false);
        assert_eq!(rig.take(rest), ["x"]);
    });
}
