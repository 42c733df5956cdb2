//! Faults that the simulation has found: each seed failed before its fault was mended. The fault itself is held by a
//! unit test of the engine; when the simulation learns something new, its seeds mean other runs, and these are chosen anew.

#![expect(clippy::panic, reason = "a failing run is told with its seed")]

use martlet_sim::{Options, run};

fn passes(seed: u64, shards: usize) {
    let options = Options::new(seed, shards);
    if let Err(failure) = run(&options) {
        panic!("{failure}\nagain: {}", options.command());
    }
}

/// A plain message was held behind a later retained one whose mark had not come yet (`relay.rs`).
#[test]
fn a_plain_message_is_not_held_behind_a_later_relay() {
    passes(1, 4);
    passes(3, 4);
}

/// A retained message for a new subscription overtook older values in the session's queue (`replay.rs`).
#[test]
fn a_replay_waits_for_what_was_queued_before() {
    passes(10, 1);
    passes(22, 2);
}

/// A client's own message, kept from it by No Local, told its replays nothing of the newer value (`routing.rs`).
#[test]
fn replays_know_of_a_clients_own_value() {
    passes(2_377_107_674, 4);
    passes(3_407_007_336, 4);
}

/// A filter that stands twice in a SUBSCRIBE was answered once (`subscribing.rs`).
#[test]
fn each_filter_of_a_subscribe_is_answered() {
    passes(1, 2);
    passes(3, 1);
}

/// SUBACK of MQTT 3.1 cannot say no (`subscribing.rs`).
#[test]
fn a_refused_subscription_of_mqtt_3_1_ends_the_connection() {
    for shards in [1, 2, 4] {
        passes(20, shards);
        passes(29, shards);
    }
}
