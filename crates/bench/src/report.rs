//! What a run found: one object for machines, a page for people, and the gates.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use martlet_codec::QoS;
use serde::Serialize;

use crate::arguments::Share;
use crate::book::Counts;
use crate::number::{bytes, float, grouped, ratio, whole};
use crate::process::{self, CpuTime, Machine};
use crate::settings::Settings;
use crate::setup::Welcome;

/// The whole report; `--json` prints it as it is.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    tool: &'static str,
    tool_version: &'static str,
    /// The name of the measured program, if its process was given.
    broker: Option<String>,
    settings: Settings,
    machine: Machine,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) measured: Option<Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) counts: Option<Counts>,
    /// Of deliveries, or of what the scenario does; microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency_us: Option<Percentiles>,
    /// durable: from PUBLISH to the end of its flow, PUBACK or PUBCOMP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) acknowledged_us: Option<Percentiles>,
    /// On a schedule: how late the tool itself was; microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) schedule_lag_us: Option<Percentiles>,
    /// QoS 1 and 2: how many messages each publisher could have unacknowledged. What was asked for, unless the broker's
    /// Receive Maximum is below; the smallest of all publishers.
    #[serde(skip_serializing_if = "Option::is_none")]
    unacknowledged_max: Option<u16>,
    /// How often the tool looked for something to do.
    pub(crate) turns: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) memory: Vec<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) churned: Option<u64>,
    gates: Vec<Gate>,
    /// What makes the figures worthless or worth a second look.
    pub(crate) remarks: Vec<String>,
    /// No gate was missed and the run took place.
    pub(crate) ok: bool,
}

/// The measured window: after the warm-up, before the drain.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    /// What is counted: messages, connections.
    pub(crate) unit: &'static str,
    pub(crate) seconds: f64,
    pub(crate) sent: u64,
    /// Deliveries, or what else the scenario counts.
    pub(crate) done: u64,
    pub(crate) sent_per_s: f64,
    pub(crate) done_per_s: f64,
    /// Microseconds of the broker's CPU time (user and system) for each of them.
    pub(crate) broker_cpu_us: Option<f64>,
    pub(crate) broker_cpu: Option<CpuTime>,
    pub(crate) broker_rss_bytes: Option<u64>,
    pub(crate) load_cpu_us: Option<f64>,
    pub(crate) load_cpu: Option<CpuTime>,
    pub(crate) load_rss_bytes: Option<u64>,
    /// Subscribes and unsubscribes that were answered beside the messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) churned: Option<u64>,
    /// The longest time without any delivery.
    pub(crate) longest_silence_ms: Option<f64>,
}

/// One look at everything that is counted; two make a measurement.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Snapshot {
    pub(crate) time_ns: u64,
    pub(crate) sent: u64,
    pub(crate) done: u64,
    broker: Option<CpuTime>,
    load: Option<CpuTime>,
}

impl Snapshot {
    pub(crate) fn take(settings: &Settings, time_ns: u64, sent: u64, done: u64) -> Self {
        Self {
            time_ns,
            sent,
            done,
            broker: settings.pid.and_then(|pid| CpuTime::of(Some(pid))),
            load: CpuTime::of(None),
        }
    }

    /// What happened since `earlier`.
    pub(crate) fn since(
        &self,
        earlier: &Self,
        unit: &'static str,
        settings: &Settings,
    ) -> Measured {
        let seconds = float(self.time_ns.saturating_sub(earlier.time_ns)) / 1e9;
        let sent = self.sent.saturating_sub(earlier.sent);
        let done = self.done.saturating_sub(earlier.done);
        let used = |now: Option<CpuTime>, then: Option<CpuTime>| Some(now?.since(then?));
        let broker_cpu = used(self.broker, earlier.broker);
        let load_cpu = used(self.load, earlier.load);
        let each =
            |cpu: Option<CpuTime>| Some(cpu?.total_s() * 1e6 / float(done)).filter(|_| done > 0);
        Measured {
            unit,
            seconds,
            sent,
            done,
            sent_per_s: ratio(float(sent), seconds),
            done_per_s: ratio(float(done), seconds),
            broker_cpu_us: each(broker_cpu),
            broker_cpu,
            broker_rss_bytes: settings.pid.and_then(|pid| process::rss_bytes(Some(pid))),
            load_cpu_us: each(load_cpu),
            load_cpu,
            load_rss_bytes: process::rss_bytes(None),
            churned: None,
            longest_silence_ms: None,
        }
    }
}

