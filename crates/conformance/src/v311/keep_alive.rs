//! Keep Alive (section 3.1.2.10). A broker has to close at 1.5 times the interval; some seconds of
//! slack are granted, since the statement says nothing about the broker's clock.

use super::{client, subscriber};
use crate::case::{Case, Verdict, Version, check, fail};
use crate::harness::{Client, Event, Target};
use crate::wire::{Connect, Ping, Publish, Will};
use std::time::{Duration, Instant};

cases! {
    silent_client_is_dropped_and_its_will_published: ["3.1.2-24", "3.1.2-8"];
    client_that_never_finishes_a_packet_is_dropped: ["3.1.2-24"];
    client_that_only_receives_is_dropped: ["3.1.2-24"];
    client_that_only_receives_qos_1_is_dropped: ["3.1.2-24"];
    pings_keep_the_connection: ["3.1.2-24", "3.12.4-1"];
    any_packet_keeps_the_connection: ["3.1.2-24"];
    keep_alive_0_never_drops: ["3.1.2-24"];
    keep_alive_goes_on_while_a_large_packet_arrives: ["3.1.2-24"];
}

/// A client with a Keep Alive of one second and a will, and the time it connected.
fn restless(target: &Target, will_topic: &str) -> Verdict<(Client, Instant)> {
    let started = Instant::now();
    let connect = Connect::v311(&target.id())
        .keep_alive(1)
        .will(Will::new(will_topic, "gone"));
    Ok((target.connect(&connect)?.0, started))
}

/// What to do while waiting.
type Step<'a> = &'a mut dyn FnMut(&mut Client) -> Verdict;

/// Runs `step` every [`BEAT`] until the broker closes; returns when that was.
fn until_closed(client: &mut Client, started: Instant, step: Step<'_>) -> Verdict<Duration> {
    loop {
        match client.read(Instant::now() + BEAT)? {
            Event::Closed => return Ok(started.elapsed()),
            Event::Packet(_) => {}
            Event::Timeout => step(client)?,
        }
        if started.elapsed() > LATEST {
            return fail(format!("still connected after {LATEST:?} of silence"));
        }
    }
}

/// What came of three intervals of beats.
enum Beats {
    /// It is open, whether every beat was in time or not.
    Open,
    /// It was closed, and this machine had missed a beat by so much that the broker may have been right.
    ClosedAfterALateBeat,
}

