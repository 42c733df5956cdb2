//! Publishers and subscribers under load: the handler of every scenario that sends messages.
//!
//! As fast as the window allows (closed loop), or on a schedule (open loop). On a schedule a message carries the time
//! at which it was due, not the time at which it left, so a broker that holds the publisher up does not look faster
//! than it is.

use hdrhistogram::Histogram;
use martlet_codec::{ConnAck, QoS};

use crate::arguments::Scenario;
use crate::book::Book;
use crate::churn::Churn;
use crate::clock::nanoseconds;
use crate::ledger::Window;
use crate::number::{Random, count, float, length, whole};
use crate::settings::Settings;
use crate::swarm::{Handler, Swarm};
use crate::wire::{Header, Message, Template};

/// Everything that a run with messages keeps.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) book: Book,
    publishers: Vec<Publisher>,
    /// Publishers that may send.
    ready: Vec<usize>,
    pub(crate) latency: Histogram<u64>,
    /// How long acknowledgements took, if somebody wants to know.
    pub(crate) answers: Option<Histogram<u64>>,
    /// How late the tool itself was, on a schedule.
    pub(crate) lag: Histogram<u64>,
    /// Messages sent (or due) in this time are measured.
    pub(crate) measured_ns: std::ops::Range<u64>,
    sample_mask: u64,
    schedule: Option<Schedule>,
    pub(crate) churn: Option<Churn>,
    random: Random,
    qos: QoS,
    run: u32,
    size: usize,
    window: u64,
    limit: u64,
    stall_ns: u64,
    last_delivery_ns: u64,
    pub(crate) longest_silence_ns: u64,
    /// Why the first connection was lost.
    pub(crate) first_loss: Option<String>,
}

/// One publisher.
#[derive(Debug)]
pub(crate) struct Publisher {
    templates: Vec<Template>,
    slots: Slots,
    window: Window,
    next: u64,
    /// On a schedule: messages that are due.
    due: u64,
    is_ready: bool,
    is_gone: bool,
    last_progress_ns: u64,
}

impl Publisher {
    /// One template for each topic; as many packet identifiers as the broker allows.
    pub(crate) fn new(templates: Vec<Template>, inflight: u16) -> Self {
        Self {
            templates,
            slots: Slots::new(inflight),
            window: Window::default(),
            next: 0,
            due: 0,
            is_ready: false,
            is_gone: false,
            last_progress_ns: 0,
        }
    }
}

/// When messages are due: evenly, over all publishers in turn.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    start_ns: u64,
    interval_ns: f64,
    /// Messages made due so far.
    released: u64,
}

impl Schedule {
    fn due_ns(self, message: u64) -> u64 {
        self.start_ns + whole(float(message) * self.interval_ns)
    }
}

/// Packet identifiers in use.
#[derive(Debug)]
struct Slots {
    free: Vec<u16>,
    busy: Vec<bool>,
    /// When each message was sent, or due.
    times_ns: Vec<u64>,
}

impl Slots {
    fn new(size: u16) -> Self {
        Self {
            free: (1..=size).rev().collect(),
            busy: vec![false; usize::from(size)],
            times_ns: vec![0; usize::from(size)],
        }
    }

    #[inline]
    fn take(&mut self, time_ns: u64) -> Option<u16> {
        let id = self.free.pop()?;
        if let Some(busy) = self.busy.get_mut(usize::from(id) - 1) {
            *busy = true;
        }
        if let Some(place) = self.times_ns.get_mut(usize::from(id) - 1) {
            *place = time_ns;
        }
        Some(id)
    }

    /// When the message with this identifier was sent.
    fn time_ns(&self, id: u16) -> u64 {
        let slot = usize::from(id).checked_sub(1);
        slot.and_then(|slot| self.times_ns.get(slot).copied())
            .unwrap_or_default()
    }

    /// False if it was not in use.
    #[inline]
    fn give_back(&mut self, id: u16) -> bool {
        let slot = usize::from(id).checked_sub(1);
        let Some(busy) = slot.and_then(|slot| self.busy.get_mut(slot)) else {
            return false;
        };
        let was_busy = std::mem::replace(busy, false);
        if was_busy {
            self.free.push(id);
        }
        was_busy
    }

    fn in_use(&self) -> u64 {
        count(self.busy.len() - self.free.len())
    }
}

impl Traffic {
    /// Publishers have the connections from 0 on, subscribers those behind them.
    pub(crate) fn new(
        settings: &Settings,
        book: Book,
        publishers: Vec<Publisher>,
        start_ns: u64,
    ) -> Self {
        let schedule = settings.rate.map(|rate| Schedule {
            start_ns,
            interval_ns: 1e9 / rate,
            released: 0,
        });
        let mut traffic = Self {
            book,
            ready: Vec::new(),
            latency: histogram(),
            answers: (settings.scenario == Scenario::Durable).then(histogram),
            lag: histogram(),
            measured_ns: 0..0,
            sample_mask: if schedule.is_some() {
                0
            } else {
                SAMPLED_EVERY - 1
            },
            churn: None,
            random: Random::new(settings.seed),
            qos: settings.qos,
            run: settings.run,
            size: settings.size,
            window: settings.window,
            limit: settings.limit.unwrap_or(u64::MAX),
            stall_ns: nanoseconds(settings.stall),
            last_delivery_ns: start_ns,
            longest_silence_ns: 0,
            first_loss: None,
            schedule,
            publishers,
        };
        if traffic.schedule.is_none() {
            for publisher in 0..traffic.publishers.len() {
                traffic.make_ready(publisher);
            }
        }
        traffic
    }

