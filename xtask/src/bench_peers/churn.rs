//! What it costs messages that subscriptions come and go beside them.
//!
//! A broker's CPU time beside churn is that of the messages and that of the changes: of the packets that ask for them and answer
//! them, and of the wake-ups. So the changes are measured alone as well, and taken off.

use std::fmt::Write as _;

pub(crate) const GROUP: &str = "p2p at 20,000 messages/s beside churn";
pub(crate) const NONE: &str = "no churn";
pub(crate) const MUCH: &str = "10,000 per second";
pub(crate) const ALONE: &str = "10,000 per second and hardly a message";

/// A table with a line for each broker that has all figures. `cost`: of a broker, a row's.
pub(crate) fn table<'p>(
    peers: impl Iterator<Item = &'p str>,
    cost: impl Fn(&str, &str) -> Option<f64>,
) -> String {
    let mut lines = String::new();
    for peer in peers {
        let (Some(without), Some(beside), Some(change)) =
            (cost(peer, NONE), cost(peer, MUCH), cost(peer, ALONE))
        else {
            continue;
        };
        let alone = change * CHANGES_PER_MESSAGE;
        let more = |figure: f64| (figure / without - 1.0) * 100.0;
        let _ = writeln!(
            lines,
            "| {peer} | {without:.2} | {beside:.2} | {:+.0} % | {alone:.2} | {:.2} | {:+.0} % |",
            more(beside),
            beside - alone,
            more(beside - alone),
        );
    }
    if lines.is_empty() {
        return lines;
    }
    format!("{HEAD}{lines}")
}

/// 10,000 beside 20,000 messages.
const CHANGES_PER_MESSAGE: f64 = 0.5;
const HEAD: &str = "
The figures above are all that the broker does, divided by the messages: the changes' own packets, system calls and wake-ups are
in them. Here they are taken off, at what as many changes cost alone. That takes off too much rather than too little, since a change
alone always wakes the broker, and beside messages sometimes finds it awake: what churn costs the traffic lies between the
two percentages (aim: up to 20 %). In µs for each message:

| | no churn | beside 10,000 changes a second | more | the changes alone | without them | more |
|---|---|---|---|---|---|---|
";

#[cfg(test)]
mod tests {
    use super::{ALONE, MUCH, NONE, table};

    #[test]
    fn what_the_changes_cost_alone_is_taken_off() {
        let cost = |peer: &str, row: &str| match (peer, row) {
            (_, NONE) => Some(10.0),
            (_, MUCH) => Some(14.0),
            ("one", ALONE) => Some(6.0),
            _ => None,
        };
        let table = table(["one", "other"].into_iter(), cost);
        let lines: Vec<_> = table.lines().filter(|line| line.contains('%')).collect();
        let [_, line] = lines[..] else {
            panic!("{table}");
        };
        assert_eq!(
            line,
            "| one | 10.00 | 14.00 | +40 % | 3.00 | 11.00 | +10 % |"
        );
        assert_eq!(super::table(["other"].into_iter(), cost), "");
    }
}