/// Percentiles of a histogram.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Percentiles {
    count: u64,
    /// One in so many was timed.
    sampled_every: u64,
    mean: f64,
    p50: f64,
    p90: f64,
    p95: f64,
    pub(crate) p99: f64,
    p99_9: f64,
    p99_99: f64,
    max: f64,
}

impl Percentiles {
    /// None if nothing was recorded.
    pub(crate) fn of(nanoseconds: &Histogram<u64>, sampled_every: u64) -> Option<Self> {
        let at = |percent| float(nanoseconds.value_at_quantile(percent / 100.0)) / 1e3;
        (!nanoseconds.is_empty()).then(|| Self {
            count: nanoseconds.len(),
            sampled_every,
            mean: nanoseconds.mean() / 1e3,
            p50: at(50.0),
            p90: at(90.0),
            p95: at(95.0),
            p99: at(99.0),
            p99_9: at(99.9),
            p99_99: at(99.99),
            max: float(nanoseconds.max()) / 1e3,
        })
    }

    fn line(&self) -> String {
        format!(
            "p50 {:.0}  p90 {:.0}  p99 {:.0}  p99.9 {:.0}  p99.99 {:.0}  max {:.0} µs",
            self.p50, self.p90, self.p99, self.p99_9, self.p99_99, self.max
        )
    }
}

/// What a number of things cost in memory of the broker.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Memory {
    /// What there are more of: connections, retained messages.
    pub(crate) unit: &'static str,
    pub(crate) count: u64,
    pub(crate) before_bytes: u64,
    pub(crate) after_bytes: u64,
    pub(crate) each_bytes: f64,
}

impl Memory {
    pub(crate) fn new(
        unit: &'static str,
        count: u64,
        before: Option<u64>,
        after: Option<u64>,
    ) -> Option<Self> {
        let (before_bytes, after_bytes) = (before?, after?);
        Some(Self {
            unit,
            count,
            before_bytes,
            after_bytes,
            each_bytes: ratio(float(after_bytes) - float(before_bytes), float(count)),
        })
    }
}

/// A bound that the run had to keep.
#[derive(Debug, Clone, Serialize)]
struct Gate {
    name: &'static str,
    limit: f64,
    value: Option<f64>,
    passed: bool,
}