    /// Every how many messages one is timed.
    pub(crate) const fn sampled_every(&self) -> u64 {
        self.sample_mask + 1
    }

    /// Sends what the windows (and the schedule) allow.
    pub(crate) fn pump(&mut self, swarm: &mut Swarm, now_ns: u64) {
        self.release_due(now_ns);
        let mut ready = std::mem::take(&mut self.ready);
        ready.retain(|&publisher| {
            let stays = self.publish(swarm, publisher, now_ns);
            if let Some(publisher) = self.publishers.get_mut(publisher) {
                publisher.is_ready = stays;
            }
            stays
        });
        ready.append(&mut self.ready);
        self.ready = ready;
        if let Some(churn) = &mut self.churn {
            churn.pump(swarm, now_ns);
        }
    }

    /// How long the loop may wait for the network: nanoseconds until something is due.
    pub(crate) fn may_wait_ns(&self, now_ns: u64) -> u64 {
        let idle = if self.ready.is_empty() {
            WAIT_NS
        } else {
            WAIT_BLOCKED_NS
        };
        let churn = self.churn.as_ref().map_or(u64::MAX, Churn::due_ns);
        let schedule = self
            .schedule
            .map_or(u64::MAX, |schedule| schedule.due_ns(schedule.released));
        idle.min(schedule.min(churn).saturating_sub(now_ns))
    }

    /// All messages that the limit allows are sent.
    pub(crate) const fn is_used_up(&self) -> bool {
        self.book.counts.attempted >= self.limit
    }

    /// Nothing is outstanding: no delivery, no acknowledgement.
    pub(crate) fn is_settled(&self) -> bool {
        self.book.outstanding == 0 && self.unacknowledged() == 0
    }

    pub(crate) fn unacknowledged(&self) -> u64 {
        self.publishers
            .iter()
            .map(|publisher| publisher.slots.in_use())
            .sum()
    }

    /// Whether there is anybody left to publish.
    pub(crate) fn is_deserted(&self) -> bool {
        self.publishers.iter().all(|publisher| publisher.is_gone)
    }

    pub(crate) const fn last_delivery_ns(&self) -> u64 {
        self.last_delivery_ns
    }

    /// From here on silences count.
    pub(crate) const fn start_listening(&mut self, now_ns: u64) {
        self.last_delivery_ns = now_ns;
        self.longest_silence_ns = 0;
    }

    /// Publishers whose window has not moved for too long give its messages up.
    pub(crate) fn write_off_stalled(&mut self, now_ns: u64) {
        for index in 0..self.publishers.len() {
            let Some(publisher) = self.publishers.get_mut(index) else {
                continue;
            };
            let is_stuck = publisher.window.span() >= self.window
                || (self.qos != QoS::AtMostOnce && publisher.slots.free.is_empty());
            if !is_stuck || now_ns.saturating_sub(publisher.last_progress_ns) < self.stall_ns {
                continue;
            }
            publisher.window.write_off();
            publisher.last_progress_ns = now_ns;
            self.book.write_off(index);
            self.book.counts.stalls += 1;
            self.make_ready(index);
        }
    }

    fn release_due(&mut self, now_ns: u64) {
        let Some(mut schedule) = self.schedule else {
            return;
        };
        let all = count(self.publishers.len());
        while schedule.released < self.limit && schedule.due_ns(schedule.released) <= now_ns {
            let index = length(schedule.released % all);
            schedule.released += 1;
            if let Some(publisher) = self.publishers.get_mut(index) {
                publisher.due += 1;
            }
            self.make_ready(index);
        }
        self.schedule = Some(schedule);
    }

    #[inline]
    fn make_ready(&mut self, index: usize) {
        if let Some(publisher) = self.publishers.get_mut(index)
            && !publisher.is_ready
            && !publisher.is_gone
        {
            publisher.is_ready = true;
            self.ready.push(index);
        }
    }