/// Runs `step` every [`BEAT`] for three times the interval, during which nothing may close.
fn while_open(client: &mut Client, started: Instant, step: Step<'_>) -> Verdict<Beats> {
    let (mut last, mut longest) = (started, Duration::ZERO);
    while started.elapsed() < 3 * INTERVAL {
        match client.read(Instant::now() + BEAT)? {
            Event::Closed if longest.max(last.elapsed()) > LATE => {
                return Ok(Beats::ClosedAfterALateBeat);
            }
            Event::Closed => return fail(format!("closed after {:?}", started.elapsed())),
            Event::Packet(_) => {}
            Event::Timeout => {
                step(client)?;
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
        }
    }
    Ok(Beats::Open)
}

/// Tries again when nothing can be said, as it happens on a machine with too much to do.
fn undisturbed(mut attempt: impl FnMut() -> Verdict<Beats>) -> Verdict {
    for _ in 0..ATTEMPTS {
        if matches!(attempt()?, Beats::Open) {
            return Ok(());
        }
    }
    fail(format!(
        "closed each time, but this machine was never in time to prevent it ({ATTEMPTS} attempts)"
    ))
}

fn check_time(elapsed: Duration) -> Verdict {
    check(
        elapsed >= INTERVAL,
        &format!("closed after {elapsed:?}, before Keep Alive was over"),
    )
}

//= mqtt311 3.1.2-24 test
//= mqtt311 3.1.2-8 test
fn silent_client_is_dropped_and_its_will_published(target: &Target) -> Verdict {
    let topic = target.topic("will");
    let mut watcher = subscriber(target, &topic, 0)?;
    let (mut client, started) = restless(target, &topic)?;
    check_time(until_closed(&mut client, started, &mut |_| Ok(()))?)?;
    watcher.expect_message(&topic, "gone")?;
    Ok(())
}

/// Bytes are no control packet.
//= mqtt311 3.1.2-24 test
fn client_that_never_finishes_a_packet_is_dropped(target: &Target) -> Verdict {
    let topic = target.topic("will");
    let mut watcher = subscriber(target, &topic, 0)?;
    let (mut client, started) = restless(target, &topic)?;
    client.send([0x30, 0x7F, 0, 1, b'a'])?;
    let elapsed = until_closed(&mut client, started, &mut |client| client.send([b'x']))?;
    check_time(elapsed)?;
    watcher.expect_message(&topic, "gone")?;
    Ok(())
}

/// What the broker sends does not count.
//= mqtt311 3.1.2-24 test
fn client_that_only_receives_is_dropped(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let (mut client, _) = restless(target, &target.topic("will"))?;
    client.subscribe(&topic, 0)?;
    let started = Instant::now();
    let mut publisher = super::client(target)?;
    let elapsed = until_closed(&mut client, started, &mut |_| {
        publisher.send(Publish::new(&topic, "x"))
    })?;
    check_time(elapsed)
}

//= mqtt311 3.1.2-24 test
fn client_that_only_receives_qos_1_is_dropped(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let (mut client, _) = restless(target, &target.topic("will"))?;
    client.subscribe(&topic, 1)?;
    let started = Instant::now();
    let mut publisher = super::client(target)?;
    let elapsed = until_closed(&mut client, started, &mut |_| {
        publisher.publish_acked(&topic, "x")
    })?;
    check_time(elapsed)
}

//= mqtt311 3.1.2-24 test
//= mqtt311 3.12.4-1 test
fn pings_keep_the_connection(target: &Target) -> Verdict {
    undisturbed(|| {
        let (mut client, started) = restless(target, &target.topic("will"))?;
        while_open(&mut client, started, &mut |client| client.send(Ping))
    })
}

//= mqtt311 3.1.2-24 test
fn any_packet_keeps_the_connection(target: &Target) -> Verdict {
    let topic = target.topic("t");
    undisturbed(|| {
        let (mut client, started) = restless(target, &target.topic("will"))?;
        while_open(&mut client, started, &mut |client| {
            client.send(Publish::new(&topic, "x"))
        })
    })?;
    undisturbed(|| {
        let (mut client, started) = restless(target, &target.topic("will"))?;
        while_open(&mut client, started, &mut |client| {
            client.send(crate::wire::Acknowledge::pubrel(77))
        })
    })
}

//= mqtt311 3.1.2-24 test
fn keep_alive_0_never_drops(target: &Target) -> Verdict {
    let connect = Connect::v311(&target.id()).keep_alive(0);
    let (mut client, _) = target.connect(&connect)?;
    let end = Instant::now() + 3 * INTERVAL;
    loop {
        match client.read(end)? {
            Event::Timeout => return client.expect_alive(),
            Event::Packet(_) => {}
            Event::Closed => return fail("closed in spite of Keep Alive 0"),
        }
    }
}

/// A packet that is complete in time counts, however it was cut.
//= mqtt311 3.1.2-24 test
fn keep_alive_goes_on_while_a_large_packet_arrives(target: &Target) -> Verdict {
    let topic = target.topic("t");
    let mut receiver = subscriber(target, &topic, 0)?;
    undisturbed(|| {
        let (mut client, started) = restless(target, &target.topic("will"))?;
        let mut rest = Vec::new();
        while_open(&mut client, started, &mut |client| {
            if rest.is_empty() {
                rest = crate::wire::Encode::encode(&Publish::new(&topic, "xyz"), Version::V311);
                rest.reverse();
            }
            // A third of what is left with each beat: every packet takes less than the interval.
            for _ in 0..rest.len().div_ceil(3) {
                if let Some(byte) = rest.pop() {
                    client.send([byte])?;
                }
            }
            Ok(())
        })
    })?;
    receiver.expect_message(&topic, "xyz")?;
    client(target)?.expect_alive()
}

const INTERVAL: Duration = Duration::from_secs(1);

/// Often enough for three packets' worth of steps in one interval.
const BEAT: Duration = Duration::from_millis(100);

/// A beat that took longer leaves nothing of the interval, if five of them in turn make a packet.
const LATE: Duration = Duration::from_millis(200);

/// How often a machine may miss its beats.
const ATTEMPTS: u32 = 10;

/// 1.5 times the interval and ample slack: some brokers look at their clients every five seconds.
const LATEST: Duration = Duration::from_secs(8);
