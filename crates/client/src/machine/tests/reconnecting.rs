//! Attempts, refusals, and what is said about them.

use std::time::Duration;

use martlet_codec::{Packet, ReasonCode, Version};

use super::rig::{Rig, both};
use crate::error::{Error, ErrorKind};
use crate::machine::{Config, Outcome};
use crate::options::Session;
use crate::state::State;

fn last_error(rig: &Rig) -> Error {
    match rig.machine.state(rig.now) {
        State::Connecting { last_error, .. } | State::Closed { last_error } => last_error.unwrap(),
        State::Connected { .. } => panic!("connected"),
    }
}

//= mqtt5 3.1.0-1 test
//= mqtt311 3.1.0-1 test
#[test]
fn connect_is_the_first_packet_and_says_what_was_asked_for() {
    both(|mut config| {
        config.keep_alive_s = 33;
        config.client_id = "me".into();
        let v5 = config.version.is_v5();
        for (session, first, second) in [
            (Session::clean(), " clean", " clean"),
            (
                Session::fresh(Duration::from_secs(9)),
                " clean expiry=9",
                " expiry=9",
            ),
            (
                Session::persistent(Duration::from_secs(9)),
                " expiry=9",
                " expiry=9",
            ),
        ] {
            config.session = session;
            let mut rig = Rig::new(config.clone());
            rig.machine.start(rig.now, None);
            rig.accept(false);
            let line = |flags: &str| {
                let flags = if v5 {
                    flags.into()
                } else {
                    flags.replace(" expiry=9", "")
                };
                format!("CONNECT{flags} id=me keep=33")
            };
            let sent = rig.sent();
            assert_eq!(sent[0], line(first));
            if session == Session::fresh(Duration::from_secs(9)) && !v5 {
                // A clean session cannot be resumed in 3.1.1: the next one is for use.
                assert_eq!(sent[1..], ["DISCONNECT"]);
                assert_eq!(rig.transport, ["open", "close", "open"]);
                rig.accept(false);
                assert_eq!(rig.sent(), [line(second)]);
            }
            assert!(rig.machine.state(rig.now).is_connected());
            rig.reconnect(false);
            assert_eq!(rig.sent(), [line(second)]);
        }
    });
}

#[test]
fn the_first_connection_may_be_told_to_decide() {
    both(|config| {
        let mut rig = Rig::new(config.clone());
        let op = rig.op();
        rig.machine.start(rig.now, Some(op));
        rig.refuse(ReasonCode::NotAuthorized);
        let Some(Outcome::ConnectFailed(error)) = rig.outcome(op) else {
            panic!("refused");
        };
        assert_eq!(error.kind(), ErrorKind::Refused(ReasonCode::NotAuthorized));
        assert!(rig.machine.is_closed());
        let mut rig = Rig::new(config);
        let op = rig.op();
        rig.machine.start(rig.now, Some(op));
        rig.accept(false);
        assert!(matches!(rig.outcome(op), Some(Outcome::Connected)));
        rig.cut();
        assert!(!rig.machine.is_closed(), "later it tries again by itself");
    });
}

#[test]
fn must_have_4_attempts_are_spread_and_become_rare() {
    both(|config| {
        let mut rig = Rig::new(config);
        rig.machine.start(rig.now, None);
        let mut waits = Vec::new();
        for _ in 0..100 {
            rig.machine.on_failed(rig.now, Error::new(ErrorKind::Io));
            let failed = rig.now;
            rig.wait_for_open();
            waits.push(rig.now.since(failed));
        }
        assert!(waits[0] <= Duration::from_millis(250));
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(60)));
        let hour: Duration = waits[20..].iter().sum();
        assert!(
            hour / 80 > Duration::from_secs(20),
            "{:?} on average",
            hour / 80
        );
        let mut distinct = waits[20..].to_vec();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), 80, "with jitter");
    });
}

#[test]
fn a_server_that_accepts_and_throws_out_is_not_asked_in_a_tight_loop() {
    both(|config| {
        let mut rig = Rig::new(config);
        rig.machine.start(rig.now, None);
        let start = rig.now;
        for _ in 0..20 {
            rig.accept(false);
            rig.cut();
            rig.wait_for_open();
        }
        assert!(rig.now.since(start) > Duration::from_secs(120));
        // A connection that lasts starts over.
        rig.accept(false);
        rig.advance(Duration::from_secs(31));
        rig.cut();
        let cut = rig.now;
        rig.wait_for_open();
        assert!(rig.now.since(cut) <= Duration::from_millis(250));
    });
}

