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

/// A member got what was published after its UNSUBACK: the group's owner had not heard of it yet (`pending.rs`).
#[test]
fn unsuback_waits_for_the_groups_owner() {
    passes(41, 4);
}

/// SUBACK of MQTT 3.1 cannot say no (`subscribing.rs`).
#[test]
fn a_refused_subscription_of_mqtt_3_1_ends_the_connection() {
    for shards in [1, 2, 4] {
        passes(20, shards);
        passes(29, shards);
    }
}

/// A retained message that was published before its receiver's shard had a subscription came as news, behind later plain
/// messages of its publisher (`relay.rs`).
#[test]
fn a_late_relay_is_no_news() {
    passes(411_396_804, 2);
    passes(275_840_525, 3);
    passes(1_093_707_807, 4);
    passes(345_614_121, 5);
}

/// Replays whose messages had all been superseded stood in the way of the next until something else happened (`replay.rs`).
#[test]
fn an_emptied_replay_does_not_hold_up_the_next() {
    passes(3_008_179_253, 2);
    passes(657_496_373, 4);
}

/// A retained value that was on its way for somebody who had left kept a newer one from a new subscription (`relay.rs`).
#[test]
fn an_older_value_on_its_way_does_not_keep_the_newer_one_away() {
    passes(1_724_984_078, 4);
    passes(3_593_745_505, 5);
}
