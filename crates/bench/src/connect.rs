//! Scenario `connect`: connections made and ended as fast as the broker can, so many at a time.

use std::time::Duration;

use hdrhistogram::Histogram;
use martlet_codec::ConnAck;

use crate::clock::{Clock, nanoseconds};
use crate::error::Error;
use crate::number::{count, float, whole};
use crate::report::{Percentiles, Report, Snapshot};
use crate::settings::Settings;
use crate::setup::{connect_packet, open};
use crate::swarm::{Handler, Swarm};
use crate::traffic::histogram;

pub(crate) fn run(
    swarm: &mut Swarm,
    settings: &Settings,
    report: &mut Report,
) -> Result<(), Error> {
    let clock = swarm.clock();
    let total = count(settings.publishers);
    let warm = total / 10;
    let mut storm = Storm {
        slots: vec![Slot::default(); settings.concurrency.min(settings.publishers)],
        free: Vec::new(),
        greeted: Vec::new(),
        done: 0,
        failed: 0,
        latency: histogram(),
        is_measured: false,
        first_failure: None,
        clock,
    };
    let begin_ns = clock.now_ns();
    let mut started = 0;
    for slot in 0..storm.slots.len() {
        storm.start(swarm, settings, slot, started)?;
        started += 1;
    }
    let mut start = Snapshot::take(settings, clock.now_ns(), 0, 0);
    let mut last = (0, clock.now_ns());
    while storm.done + storm.failed < total {
        swarm.turn(&mut storm, Duration::from_millis(1))?;
        storm.end_greeted(swarm);
        if !storm.is_measured && storm.done >= warm {
            storm.is_measured = true;
            start = Snapshot::take(settings, clock.now_ns(), 0, storm.done);
        }
        let now_ns = clock.now_ns();
        let due = settings.connect_rate.map_or(total, |rate| {
            whole(float(now_ns - begin_ns) / 1e9 * rate) + 1
        });
        while started < total.min(due)
            && let Some(slot) = storm.free.pop()
        {
            storm.start(swarm, settings, slot, started)?;
            started += 1;
        }
        if storm.done + storm.failed > last.0 {
            last = (storm.done + storm.failed, now_ns);
        } else if now_ns > last.1 + nanoseconds(settings.setup) {
            return Err(Error::Broker(
                "no connection was answered any more".to_owned(),
            ));
        }
    }
    let end = Snapshot::take(settings, clock.now_ns(), 0, storm.done);
    report.measured = Some(end.since(&start, "connection", settings));
    report.latency_us = Percentiles::of(&storm.latency, 1);
    if let Some(why) = storm.first_failure {
        report.ok = false;
        report.remarks.push(format!(
            "{} connections failed; the first: {why}",
            storm.failed
        ));
    }
    Ok(())
}

/// All connections of the storm.
#[derive(Debug)]
struct Storm {
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Those that have their CONNACK and are to be ended.
    greeted: Vec<usize>,
    done: u64,
    failed: u64,
    /// From the start of the TCP handshake to CONNACK.
    latency: Histogram<u64>,
    is_measured: bool,
    first_failure: Option<String>,
    clock: Clock,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    start_ns: u64,
    is_open: bool,
    is_used: bool,
}

impl Storm {
    fn start(
        &mut self,
        swarm: &mut Swarm,
        settings: &Settings,
        index: usize,
        number: u64,
    ) -> Result<(), Error> {
        let number = crate::number::length(number);
        let Some(slot) = self.slots.get_mut(index) else {
            return Ok(());
        };
        slot.start_ns = swarm.clock().now_ns();
        slot.is_open = false;
        if std::mem::replace(&mut slot.is_used, true) {
            let connect = connect_packet(settings, number, true, false)?;
            let from = settings.local_address(number);
            swarm.reopen(index, settings.address, from, &connect)?;
        } else {
            open(swarm, settings, number, true, false)?;
        }
        Ok(())
    }

    fn end_greeted(&mut self, swarm: &mut Swarm) {
        for slot in self.greeted.drain(..) {
            swarm.send(slot, 0, |out| out.extend_from_slice(&DISCONNECT));
        }
    }
}

impl Handler for Storm {
    fn opened(&mut self, conn: usize, _connack: &ConnAck<'_>) {
        if let Some(slot) = self.slots.get_mut(conn) {
            slot.is_open = true;
            if self.is_measured {
                self.latency
                    .saturating_record(self.clock.now_ns().saturating_sub(slot.start_ns));
            }
        }
        self.greeted.push(conn);
    }

    fn closed(&mut self, conn: usize, why: &str) {
        if self.slots.get(conn).is_some_and(|slot| slot.is_open) {
            self.done += 1;
        } else {
            self.failed += 1;
            self.first_failure.get_or_insert_with(|| why.to_owned());
        }
        self.free.push(conn);
    }
}

const DISCONNECT: [u8; 2] = [0xE0, 0];
