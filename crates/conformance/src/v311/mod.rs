//! Cases of MQTT 3.1.1 (and of 3.1, where it differs).
//!
//! One file per subject: `connect` and `refused` (CONNECT, right and wrong), `framing` and
//! `malformed` (bytes and packets), `text` (strings and topic names), `delivery` and `ordering`
//! (PUBLISH in both directions), `subscribe`, `unsubscribe`, `matching`, `retained`, `will`,
//! `session` and `resume` (state across connections), `keep_alive`, `v31`. Where the
//! specification leaves a choice, every legal choice passes.

/// Declares the cases of a file: each is named after its function.
macro_rules! cases {
    ($($run:ident: [$($statement:literal),*];)*) => {
        pub(crate) const CASES: &[Case] = &[
            $(Case {
                name: stringify!($run),
                version: Version::V311,
                statements: &[$($statement),*],
                run: $run,
            }),*
        ];
    };
}

mod connect;
mod delivery;
mod exceptions;
mod framing;
mod keep_alive;
mod malformed;
mod matching;
mod ordering;
mod refused;
mod resume;
mod retained;
mod session;
mod subscribe;
mod text;
mod unsubscribe;
mod v31;
mod will;

use std::time::Instant;

use crate::case::{Case, Failure, Verdict, Version, fail};
use crate::harness::{Client, Target};
use crate::wire::{Connect, Encode, Publish};

pub(crate) use exceptions::EXCEPTIONS;

/// Every group of cases, one slice per file.
pub(crate) const GROUPS: &[&[Case]] = &[
    connect::CASES,
    refused::CASES,
    framing::CASES,
    malformed::CASES,
    text::CASES,
    delivery::CASES,
    ordering::CASES,
    subscribe::CASES,
    unsubscribe::CASES,
    matching::CASES,
    retained::CASES,
    will::CASES,
    session::CASES,
    resume::CASES,
    keep_alive::CASES,
    v31::CASES,
];

/// A connected 3.1.1 client without a stored session.
fn client(target: &Target) -> Verdict<Client> {
    target.client(Version::V311)
}

/// Connects with Clean Session 0, and tells whether the broker says that it has stored state.
fn persistent(target: &Target, id: &str) -> Verdict<(Client, bool)> {
    let (client, connack) = target.connect(&Connect::v311(id).resume())?;
    Ok((client, connack.session_present))
}

/// A client that is connected and subscribed to one filter.
fn subscriber(target: &Target, filter: &str, qos: u8) -> Verdict<Client> {
    let mut client = client(target)?;
    client.subscribe(filter, qos)?;
    Ok(client)
}

/// A client that subscribes when everything that `publisher` has published so far has passed it.
///
/// No order is promised between what one client has published and when another subscribes, so
/// inside the broker a message may still be on its way to a subscription that is made later.
fn late_subscriber(
    target: &Target,
    publisher: &mut Client,
    filter: &str,
    qos: u8,
) -> Verdict<Client> {
    let mut client = client(target)?;
    client.expect_silence(publisher)?;
    client.subscribe(filter, qos)?;
    Ok(client)
}

/// Removes what a persistent session left behind on the broker.
fn forget(target: &Target, id: &str) -> Verdict {
    target.connect(&Connect::v311(id))?.0.disconnect()
}

/// Removes a retained message.
fn unretain(client: &mut Client, topic: &str) -> Verdict {
    let id = client.fresh_id();
    client.publish(&Publish::new(topic, "").retain().qos(1, id))
}

/// Waits until new subscribers get this retained message, or none.
///
/// What has no acknowledgement, a QoS 0 message or a will, does not tell when it has been stored.
fn settle(target: &Target, topic: &str, wanted: Option<&str>) -> Verdict {
    let started = Instant::now();
    loop {
        let mut probe = subscriber(target, topic, 0)?;
        let patience = probe.timeout();
        probe.set_timeout(patience / 10);
        let seen = probe.expect_publish().ok();
        // One without RETAIN was still on its way when the probe subscribed.
        let settled = seen.as_ref().is_none_or(|message| message.retain);
        let seen = seen.map(|message| message.text());
        if settled && seen.as_deref() == wanted {
            return Ok(());
        }
        if started.elapsed() > patience {
            return fail(format!(
                "the retained message stays {seen:?}, expected {wanted:?}"
            ));
        }
    }
}

/// A fresh client sends this packet, and the broker closes without a word.
fn closes_on(target: &Target, what: &str, packet: impl Encode) -> Verdict {
    let mut client = client(target)?;
    client.send(packet)?;
    about(what, client.expect_closed())
}

/// Puts into a failure which row of a table it was about.
fn about<T>(what: &str, verdict: Verdict<T>) -> Verdict<T> {
    verdict.map_err(|failure| match failure {
        Failure::Failed(text) => Failure::Failed(format!("{what}: {text}")),
        Failure::Skipped(text) => Failure::Skipped(text),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::{EXCEPTIONS, GROUPS};

    /// Name of each case in the sources, with the statements cited above it.
    fn cited() -> Vec<(String, Vec<String>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/v311");
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            let mut above = Vec::new();
            for line in text.lines() {
                let citation = line.strip_prefix("//= mqtt311 ");
                if let Some(id) = citation.and_then(|rest| rest.strip_suffix(" test")) {
                    above.push(id.to_owned());
                } else if let Some(rest) = line.strip_prefix("fn ")
                    && let Some((name, _)) = rest.split_once("(target: &Target) -> Verdict {")
                {
                    found.push((name.to_owned(), std::mem::take(&mut above)));
                } else if !line.starts_with("//") && !line.starts_with("#[") {
                    assert!(above.is_empty(), "citations above {line:?}");
                }
            }
        }
        found
    }

    #[test]
    fn every_case_lists_what_is_cited_above_it() {
        let cited = cited();
        let mut names = BTreeSet::new();
        for case in GROUPS.iter().flat_map(|group| group.iter()) {
            assert!(names.insert(case.name), "{} twice", case.name);
            let (_, above) = cited
                .iter()
                .find(|(name, _)| name == case.name)
                .unwrap_or_else(|| panic!("{} not found", case.name));
            assert_eq!(above, case.statements, "{}", case.name);
        }
    }

    #[test]
    fn every_statement_about_a_server_has_a_case_or_a_reason() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/mqtt-3.1.1.csv");
        let cases: BTreeSet<&str> = GROUPS
            .iter()
            .flat_map(|group| group.iter())
            .flat_map(|case| case.statements.iter().copied())
            .collect();
        let excepted: BTreeSet<&str> = EXCEPTIONS.iter().map(|e| e.statement).collect();
        let mut known = BTreeSet::new();
        let table = fs::read_to_string(root).unwrap();
        for row in table.lines().skip(1) {
            let id = row.split(',').next().unwrap().trim_start_matches("MQTT-");
            let covered = cases.contains(id);
            assert!(covered || excepted.contains(id), "{id} has neither");
            assert!(!(covered && excepted.contains(id)), "{id} has both");
            known.insert(id);
        }
        let unknown: Vec<_> = cases
            .union(&excepted)
            .filter(|id| !known.contains(*id))
            .collect();
        assert!(unknown.is_empty(), "unknown ids {unknown:?}");
    }
}
