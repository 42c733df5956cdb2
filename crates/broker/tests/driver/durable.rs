//! What survives a broker, and what a store that is full or taken comes to.

use std::fs;
use std::path::Path;
use std::sync::mpsc;

use martlet_broker::config::{Durability, Sources};
use martlet_broker::{Broker, Builder, RunningBroker, StartError};

use crate::client::{Client, builder, packet, text};

fn durable(directory: &Path, shards: usize) -> Builder {
    builder(shards).data_directory(directory)
}

/// A client whose session outlives its connection; whether the session was there.
fn resume(broker: &RunningBroker, id: &str) -> (Client, bool) {
    let mut client = Client::open(broker.local_addrs()[0]);
    client.send(&packet(
        0x10,
        &[b"\x00\x04MQTT\x04\x00\x00\x00".to_vec(), text(id)].concat(),
    ));
    let connack = client.packet().unwrap();
    assert_eq!(connack[3], 0, "accepted");
    (client, connack[2] == 1)
}

fn subscribe_qos_1(client: &mut Client, filter: &str) {
    client.send(&packet(
        0x82,
        &[b"\x00\x01".to_vec(), text(filter), vec![1]].concat(),
    ));
    client.expect(b"\x90\x03\x00\x01\x01");
}

/// PUBLISH at QoS 1 with identifier 7.
fn publish_qos_1(topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(
        0x32,
        &[text(topic), b"\x00\x07".to_vec(), payload.to_vec()].concat(),
    )
}

#[test]
fn sessions_and_messages_survive_on_any_number_of_shards() {
    let directory = tempfile::tempdir().unwrap();
    let ids: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
    for (expected, shards) in [3, 1, 4, 2].into_iter().enumerate() {
        let broker = durable(directory.path(), shards).start().unwrap();
        let recovered = broker.recovered().unwrap();
        assert_eq!(recovered.sessions, if expected > 0 { ids.len() } else { 0 });
        assert!(!recovered.has_loss, "{:?}", recovered.faults);
        for id in &ids {
            let (mut client, was_there) = resume(&broker, id);
            assert_eq!(was_there, expected > 0, "{id} with {shards} shards");
            if !was_there {
                subscribe_qos_1(&mut client, &format!("t/{id}"));
            }
            for number in 0..expected {
                let publish = client.packet().unwrap();
                let payload = format!("{id} {number}");
                assert!(
                    publish.ends_with(payload.as_bytes()),
                    "{publish:?} {payload}"
                );
            }
        }
        let mut publisher = Client::v3(&broker, "publisher");
        for id in &ids {
            let payload = format!("{id} {expected}");
            publisher.send(&publish_qos_1(&format!("t/{id}"), payload.as_bytes()));
            publisher.expect(b"\x40\x02\x00\x07");
        }
        broker.shutdown();
    }
}

/// More than a window, with a cache that holds nothing: all of it comes from the files, in order.
#[test]
fn what_is_not_in_memory_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut sources = Sources::new();
    sources.file("test.toml", "[storage]\nbody_cache_bytes_max = 0");
    let broker = Broker::builder()
        .config(sources.check().unwrap())
        .listen("127.0.0.1:0")
        .shards(2);
    let broker = broker.data_directory(directory.path()).start().unwrap();
    let (mut sleeper, _) = resume(&broker, "sleeper");
    subscribe_qos_1(&mut sleeper, "t");
    drop(sleeper);
    let mut publisher = Client::v3(&broker, "publisher");
    for number in 0..300 {
        publisher.send(&publish_qos_1("t", format!("{number}").as_bytes()));
        publisher.expect(b"\x40\x02\x00\x07");
    }
    let (mut sleeper, _) = resume(&broker, "sleeper");
    for number in 0..300_u32 {
        let publish = sleeper.packet().unwrap();
        assert!(
            publish.ends_with(format!("{number}").as_bytes()),
            "{number}: {publish:?}"
        );
        let id = &publish[5..7];
        sleeper.send(&[0x40, 2, id[0], id[1]]);
    }
    broker.shutdown();
}

#[test]
fn whoever_waits_for_a_restart_hears_how_far_it_is() {
    let directory = tempfile::tempdir().unwrap();
    for with_state in [false, true] {
        let (hear, heard) = mpsc::channel();
        let broker = durable(directory.path(), 2)
            .on_recovery(move |progress| hear.send(progress).unwrap())
            .start()
            .unwrap();
        let heard: Vec<_> = heard.try_iter().collect();
        let mut parts: Vec<_> = heard.iter().map(|progress| progress.doing).collect();
        parts.dedup();
        assert_eq!(parts, ["checking", "counting", "sessions and messages"]);
        assert!(heard.iter().all(|progress| progress.percent <= 100));
        assert_eq!(heard.last().unwrap().percent, 100, "it ends at the end");
        assert_eq!(
            broker.recovered().unwrap().sessions,
            usize::from(with_state)
        );
        subscribe_qos_1(&mut resume(&broker, "c").0, "t");
        broker.shutdown();
    }
}

