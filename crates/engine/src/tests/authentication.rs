//! Enhanced authentication: CONNECT, challenges, re-authentication, refusals.

use std::string::ToString;

use martlet_codec::{Auth, Packet, PropertiesBuf, Property, QoS, ReasonCode, Version};

use super::world::{Client, World, id_on};
use crate::{AuthKind, Authentication, CloseCause, Limits, Policy, Verdict};

fn world() -> World {
    let policy = Policy {
        authentication: Authentication::Ask,
        ..Policy::default()
    };
    World::with(1, &Limits::default(), &policy)
}

fn connect(w: &mut World) -> Client {
    let properties = [
        Property::AuthenticationMethod("TOY"),
        Property::AuthenticationData(b"hello"),
    ];
    w.connect_with(Version::V5, "c", true, &properties)
}

fn auth(w: &mut World, client: Client, reason: ReasonCode, method: &str, data: &[u8]) {
    let mut properties = PropertiesBuf::new();
    properties.push(Property::AuthenticationMethod(method));
    properties.push(Property::AuthenticationData(data));
    let packet = Auth {
        reason,
        properties: properties.as_properties(),
    };
    w.send(client, &Packet::Auth(packet));
}

fn challenge(data: &[u8]) -> Verdict {
    Verdict::Challenge {
        data: Some(data.into()),
    }
}

/// The broker never adds Reason String or User Property to AUTH, so they cannot make it too large.
//= mqtt5 4.12.0-2 test
//= mqtt5 4.12.0-5 test
//= mqtt5 3.15.2-2 test
//= mqtt5 3.15.2-3 test
#[test]
fn a_challenge_is_auth_0x18_with_the_method_and_connack_repeats_it() {
    let mut w = world();
    let c = connect(&mut w);
    assert!(w.received(c).is_empty(), "nothing before the verdict");
    assert!(!w.shards[0].wants_read(c.conn), "nor is anything read");
    let question = w.answer(challenge(b"prove it"));
    assert_eq!(question.kind, AuthKind::Connect);
    assert_eq!(question.data.as_deref(), Some(&b"hello"[..]));
    assert_eq!(w.received(c), ["AUTH 18 TOY=prove it"]);
    auth(
        &mut w,
        c,
        ReasonCode::ContinueAuthentication,
        "TOY",
        b"proof",
    );
    let question = w.answer(Verdict::Accept { data: None });
    assert_eq!(question.kind, AuthKind::Continue);
    assert_eq!(question.data.as_deref(), Some(&b"proof"[..]));
    assert_eq!(w.received(c), ["CONNACK 00 present=false TOY"]);
}

/// The authenticator is slow, and the client has tried again meanwhile.
#[test]
fn a_late_answer_does_not_bring_an_older_connection_in_behind_a_newer_one() {
    let mut w = world();
    let first = connect(&mut w);
    let second = connect(&mut w);
    let third = connect(&mut w);
    let late = w.questions.remove(0);
    w.answer(Verdict::Accept { data: None });
    assert_eq!(w.received(second), ["CONNACK 00 present=false TOY"]);
    assert_eq!(w.closed.len(), 1);
    assert_eq!(w.closed[0].1.conn, first.conn);
    w.questions.insert(0, late);
    w.answer(Verdict::Accept { data: None });
    assert!(w.received(first).is_empty());
    assert!(w.received(second).is_empty(), "it stays");
    w.answer(Verdict::Accept { data: None });
    assert_eq!(w.received(second), ["DISCONNECT 8E"]);
    assert_eq!(w.received(third), ["CONNACK 00 present=false TOY"]);
    w.drop_connection(third);
    assert!(w.shards[0].attempts.is_empty());
}

//= mqtt5 4.12.0-4 test
#[test]
fn a_refusal_is_a_connack_with_the_reason_and_the_end() {
    let mut w = world();
    let c = connect(&mut w);
    w.answer(challenge(b"prove it"));
    auth(
        &mut w,
        c,
        ReasonCode::ContinueAuthentication,
        "TOY",
        b"wrong",
    );
    w.answer(Verdict::Refuse {
        reason: ReasonCode::NotAuthorized,
    });
    assert_eq!(
        w.received(c),
        ["AUTH 18 TOY=prove it", "CONNACK 87 present=false"]
    );
    assert_eq!(w.shards[0].connection_count(), 0);
    assert_eq!(w.shards[0].session_count(), 0);
}

