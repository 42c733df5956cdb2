//! From publish to acknowledgement.

use martlet_codec::ReasonCode;

use super::rig::{Rig, both};
use crate::error::ErrorKind;
use crate::machine::{Config, Outcome};
use crate::message::Message;
use std::time::Duration;

//= mqtt5 4.3.1-1 test
//= mqtt311 4.3.1-1 test
//= mqtt5 4.3.2-1 test
//= mqtt5 4.3.2-2 test
//= mqtt5 4.3.2-3 test
//= mqtt311 4.3.2-1 test
#[test]
fn qos_0_is_done_when_written_and_qos_1_when_acknowledged() {
    both(|config| {
        let mut rig = Rig::online(config);
        let plain = rig.send(Message::new("a", "0"));
        assert_eq!(rig.fate(plain), "pending", "not written yet");
        let paced = rig.send(Message::new("a", "1").qos(1));
        let retained = rig.send(Message::new("a", "2").qos(1).retain());
        assert_eq!(
            rig.sent(),
            [
                "PUBLISH q0 a=0",
                "PUBLISH q1 #1 a=1",
                "PUBLISH retain q1 #2 a=2"
            ]
        );
        assert_eq!(rig.fate(plain), "published");
        rig.puback(2);
        assert_eq!(
            (rig.fate(paced), rig.fate(retained)),
            ("pending".into(), "published".into())
        );
        rig.puback(2);
        rig.puback(1);
        assert_eq!(rig.fate(paced), "published");
        assert_eq!(rig.machine.stats().in_flight, 0);
        assert_eq!(rig.machine.stats().published, 3);
    });
}

//= mqtt5 4.3.3-1 test
//= mqtt5 4.3.3-2 test
//= mqtt5 4.3.3-3 test
//= mqtt5 4.3.3-4 test
//= mqtt5 4.3.3-5 test
//= mqtt311 4.3.3-1 test
//= mqtt5 4.6.0-4 test
//= mqtt311 4.6.0-4 test
#[test]
fn qos_2_is_done_at_pubcomp_and_pubrels_follow_the_pubrecs() {
    both(|config| {
        let mut rig = Rig::online(config);
        let first = rig.send(Message::new("a", "1").qos(2));
        let second = rig.send(Message::new("a", "2").qos(2));
        assert_eq!(rig.sent(), ["PUBLISH q2 #1 a=1", "PUBLISH q2 #2 a=2"]);
        rig.pubrec(2, ReasonCode::Success);
        rig.pubrec(1, ReasonCode::Success);
        assert_eq!(rig.sent(), ["PUBREL #2", "PUBREL #1"]);
        rig.pubrec(1, ReasonCode::Success);
        assert_eq!(
            rig.sent(),
            ["PUBREL #1"],
            "a repetition has its answer, too"
        );
        rig.pubcomp(1);
        assert_eq!(
            (rig.fate(first), rig.fate(second)),
            ("published".into(), "pending".into())
        );
        rig.pubcomp(2);
        assert_eq!(rig.fate(second), "published");
        assert_eq!(rig.machine.stats().in_flight, 0);
    });
}

//= mqtt5 4.4.0-2 test
#[test]
fn a_refusal_ends_the_message_and_says_that_it_was_not_delivered() {
    let mut rig = Rig::online(Config::new(martlet_codec::Version::V5));
    let first = rig.send(Message::new("a", "1").qos(1));
    let second = rig.send(Message::new("a", "2").qos(2));
    rig.sent();
    rig.puback_with(1, ReasonCode::NotAuthorized);
    rig.pubrec(2, ReasonCode::QuotaExceeded);
    assert_eq!(rig.fate(first), "Rejected(NotAuthorized) No");
    assert_eq!(rig.fate(second), "Rejected(QuotaExceeded) No");
    assert_eq!(rig.sent(), [""; 0], "no PUBREL for what was refused");
    rig.reconnect(false);
    assert_eq!(rig.sent().len(), 1, "only CONNECT");
}

#[test]
fn a_receipt_says_how_it_went() {
    let mut rig = Rig::new(Config::new(martlet_codec::Version::V5));
    rig.machine.start(rig.now, None);
    let op = rig.send(Message::new("a", "1").qos(1));
    rig.advance(Duration::from_secs(3));
    rig.accept(false);
    rig.advance(Duration::from_secs(2));
    rig.puback_with(1, ReasonCode::NoMatchingSubscribers);
    let Some(Outcome::Published(receipt)) = rig.outcome(op) else {
        panic!("published");
    };
    assert!(receipt.no_subscribers && !receipt.retransmitted);
    assert_eq!(receipt.queued_for, Duration::from_secs(3));
    assert_eq!(receipt.rtt, Duration::from_secs(2));
}

