//! Receives a known set of messages: what `retained` and `offline` measure.

use std::time::Duration;

use martlet_codec::ConnAck;

use crate::book::{Book, Counts};
use crate::clock::nanoseconds;
use crate::error::Error;
use crate::ledger::Order;
use crate::report::{Report, Snapshot};
use crate::settings::Settings;
use crate::swarm::{Handler, Swarm};
use crate::wire::{Header, Message};

/// The receivers' connections begin at `first`; the book says what they are owed.
#[derive(Debug)]
pub(crate) struct Collector {
    pub(crate) first: usize,
    pub(crate) book: Book,
    pub(crate) run: u32,
    pub(crate) size: usize,
    last_ns: u64,
    problem: Option<String>,
}

impl Collector {
    pub(crate) fn new(settings: &Settings, first: usize, mut book: Book, order: Order) -> Self {
        book.order = order;
        Self {
            first,
            book,
            run: settings.run,
            size: settings.size,
            last_ns: 0,
            problem: None,
        }
    }

    /// Receives until everything is there or nothing has come for the drain time, and fills the report.
    pub(crate) fn collect(
        mut self,
        swarm: &mut Swarm,
        settings: &Settings,
        report: &mut Report,
        start: Snapshot,
    ) -> Result<(), Error> {
        let clock = swarm.clock();
        let patience_ns = nanoseconds(settings.drain);
        self.last_ns = clock.now_ns();
        while self.book.outstanding > 0 && clock.now_ns() < self.last_ns + patience_ns {
            swarm.turn(&mut self, Duration::from_millis(20))?;
        }
        let mut end = Snapshot::take(settings, clock.now_ns(), 0, self.book.counts.delivered);
        end.time_ns = self.last_ns.max(start.time_ns);
        // A second copy of the last message comes at once or not at all.
        let quiet_until_ns = clock.now_ns() + QUIET_NS;
        while clock.now_ns() < quiet_until_ns {
            swarm.turn(&mut self, Duration::from_millis(5))?;
        }
        report.measured = Some(end.since(&start, "message", settings));
        let lost = self.book.not_delivered();
        let counts: &mut Counts = &mut self.book.counts;
        counts.lost = lost;
        report.counts = Some(counts.clone());
        if let Some(problem) = self.problem {
            report.ok = false;
            report.remarks.push(problem);
        }
        Ok(())
    }
}

impl Handler for Collector {
    fn opened(&mut self, _conn: usize, _connack: &ConnAck<'_>) {}

    fn subscribed(&mut self, _conn: usize, reasons: &[u8]) {
        if let Some(refused) = reasons.iter().find(|reason| **reason >= 0x80) {
            self.problem = Some(format!("a subscription was refused: 0x{refused:02X}"));
        }
    }

    fn message(&mut self, conn: usize, message: &Message<'_>, now_ns: u64) {
        match Header::read(message.payload, self.size) {
            Some(header) if header.stamp.run == self.run => {
                let subscriber = conn.wrapping_sub(self.first);
                if self.book.arrive(subscriber, &header, |_| {}) {
                    self.last_ns = now_ns;
                }
            }
            Some(_) => self.book.counts.strays += 1,
            None => self.book.counts.corrupted += 1,
        }
    }

    fn closed(&mut self, conn: usize, why: &str) {
        self.book.counts.disconnects += 1;
        self.problem
            .get_or_insert_with(|| format!("connection {conn}: {why}"));
    }
}

const QUIET_NS: u64 = 50_000_000;