#[test]
fn refusals_that_will_not_go_away_wait_long() {
    both(|config| {
        for reason in [ReasonCode::BadUserNameOrPassword, ReasonCode::NotAuthorized] {
            let mut rig = Rig::new(config.clone());
            rig.machine.start(rig.now, None);
            rig.refuse(reason);
            assert_eq!(last_error(&rig).kind(), ErrorKind::Refused(reason));
            let refused = rig.now;
            rig.wait_for_open();
            assert!(rig.now.since(refused) >= Duration::from_secs(30));
        }
    });
}

#[test]
fn a_session_that_was_taken_over_is_not_fought_for() {
    let mut rig = Rig::online(Config::new(Version::V5));
    rig.disconnect(ReasonCode::SessionTakenOver, None);
    let error = last_error(&rig);
    assert!(
        error
            .to_string()
            .contains("another client uses the same client identifier")
    );
    let thrown_out = rig.now;
    rig.wait_for_open();
    assert!(rig.now.since(thrown_out) >= Duration::from_secs(30));
}

#[test]
fn another_server_is_reported_and_not_followed() {
    let mut rig = Rig::online(Config::new(Version::V5));
    rig.disconnect(ReasonCode::ServerMoved, Some("b.example:1883"));
    assert_eq!(last_error(&rig).server_reference(), Some("b.example:1883"));
}

#[test]
fn a_server_that_does_not_answer_is_given_up_in_time() {
    both(|config| {
        let mut rig = Rig::new(config);
        rig.machine.start(rig.now, None);
        rig.advance(Duration::from_secs(29));
        rig.open();
        rig.transport.clear();
        rig.advance(Duration::from_secs(1));
        assert_eq!(rig.transport[0], "close");
        assert_eq!(last_error(&rig).kind(), ErrorKind::Timeout);
    });
}

//= mqtt5 3.2.2-4 test
#[test]
fn a_session_where_none_can_be_ends_the_connection() {
    both(|config| {
        let mut rig = Rig::new(config);
        rig.machine.start(rig.now, None);
        rig.accept(true);
        assert_eq!(last_error(&rig).kind(), ErrorKind::Protocol);
    });
}

//= mqtt5 4.12.0-7 test
#[test]
fn packets_that_only_a_client_may_send_end_the_connection() {
    both(|config| {
        let mut rig = Rig::new(config.clone());
        rig.machine.start(rig.now, None);
        rig.open();
        rig.receive(&Packet::PingResp);
        assert_eq!(
            last_error(&rig).kind(),
            ErrorKind::Protocol,
            "before CONNACK"
        );
        let mut rig = Rig::online(config);
        rig.receive(&Packet::ConnAck(martlet_codec::ConnAck {
            session_present: false,
            reason: ReasonCode::Success,
            properties: martlet_codec::Properties::EMPTY,
        }));
        assert_eq!(
            last_error(&rig).kind(),
            ErrorKind::Protocol,
            "a second CONNACK"
        );
    });
}

#[test]
fn without_reconnects_the_end_of_the_connection_is_the_end() {
    both(|mut config| {
        config.reconnects = false;
        let mut rig = Rig::online(config);
        let op = rig.send(crate::Message::new("a", "1").qos(1));
        rig.cut();
        assert!(rig.machine.is_closed());
        assert_eq!(rig.fate(op), "Closed Maybe");
        assert_eq!(last_error(&rig).kind(), ErrorKind::Io);
    });
}

#[test]
fn a_server_that_gave_us_a_name_is_asked_for_the_session_by_it() {
    let mut config = Config::new(Version::V5);
    config.session = Session::fresh(Duration::from_secs(60));
    let mut rig = Rig::new(config);
    rig.machine.start(rig.now, None);
    let given = [martlet_codec::Property::AssignedClientIdentifier("given")];
    rig.accept_with(false, &given);
    assert_eq!(rig.sent(), ["CONNECT clean expiry=60 id= keep=60"]);
    rig.reconnect(true);
    assert_eq!(rig.sent(), ["CONNECT expiry=60 id=given keep=60"]);
}