    /// Whether it could send more if its socket took more.
    fn publish(&mut self, swarm: &mut Swarm, index: usize, now_ns: u64) -> bool {
        let all = count(self.publishers.len());
        let Some(publisher) = self.publishers.get_mut(index) else {
            return false;
        };
        let mut room = self
            .window
            .saturating_sub(publisher.window.span())
            .min(self.limit - self.book.counts.attempted.min(self.limit));
        if self.qos != QoS::AtMostOnce {
            room = room.min(count(publisher.slots.free.len()));
        }
        if self.schedule.is_some() {
            room = room.min(publisher.due);
        }
        let room_bytes = OUT_MAX_BYTES.saturating_sub(swarm.unsent_bytes(index));
        let packet_bytes = publisher.templates.first().map_or(1, Template::len).max(1);
        // One always fits into an empty output, however large it is.
        let fits = count(room_bytes / packet_bytes).max(u64::from(room_bytes == OUT_MAX_BYTES));
        let messages = room.min(fits);
        if messages == 0 {
            return room > 0;
        }
        if publisher.window.span() == 0 {
            publisher.last_progress_ns = now_ns;
        }
        let Self {
            book,
            random,
            lag,
            schedule,
            measured_ns,
            qos,
            ..
        } = self;
        swarm.send(index, messages, |out| {
            for _ in 0..messages {
                let sequence = publisher.next;
                let time_ns = schedule.map_or(now_ns, |schedule| {
                    let due_ns = schedule.due_ns(sequence * all + count(index));
                    if measured_ns.contains(&due_ns) {
                        lag.saturating_record(now_ns.saturating_sub(due_ns));
                    }
                    due_ns
                });
                let topic = match publisher.templates.len() {
                    0 | 1 => 0,
                    topics => random.below(topics),
                };
                let packet_id = if *qos == QoS::AtMostOnce {
                    0
                } else {
                    publisher.slots.take(time_ns).unwrap_or_default()
                };
                if let Some(template) = publisher.templates.get_mut(topic) {
                    template.put(out, packet_id, sequence, time_ns);
                }
                publisher.next += 1;
                publisher.window.open(book.receivers(topic));
                book.expect(index, topic, sequence..sequence + 1);
            }
        });
        publisher.due = publisher.due.saturating_sub(messages);
        messages < room
    }
}

impl Handler for Traffic {
    fn opened(&mut self, _conn: usize, _connack: &ConnAck<'_>) {}

    fn subscribed(&mut self, conn: usize, reasons: &[u8]) {
        if let Some(churn) = &mut self.churn {
            churn.answered(conn, reasons);
        }
    }

    #[inline]
    fn message(&mut self, conn: usize, message: &Message<'_>, now_ns: u64) {
        let Some(header) = Header::read(message.payload, self.size) else {
            self.book.counts.corrupted += 1;
            return;
        };
        let subscriber = conn.wrapping_sub(self.publishers.len());
        let index = length(u64::from(header.stamp.publisher));
        let Some(publisher) = self
            .publishers
            .get_mut(index)
            .filter(|_| header.stamp.run == self.run)
        else {
            self.book.counts.strays += 1;
            return;
        };
        let window = &mut publisher.window;
        let is_first = self
            .book
            .arrive(subscriber, &header, |sequence| window.settle(sequence));
        publisher.last_progress_ns = now_ns;
        if is_first {
            let silence_ns = now_ns - self.last_delivery_ns.min(now_ns);
            self.longest_silence_ns = self.longest_silence_ns.max(silence_ns);
            self.last_delivery_ns = now_ns;
            if header.sequence & self.sample_mask == 0 && self.measured_ns.contains(&header.time_ns)
            {
                self.latency
                    .saturating_record(now_ns.saturating_sub(header.time_ns));
            }
        }
        self.make_ready(index);
    }

    #[inline]
    fn acked(&mut self, conn: usize, packet_id: u16, accepted: bool, now_ns: u64) {
        let Some(publisher) = self.publishers.get_mut(conn) else {
            self.book.counts.unexpected_acks += 1;
            return;
        };
        if !publisher.slots.give_back(packet_id) {
            self.book.counts.unexpected_acks += 1;
            return;
        }
        let sent_ns = publisher.slots.time_ns(packet_id);
        if let Some(answers) = &mut self.answers
            && self.measured_ns.contains(&sent_ns)
        {
            answers.saturating_record(now_ns.saturating_sub(sent_ns));
        }
        if accepted {
            self.book.counts.acknowledged += 1;
        } else {
            self.book.counts.refused += 1;
        }
        self.make_ready(conn);
    }

    fn closed(&mut self, conn: usize, why: &str) {
        self.book.counts.disconnects += 1;
        self.first_loss
            .get_or_insert_with(|| format!("connection {conn}: {why}"));
        if let Some(publisher) = self.publishers.get_mut(conn) {
            publisher.is_gone = true;
        }
    }
}

/// Up to ten minutes, to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    #[expect(
        clippy::expect_used,
        reason = "the bounds are constants that the crate accepts"
    )]
    Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("bounds are in order")
}

/// Timing every message would cost the tool a tenth of its speed.
const SAMPLED_EVERY: u64 = 16;
/// A full socket must not make the output grow.
const OUT_MAX_BYTES: usize = 1 << 20;
const WAIT_NS: u64 = 20_000_000;
const WAIT_BLOCKED_NS: u64 = 1_000_000;