impl Report {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            tool: "martlet bench",
            tool_version: env!("CARGO_PKG_VERSION"),
            broker: settings.pid.and_then(process::name),
            settings: settings.clone(),
            machine: process::machine(),
            measured: None,
            counts: None,
            latency_us: None,
            acknowledged_us: None,
            schedule_lag_us: None,
            unacknowledged_max: None,
            turns: 0,
            memory: Vec::new(),
            churned: None,
            gates: Vec::new(),
            remarks: Vec::new(),
            ok: true,
        }
    }

    /// Says how many messages the broker lets each of these publishers have unacknowledged, and that this is not what was
    /// asked for, if so; the smallest number comes back.
    pub(crate) fn note_unacknowledged_max(&mut self, publishers: &[Welcome]) -> u16 {
        let asked = self.settings.inflight;
        let allowed = publishers
            .iter()
            .map(|welcome| welcome.unacknowledged_max(&self.settings));
        let allowed = allowed.min().unwrap_or(asked);
        self.unacknowledged_max = Some(allowed);
        if allowed < asked {
            self.remarks.push(format!(
                "the broker's Receive Maximum allowed a publisher {allowed} unacknowledged messages, not the {asked} of \
                 --inflight"
            ));
        }
        allowed
    }

    /// Holds the figures against the bounds that were asked for. A figure that is not there misses its bound.
    pub(crate) fn judge(&mut self) {
        if let Some(limit) = self.settings.max_loss {
            let lost = self.counts.as_ref().map(|counts| counts.lost);
            let expected = self.counts.as_ref().map_or(0, |counts| counts.expected);
            let allowed = match limit {
                Share::Count(count) => count,
                Share::Percent(percent) => whole(float(expected) * percent / 100.0),
            };
            let passed = expected > 0 && lost.is_some_and(|lost| lost <= allowed);
            self.gate("max-loss", float(allowed), lost.map(float), passed);
        }
        if let Some(limit) = self.settings.p99 {
            let limit_us = limit.as_secs_f64() * 1e6;
            let p99 = self
                .acknowledged_us
                .as_ref()
                .or(self.latency_us.as_ref())
                .map(|latency| latency.p99);
            let passed = p99.is_some_and(|p99| p99 <= limit_us);
            self.gate("p99", limit_us, p99, passed);
        }
        if let Some(limit) = self.settings.min_rate {
            let rate = self.measured.as_ref().map(|measured| measured.done_per_s);
            let passed = rate.is_some_and(|rate| rate >= limit);
            self.gate("min-rate", limit, rate, passed);
        }
        self.remark_bottleneck();
        self.ok = self.ok && self.gates.iter().all(|gate| gate.passed);
    }

    fn gate(&mut self, name: &'static str, limit: f64, value: Option<f64>, passed: bool) {
        self.gates.push(Gate {
            name,
            limit,
            value,
            passed,
        });
    }

    /// A tool that works at its limit measures itself: rate and latency are its own then.
    fn remark_bottleneck(&mut self) {
        let Some(measured) = &self.measured else {
            return;
        };
        let share = |cpu: Option<CpuTime>| Some(ratio(cpu?.total_s(), measured.seconds));
        if self.settings.rate.is_none()
            && let (Some(load), Some(broker)) =
                (share(measured.load_cpu), share(measured.broker_cpu))
            && load > 0.9
            && broker < 0.8
        {
            self.remarks.push(format!(
                "the load generator was the bottleneck (it used {:.0} % of a core, the broker {:.0} %): \
                 the rate is a lower bound, the CPU time per {} is the broker's",
                load * 100.0,
                broker * 100.0,
                measured.unit
            ));
        }
        let is_coarse = |cpu: CpuTime| cpu.scheduled_s.is_none() && cpu.total_s() < CPU_SECONDS_MIN;
        if measured.seconds > 0.0 && measured.broker_cpu.is_some_and(is_coarse) {
            self.remarks.push(
                "the broker used too little CPU time to be measured in ticks of 10 ms".to_owned(),
            );
        }
    }

    /// The page for people.
    pub(crate) fn text(&self) -> String {
        let mut text = self.headline();
        let broker = self.broker.as_deref().unwrap_or("broker");
        if let Some(measured) = &self.measured {
            measured.write(&mut text, broker);
        }
        if let Some(latency) = &self.latency_us {
            let every = if latency.sampled_every > 1 {
                format!(" (one in {})", latency.sampled_every)
            } else {
                String::new()
            };
            let _ = writeln!(text, "latency       {}{every}", latency.line());
        }
        if let Some(answers) = &self.acknowledged_us {
            let _ = writeln!(text, "acknowledged  {}", answers.line());
        }
        if let Some(lag) = &self.schedule_lag_us {
            let _ = writeln!(
                text,
                "own lag       {} (the tool behind its schedule; part of the latency)",
                lag.line()
            );
        }
        for memory in &self.memory {
            let _ = writeln!(
                text,
                "memory        {:.0} bytes for each of {} {} ({} before, {} after)",
                memory.each_bytes,
                grouped(memory.count),
                memory.unit,
                bytes(memory.before_bytes),
                bytes(memory.after_bytes)
            );
        }
        if let Some(churned) = self.churned {
            let _ = writeln!(
                text,
                "churn         {} subscribes and unsubscribes",
                grouped(churned)
            );
        }
        if let Some(counts) = &self.counts {
            counts.write(&mut text, self.settings.qos);
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "remark        {remark}");
        }
        for gate in &self.gates {
            let verdict = if gate.passed { "passed" } else { "MISSED" };
            let value = gate
                .value
                .map_or_else(|| "nothing".to_owned(), |value| format!("{value:.1}"));
            let _ = writeln!(
                text,
                "gate          {} {verdict}: {value} against {:.1}",
                gate.name, gate.limit
            );
        }
        text
    }

    fn headline(&self) -> String {
        let settings = &self.settings;
        let scenario = serde_json::to_value(settings.scenario).unwrap_or_default();
        format!(
            "{}: {} publishers or clients, {} subscribers, QoS {}, {} bytes, MQTT {}, {}:{}\n",
            scenario.as_str().unwrap_or_default(),
            settings.publishers,
            settings.subscribers,
            settings.qos.bits(),
            settings.size,
            settings.version,
            settings.host,
            settings.port
        )
    }
}

