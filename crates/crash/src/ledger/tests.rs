//! Each kind of fault, told to the books: they must notice it, and nothing else.

use super::*;

/// Books with one durable session that has `a/#` at QoS 2, acknowledged.
fn books() -> (Ledger, SessionId) {
    let mut ledger = Ledger::default();
    let mut session = Session::new("sub".to_owned(), true, None);
    let granted = Some(ledger.moment());
    session.subscriptions.push(Subscription {
        filter: "a/#".to_owned(),
        qos: QoS::ExactlyOnce,
        granted,
        again: 0,
        end_asked: None,
        ended: None,
    });
    let session = ledger.begin(session);
    (ledger, session)
}

fn message(qos: QoS) -> Message {
    Message {
        publisher: 0,
        topic: 0,
        qos,
        retain: false,
        clear: false,
        will: false,
        payload_len: 20,
        sent: 0,
        sent_last: 0,
        acked: None,
    }
}

fn publish(ledger: &mut Ledger, qos: QoS) -> MessageId {
    let id = ledger.send(message(qos));
    ledger.acknowledge(id);
    id
}

fn deliver(ledger: &mut Ledger, session: SessionId, id: MessageId) {
    let payload = payload_of(id, ledger.messages[id].payload_len);
    let qos = ledger.messages[id].qos;
    ledger.arrive(Arrival {
        session,
        topic: TOPICS[ledger.messages[id].topic],
        payload: &payload,
        qos,
        replayed: false,
        repeated: false,
    });
}

#[track_caller]
fn only(ledger: &Ledger, kind: Kind, count: u64) {
    assert_eq!(ledger.faults.count(kind), count);
    assert_eq!(ledger.faults.total(), count);
}

#[test]
fn what_was_acknowledged_is_owed_and_what_was_not_is_unknown() {
    let (mut ledger, session) = books();
    let first = publish(&mut ledger, QoS::AtLeastOnce);
    let second = publish(&mut ledger, QoS::ExactlyOnce);
    ledger.send(message(QoS::ExactlyOnce));
    publish(&mut ledger, QoS::AtMostOnce);
    deliver(&mut ledger, session, second);
    let debts = ledger.debts(0);
    assert_eq!(debts, [Debt::Session(session, first)]);
    ledger.write_off(&debts, usize::MAX);
    only(&ledger, Kind::Lost, 1);
}

#[test]
fn a_silent_subscription_is_lost_not_each_of_its_messages() {
    let (mut ledger, _) = books();
    publish(&mut ledger, QoS::AtLeastOnce);
    let marker = publish(&mut ledger, QoS::AtLeastOnce);
    let debts = ledger.debts(0);
    assert_eq!(debts.len(), 2);
    ledger.write_off(&debts, marker);
    only(&ledger, Kind::SubscriptionLost, 1);
}

#[test]
fn a_will_that_never_came_is_a_lost_will() {
    let (mut ledger, _) = books();
    let id = ledger.send(Message {
        will: true,
        ..message(QoS::ExactlyOnce)
    });
    ledger.acknowledge(id);
    ledger.write_off(&ledger.debts(0), usize::MAX);
    only(&ledger, Kind::WillLost, 1);
}

#[test]
fn doubles_count_at_qos_2_only() {
    let (mut ledger, session) = books();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let id = publish(&mut ledger, qos);
        deliver(&mut ledger, session, id);
        deliver(&mut ledger, session, id);
    }
    only(&ledger, Kind::Doubled, 1);
}

#[test]
fn in_a_group_once_means_once_for_all_members() {
    let mut ledger = Ledger::default();
    let members: Vec<_> = (0..2)
        .map(|_| {
            let mut session = Session::new("member".to_owned(), true, Some(0));
            session.subscriptions.push(Subscription {
                filter: GROUPS[0].to_owned(),
                qos: QoS::ExactlyOnce,
                granted: Some(0),
                again: 0,
                end_asked: None,
                ended: None,
            });
            ledger.begin(session)
        })
        .collect();
    let topic = TOPICS.iter().position(|topic| *topic == "g/0").unwrap();
    let in_group = || Message {
        topic,
        ..message(QoS::ExactlyOnce)
    };
    let (first, second) = (ledger.send(in_group()), ledger.send(in_group()));
    ledger.acknowledge(first);
    ledger.acknowledge(second);
    deliver(&mut ledger, members[1], first);
    assert_eq!(ledger.debts(0), [Debt::Group(0, second)]);
    only(&ledger, Kind::Doubled, 0);
    deliver(&mut ledger, members[0], first);
    only(&ledger, Kind::Doubled, 1);
}

