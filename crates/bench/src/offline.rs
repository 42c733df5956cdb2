//! Scenario `offline`: sessions subscribe and go away, messages queue up, the sessions come back.

use std::ops::Range;
use std::time::Duration;

use martlet_codec::{ConnAck, TopicName};

use crate::book::{Book, Routing};
use crate::collect::Collector;
use crate::error::Error;
use crate::feed::{FEED_QOS, feed};
use crate::ledger::Order;
use crate::number::{count, length};
use crate::process;
use crate::report::{Memory, Report, Snapshot};
use crate::settings::Settings;
use crate::setup::{Client, bring_up, connect_packet, settle};
use crate::swarm::{Handler, Swarm};
use crate::wire::{Stamp, Template};

pub(crate) fn run(
    swarm: &mut Swarm,
    settings: &Settings,
    report: &mut Report,
) -> Result<(), Error> {
    let sessions = settings.subscribers;
    let topic = |session: usize| format!("bench-offline-{:08x}/{session}", settings.run);
    let rss = || settings.pid.and_then(|pid| process::rss_bytes(Some(pid)));
    let mut clients = vec![Client::default()];
    clients.extend((0..sessions).map(|session| Client {
        filters: vec![topic(session)],
        keep_session: true,
    }));
    let bare = rss();
    let welcomes = bring_up(swarm, settings, &clients)?;
    leave(swarm, 1..sessions + 1)?;
    settle(swarm, settings)?;
    let before = rss();
    report.memory.extend(Memory::new(
        "sessions that are away",
        count(sessions),
        bare,
        before,
    ));

    let total = settings.messages * count(sessions);
    let inflight = report.note_unacknowledged_max(welcomes.get(..1).unwrap_or_default());
    let refused = feed(
        swarm,
        settings,
        PUBLISHER,
        inflight,
        total,
        |out, index, id| {
            let session = length(index % count(sessions));
            if let Ok(topic) = TopicName::new(&topic(session)) {
                let stamp = Stamp {
                    run: settings.run,
                    publisher: u32::try_from(session).unwrap_or(u32::MAX),
                };
                Template::new(
                    settings.version,
                    topic,
                    FEED_QOS,
                    false,
                    stamp,
                    settings.size,
                )
                .put(out, id, index / count(sessions), 0);
            }
        },
    )?;
    settle(swarm, settings)?;
    report
        .memory
        .extend(Memory::new("queued messages", total, before, rss()));

    let mut book = Book::new(Routing::Pairs, sessions, sessions);
    for session in 0..sessions {
        book.expect(session, 0, 0..settings.messages);
    }
    book.counts.accepted = total;
    book.counts.acknowledged = total - refused;
    book.counts.refused = refused;
    let start = Snapshot::take(settings, swarm.clock().now_ns(), 0, 0);
    return_all(swarm, settings, 1..sessions + 1, false)?;
    Collector::new(settings, 1, book, Order::Kept).collect(swarm, settings, report, start)?;

    end_sessions(swarm, settings, 1..sessions + 1)
}

/// Nothing of a run stays behind: a clean start ends the sessions.
pub(crate) fn end_sessions(
    swarm: &mut Swarm,
    settings: &Settings,
    conns: Range<usize>,
) -> Result<(), Error> {
    leave(swarm, conns.clone())?;
    return_all(swarm, settings, conns.clone(), true)?;
    leave(swarm, conns)
}

fn return_all(
    swarm: &mut Swarm,
    settings: &Settings,
    conns: Range<usize>,
    clean: bool,
) -> Result<(), Error> {
    for session in conns.clone() {
        let connect = connect_packet(settings, session, clean, !clean)?;
        let from = settings.local_address(session);
        swarm.reopen(session, settings.address, from, &connect)?;
    }
    let mut open = Count::default();
    let deadline_ns = swarm.clock().now_ns() + LEAVE_NS;
    while clean && open.opened < conns.len() && swarm.clock().now_ns() < deadline_ns {
        swarm.turn(&mut open, Duration::from_millis(5))?;
    }
    Ok(())
}

/// DISCONNECT on every session's connection, and the broker's close.
fn leave(swarm: &mut Swarm, conns: Range<usize>) -> Result<(), Error> {
    for session in conns.clone() {
        swarm.send(session, 0, |out| out.extend_from_slice(&DISCONNECT));
    }
    let mut gone = Count::default();
    let deadline_ns = swarm.clock().now_ns() + LEAVE_NS;
    while gone.closed < conns.len() && swarm.clock().now_ns() < deadline_ns {
        swarm.turn(&mut gone, Duration::from_millis(5))?;
    }
    for session in conns {
        swarm.close(session);
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Count {
    opened: usize,
    closed: usize,
}

impl Handler for Count {
    fn opened(&mut self, _conn: usize, _connack: &ConnAck<'_>) {
        self.opened += 1;
    }

    fn closed(&mut self, _conn: usize, _why: &str) {
        self.closed += 1;
    }
}

/// The first connection.
const PUBLISHER: usize = 0;
const DISCONNECT: [u8; 2] = [0xE0, 0];
/// A broker that does not close is closed.
const LEAVE_NS: u64 = 1_000_000_000;
