//! Without a connection.

use std::time::Duration;

use super::rig::{Rig, both};
use crate::error::ErrorKind;
use crate::message::Message;
use crate::options::{OnFull, Outbox};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn qos_0_waits_only_if_asked() {
    both(|mut config| {
        let mut rig = Rig::new(config.clone());
        rig.machine.start(rig.now, None);
        let refused = rig.try_send(Message::new("a", "0")).unwrap_err();
        assert_eq!(refused, (ErrorKind::Offline, false));
        config.outbox = Outbox::memory().qos0(true);
        let mut rig = Rig::new(config);
        rig.machine.start(rig.now, None);
        rig.send(Message::new("a", "0"));
        rig.send(Message::new("a", "1").qos(1));
        rig.accept(false);
        let sent = rig.sent();
        assert_eq!(sent[1..], ["PUBLISH q1 #1 a=1", "PUBLISH q0 a=0"]);
    });
}

#[test]
fn must_have_6_an_hour_offline_at_ten_messages_a_second() {
    both(|mut config| {
        const LIMIT: usize = 1 << 20;
        config.outbox = Outbox::memory()
            .max_bytes(LIMIT)
            .max_age(Duration::from_secs(120))
            .on_full(OnFull::DropOldest);
        let mut rig = Rig::new(config);
        rig.machine.start(rig.now, None);
        rig.machine
            .on_failed(rig.now, crate::error::Error::new(ErrorKind::Io));
        let mut ops = Vec::new();
        let mut most = 0;
        for i in 0..36_000_u32 {
            rig.advance(SECOND / 10);
            // Nobody answers: each attempt fails.
            rig.machine
                .on_failed(rig.now, crate::error::Error::new(ErrorKind::Io));
            // Nine plain messages of 1 KiB, and one retained of a handful of topics.
            let message = if i % 10 == 0 {
                Message::new(format!("state/{}", i / 10 % 5), i)
                    .retain()
                    .qos(1)
            } else {
                Message::new("event", vec![b'x'; 1_024]).qos(1)
            };
            ops.push(rig.send(message));
            most = most.max(rig.machine.stats().queued_bytes);
        }
        assert!(most <= LIMIT, "{most}");
        let stats = rig.machine.stats();
        let queued = stats.queued as u64;
        assert_eq!(
            stats.dropped + stats.expired + stats.superseded + queued,
            36_000
        );
        assert_eq!(
            stats.failed,
            stats.dropped + stats.expired + stats.superseded
        );
        assert!(stats.dropped > 0 && stats.superseded > 3_500);
        let fates: Vec<String> = ops.into_iter().map(|op| rig.fate(op)).collect();
        let count = |what: &str| fates.iter().filter(|fate| *fate == what).count() as u64;
        assert_eq!(count("QueueFull No"), stats.dropped, "the counter is exact");
        assert_eq!(count("Superseded No"), stats.superseded);
        assert_eq!(count("pending"), queued);
        rig.wait_for_open();
        rig.accept(false);
        let sent = rig.sent();
        for topic in 0..5 {
            let newest = 35_950 + 10 * topic;
            let of_topic = format!(" state/{topic}=");
            let values: Vec<&String> = sent
                .iter()
                .filter(|line| line.contains(&of_topic))
                .collect();
            assert_eq!(values.len(), 1, "{values:?}");
            assert!(values[0].ends_with(&format!("={newest}")), "{values:?}");
        }
    });
}

#[test]
fn expired_messages_are_not_sent_and_their_senders_are_told_in_time() {
    both(|mut config| {
        config.outbox = Outbox::memory().max_age(10 * SECOND);
        let v5 = config.version.is_v5();
        let mut rig = Rig::new(config);
        rig.machine.start(rig.now, None);
        rig.machine
            .on_failed(rig.now, crate::error::Error::new(ErrorKind::Io));
        let mut short = Message::new("a", "short").qos(1);
        if v5 {
            short.properties_mut().expiry_s = Some(3);
        }
        let short = rig.send(short);
        let long = rig.send(Message::new("a", "long").qos(1));
        rig.advance(4 * SECOND);
        assert_eq!(rig.fate(short), if v5 { "Expired No" } else { "pending" });
        rig.advance(7 * SECOND);
        assert_eq!(rig.fate(long), "Expired No");
        let mut counted = Message::new("a", "counted").qos(1);
        if v5 {
            counted.properties_mut().expiry_s = Some(9);
        }
        rig.wait_for_open();
        rig.send(counted);
        rig.advance(2 * SECOND);
        rig.accept(false);
        let expiry = if v5 { " expiry=7" } else { "" };
        assert_eq!(
            rig.sent()[1..],
            [format!("PUBLISH q1 #1 a=counted{expiry}")]
        );
    });
}

