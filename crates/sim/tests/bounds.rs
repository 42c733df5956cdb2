//! Each bound of `Limits` is hit by a run that keeps all invariants, and its counter shows it.

#![expect(clippy::panic, reason = "a failing run is told with its seed")]

use martlet_engine::{Counters, Limits};
use martlet_sim::{Options, run};

/// Runs a few seeds under bounds of which one is small; returns what the counters say in all.
fn under(limits: &Limits) -> Vec<Counters> {
    let mut all = Vec::new();
    for seed in 0..4 {
        for shards in [1, 2] {
            let mut options = Options::new(seed, shards);
            options.limits = Some(limits.clone());
            match run(&options) {
                Ok(report) => all.push(report.counters),
                Err(failure) => panic!("seed {seed}, {shards} shards, {limits:?}: {failure}"),
            }
        }
    }
    all
}

fn moved(limits: &Limits, counter: impl Fn(&Counters) -> u64) -> bool {
    under(limits).iter().map(counter).sum::<u64>() > 0
}

#[test]
fn nothing_is_dropped_or_refused_under_the_usual_bounds() {
    for counters in under(&Limits::default()) {
        let drops = [
            counters.dropped_queue_full,
            counters.dropped_outbox_full,
            counters.connections_refused,
            counters.closed_outbox_overflow,
            counters.subscriptions_refused,
            counters.retained_refused,
            counters.publishers_paused,
            counters.publishers_held,
        ];
        assert_eq!(drops, [0; 8]);
    }
}

#[test]
fn session_queue_in_messages() {
    let limits = Limits {
        session_queue_messages_max: 2,
        in_flight_to_client_max: 2,
        ..Limits::default()
    };
    assert!(moved(&limits, |counters| counters.dropped_queue_full));
}

#[test]
fn session_queue_in_bytes() {
    let limits = Limits {
        session_queue_bytes_max: 200,
        in_flight_to_client_max: 2,
        ..Limits::default()
    };
    assert!(moved(&limits, |counters| counters.dropped_queue_full));
}

#[test]
fn group_queue_in_messages() {
    let limits = Limits {
        group_queue_messages_max: 1,
        in_flight_to_client_max: 1,
        ..Limits::default()
    };
    assert!(moved(&limits, |counters| counters.dropped_queue_full));
}

#[test]
fn group_queue_in_bytes() {
    let limits = Limits {
        group_queue_bytes_max: 100,
        in_flight_to_client_max: 1,
        ..Limits::default()
    };
    assert!(moved(&limits, |counters| counters.dropped_queue_full));
}

#[test]
fn outbox() {
    let limits = Limits {
        outbox_bytes_max: 60,
        ..Limits::default()
    };
    assert!(moved(&limits, |counters| counters.dropped_outbox_full));
}

#[test]
fn outbox_with_control_packets() {
    let limits = Limits {
        outbox_bytes_max: 100,
        outbox_bytes_hard_max: 200,
        ..Limits::default()
    };
    assert!(moved(&limits, |counters| counters.closed_outbox_overflow));
}

#[test]
fn connections() {
    let limits = Limits {
        connections_max: 4,
        ..Limits::default()
    };
    assert!(moved(&limits, |counters| counters.connections_refused));
}

#[test]
fn sessions() {
    let limits = Limits {
        sessions_max: 5,
        ..Limits::default()
    };
    assert!(moved(&limits, |counters| counters.connections_refused));
}

#[test]
fn subscriptions_of_a_session() {
    let limits = Limits {
        subscriptions_per_session_max: 2,
        ..Limits::default()
    };
    assert!(moved(&limits, |counters| counters.subscriptions_refused));
}

#[test]
fn retained_messages() {
    let limits = Limits {
        retained_messages_max: 2,
        ..Limits::default()
    };
    assert!(moved(&limits, |counters| counters.retained_refused));
}

#[test]
fn retained_bytes() {
    let limits = Limits {
        retained_bytes_max: 300,
        ..Limits::default()
    };
    assert!(moved(&limits, |counters| counters.retained_refused));
}

#[test]
fn memory_budget() {
    let limits = Limits {
        memory_budget_bytes: 1_000,
        ..Limits::default()
    };
    assert!(moved(&limits, |counters| counters.publishers_paused));
}

/// A window of one each way: everything waits in queues, nothing is lost, nothing stands still.
#[test]
fn windows_of_one() {
    let limits = Limits {
        in_flight_to_client_max: 1,
        receive_maximum: 1,
        retained_chunk_messages: 1,
        route_cache_entries_max: 1,
        ..Limits::default()
    };
    for counters in under(&limits) {
        assert_eq!(counters.dropped_queue_full, 0);
        assert!(counters.queued > 0);
        assert!(counters.route_cache_restarts > 0);
        assert!(counters.retained_chunks_cut > 0);
    }
}

/// Hostile clients exceed what one packet may say, legal ones stay below; so their runs are as usual.
#[test]
fn what_one_packet_may_say() {
    let limits = Limits {
        packet_bytes_max: 3_500,
        receive_maximum: 2,
        topic_aliases_from_client_max: 1,
        topic_aliases_to_client_max: 1,
        client_id_bytes_max: 12,
        topic_bytes_max: 24,
        topic_levels_max: 4,
        ..Limits::default()
    };
    let all = under(&limits);
    for counters in &all {
        assert_eq!(counters.connections_refused, 0);
        assert!(counters.publishes_sent > 0);
    }
    let sum = |counter: fn(&Counters) -> u64| all.iter().map(counter).sum::<u64>();
    assert!(sum(|counters| counters.closed_packet_too_large) > 0);
    assert!(sum(|counters| counters.closed_receive_maximum) > 0);
    assert!(sum(|counters| counters.closed_topic_alias) > 0);
    assert!(sum(|counters| counters.aliases_replaced) > 0);
    assert!(sum(|counters| counters.client_ids_refused) > 0);
    assert!(sum(|counters| counters.topics_refused) > 0);
}

#[test]
fn levels_of_topics() {
    let limits = Limits {
        topic_levels_max: 3,
        ..Limits::default()
    };
    assert!(moved(&limits, |counters| counters.topics_refused));
}

#[test]
fn time_to_connect() {
    let limits = Limits {
        connect_timeout_ms: 500,
        ..Limits::default()
    };
    assert!(moved(&limits, |counters| counters.closed_connect_timeout));
}

/// The authenticator forgets some questions, and some clients are slow to prove who they are.
#[test]
fn time_to_authenticate() {
    let limits = Limits {
        authentication_timeout_ms: 500,
        ..Limits::default()
    };
    let (mut by_authenticator, mut by_client) = (0, 0);
    for seed in 0..40 {
        if by_authenticator > 0 && by_client > 0 {
            break;
        }
        let mut options = Options::new(seed, 2);
        options.asks = true;
        options.limits = Some(limits.clone());
        let report = run(&options).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        by_authenticator += report.counters.closed_authenticator_timeout;
        by_client += report.counters.closed_challenge_timeout;
    }
    assert!(
        by_authenticator > 0 && by_client > 0,
        "{by_authenticator} {by_client}"
    );
}

#[test]
fn acknowledgements_held_back() {
    let limits = Limits {
        held_answers_max: 1,
        ..Limits::default()
    };
    assert!(moved(&limits, |counters| counters.publishers_held));
}