#[test]
fn what_makes_no_sense_is_refused_before_it_is_admitted() {
    both(|config| {
        let v5 = config.version.is_v5();
        let mut rig = Rig::online(config);
        let wrong = |rig: &mut Rig, message| rig.try_send(message).unwrap_err().0;
        assert_eq!(
            wrong(&mut rig, Message::new("a/+", "")),
            ErrorKind::InvalidTopic
        );
        assert_eq!(
            wrong(&mut rig, Message::new("", "")),
            ErrorKind::InvalidTopic
        );
        assert_eq!(
            wrong(&mut rig, Message::new("a", "").qos(3)),
            ErrorKind::InvalidOption
        );
        let mut typed = Message::new("a", "");
        typed.properties_mut().content_type = Some("x\0".into());
        let kind = wrong(&mut rig, typed.clone());
        assert_eq!(matches!(kind, ErrorKind::InvalidOption), v5);
        assert_eq!(matches!(kind, ErrorKind::NotSupported(_)), !v5);
        assert_eq!(rig.sent(), [""; 0]);
        assert_eq!(rig.machine.stats().in_flight, 0);
    });
}

//= mqtt5 3.14.4-1 test
//= mqtt5 3.14.4-2 test
//= mqtt311 3.14.4-1 test
//= mqtt311 3.14.4-2 test
#[test]
fn closing_waits_for_what_was_admitted_and_then_says_goodbye() {
    both(|config| {
        let mut rig = Rig::online(config);
        let message = rig.send(Message::new("a", "1").qos(1));
        let close = rig.op();
        rig.machine.close(rig.now, close);
        assert_eq!(
            rig.try_send(Message::new("b", "2")).unwrap_err().0,
            ErrorKind::Closed
        );
        assert!(rig.outcome(close).is_none());
        assert_eq!(rig.sent(), ["PUBLISH q1 #1 a=1"]);
        rig.transport.clear();
        rig.puback(1);
        assert_eq!(rig.fate(message), "published");
        assert!(matches!(rig.outcome(close), Some(Outcome::Closed(Ok(())))));
        assert_eq!(rig.sent(), ["DISCONNECT"]);
        assert_eq!(rig.transport, ["close"]);
        assert!(rig.machine.is_closed() && rig.machine.next_deadline().is_none());
    });
}

#[test]
fn a_flush_waits_for_what_came_before_it() {
    both(|config| {
        let mut rig = Rig::online(config);
        rig.send(Message::new("a", "1").qos(1));
        let flush = rig.op();
        rig.machine.flush(flush);
        rig.send(Message::new("a", "2").qos(1));
        assert!(rig.outcome(flush).is_none());
        rig.puback(1);
        assert!(matches!(rig.outcome(flush), Some(Outcome::Flushed)));
    });
}

#[test]
fn birth_comes_first_and_goodbye_last() {
    both(|mut config| {
        let message = |payload| Message::new("status", payload).retain();
        config.birth = Some(message("on").qos(1));
        config.will = Some(message("off"));
        config.goodbye = Some(message("off").qos(1));
        let mut rig = Rig::new(config);
        rig.machine.start(rig.now, None);
        rig.send(Message::new("a", "queued").qos(1));
        rig.accept(false);
        let sent = rig.sent();
        let expected = ["PUBLISH retain q1 #1 status=on", "PUBLISH q1 #2 a=queued"];
        assert_eq!(sent[1..], expected);
        rig.puback(1);
        rig.puback(2);
        let close = rig.op();
        rig.machine.close(rig.now, close);
        assert_eq!(rig.sent(), ["PUBLISH retain q1 #3 status=off"]);
        rig.puback(3);
        assert_eq!(rig.sent(), ["DISCONNECT"]);
    });
}

#[test]
fn a_client_that_nobody_holds_sends_what_it_has_and_goes() {
    both(|mut config| {
        config.goodbye = Some(Message::new("status", "off").qos(1));
        let mut rig = Rig::online(config);
        rig.send(Message::new("a", "1").qos(1));
        rig.machine.release(rig.now);
        assert_eq!(rig.sent(), ["PUBLISH q1 #1 a=1"]);
        rig.advance(Duration::from_secs(9));
        assert!(!rig.machine.is_closed());
        rig.advance(Duration::from_secs(1));
        assert_eq!(rig.sent(), ["PUBLISH q0 status=off", "DISCONNECT"]);
        assert!(rig.machine.is_closed());
    });
}
