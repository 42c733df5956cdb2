//! Scenario `idle`: connections that do nothing, and what each of them (and each subscription) costs the broker.

use crate::error::Error;
use crate::number::{count, float, ratio};
use crate::process;
use crate::report::{Memory, Report, Snapshot};
use crate::settings::Settings;
use crate::setup::{Client, bring_up, settle, subscribe_all};
use crate::swarm::Swarm;

pub(crate) fn run(
    swarm: &mut Swarm,
    settings: &Settings,
    report: &mut Report,
) -> Result<(), Error> {
    let rss = || settings.pid.and_then(|pid| process::rss_bytes(Some(pid)));
    let connections = settings.publishers;
    let before = rss();
    let start = Snapshot::take(settings, swarm.clock().now_ns(), 0, 0);
    bring_up(swarm, settings, &vec![Client::default(); connections])?;
    let end = Snapshot::take(settings, swarm.clock().now_ns(), 0, count(connections));
    report.measured = Some(end.since(&start, "connection", settings));
    settle(swarm, settings)?;
    let connected = rss();
    report.memory.extend(Memory::new(
        "connections",
        count(connections),
        before,
        connected,
    ));
    if settings.filters > 0 {
        let clients: Vec<Client> = (0..connections)
            .map(|number| Client {
                filters: (0..settings.filters)
                    .map(|filter| format!("{}/{filter}", settings.topic(number)))
                    .collect(),
                keep_session: false,
            })
            .collect();
        subscribe_all(swarm, settings, &clients)?;
        settle(swarm, settings)?;
        let subscriptions = count(connections * settings.filters);
        report.memory.extend(Memory::new(
            "subscriptions",
            subscriptions,
            connected,
            rss(),
        ));
    }
    if report.memory.is_empty() {
        report
            .remarks
            .push("memory is read from the process that --pid names".to_owned());
    }
    // Connections that were closed meanwhile cost nothing and would make the broker look thrifty.
    let open = (0..connections).filter(|conn| swarm.is_open(*conn)).count();
    if open < connections {
        report.ok = false;
        let share = ratio(float(count(open)), float(count(connections))) * 100.0;
        report.remarks.push(format!(
            "only {open} connections ({share:.1} %) were still open"
        ));
    }
    Ok(())
}
