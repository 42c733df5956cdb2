//! What is run, what is read from the report, and what Martlet is to reach.

use super::churn;

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Behind `martlet bench`.
    pub(crate) arguments: &'static str,
    pub(crate) metric: Metric,
    /// Martlet's target in the metric's unit.
    pub(crate) target: Option<f64>,
    /// Rows of one group make a plot.
    pub(crate) group: Option<&'static str>,
    /// A figure that is compared with another row's more closely than runs agree with each other: Martlet has many longer runs, all
    /// such rows in turn.
    pub(crate) is_steady: bool,
    /// Brokers that cannot do it.
    pub(crate) peers_skipped: &'static [&'static str],
}

/// Which figure of the report a row shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    /// Microseconds of the broker's CPU time for each delivery or connection.
    Cpu,
    /// The same for each subscribe or unsubscribe of the churn.
    Change,
    /// Bytes of the broker's memory for each of these.
    Memory(&'static str),
    /// The 50th percentile in microseconds; the table shows the 99th, too.
    Latency,
}

impl Metric {
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::Cpu => "µs",
            Self::Change => "µs (each)",
            Self::Memory(_) => "bytes",
            Self::Latency => "µs (p50)",
        }
    }

    /// The figure in a report.
    pub(crate) fn figure(self, json: &str) -> Option<f64> {
        match self {
            Self::Cpu => number(json, &["\"measured\":{", "\"broker_cpu_us\":"]),
            Self::Change => {
                let message_us = number(json, &["\"measured\":{", "\"broker_cpu_us\":"])?;
                let messages = number(json, &["\"measured\":{", "\"done\":"])?;
                let changes = number(json, &["\"measured\":{", "\"churned\":"])?;
                Some(message_us * messages / changes).filter(|figure| figure.is_finite())
            }
            Self::Memory(unit) => {
                let unit = format!("\"unit\":\"{unit}\"");
                number(json, &["\"memory\":[", &unit, "\"each_bytes\":"])
            }
            Self::Latency => number(json, &["\"latency_us\":{", "\"p50\":"]),
        }
    }
}

/// The number behind the last of these texts, which follow each other in the JSON. The tool writes its objects in one
/// order, so this is all the parser that it takes.
pub(crate) fn number(json: &str, path: &[&str]) -> Option<f64> {
    let mut rest = json;
    for text in path {
        rest = rest.split_once(text)?.1;
    }
    let end = rest.find([',', '}', ']'])?;
    rest.get(..end)?.parse().ok()
}

/// Behind a figure: how many unacknowledged messages a publisher could have, if a broker allowed fewer than the load asked for.
pub(crate) fn fewer_unacknowledged<'r>(reports: impl Iterator<Item = &'r str>) -> Option<String> {
    let allowed = reports.filter_map(|json| {
        let asked = number(json, &["\"settings\":{", "\"inflight\":"])?;
        let allowed = number(json, &["\"unacknowledged_max\":"])?;
        (allowed < asked).then_some(allowed)
    });
    let fewest = allowed.min_by(f64::total_cmp)?;
    Some(format!(" ({fewest} unacknowledged allowed)"))
}

const fn cpu(name: &'static str, arguments: &'static str, target: f64) -> Row {
    Row {
        name,
        arguments,
        metric: Metric::Cpu,
        target: Some(target),
        group: None,
        is_steady: false,
        peers_skipped: &[],
    }
}

const fn growth(group: &'static str, name: &'static str, arguments: &'static str) -> Row {
    Row {
        name,
        arguments,
        metric: Metric::Cpu,
        target: None,
        group: Some(group),
        is_steady: false,
        peers_skipped: &[],
    }
}

const fn steady(group: &'static str, name: &'static str, arguments: &'static str) -> Row {
    Row {
        is_steady: true,
        ..growth(group, name, arguments)
    }
}

const fn memory(
    name: &'static str,
    arguments: &'static str,
    unit: &'static str,
    target: f64,
) -> Row {
    Row {
        name,
        arguments,
        metric: Metric::Memory(unit),
        target: Some(target),
        group: None,
        is_steady: false,
        peers_skipped: &[],
    }
}