//= mqtt5 4.12.1-2 test
#[test]
fn a_failed_reauthentication_ends_the_connection_and_a_good_one_goes_on_beside_other_traffic() {
    let mut w = world();
    let c = connect(&mut w);
    w.answer(Verdict::Accept { data: None });
    w.received(c);
    auth(&mut w, c, ReasonCode::ReAuthenticate, "TOY", b"again");
    w.send(c, &Packet::PingReq);
    assert_eq!(w.received(c), ["PingResp"], "other traffic goes on");
    let question = w.answer(Verdict::Accept {
        data: Some(b"fine"[..].into()),
    });
    assert_eq!(question.kind, AuthKind::Reauthenticate);
    assert_eq!(w.received(c), ["AUTH 00 TOY=fine"]);
    auth(&mut w, c, ReasonCode::ReAuthenticate, "TOY", b"again");
    w.answer(Verdict::Refuse {
        reason: ReasonCode::NotAuthorized,
    });
    assert_eq!(w.received(c), ["DISCONNECT 87"]);
    assert_eq!(w.shards[0].connection_count(), 0);
}

#[test]
fn auth_out_of_turn_or_with_another_method_is_a_protocol_error() {
    for (reason, method) in [
        (ReasonCode::ContinueAuthentication, "TOY"),
        (ReasonCode::ReAuthenticate, "OTHER"),
    ] {
        let mut w = world();
        let c = connect(&mut w);
        w.answer(Verdict::Accept { data: None });
        w.received(c);
        auth(&mut w, c, reason, method, b"x");
        assert_eq!(w.received(c), ["DISCONNECT 82"]);
    }
}

#[test]
fn a_verdict_for_a_connection_that_is_gone_is_ignored() {
    let mut w = world();
    let c = connect(&mut w);
    w.drop_connection(c);
    w.answer(Verdict::Accept { data: None });
    assert_eq!(w.shards[0].session_count(), 0);
}

/// The last end of a connection, as it stands in the log.
fn last_end(w: &World) -> (&CloseCause, std::string::String) {
    let report = &w.closed.last().unwrap().1.report;
    (&report.cause, report.to_string())
}

/// Longer than CONNECT may take to arrive; and the operator's fault, not the client's.
#[test]
fn a_silent_authenticator_is_told_apart_from_a_missing_connect() {
    let mut w = world();
    let c = connect(&mut w);
    w.advance(100);
    let old = w.connect(Version::V311, "old", true);
    w.advance(9_800);
    assert_eq!(w.shards[0].connection_count(), 2);
    w.advance(400);
    assert_eq!(w.received(c), ["CONNACK 88 present=false"]);
    assert_eq!(
        w.received(old),
        ["CONNACK 88 present=false"],
        "return code 3"
    );
    assert_eq!(w.shards[0].counters().closed_authenticator_timeout, 2);
    assert_eq!(w.shards[0].counters().closed_connect_timeout, 0);
    let (cause, line) = last_end(&w);
    assert!(matches!(cause, CloseCause::AuthenticatorTimeout));
    assert_eq!(
        line,
        "client \"old\": the authenticator gave no verdict in time"
    );
    // It comes after all.
    w.answer(Verdict::Accept { data: None });
    assert_eq!(w.shards[0].session_count(), 0);
    assert!(w.shards[0].attempts.is_empty());
}

#[test]
fn each_step_has_its_time_and_a_silent_client_is_not_let_in() {
    let mut w = world();
    let c = connect(&mut w);
    w.advance(9_000);
    w.answer(challenge(b"1"));
    w.advance(9_000);
    let proof = ReasonCode::ContinueAuthentication;
    auth(&mut w, c, proof, "TOY", b"1");
    w.advance(9_000);
    w.answer(challenge(b"2"));
    assert_eq!(w.received(c), ["AUTH 18 TOY=1", "AUTH 18 TOY=2"]);
    w.advance(10_200);
    assert_eq!(w.received(c), ["CONNACK 87 present=false"]);
    assert_eq!(w.shards[0].counters().closed_challenge_timeout, 1);
    let (_, line) = last_end(&w);
    assert_eq!(
        line,
        "client \"c\": did not answer the authenticator's challenge in time"
    );
}