#[test]
fn order_counts_first_arrivals() {
    let (mut ledger, session) = books();
    let ids: Vec<_> = (0..3)
        .map(|_| publish(&mut ledger, QoS::AtLeastOnce))
        .collect();
    for id in [ids[0], ids[1], ids[0], ids[1]] {
        deliver(&mut ledger, session, id);
    }
    only(&ledger, Kind::Order, 0);
    let late = publish(&mut ledger, QoS::AtLeastOnce);
    deliver(&mut ledger, session, late);
    deliver(&mut ledger, session, ids[2]);
    only(&ledger, Kind::Order, 1);
}

/// What happens to a subscription while two messages of one publisher are under way, and to the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// UNSUBSCRIBE is sent.
    AskEnd,
    /// UNSUBACK has come.
    End,
    /// The same filter is subscribed to again.
    Anew,
    /// Another one is.
    Other,
    /// The PUBLISH is sent again.
    Again,
    Kill,
}

/// How many messages are out of order if `a/#` has this behind it, and the second message comes before the first.
fn out_of_order(qos: QoS, steps: &[Step]) -> u64 {
    let (mut ledger, session) = books();
    let first = publish(&mut ledger, qos);
    let second = publish(&mut ledger, qos);
    for step in steps {
        let now = ledger.moment();
        let subscriptions = &mut ledger.sessions[session].subscriptions;
        match step {
            Step::AskEnd => subscriptions[0].end_asked = Some(now),
            Step::End => subscriptions[0].ended = Some(now),
            Step::Anew | Step::Other => {
                let mut other = Subscription {
                    granted: None,
                    end_asked: None,
                    ended: None,
                    ..subscriptions[0].clone()
                };
                if *step == Step::Other {
                    other.filter = "other".to_owned();
                }
                subscriptions.push(other);
            }
            Step::Again => ledger.resend(first),
            Step::Kill => ledger.kill(),
        }
    }
    deliver(&mut ledger, session, second);
    deliver(&mut ledger, session, first);
    assert_eq!(ledger.faults.total(), ledger.faults.count(Kind::Order));
    ledger.faults.total()
}

/// Who ended a subscription and made it anew may have missed the first copy: at QoS 2 only over a kill.
#[test]
fn a_message_sent_again_may_come_late_to_who_has_subscribed_anew() {
    use Step::{Again, Anew, AskEnd, End, Kill, Other};
    let one = QoS::AtLeastOnce;
    let two = QoS::ExactlyOnce;
    let anew = [AskEnd, End, Anew];
    let late: [(QoS, &[Step]); 5] = [
        (one, &[AskEnd, End, Anew, Again]),
        (one, &[AskEnd, End, Anew, Kill, Again]),
        (two, &[AskEnd, End, Anew, Kill, Again]),
        (two, &[AskEnd, End, Anew, Kill, Kill, Again, Again]),
        (two, &[Again, AskEnd, End, Anew, Kill, Again]),
    ];
    for (qos, steps) in late {
        assert_eq!(out_of_order(qos, steps), 0, "{qos:?} {steps:?}");
    }
    let wrong: [(QoS, &[Step]); 17] = [
        // It was sent once.
        (one, &anew),
        (two, &anew),
        (two, &[AskEnd, End, Anew, Kill]),
        // It had its subscription all the time.
        (one, &[Again]),
        (two, &[Kill, Again]),
        (two, &[Anew, Kill, Again]),
        // The subscription did not end before the second copy.
        (one, &[Again, AskEnd, End, Anew]),
        (one, &[AskEnd, Again]),
        (two, &[Kill, Again, AskEnd, End, Anew]),
        (two, &[AskEnd, Kill, Again, End, Anew]),
        // Nothing came in its place: what came first came through it, as the first copy would have.
        (one, &[AskEnd, End, Again]),
        (two, &[AskEnd, End, Kill, Again]),
        (two, &[AskEnd, End, Other, Kill, Again]),
        // The broker that had the first copy, or its heir, still knew the identifier.
        (two, &[AskEnd, End, Anew, Again]),
        (two, &[Kill, AskEnd, End, Anew, Again]),
        (two, &[AskEnd, End, Anew, Again, Kill]),
        (two, &[AskEnd, Kill, End, Anew, Again]),
    ];
    for (qos, steps) in wrong {
        assert_eq!(out_of_order(qos, steps), 1, "{qos:?} {steps:?}");
    }
}

