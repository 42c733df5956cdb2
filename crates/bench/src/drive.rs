//! Takes traffic through its phases: warm-up, measured window, drain.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use martlet_codec::Packet;

use crate::arguments::Scenario;
use crate::clock::nanoseconds;
use crate::error::Error;
use crate::number::{float, grouped, ratio, whole};
use crate::report::{Measured, Percentiles, Report, Snapshot};
use crate::settings::Settings;
use crate::swarm::Swarm;
use crate::traffic::Traffic;

/// Runs the traffic to its end and fills the report.
pub(crate) fn drive(
    swarm: &mut Swarm,
    traffic: &mut Traffic,
    settings: &Settings,
    report: &mut Report,
) -> Result<(), Error> {
    if settings.rate.is_some() && settings.scenario != Scenario::Latency {
        // Latency is timed to the microsecond, by a tool that has a core to itself. Others leave it to the broker.
        swarm.set_alarm()?;
    }
    let mut ticker = Ticker::new(settings, swarm.clock().now_ns());
    let warmup_ns = nanoseconds(settings.warmup);
    publish_for(swarm, traffic, &mut ticker, warmup_ns)?;

    let start = snapshot(settings, swarm, traffic);
    let churned = |traffic: &Traffic| traffic.churn.as_ref().map(|churn| churn.done().0);
    let churned_before = churned(traffic);
    let mut churned_behind = churned_before;
    traffic.start_listening(start.time_ns);
    traffic.measured_ns = start.time_ns..start.time_ns + nanoseconds(settings.duration);
    let mut end = start;
    if !traffic.is_used_up() {
        publish_for(swarm, traffic, &mut ticker, nanoseconds(settings.duration))?;
        if traffic.is_used_up() {
            // The last messages belong to the measurement, but not the wait for what is lost.
            finish(swarm, traffic, &mut ticker, QUIET_NS)?;
        }
        end = snapshot(settings, swarm, traffic);
        churned_behind = churned(traffic);
        traffic.measured_ns.end = end.time_ns;
        if traffic.is_used_up() {
            end.time_ns = traffic.last_delivery_ns().max(start.time_ns);
        }
    }
    let silence_ns = traffic
        .longest_silence_ns
        .max(end.time_ns.saturating_sub(traffic.last_delivery_ns()));
    let mut measured = end.since(&start, "message", settings);
    measured.longest_silence_ms = Some(float(silence_ns) / 1e6);
    let both = churned_behind.zip(churned_before);
    measured.churned = both.map(|(behind, before)| behind - before);
    finish(swarm, traffic, &mut ticker, nanoseconds(settings.drain))?;
    ticker.clear_line();
    fill(report, settings, swarm, traffic, measured);
    Ok(())
}

fn fill(
    report: &mut Report,
    settings: &Settings,
    swarm: &Swarm,
    traffic: &mut Traffic,
    measured: Measured,
) {
    let not_delivered = traffic.book.not_delivered();
    let unacknowledged = traffic.unacknowledged();
    let counts = &mut traffic.book.counts;
    counts.accepted = swarm.accepted();
    counts.lost = not_delivered;
    counts.unacknowledged = unacknowledged;
    report.counts = Some(counts.clone());
    if measured.done == 0 {
        report.ok = false;
        report
            .remarks
            .push("nothing was delivered in the measured window".to_owned());
    }
    report.turns = swarm.turns();
    if settings.scenario == Scenario::Durable && not_delivered > 0 {
        report.remarks.push(format!(
            "--window {}: does a session's queue hold that many messages? What it does not hold counts as lost",
            settings.window
        ));
    }
    report.measured = Some(measured);
    report.latency_us = Percentiles::of(&traffic.latency, traffic.sampled_every());
    let answers = traffic.answers.as_ref();
    report.acknowledged_us = answers.and_then(|answers| Percentiles::of(answers, 1));
    report.schedule_lag_us = Percentiles::of(&traffic.lag, 1);
    if let Some(churn) = &traffic.churn {
        let (done, refused) = churn.done();
        report.churned = Some(done);
        if refused > 0 {
            report.remarks.push(format!(
                "{refused} of the churning subscriptions were refused"
            ));
        }
    }
    if let Some(loss) = &traffic.first_loss {
        report.ok = false;
        report
            .remarks
            .push(format!("connections were lost; the first: {loss}"));
    }
}

fn snapshot(settings: &Settings, swarm: &Swarm, traffic: &Traffic) -> Snapshot {
    let counts = &traffic.book.counts;
    let now_ns = swarm.clock().now_ns();
    Snapshot::take(settings, now_ns, counts.attempted, counts.delivered)
}