#[test]
fn without_a_directory_nothing_is_kept_and_durability_is_refused() {
    let broker = builder(1).start().unwrap();
    assert!(broker.recovered().is_none());
    let error = builder(1).durability(Durability::Os).start().unwrap_err();
    assert_eq!(
        error.to_string(),
        "durability \"os\" needs a directory; name one (--data-dir), or ask for \"memory\""
    );
    let directory = tempfile::tempdir().unwrap();
    let in_memory = durable(directory.path(), 1).durability(Durability::Memory);
    drop(in_memory.start().unwrap());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_directory_is_used_by_one_broker_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let first = durable(directory.path(), 1).start().unwrap();
    let error = durable(directory.path(), 1).start().unwrap_err();
    assert!(matches!(error, StartError::Storage(_)), "{error}");
    assert!(
        error.to_string().contains("in use by another process"),
        "{error}"
    );
    drop(first);
    durable(directory.path(), 1).start().unwrap().shutdown();
}

/// With a limit of its own a store is full without a disk that is.
#[test]
fn a_full_store_refuses_durable_publishes_and_serves_everything_else() {
    let directory = tempfile::tempdir().unwrap();
    let mut sources = Sources::new();
    let limits = "[storage]\nsegment_bytes = '64 KiB'\nsize_bytes_max = '1 MiB'";
    sources.file("test.toml", limits);
    let config = sources.check().unwrap();
    let full = Broker::builder()
        .config(config)
        .listen("127.0.0.1:0")
        .shards(1);
    let broker = full.data_directory(directory.path()).start().unwrap();

    let (mut away, _) = resume(&broker, "away");
    subscribe_qos_1(&mut away, "stored");
    drop(away);
    let mut publisher = Client::v5(&broker, "publisher");
    let topic = [
        text("stored"),
        b"\x00\x07\x00".to_vec(),
        vec![b'x'; PAYLOAD_BYTES],
    ]
    .concat();
    let mut accepted = 0;
    let refused = loop {
        publisher.send(&packet(0x32, &topic));
        let answer = publisher.packet().unwrap();
        assert_eq!(&answer[2..4], b"\x00\x07");
        match answer.get(4) {
            None | Some(0) => accepted += 1,
            Some(reason) => break *reason,
        }
        assert!(accepted < 2_000, "1 MiB is never full");
    };
    assert_eq!(refused, 0x97, "quota exceeded");
    assert!(accepted > 50, "{accepted}");

    // Everybody else is served, and so is this client with what need not be stored.
    let mut other = Client::v3(&broker, "other");
    other.subscribe("plain");
    publisher.send(&packet(
        0x32,
        &[text("plain"), b"\x00\x08\x00hi".to_vec()].concat(),
    ));
    other.expect(&packet(0x30, &[text("plain"), b"hi".to_vec()].concat()));
    let answer = publisher.packet().unwrap();
    assert_eq!(&answer[2..4], b"\x00\x08");

    // MQTT 3 cannot say no: this one waits until there is room.
    let mut patient = Client::v3(&broker, "patient");
    patient.send(&publish_qos_1("stored", &[b'y'; PAYLOAD_BYTES]));

    // Clients come and go while it is full, and the one whose messages they are takes them: that makes the room.
    for id in ["away", "new", "away", "new"] {
        drop(resume(&broker, id));
    }
    let (mut back, was_there) = resume(&broker, "away");
    assert!(was_there);
    let take = |back: &mut Client| {
        let publish = back.packet().unwrap();
        let at = publish.len() - PAYLOAD_BYTES - 2;
        back.send(&[0x40, 2, publish[at], publish[at + 1]]);
        publish[publish.len() - 1]
    };
    for _ in 0..accepted {
        assert_eq!(take(&mut back), b'x');
    }
    // Nothing is tried again and again: as soon as there is room the waiting publisher is read.
    patient.expect(b"\x40\x02\x00\x07");
    assert_eq!(take(&mut back), b'y');
    publisher.send(&packet(0x32, &topic));
    let answer = publisher.packet().unwrap();
    assert!(matches!(answer.get(4), None | Some(0)), "{answer:?}");
    assert_eq!(take(&mut back), b'x');
}

/// So small that many fit into what is left of a segment when the next cannot be made.
const PAYLOAD_BYTES: usize = 2_000;
