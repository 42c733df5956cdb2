//! What each lie looks like in the report.

use std::process::ExitCode;
use std::time::Duration;

use crate::stub::{Lie, start};
use serde_json::Value;

const SMALL: &str = "--warmup 0 --duration 20s --drain 1s --stall 300ms --setup 10s --quiet";

/// Runs the tool against a broker with this lie.
fn bench(lie: Lie, words: &str) -> (Value, ExitCode) {
    let (out, code) = bench_text(lie, &format!("{words} --json"));
    (serde_json::from_str(&out).unwrap_or_default(), code)
}

/// The same with the report for people.
fn bench_text(lie: Lie, words: &str) -> (String, ExitCode) {
    let address = start(lie);
    let words = format!("{words} --port {}", address.port());
    // The scenario comes first; what a test says overrides what all say.
    let (scenario, flags) = words.split_once(' ').unwrap_or((&words, ""));
    let words = format!("{scenario} {SMALL} {flags}");
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    let mut out = Vec::new();
    let code = martlet_bench::cli(&words, &mut out).unwrap();
    (String::from_utf8(out).unwrap(), code)
}

fn count(report: &Value, name: &str) -> u64 {
    report["counts"][name].as_u64().unwrap()
}

fn is(code: ExitCode, expected: u8) -> bool {
    // There is no other way to look into one.
    format!("{code:?}") == format!("{:?}", ExitCode::from(expected))
}

#[track_caller]
fn assert_clean(report: &Value) {
    for name in [
        "lost",
        "duplicated",
        "reordered",
        "refused",
        "strays",
        "corrupted",
        "unexpected_acks",
        "unacknowledged",
        "stalls",
        "disconnects",
    ] {
        assert_eq!(count(report, name), 0, "{name} of {report}");
    }
}

#[test]
fn an_honest_broker_is_found_honest_at_every_qos_and_version() {
    for version in ["3.1.1", "5"] {
        for qos in 0..=2 {
            let words = format!("p2p --pairs 3 -L 3000 -q {qos} -V {version} --max-loss 0");
            let (report, code) = bench(Lie::Honest, &words);
            assert_clean(&report);
            assert!(is(code, 0), "{report}");
            for name in ["attempted", "accepted", "expected", "delivered"] {
                assert_eq!(count(&report, name), 3_000, "{name}");
            }
            let acknowledged = if qos == 0 { 0 } else { 3_000 };
            assert_eq!(count(&report, "acknowledged"), acknowledged);
            assert_eq!(report["measured"]["done"], 3_000);
            assert!(report["latency_us"]["p50"].as_f64().unwrap() > 0.0);
        }
    }
}

#[test]
fn the_durable_scenario_times_every_acknowledgement() {
    for (version, qos) in [("3.1.1", 1), ("5", 2)] {
        let words = format!("durable --pairs 3 -L 3000 -q {qos} -V {version} --max-loss 0");
        let (report, code) = bench(Lie::Honest, &words);
        assert_clean(&report);
        assert!(is(code, 0), "{report}");
        assert_eq!(count(&report, "acknowledged"), 3_000);
        let at = |name: &str| report["acknowledged_us"][name].as_f64().unwrap();
        assert!(at("p50") > 0.0 && at("p50") <= at("max"), "{report}");
    }
}

/// Optimisation: between messages that are due the tool sleeps, and leaves its core to the broker.
#[cfg(target_os = "linux")]
#[test]
fn on_a_schedule_the_tool_sleeps() {
    let (report, code) = bench(Lie::Honest, "durable --pairs 2 --rate 500 -L 300");
    assert_clean(&report);
    assert!(is(code, 0), "{report}");
    // For each message: it is due, it arrives, it is acknowledged, and some to spare. Spinning takes thousands.
    let turns = report["turns"].as_u64().unwrap();
    assert!(turns < 300 * 20, "{turns}");
}

#[test]
fn a_durable_run_with_losses_asks_for_the_queue_of_a_session() {
    let (report, _) = bench(Lie::Drop(100), "durable --pairs 2 -L 2000");
    assert_eq!(count(&report, "lost"), 20);
    let remarks = report["remarks"].to_string();
    assert!(remarks.contains("--window 4096"), "{remarks}");
}

