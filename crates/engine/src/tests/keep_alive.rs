//! Keep Alive and CONNECT in time, of clients that the broker itself does not read.

use martlet_codec::{Connect, Packet, Properties, QoS, Version};

use super::world::{Client, World, id_on};
use crate::{Authentication, CloseCause, Limits, Policy, Verdict};

fn connect(w: &mut World, id: &str) -> Client {
    let c = w.connect_packet(&Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s: 10,
        properties: Properties::EMPTY,
        client_id: id,
        will: None,
        user_name: None,
        password: None,
    });
    assert_eq!(w.received(c), ["CONNACK 00 present=false"]);
    c
}

fn is_closed(w: &World, client: Client) -> bool {
    let of_it = |(shard, closed): &&(usize, crate::Closed)| {
        *shard == client.shard && closed.conn == client.conn
    };
    w.closed.iter().any(|closed| of_it(&closed))
}

/// A SUBACK waits for another shard: what the client says meanwhile is not read, PINGREQ neither.
#[test]
fn time_does_not_run_for_a_client_that_waits_for_us() {
    let mut w = World::new(2);
    let c = connect(&mut w, &id_on(0, 2, "c"));
    w.held = [(1, 0)].into();
    w.subscribe(c, "t/#", QoS::AtMostOnce);
    assert!(!w.shards[0].wants_read(c.conn));
    for _ in 0..10 {
        w.advance(10_000);
        w.send(c, &Packet::PingReq);
        assert!(w.received(c).is_empty(), "it is not read");
    }
    w.held.clear();
    w.run();
    let answers = w.received(c);
    assert_eq!(answers.len(), 11, "{answers:?}");
    w.advance(14_900);
    assert!(!is_closed(&w, c));
    w.advance(300);
    assert!(is_closed(&w, c), "now the silence is its own");
}

/// What it has sent may still be on its way when it is read again: the whole time runs anew.
#[test]
fn the_time_begins_anew_when_a_client_is_read_again() {
    let mut w = World::new(2);
    let c = connect(&mut w, &id_on(0, 2, "c"));
    w.held = [(1, 0)].into();
    w.subscribe(c, "t/#", QoS::AtMostOnce);
    w.advance(14_900);
    w.held.clear();
    w.run();
    assert!(w.shards[0].wants_read(c.conn));
    w.advance(14_900);
    assert!(!is_closed(&w, c));
    w.advance(300);
    assert!(is_closed(&w, c));
}

/// The driver reads nobody while other shards do not keep up.
#[test]
fn nobodys_time_runs_while_the_driver_reads_nobody() {
    let mut w = World::new(1);
    let c = connect(&mut w, "c");
    w.advance(10_000);
    w.shards[0].on_reads_paused();
    let (shard, fx) = w.shard_and_effects(0);
    let late = shard
        .on_open(crate::Time::from_millis(1_010_000), fx)
        .unwrap();
    w.advance(60_000);
    w.advance(60_000);
    assert!(w.closed.is_empty());
    let now = w.now;
    w.shards[0].on_reads_resumed(now);
    w.advance(4_900);
    assert!(w.closed.is_empty());
    w.advance(300);
    let closed = &w.closed[0].1;
    assert_eq!(closed.conn, late);
    assert!(matches!(closed.report.cause, CloseCause::ConnectTimeout));
    w.advance(9_700);
    assert!(!is_closed(&w, c));
    w.advance(300);
    assert!(is_closed(&w, c));
}

/// Optimisation: the timer that waited for CONNECT goes on as that of the keep alive.
#[test]
fn a_connection_has_one_timer() {
    let mut w = World::new(1);
    let c = connect(&mut w, "c");
    assert_eq!(w.shards[0].timer_count(), 1);
    for _ in 0..20 {
        w.advance(9_000);
        w.send(c, &Packet::PingReq);
        assert_eq!(w.received(c), ["PingResp"]);
        assert_eq!(w.shards[0].timer_count(), 1);
    }
    w.advance(15_200);
    assert!(is_closed(&w, c));
}

/// A keep alive that ends before CONNECT would have been due has a timer of its own.
#[test]
fn a_short_keep_alive_ends_in_time() {
    let mut w = World::new(1);
    let c = w.connect_packet(&Connect {
        version: Version::V311,
        clean_start: true,
        keep_alive_s: 1,
        properties: Properties::EMPTY,
        client_id: "c",
        will: None,
        user_name: None,
        password: None,
    });
    assert_eq!(w.received(c), ["CONNACK 00 present=false"]);
    w.advance(1_400);
    assert!(!is_closed(&w, c));
    w.advance(300);
    assert!(is_closed(&w, c));
}

/// While the authenticator thinks, the time for CONNECT runs out without being meant; the keep alive follows nevertheless.
#[test]
fn the_keep_alive_runs_behind_a_slow_authenticator() {
    let policy = Policy {
        authentication: Authentication::Ask,
        ..Policy::default()
    };
    let mut w = World::with(1, &Limits::default(), &policy);
    let c = w.connect_packet(&Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s: 10,
        properties: Properties::EMPTY,
        client_id: "c",
        will: None,
        user_name: None,
        password: None,
    });
    for _ in 0..3 {
        w.advance(3_000);
    }
    w.answer(Verdict::Accept { data: None });
    assert_eq!(w.received(c), ["CONNACK 00 present=false"]);
    w.advance(14_900);
    assert!(!is_closed(&w, c));
    w.advance(300);
    assert!(is_closed(&w, c));
}