//= mqtt5 4.12.1-2 test
#[test]
fn a_reauthentication_has_its_time_too() {
    for challenged in [false, true] {
        let mut w = world();
        let c = connect(&mut w);
        w.answer(Verdict::Accept { data: None });
        // One that ends well leaves nothing behind but a timer that finds nothing.
        auth(&mut w, c, ReasonCode::ReAuthenticate, "TOY", b"once");
        w.answer(Verdict::Accept { data: None });
        w.advance(9_000);
        let timers = w.shards[0].timer_count();
        auth(&mut w, c, ReasonCode::ReAuthenticate, "TOY", b"again");
        assert_eq!(w.shards[0].timer_count(), timers, "one timer for all");
        if challenged {
            w.answer(challenge(b"prove it"));
        }
        w.received(c);
        w.advance(9_900);
        w.send(c, &Packet::PingReq);
        assert_eq!(w.received(c), ["PingResp"], "other traffic goes on");
        w.advance(300);
        let reason = if challenged { "87" } else { "89" };
        assert_eq!(
            w.received(c),
            [std::format!("DISCONNECT {reason}")],
            "{challenged}"
        );
        let counters = w.shards[0].counters();
        assert_eq!(
            (
                counters.closed_authenticator_timeout,
                counters.closed_challenge_timeout
            ),
            (u64::from(!challenged), u64::from(challenged))
        );
    }
}

/// What it has sent behind SUBSCRIBE is not read before SUBACK leaves: its answer may be there.
#[test]
fn a_challenged_client_is_not_blamed_while_it_is_not_read() {
    let policy = Policy {
        authentication: Authentication::Ask,
        ..Policy::default()
    };
    let mut w = World::with(2, &Limits::default(), &policy);
    let method = [Property::AuthenticationMethod("TOY")];
    let c = w.connect_with(Version::V5, &id_on(0, 2, "c"), true, &method);
    w.answer(Verdict::Accept { data: None });
    auth(&mut w, c, ReasonCode::ReAuthenticate, "TOY", b"again");
    w.answer(challenge(b"prove it"));
    w.received(c);
    w.held = [(1, 0)].into();
    w.subscribe(c, "t/#", QoS::AtMostOnce);
    assert!(!w.shards[0].wants_read(c.conn));
    for _ in 0..5 {
        w.advance(9_000);
    }
    auth(
        &mut w,
        c,
        ReasonCode::ContinueAuthentication,
        "TOY",
        b"proof",
    );
    w.held.clear();
    w.run();
    w.advance(9_000);
    w.answer(Verdict::Accept { data: None });
    assert_eq!(
        w.received(c).last().map(std::string::String::as_str),
        Some("AUTH 00 TOY=-")
    );
}

/// Both were asked about while there was room for one.
#[test]
fn a_late_verdict_does_not_exceed_the_bound_on_sessions() {
    let limits = Limits {
        sessions_max: 1,
        ..Limits::default()
    };
    let policy = Policy {
        authentication: Authentication::Ask,
        ..Policy::default()
    };
    let mut w = World::with(1, &limits, &policy);
    let first = w.connect(Version::V5, "first", true);
    let second = w.connect(Version::V5, "second", true);
    let again = w.connect(Version::V5, "first", true);
    w.answer(Verdict::Accept { data: None });
    w.answer(Verdict::Accept { data: None });
    assert_eq!(w.received(first), ["CONNACK 00 present=false"]);
    assert_eq!(w.received(second), ["CONNACK 97 present=false"]);
    assert_eq!(w.shards[0].counters().connections_refused, 1);
    assert_eq!(
        last_end(&w).1,
        "client \"second\": refused: quota exceeded (0x97)"
    );
    w.answer(Verdict::Accept { data: None });
    assert_eq!(w.received(again), ["CONNACK 00 present=false"]);
    assert_eq!(w.shards[0].session_count(), 1);
    // Nothing but CONNECT names it, and there is no room for it.
    w.connect(Version::V5, "third", true);
    assert!(last_end(&w).1.starts_with("client \"third\": refused"));
}

/// An authenticator does not know which codes which packet may carry.
#[test]
fn a_reason_that_the_packet_cannot_carry_becomes_not_authorized() {
    let mut w = world();
    let c = connect(&mut w);
    w.answer(Verdict::Refuse {
        reason: ReasonCode::Success,
    });
    assert_eq!(w.received(c), ["CONNACK 87 present=false"]);
    let c = connect(&mut w);
    w.answer(Verdict::Accept { data: None });
    auth(&mut w, c, ReasonCode::ReAuthenticate, "TOY", b"again");
    w.received(c);
    w.answer(Verdict::Refuse {
        reason: ReasonCode::BadUserNameOrPassword,
    });
    assert_eq!(w.received(c), ["DISCONNECT 87"]);
}