#[test]
fn a_receive_maximum_below_what_was_asked_for_is_reported() {
    let broker = Lie::ReceiveMaximum(64);
    for (words, allowed) in [
        // Two publishers, and two subscribers with less.
        ("durable --pairs 2 -L 200 -q 1 -F 1000", 63),
        ("p2p --pairs 2 -L 200 -q 2 -F 64", 63),
        ("retained --messages 200 --settle 0 --drain 0 -F 1000", 64),
        (
            "offline -c 2 --messages 200 --settle 0 --drain 0 -F 1000",
            64,
        ),
    ] {
        let (report, code) = bench(broker, words);
        assert!(is(code, 0), "{report}");
        assert_eq!(report["unacknowledged_max"], allowed, "{words}");
        let remarks = report["remarks"].to_string();
        let remark = format!("Receive Maximum allowed a publisher {allowed} unacknowledged");
        assert!(remarks.contains(&remark), "{words}: {remarks}");
        let (text, _) = bench_text(broker, words);
        assert!(text.contains(&remark), "{words}: {text}");
    }
    // What was asked for is allowed, or nobody says how much is.
    for (broker, words) in [
        (broker, "p2p --pairs 2 -L 200 -q 1 -F 63"),
        (broker, "p2p --pairs 2 -L 200 -q 1 -F 63 -V 3.1.1"),
        (Lie::Honest, "p2p --pairs 2 -L 200 -q 1 -F 63"),
    ] {
        let (report, _) = bench(broker, words);
        assert_eq!(report["unacknowledged_max"], 63, "{words}");
        assert!(!report["remarks"].to_string().contains("Receive Maximum"));
    }
    // Nothing is acknowledged at QoS 0.
    let (report, _) = bench(broker, "p2p --pairs 2 -L 200 -F 1000");
    assert!(report.get("unacknowledged_max").is_none());
    assert!(!report["remarks"].to_string().contains("Receive Maximum"));
}

#[test]
fn each_scenario_counts_the_deliveries_that_it_is_owed() {
    for (words, expected) in [
        ("fan-in --publishers 5 -L 1000", 1_000),
        ("fan-out --subscribers 7 -L 100", 700),
        ("shared --publishers 2 --subscribers 3 -L 1000", 1_000),
        ("latency --pairs 2 --rate 2000 -L 400", 400),
        ("p2p --pairs 2 -L 50 -s 300000 -q 1", 50),
    ] {
        let (report, code) = bench(Lie::Honest, words);
        assert_clean(&report);
        assert!(is(code, 0), "{report}");
        assert_eq!(count(&report, "expected"), expected, "{words}");
        assert_eq!(count(&report, "delivered"), expected, "{words}");
    }
}

#[test]
fn a_broker_that_drops_is_noticed() {
    for qos in 0..=2 {
        let words = format!("p2p --pairs 2 -L 2000 -q {qos} --max-loss 0");
        let (report, code) = bench(Lie::Drop(100), &words);
        assert_eq!(count(&report, "lost"), 20, "{report}");
        assert_eq!(count(&report, "delivered"), 1_980);
        assert_eq!(count(&report, "duplicated"), 0);
        assert!(is(code, 1));
        assert_eq!(report["ok"], false);
    }
    let (report, code) = bench(
        Lie::Drop(100),
        "fan-out --subscribers 3 -L 1000 --max-loss 1%",
    );
    assert_eq!(count(&report, "lost"), 30);
    assert!(is(code, 0), "one in a hundred was allowed: {report}");
}

#[test]
fn a_broker_that_drops_all_the_rest_cannot_look_fast() {
    let (report, code) = bench(Lie::Swallow(501), "p2p --pairs 1 -L 2000 --max-loss 0");
    assert_eq!(count(&report, "delivered"), 500);
    assert_eq!(count(&report, "expected"), count(&report, "attempted"));
    assert_eq!(
        count(&report, "lost"),
        count(&report, "attempted") - 500,
        "{report}"
    );
    assert!(count(&report, "stalls") > 0);
    assert!(is(code, 1));
}

#[test]
fn a_broker_that_duplicates_is_noticed() {
    for scenario in ["p2p --pairs 2", "shared --publishers 2"] {
        let (report, _) = bench(Lie::Duplicate(50), &format!("{scenario} -L 2000"));
        assert_eq!(count(&report, "duplicated"), 40, "{report}");
        assert_eq!(count(&report, "delivered"), 2_000);
        assert_eq!(count(&report, "lost"), 0);
    }
}

#[test]
fn a_broker_that_reorders_is_noticed_and_not_called_lossy() {
    let (report, _) = bench(Lie::Swap(50), "p2p --pairs 1 -L 1999");
    assert_eq!(count(&report, "reordered"), 39, "{report}");
    assert_eq!(count(&report, "lost"), 0);
    assert_eq!(count(&report, "duplicated"), 0);
    assert_eq!(count(&report, "delivered"), 1_999);
}

#[test]
fn a_broker_that_stalls_is_noticed() {
    let stall = Lie::Stall(500, Duration::from_millis(700));
    let (report, code) = bench(stall, "p2p --pairs 1 -L 5000 --stall 5s --p99 300ms");
    let silence = report["measured"]["longest_silence_ms"].as_f64().unwrap();
    assert!(silence >= 650.0, "{report}");
    assert!(report["latency_us"]["max"].as_f64().unwrap() >= 650_000.0);
    assert_eq!(count(&report, "lost"), 0);
    assert!(is(code, 0) || report["latency_us"]["p99"].as_f64().unwrap() > 300_000.0);
}