/// With a subscription that stays, the exception is none of its business.
#[test]
fn whoever_has_another_subscription_to_the_topic_gets_all_in_order() {
    let (mut ledger, session) = books();
    let mut other = ledger.sessions[session].subscriptions[0].clone();
    other.filter = "a/+".to_owned();
    ledger.sessions[session].subscriptions.push(other);
    let first = publish(&mut ledger, QoS::ExactlyOnce);
    let second = publish(&mut ledger, QoS::ExactlyOnce);
    let now = ledger.moment();
    let subscription = &mut ledger.sessions[session].subscriptions[0];
    (subscription.end_asked, subscription.ended) = (Some(now), Some(now));
    ledger.kill();
    ledger.resend(first);
    deliver(&mut ledger, session, second);
    deliver(&mut ledger, session, first);
    only(&ledger, Kind::Order, 1);
}

#[test]
fn an_ended_subscription_gets_what_was_sent_before_and_nothing_after() {
    let (mut ledger, session) = books();
    let before = publish(&mut ledger, QoS::AtLeastOnce);
    let (asked, ended) = (ledger.moment(), ledger.moment());
    let subscription = &mut ledger.sessions[session].subscriptions[0];
    (subscription.end_asked, subscription.ended) = (Some(asked), Some(ended));
    let after = publish(&mut ledger, QoS::AtLeastOnce);
    assert_eq!(ledger.debts(0), []);
    deliver(&mut ledger, session, before);
    only(&ledger, Kind::Resurrected, 0);
    deliver(&mut ledger, session, after);
    only(&ledger, Kind::Resurrected, 1);
}

#[test]
fn changed_payloads_and_wrong_topics_are_phantoms() {
    let (mut ledger, session) = books();
    let id = publish(&mut ledger, QoS::AtLeastOnce);
    let mut payload = payload_of(id, 20);
    let right = Arrival {
        session,
        topic: TOPICS[0],
        payload: &payload.clone(),
        qos: QoS::AtLeastOnce,
        replayed: false,
        repeated: false,
    };
    assert_eq!(ledger.arrive(right), Some(id));
    let topic = TOPICS[1];
    assert_eq!(ledger.arrive(Arrival { topic, ..right }), None);
    payload[19] = b'!';
    let payload = &payload;
    assert_eq!(ledger.arrive(Arrival { payload, ..right }), None);
    only(&ledger, Kind::Phantom, 2);
}

#[test]
fn the_retained_message_is_the_last_certain_one_or_a_later_unknown_one() {
    let retained = |clear| Message {
        retain: true,
        clear,
        topic: 13,
        ..message(QoS::AtLeastOnce)
    };
    let mut ledger = Ledger::default();
    let unknown_before = ledger.send(retained(false));
    let certain = ledger.send(retained(false));
    ledger.acknowledge(certain);
    let unknown_after = ledger.send(retained(false));
    for right in [certain, unknown_after] {
        ledger.check_retained(13..14, &BTreeMap::from([(13, right)]));
    }
    only(&ledger, Kind::Retained, 0);
    ledger.check_retained(13..14, &BTreeMap::from([(13, unknown_before)]));
    ledger.check_retained(13..14, &BTreeMap::new());
    only(&ledger, Kind::Retained, 2);
    ledger.resend(unknown_before);
    ledger.check_retained(13..14, &BTreeMap::from([(13, unknown_before)]));
    let cleared = ledger.send(retained(true));
    ledger.acknowledge(cleared);
    ledger.check_retained(13..14, &BTreeMap::new());
    only(&ledger, Kind::Retained, 2);
}
