//! Keep Alive, on both sides.

use std::time::Duration;

use martlet_codec::{Packet, Property};

use super::rig::{Rig, both};
use crate::error::ErrorKind;
use crate::message::Message;
use crate::state::State;

const SECOND: Duration = Duration::from_secs(1);

//= mqtt5 3.1.2-20 test
//= mqtt311 3.1.2-23 test
#[test]
fn must_have_7_an_idle_client_pings_in_time_for_ten_minutes() {
    both(|mut config| {
        config.keep_alive_s = 5;
        let mut rig = Rig::online(config);
        let mut last_sent = rig.now;
        for _ in 0..6_000 {
            rig.advance(SECOND / 10);
            if rig.sent().contains(&"PINGREQ".to_owned()) {
                assert!(rig.now.since(last_sent) <= 5 * SECOND);
                last_sent = rig.now;
                rig.receive(&Packet::PingResp);
            }
            assert!(rig.machine.state(rig.now).is_connected());
        }
        let pings = rig.machine.stats().pings;
        assert!((120..140).contains(&pings), "{pings}");
    });
}

#[test]
fn must_have_7_a_stalled_link_is_noticed_within_one_and_a_half_keep_alives() {
    both(|mut config| {
        config.keep_alive_s = 10;
        // Also while the client keeps sending: what it sends piles up somewhere.
        for busy in [false, true] {
            let mut rig = Rig::online(config.clone());
            let start = rig.now;
            while rig.machine.state(rig.now).is_connected() {
                rig.advance(SECOND / 2);
                if busy {
                    rig.try_send(Message::new("a", "1")).ok();
                }
                rig.sent();
            }
            let noticed = rig.now.since(start);
            assert!(noticed <= 15 * SECOND + SECOND / 2, "{noticed:?}");
            assert!(noticed >= 14 * SECOND, "{noticed:?}");
            let State::Connecting { last_error, .. } = rig.machine.state(rig.now) else {
                panic!("it tries again");
            };
            assert_eq!(last_error.unwrap().kind(), ErrorKind::Timeout);
        }
    });
}

#[test]
fn a_client_that_only_sends_asks_whether_anybody_is_there() {
    both(|mut config| {
        config.keep_alive_s = 10;
        let mut rig = Rig::online(config);
        for _ in 0..240 {
            rig.advance(SECOND / 4);
            rig.send(Message::new("a", "QoS 0 has no answer"));
            if rig.sent().contains(&"PINGREQ".to_owned()) {
                rig.receive(&Packet::PingResp);
            }
        }
        assert!(rig.machine.state(rig.now).is_connected());
        assert_eq!(rig.machine.stats().connections, 1);
    });
}

#[test]
fn a_client_that_only_receives_pings_all_the_same() {
    both(|mut config| {
        config.keep_alive_s = 10;
        let mut rig = Rig::online(config);
        rig.stream(&["a"], 0);
        for _ in 0..30 {
            rig.advance(SECOND);
            rig.publish(0, 0, "a", "x", false);
        }
        let sent = rig.sent();
        assert_eq!(
            sent.iter().filter(|line| *line == "PINGREQ").count(),
            3,
            "{sent:?}"
        );
    });
}

//= mqtt5 3.1.2-21 test
//= mqtt5 3.2.2-21 test
#[test]
fn must_have_7_the_server_decides_about_the_keep_alive() {
    let config = crate::machine::Config::new(martlet_codec::Version::V5);
    for (server, within) in [(4, 4 * SECOND), (0, Duration::MAX)] {
        let mut rig = Rig::new(config.clone());
        rig.machine.start(rig.now, None);
        rig.accept_with(false, &[Property::ServerKeepAlive(server)]);
        rig.sent();
        if within == Duration::MAX {
            assert_eq!(rig.machine.next_deadline(), None, "never");
        } else {
            rig.advance(within);
            assert_eq!(rig.sent(), ["PINGREQ"]);
        }
    }
}

#[test]
fn a_watchdog_connects_again_when_an_acknowledgement_does_not_come() {
    both(|mut config| {
        config.ack_watchdog = Some(20 * SECOND);
        config.keep_alive_s = 0;
        let mut rig = Rig::online(config);
        let op = rig.send(Message::new("a", "1").qos(1));
        rig.advance(19 * SECOND);
        assert!(rig.machine.state(rig.now).is_connected());
        rig.advance(SECOND);
        assert!(!rig.machine.state(rig.now).is_connected());
        assert_eq!(rig.fate(op), "pending", "the publish does not fail");
        rig.wait_for_open();
        rig.accept(false);
        assert!(rig.sent().last().unwrap().starts_with("PUBLISH"), "again");
        rig.advance(19 * SECOND);
        assert!(rig.machine.state(rig.now).is_connected());
    });
}