/// All rows.
pub(crate) const ROWS: [Row; 34] = [
    cpu("p2p QoS 0, 50 pairs, window 256", "p2p", 0.11),
    cpu("p2p QoS 0, window 4", "p2p --window 4", 1.2),
    cpu("p2p QoS 1, 20 unacknowledged", "p2p -q 1", 0.55),
    cpu("p2p QoS 2, 20 unacknowledged", "p2p -q 2", 1.0),
    cpu("fan-in 100 to 1, QoS 0", "fan-in", 0.12),
    cpu("fan-in 100 to 1, QoS 1", "fan-in -q 1", 0.35),
    // The prefix puts two of the four members on each of two shards: their cost depends on where they live, and no two runs would
    // measure the same otherwise.
    cpu("shared group of 4, QoS 0", "shared --prefix x6-", 0.20),
    cpu("shared group of 4, QoS 1", "shared -q 1 --prefix x6-", 0.45),
    cpu("fan-out 1 to 500, QoS 0", "fan-out", 0.20),
    cpu("fan-out 1 to 500, QoS 1", "fan-out -q 1", 0.27),
    cpu("wildcard, 1,000 x 20 filters", "wildcard", 0.60),
    cpu("retained replay, 100,000 to one #", "retained", 0.50),
    cpu("offline queue drain, 100 x 1,000", "offline", 0.60),
    cpu(
        "1 MiB payloads, QoS 1",
        "p2p --pairs 4 -s 1048576 -q 1 -F 4 --window 4",
        600.0,
    ),
    cpu("connect storm", "connect", 15.0),
    memory("idle connection", "idle -c 5000", "connections", 900.0),
    memory(
        "exact subscription",
        "idle -c 1000 --filters 50",
        "subscriptions",
        200.0,
    ),
    memory(
        "offline session",
        "offline -c 10000 --messages 1",
        "sessions that are away",
        1_024.0,
    ),
    memory("retained message", "retained", "retained messages", 300.0),
    Row {
        name: "latency at 5,000 messages/s, QoS 1",
        arguments: "latency",
        metric: Metric::Latency,
        target: Some(78.0),
        group: None,
        is_steady: false,
        peers_skipped: &[],
    },
    steady("p2p QoS 0, pairs", "50 pairs", "p2p --pairs 50 --window 64"),
    steady(
        "p2p QoS 0, pairs",
        "500 pairs",
        "p2p --pairs 500 --window 64",
    ),
    steady(
        "p2p QoS 0, pairs",
        "5,000 pairs",
        "p2p --pairs 5000 --window 64",
    ),
    growth("fan-out QoS 0, subscribers", "1 subscriber", "fan-out -c 1"),
    growth(
        "fan-out QoS 0, subscribers",
        "10 subscribers",
        "fan-out -c 10",
    ),
    growth(
        "fan-out QoS 0, subscribers",
        "500 subscribers",
        "fan-out -c 500",
    ),
    growth(
        "fan-out QoS 0, subscribers",
        "10,000 subscribers",
        "fan-out -c 10000 --window 8",
    ),
    growth(
        "matching, wildcard filters",
        "1,000 filters",
        "wildcard --filters 1",
    ),
    growth(
        "matching, wildcard filters",
        "20,000 filters",
        "wildcard --filters 20",
    ),
    growth(
        "matching, wildcard filters",
        "1,000,000 filters",
        "wildcard --filters 1000",
    ),
    steady(churn::GROUP, churn::NONE, "p2p --rate 20000"),
    steady(
        churn::GROUP,
        "1,000 per second",
        "p2p --rate 20000 --churn 1000",
    ),
    steady(churn::GROUP, churn::MUCH, "p2p --rate 20000 --churn 10000"),
    Row {
        metric: Metric::Change,
        ..steady(churn::GROUP, churn::ALONE, "p2p --rate 1 --churn 10000")
    },
];

#[cfg(test)]
mod tests {
    use super::{Metric, fewer_unacknowledged, number};

    const JSON: &str = r#"{"measured":{"done":3,"broker_cpu_us":0.25,"churned":15},"counts":{"lost":7},"latency_us":{"p50":1.5,"p99":2},"memory":[{"unit":"a","each_bytes":1},{"unit":"b","each_bytes":2.5}]}"#;

    #[test]
    fn figures_are_found_in_the_report() {
        assert_eq!(Metric::Cpu.figure(JSON), Some(0.25));
        assert_eq!(Metric::Change.figure(JSON), Some(0.05));
        assert_eq!(Metric::Memory("b").figure(JSON), Some(2.5));
        assert_eq!(Metric::Memory("c").figure(JSON), None);
        assert_eq!(Metric::Latency.figure(JSON), Some(1.5));
        assert_eq!(number(JSON, &["\"counts\":{", "\"lost\":"]), Some(7.0));
        assert_eq!(number("{\"x\":null}", &["\"x\":"]), None);
    }

    #[test]
    fn fewer_unacknowledged_messages_than_asked_for_are_shown() {
        let report = |asked: u32, allowed: u32| {
            format!(r#"{{"settings":{{"inflight":{asked}}},"unacknowledged_max":{allowed}}}"#)
        };
        let (full, some, few) = (report(1000, 1000), report(1000, 64), report(1000, 20));
        let shown = |reports: &[&str]| fewer_unacknowledged(reports.iter().copied());
        assert_eq!(shown(&[&full, JSON]), None);
        assert_eq!(
            shown(&[&full, &some, &few]).as_deref(),
            Some(" (20 unacknowledged allowed)")
        );
    }
}
