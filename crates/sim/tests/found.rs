//! Faults that the simulation has found: each seed failed before its fault was mended.

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
fn a_plain_message_overtakes_no_relay_that_is_behind_it() {
    passes(5, 4);
    passes(6, 4);
}

/// A retained message for a new subscription overtook older values in the session's queue (`replay.rs`).
#[test]
fn a_replay_waits_for_what_was_queued_before() {
    passes(15, 1);
    passes(8, 2);
}

/// SUBACK of MQTT 3.1 cannot say no (`subscribing.rs`).
#[test]
fn a_refused_subscription_of_mqtt_3_1_ends_the_connection() {
    passes(20, 1);
    passes(29, 1);
}