#[test]
fn what_happens_when_the_queue_is_full_is_the_applications_choice() {
    both(|mut config| {
        let message = |n: u32| Message::new("a", n).qos(1);
        for (policy, refused) in [
            (OnFull::Wait, Some((ErrorKind::QueueFull, true))),
            (OnFull::Reject, Some((ErrorKind::QueueFull, false))),
            (OnFull::DropNewest, Some((ErrorKind::QueueFull, false))),
            (OnFull::DropOldest, None),
        ] {
            config.outbox = Outbox::memory().max_messages(2).on_full(policy);
            let mut rig = Rig::new(config.clone());
            rig.machine.start(rig.now, None);
            let first = rig.send(message(1));
            rig.send(message(2));
            assert_eq!(rig.try_send(message(3)).err(), refused);
            let dropped = u64::from(matches!(policy, OnFull::DropOldest | OnFull::DropNewest));
            assert_eq!(rig.machine.stats().dropped, dropped);
            let fate = rig.fate(first);
            assert_eq!(
                fate == "QueueFull No",
                policy == OnFull::DropOldest,
                "{fate}"
            );
            rig.accept(false);
            rig.sent();
            assert_eq!(rig.rooms, usize::from(policy == OnFull::Wait));
        }
    });
}

#[test]
fn a_message_can_be_taken_back_until_it_is_sent() {
    both(|config| {
        let mut rig = Rig::new(config);
        rig.machine.start(rig.now, None);
        let first = rig.send(Message::new("a", "1").qos(1));
        let second = rig.send(Message::new("a", "2").qos(1));
        assert!(rig.machine.cancel(first));
        assert_eq!(rig.fate(first), "Cancelled No");
        assert!(!rig.machine.cancel(first));
        rig.accept(false);
        assert_eq!(rig.sent()[1..], ["PUBLISH q1 #1 a=2"]);
        assert!(!rig.machine.cancel(second), "too late");
    });
}

#[test]
fn a_full_window_queues_and_the_queue_empties_into_it_in_order() {
    both(|mut config| {
        config.in_flight_max = 2;
        let mut rig = Rig::online(config);
        for n in 1..=4 {
            rig.send(Message::new("a", n).qos(1));
        }
        rig.send(Message::new("a", 0));
        let first = ["PUBLISH q1 #1 a=1", "PUBLISH q1 #2 a=2", "PUBLISH q0 a=0"];
        assert_eq!(rig.sent(), first, "QoS 0 is not held back");
        rig.puback(2);
        assert_eq!(rig.sent(), ["PUBLISH q1 #3 a=3"]);
        rig.puback(1);
        assert_eq!(rig.sent(), ["PUBLISH q1 #4 a=4"]);
    });
}

#[test]
fn servers_that_cannot_say_how_much_they_take_get_little_at_qos_2() {
    both(|config| {
        let most = if config.version.is_v5() { 50 } else { 20 };
        let mut rig = Rig::online(config);
        for n in 0..50 {
            rig.send(Message::new("a", n).qos(2));
        }
        assert_eq!(rig.sent().len(), most);
        rig.send(Message::new("a", "QoS 0 passes"));
        assert_eq!(rig.sent().len(), 1);
        rig.pubrec(1, martlet_codec::ReasonCode::Success);
        assert_eq!(rig.sent(), ["PUBREL #1"]);
        rig.pubcomp(1);
        assert_eq!(rig.sent().len(), usize::from(most == 20), "one more");
    });
}