impl Measured {
    fn write(&self, text: &mut String, broker: &str) {
        let _ = writeln!(text, "measured      {:.2} s", self.seconds);
        if self.sent > 0 {
            let sent = grouped(self.sent);
            let rate = grouped(whole(self.sent_per_s));
            let _ = writeln!(text, "sent          {sent} ({rate} /s)");
        }
        let done = grouped(self.done);
        let rate = grouped(whole(self.done_per_s));
        let what = if self.unit == "message" {
            "delivered "
        } else {
            "done      "
        };
        let _ = writeln!(text, "{what}    {done} ({rate} /s)");
        let mut cpu = |name: &str, each: Option<f64>, cpu: Option<CpuTime>| {
            if let (Some(each), Some(cpu)) = (each, cpu) {
                let _ = writeln!(
                    text,
                    "{name:<12}  {each:.3} µs of CPU per {} (user {:.2} s, system {:.2} s; {:.0} % of a core)",
                    self.unit,
                    cpu.user_s,
                    cpu.system_s,
                    ratio(cpu.total_s(), self.seconds) * 100.0
                );
            }
        };
        cpu(broker, self.broker_cpu_us, self.broker_cpu);
        cpu("this tool", self.load_cpu_us, self.load_cpu);
        if let Some(rss) = self.broker_rss_bytes {
            let _ = writeln!(text, "broker's RSS  {}", bytes(rss));
        }
        if let Some(silence) = self.longest_silence_ms {
            let _ = writeln!(
                text,
                "silence       {silence:.1} ms at most without a delivery"
            );
        }
    }
}

impl Counts {
    fn write(&self, text: &mut String, qos: QoS) {
        let mut parts = vec![
            ("attempted", self.attempted),
            ("accepted", self.accepted),
            ("acknowledged", self.acknowledged),
            ("deliveries expected", self.expected),
            ("delivered", self.delivered),
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
        ];
        if qos == QoS::AtMostOnce {
            parts.retain(|(name, _)| *name != "acknowledged");
        }
        let unusual = [
            ("refused", self.refused),
            ("strays", self.strays),
            ("corrupted", self.corrupted),
            ("unexpected acknowledgements", self.unexpected_acks),
            ("unacknowledged", self.unacknowledged),
            ("stalls", self.stalls),
            ("disconnects", self.disconnects),
        ];
        parts.extend(unusual.into_iter().filter(|(_, count)| *count > 0));
        let parts: Vec<String> = parts
            .into_iter()
            .map(|(name, count)| format!("{name} {}", grouped(count)))
            .collect();
        let _ = writeln!(text, "whole run     {}", parts.join(", "));
    }
}

/// Below this, ticks of 10 ms are more than 5 % of the figure.
const CPU_SECONDS_MIN: f64 = 0.2;