#[test]
fn on_a_schedule_a_stall_shows_in_every_message_that_was_due_meanwhile() {
    // 0.7 of about 2 seconds: a third of the messages, although only a few could be sent at the wrong time.
    let stall = Lie::Stall(200, Duration::from_millis(700));
    let words = "latency --pairs 1 --rate 500 -L 1000 --window 4 --stall 5s --p99 300ms";
    let (report, code) = bench(stall, words);
    assert_eq!(count(&report, "delivered"), 1_000, "{report}");
    let at = |name: &str| report["latency_us"][name].as_f64().unwrap();
    assert!(at("p90") >= 350_000.0, "{report}");
    assert!(at("p99") >= 600_000.0, "{report}");
    assert!(is(code, 1));
}

#[test]
fn what_comes_after_it_was_given_up_is_late_and_not_lost() {
    let stall = Lie::Stall(500, Duration::from_millis(700));
    let (report, _) = bench(stall, "p2p --pairs 1 -L 2000 --stall 200ms");
    assert!(count(&report, "stalls") > 0, "{report}");
    assert!(count(&report, "reordered") > 0);
    assert_eq!(count(&report, "lost"), 0);
    assert_eq!(count(&report, "delivered"), 2_000);
}

#[test]
fn at_the_end_what_is_outstanding_is_waited_for_as_long_as_the_drain() {
    // A busy machine may hold up everything for a while, too: that must not pass for a stall before the end.
    let stall = Lie::Stall(1_990, Duration::from_secs(3));
    let (report, _) = bench(stall, "p2p --pairs 1 -L 2000 --stall 2s --drain 60s");
    assert_clean(&report);
    assert_eq!(count(&report, "delivered"), 2_000);
}

#[test]
fn changed_and_misdirected_messages_are_noticed() {
    let (report, _) = bench(Lie::Corrupt(100), "p2p --pairs 2 -L 2000");
    assert_eq!(count(&report, "corrupted"), 20, "{report}");
    assert_eq!(count(&report, "lost"), 20);
    let (report, _) = bench(Lie::Misroute(100), "p2p --pairs 2 -L 2000");
    assert_eq!(count(&report, "strays"), 20, "{report}");
    assert_eq!(count(&report, "delivered"), 2_000);
}

#[test]
fn wrong_acknowledgements_are_noticed() {
    let (report, _) = bench(Lie::NoAck(500), "p2p --pairs 1 -L 2000 -q 1 -F 20");
    assert_eq!(count(&report, "unacknowledged"), 4, "{report}");
    assert_eq!(count(&report, "acknowledged"), 1_996);
    let (report, _) = bench(Lie::AckTwice(500), "p2p --pairs 1 -L 2000 -q 1 -F 1");
    assert_eq!(count(&report, "unexpected_acks"), 4, "{report}");
    for qos in 1..=2 {
        let words = format!("p2p --pairs 1 -L 2000 -q {qos} -V 5");
        let (report, _) = bench(Lie::Refuse(100), &words);
        assert_eq!(count(&report, "refused"), 20, "{report}");
        assert_eq!(count(&report, "acknowledged"), 1_980);
        assert_eq!(count(&report, "lost"), 20);
    }
}

#[test]
fn a_broker_that_hangs_up_fails_the_run() {
    let (report, code) = bench(Lie::HangUp(500), "p2p --pairs 1 -L 2000");
    assert_eq!(count(&report, "disconnects"), 1, "{report}");
    assert!(is(code, 1));
}

#[test]
fn a_broker_that_refuses_subscriptions_gets_no_run() {
    let port = start(Lie::NoSubscriptions).port().to_string();
    let words = ["p2p", "--pairs", "1", "--quiet", "--port", &port].map(str::to_owned);
    let error = martlet_bench::cli(&words, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
}

#[test]
fn a_gate_without_a_figure_is_missed() {
    // QoS 1 that is never delivered: no percentiles, no rate.
    let (report, code) = bench(
        Lie::Swallow(1),
        "p2p --pairs 1 --duration 1s -L 2000 --p99 1s --min-rate 1",
    );
    assert!(is(code, 1), "{report}");
    for gate in report["gates"].as_array().unwrap() {
        assert_eq!(gate["passed"], false, "{gate}");
    }
}

#[test]
fn a_connection_storm_is_counted() {
    let (report, code) = bench(Lie::Honest, "connect -c 200 --concurrency 10");
    assert!(is(code, 0), "{report}");
    // The first tenth is warm-up; the turn in which it ends belongs to it.
    let done = report["measured"]["done"].as_u64().unwrap();
    assert!((100..=180).contains(&done), "{report}");
    // Those that were open when the warm-up ended are ended, but not timed.
    assert!(report["latency_us"]["count"].as_u64().unwrap() + 10 >= done);
}