/// Publishes for some time, or until the limit is reached or nobody is left.
fn publish_for(
    swarm: &mut Swarm,
    traffic: &mut Traffic,
    ticker: &mut Ticker,
    time_ns: u64,
) -> io::Result<()> {
    let clock = swarm.clock();
    let end_ns = clock.now_ns() + time_ns;
    loop {
        let now_ns = clock.now_ns();
        if now_ns >= end_ns || traffic.is_used_up() || traffic.is_deserted() {
            return Ok(());
        }
        traffic.pump(swarm, now_ns);
        let wait_ns = traffic.may_wait_ns(now_ns).min(end_ns - now_ns);
        swarm.turn_by(traffic, wait_ns)?;
        ticker.tick_publishing(swarm, traffic, now_ns);
    }
}

/// Publishes nothing more and waits for what is outstanding.
fn finish(
    swarm: &mut Swarm,
    traffic: &mut Traffic,
    ticker: &mut Ticker,
    time_ns: u64,
) -> io::Result<()> {
    let clock = swarm.clock();
    let start_ns = clock.now_ns();
    loop {
        let now_ns = clock.now_ns();
        // A slow broker is waited for while it delivers, a silent one no longer than asked.
        let quiet_from_ns = traffic.last_delivery_ns().max(start_ns);
        let is_over = now_ns >= quiet_from_ns + time_ns
            || now_ns >= start_ns.saturating_add(time_ns.saturating_mul(DRAINS_MAX));
        // What was skipped may still come, and so may a second copy of what came last.
        let quiet_ns = if traffic.book.missing() > 0 {
            QUIET_NS
        } else {
            QUIET_NS / 10
        };
        let is_quiet = now_ns >= quiet_from_ns + quiet_ns;
        if is_over || (traffic.is_settled() && is_quiet) {
            return Ok(());
        }
        swarm.turn(traffic, Duration::from_millis(5))?;
        ticker.tick(swarm, traffic, now_ns);
    }
}

/// What happens now and then: stalls are looked for, pings are sent, the live line is written.
#[derive(Debug)]
struct Ticker {
    next_ns: u64,
    next_line_ns: u64,
    next_ping_ns: u64,
    ping_every_ns: u64,
    is_live: bool,
    is_line_there: bool,
    last_delivered: u64,
}

impl Ticker {
    fn new(settings: &Settings, now_ns: u64) -> Self {
        let ping_every_ns = match settings.keepalive {
            0 => u64::MAX / 2,
            seconds => u64::from(seconds) * 1_000_000_000 / 2,
        };
        Self {
            next_ns: now_ns + TICK_NS,
            next_line_ns: now_ns + LINE_NS,
            next_ping_ns: now_ns + ping_every_ns,
            ping_every_ns,
            is_live: !settings.quiet && io::stderr().is_terminal(),
            is_line_there: false,
            last_delivered: 0,
        }
    }

    #[inline]
    fn tick(&mut self, swarm: &mut Swarm, traffic: &mut Traffic, now_ns: u64) {
        if now_ns >= self.next_ns {
            self.next_ns = now_ns + TICK_NS;
            self.work(swarm, traffic, now_ns);
        }
    }

    /// The same while messages are published: only then is there a point in giving up.
    #[inline]
    fn tick_publishing(&mut self, swarm: &mut Swarm, traffic: &mut Traffic, now_ns: u64) {
        if now_ns >= self.next_ns {
            traffic.write_off_stalled(now_ns);
        }
        self.tick(swarm, traffic, now_ns);
    }

    fn work(&mut self, swarm: &mut Swarm, traffic: &mut Traffic, now_ns: u64) {
        if now_ns >= self.next_ping_ns {
            self.next_ping_ns = now_ns + self.ping_every_ns;
            for index in 0..swarm.len() {
                // PINGREQ has nothing in it that could not be sent.
                let _ = swarm.send_packet(index, &Packet::PingReq);
            }
        }
        if self.is_live && now_ns >= self.next_line_ns {
            let counts = &traffic.book.counts;
            let seconds = float(now_ns - (self.next_line_ns - LINE_NS)) / 1e9;
            let rate = ratio(float(counts.delivered - self.last_delivered), seconds);
            // A terminal that is gone must not end the run.
            let _ = write!(
                io::stderr(),
                "\r\x1b[K{:>4} s  {:>12} /s  outstanding {}  missing {}  duplicated {}",
                now_ns / 1_000_000_000,
                grouped(whole(rate)),
                grouped(traffic.book.outstanding),
                grouped(traffic.book.missing()),
                grouped(counts.duplicated),
            );
            self.is_line_there = true;
            self.last_delivered = counts.delivered;
            self.next_line_ns = now_ns + LINE_NS;
        }
    }

    fn clear_line(&mut self) {
        if std::mem::take(&mut self.is_line_there) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Late copies and late messages are waited for so long.
const QUIET_NS: u64 = 300_000_000;
/// The bound of a drain that never ends, in drain times.
const DRAINS_MAX: u64 = 6;
const TICK_NS: u64 = 50_000_000;
const LINE_NS: u64 = 1_000_000_000;
