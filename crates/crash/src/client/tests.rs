//! What a client holds to be certain of its wills.

use martlet_codec::{ConnAck, Packet, Properties, ReasonCode};

use super::{Client, End};
use crate::ledger::{Ledger, MessageId};
use crate::plan::cast;
use crate::rng::Rng;

/// A client with a will without delay, online; and that will.
fn mourner(ledger: &mut Ledger) -> (Client, MessageId) {
    let habits = cast(&mut Rng::new(1)).into_iter();
    let mut wills = habits.filter(|habits| matches!(habits.will, Some((_, 0))));
    let mut client = Client::new(0, wills.next().unwrap());
    let will = come(&mut client, false, ledger);
    (client, will)
}

/// It connects and is let in. Gives the will of this connection.
fn come(client: &mut Client, session_present: bool, ledger: &mut Ledger) -> MessageId {
    client.connect(0, false, ledger);
    let connack = Packet::ConnAck(ConnAck {
        session_present,
        reason: ReasonCode::Success,
        properties: Properties::EMPTY,
    });
    let mut bytes = Vec::new();
    connack.encode(client.version(), &mut bytes).unwrap();
    client.on_bytes(&bytes, ledger).unwrap();
    client.will.unwrap()
}

fn is_certain(will: MessageId, ledger: &Ledger) -> bool {
    ledger.messages[will].acked.is_some()
}

#[test]
fn a_broker_that_stops_may_not_have_noticed_the_end_of_a_connection() {
    let mut ledger = Ledger::default();
    let (mut client, will) = mourner(&mut ledger);
    client.disconnected(End::Broke, false, &mut ledger);
    assert!(is_certain(will, &ledger));
    client.broker_stopped(&mut ledger);
    assert!(!is_certain(will, &ledger));
    assert_eq!((ledger.sums.acknowledged, ledger.sums.wills), (0, 0));
}

#[test]
fn it_has_noticed_when_it_has_let_the_client_in_again() {
    let mut ledger = Ledger::default();
    let (mut client, will) = mourner(&mut ledger);
    client.disconnected(End::Broke, true, &mut ledger);
    come(&mut client, true, &mut ledger);
    client.broker_stopped(&mut ledger);
    assert!(is_certain(will, &ledger));
}

#[test]
fn a_broker_that_is_killed_drops_no_will() {
    let mut ledger = Ledger::default();
    let (mut client, will) = mourner(&mut ledger);
    client.disconnected(End::Broke, false, &mut ledger);
    client.broker_died();
    client.broker_stopped(&mut ledger);
    assert!(is_certain(will, &ledger));
}
