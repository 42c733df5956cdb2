//! Enhanced authentication: CONNECT, challenges, re-authentication, refusals.

use martlet_codec::{Auth, Packet, PropertiesBuf, Property, ReasonCode, Version};

use super::world::{Client, World};
use crate::{AuthKind, Authentication, Limits, Policy, Verdict};

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
