//! The suite must fail for servers that lie.

use std::time::Duration;

use super::stub::{Answer, start, yes_man};
use crate::case::{Case, Outcome, Version};
use crate::harness::Target;
use crate::report::Report;
use crate::runner::{cases, run_cases};

/// For what does come, on however busy a machine.
const PATIENT: Duration = Duration::from_secs(60);

/// For what does not come; that something is late makes no case pass.
const HASTY: Duration = Duration::from_millis(150);

/// Runs these cases of version 5 against a stub that answers at once or never.
fn run_named(answer: Answer, timeout: Duration, wanted: impl Fn(&Case) -> bool) -> Report {
    let target = Target::new(start(answer), timeout);
    let chosen: Vec<&'static Case> = cases()
        .filter(|case| case.version == Version::V5 && wanted(case))
        .collect();
    run_cases(&target, &chosen, 64)
}

fn passed(report: &Report) -> Vec<&'static str> {
    let results = report.results().iter();
    results
        .filter(|r| r.outcome == Outcome::Pass)
        .map(|r| r.case.name)
        .collect()
}

fn outcome_of(answer: Answer, timeout: Duration, name: &str) -> Outcome {
    let report = run_named(answer, timeout, |case| case.name == name);
    report
        .results()
        .first()
        .expect("no such case")
        .outcome
        .clone()
}

#[test]
fn server_that_never_answers_passes_nothing() {
    let report = run_named(|_| Some(Vec::new()), HASTY, |_| true);
    assert_eq!(passed(&report), Vec::<&str>::new());
    assert!(!report.is_success());
}

#[test]
fn server_that_always_closes_passes_only_refusals() {
    let report = run_named(|_| None, PATIENT, |_| true);
    // A close is the right answer to what must be refused, and only to that.
    let passed = passed(&report);
    let refusals: Vec<&str> = passed
        .iter()
        .copied()
        .filter(|name| !name.contains("refused") && !name.contains("closes"))
        .collect();
    assert_eq!(
        refusals,
        [
            "first_packet_must_be_connect",
            "connack_respects_the_maximum_packet_size"
        ]
    );
    assert!(passed.len() < 20, "{passed:?}");
}

#[test]
fn server_that_agrees_to_everything_fails_nearly_everywhere() {
    // Cases that let time pass are left out: they would only make this slow.
    let timed = [
        "keep_alive",
        "expire",
        "delay",
        "repeated_within",
        "prolong",
        "outlives",
        "pings",
        "when_the_session_ends",
    ];
    let report = run_named(yes_man, HASTY, |case| {
        !timed.iter().any(|word| case.name.contains(word))
    });
    let (passes, fails, _) = report.counts();
    assert!(fails > 8 * passes, "{passes} passed: {:?}", passed(&report));
    assert!(!report.is_success());
}

#[test]
fn honest_answers_pass_and_lies_about_the_same_fail() {
    let identifiers = "publish_is_answered_by_its_qos";
    let pings = "pingreq_is_answered";
    let simple = "simple_client_ids_are_accepted";
    for honest in [identifiers, pings, simple] {
        let outcome = outcome_of(yes_man, PATIENT, honest);
        assert_eq!(outcome, Outcome::Pass, "{honest}");
    }
    let lies: [(&str, &str, Answer); 7] = [
        ("PUBACK with another identifier", identifiers, |packet| {
            change(packet, 0x40, |answer| answer[3] ^= 1)
        }),
        ("PUBREC with another identifier", identifiers, |packet| {
            change(packet, 0x50, |answer| answer[3] ^= 1)
        }),
        ("PUBCOMP that reports an error", identifiers, |packet| {
            change(packet, 0x70, |answer| {
                answer[1] = 3;
                answer.push(0x92);
            })
        }),
        ("PUBACK with an unlisted reason", identifiers, |packet| {
            change(packet, 0x40, |answer| {
                answer[1] = 3;
                answer.push(0x7F);
            })
        }),
        ("PINGRESP with flags", pings, |packet| {
            change(packet, 0xD0, |answer| answer[0] = 0xD1)
        }),
        ("PINGRESP twice", pings, |packet| {
            change(packet, 0xD0, |answer| answer.extend([0xD0, 0]))
        }),
        ("CONNACK twice", simple, |packet| {
            change(packet, 0x20, |answer| answer.extend([0x20, 3, 0, 0, 0]))
        }),
    ];
    for (lie, case, answer) in lies {
        assert!(
            matches!(outcome_of(answer, HASTY, case), Outcome::Fail(_)),
            "{lie} was not noticed"
        );
    }
}

/// What the yes-man answers, but changed if it is a packet of this kind.
fn change(packet: &[u8], first: u8, lie: impl Fn(&mut Vec<u8>)) -> Option<Vec<u8>> {
    let mut answer = yes_man(packet)?;
    if answer.first() == Some(&first) {
        lie(&mut answer);
    }
    Some(answer)
}

#[test]
fn unreachable_broker_fails_every_case() {
    // The port is free again as soon as the listener is dropped.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let target = Target::new(address, Duration::from_millis(100));
    let chosen: Vec<&'static Case> = cases().take(5).collect();
    let (passes, fails, skips) = run_cases(&target, &chosen, 5).counts();
    assert_eq!((passes, fails, skips), (0, 5, 0));
}
