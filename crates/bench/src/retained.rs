//! Scenario `retained`: store so many messages, then send all of them to new subscribers of one `#`.

use martlet_codec::{Packet, PacketId, Properties, Publish, TopicName};

use crate::book::{Book, Routing};
use crate::collect::Collector;
use crate::error::Error;
use crate::feed::{FEED_QOS, feed};
use crate::ledger::Order;
use crate::process;
use crate::report::{Memory, Report, Snapshot};
use crate::settings::Settings;
use crate::setup::{Client, bring_up, settle, subscribe};
use crate::swarm::Swarm;
use crate::wire::{Stamp, Template};

pub(crate) fn run(
    swarm: &mut Swarm,
    settings: &Settings,
    report: &mut Report,
) -> Result<(), Error> {
    let clients = vec![Client::default(); settings.subscribers + 1];
    let welcomes = bring_up(swarm, settings, &clients)?;
    let inflight = report.note_unacknowledged_max(welcomes.get(..1).unwrap_or_default());
    let tree = format!("bench-retained-{:08x}", settings.run);
    let rss = || settings.pid.and_then(|pid| process::rss_bytes(Some(pid)));

    let before = rss();
    let refused = store(swarm, settings, &tree, inflight)?;
    settle(swarm, settings)?;
    report.memory.extend(Memory::new(
        "retained messages",
        settings.messages,
        before,
        rss(),
    ));

    let mut book = Book::new(Routing::Everyone, 1, settings.subscribers);
    book.expect(0, 0, 0..settings.messages);
    book.counts.accepted = settings.messages;
    book.counts.acknowledged = settings.messages - refused;
    book.counts.refused = refused;
    let start = Snapshot::take(settings, swarm.clock().now_ns(), 0, 0);
    for conn in 1..=settings.subscribers {
        let filter = format!("{tree}/#");
        subscribe(swarm, conn, PacketId::MIN, &[filter], settings.qos)?;
    }
    // Brokers replay a tree in whatever order they keep it.
    Collector::new(settings, 1, book, Order::Free).collect(swarm, settings, report, start)?;

    // The next run, and everybody else, finds the broker as it was.
    for conn in 1..=settings.subscribers {
        swarm.close(conn);
    }
    clear(swarm, settings, &tree, inflight)
}

/// Publishes the messages; returns how many the broker refused.
fn store(swarm: &mut Swarm, settings: &Settings, tree: &str, inflight: u16) -> Result<u64, Error> {
    let stamp = Stamp {
        run: settings.run,
        publisher: 0,
    };
    let (version, size) = (settings.version, settings.size);
    feed(
        swarm,
        settings,
        PUBLISHER,
        inflight,
        settings.messages,
        |out, index, id| {
            if let Ok(topic) = TopicName::new(&format!("{tree}/{index}")) {
                Template::new(version, topic, FEED_QOS, true, stamp, size).put(out, id, index, 0);
            }
        },
    )
}

/// Deletes the messages: an empty one for each topic.
fn clear(swarm: &mut Swarm, settings: &Settings, tree: &str, inflight: u16) -> Result<(), Error> {
    feed(
        swarm,
        settings,
        PUBLISHER,
        inflight,
        settings.messages,
        |out, index, id| {
            let topic = format!("{tree}/{index}");
            let empty = Publish {
                dup: false,
                qos: FEED_QOS,
                retain: true,
                topic: TopicName::new(&topic).ok(),
                packet_id: PacketId::new(id),
                properties: Properties::EMPTY,
                payload: &[],
            };
            // Topic and identifier are valid by construction.
            let _ = Packet::Publish(empty).encode(settings.version, out);
        },
    )?;
    Ok(())
}

/// The first connection.
const PUBLISHER: usize = 0;
