//! The tables of cases and exceptions against the citations and the statement tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::case::Version;
use crate::exceptions::EXCEPTIONS;
use crate::runner::{Filter, cases};

#[test]
fn case_names_are_unique() {
    let mut seen = BTreeSet::new();
    for case in cases() {
        assert!(
            seen.insert((case.version, case.name)),
            "two cases are called {}",
            case.name
        );
    }
}

#[test]
fn every_case_names_what_stands_above_its_function() {
    for version in [Version::V311, Version::V5] {
        let cited = citations(version);
        for case in cases().filter(|case| case.version == version) {
            let above = cited.get(case.name).cloned().unwrap_or_default();
            let named: BTreeSet<String> = case.statements.iter().map(|&id| id.to_owned()).collect();
            assert_eq!(named, above, "{} of MQTT {version}", case.name);
        }
    }
}

/// Function name to the statement ids that its citations name.
fn citations(version: Version) -> BTreeMap<String, BTreeSet<String>> {
    let folder = match version {
        Version::V311 => "src/v311",
        Version::V5 => "src/v5",
    };
    let mut found = BTreeMap::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let mut above = BTreeSet::new();
        for line in text.lines() {
            if let Some(citation) = line.strip_prefix("//= ") {
                let mut words = citation.split(' ');
                assert_eq!(words.next(), Some(version.citation()), "{line}");
                above.insert(words.next().unwrap_or_default().to_owned());
                assert_eq!(words.next(), Some("test"), "{line}");
            } else if let Some(function) = line.strip_prefix("fn ") {
                let name = function.split(['(', '<']).next().unwrap_or_default();
                found.insert(name.to_owned(), std::mem::take(&mut above));
            } else if !line.starts_with("#[") && !line.starts_with("///") {
                assert!(above.is_empty(), "citations above no function: {line}");
            }
        }
    }
    found
}

#[test]
fn every_statement_has_a_case_or_an_exception_but_not_both() {
    for (version, file) in [
        (Version::V311, "mqtt-3.1.1.csv"),
        (Version::V5, "mqtt-5.0.csv"),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../spec")
            .join(file);
        let text = fs::read_to_string(path).unwrap();
        let known: BTreeSet<&str> = text
            .lines()
            .skip(1)
            .filter_map(|line| line.split(',').next()?.strip_prefix("MQTT-"))
            .collect();
        let proved: BTreeSet<&str> = cases()
            .filter(|case| case.version == version)
            .flat_map(|case| case.statements)
            .copied()
            .collect();
        let excused: BTreeSet<&str> = EXCEPTIONS
            .iter()
            .flat_map(|list| list.iter())
            .filter(|exception| exception.version == version)
            .map(|exception| exception.statement)
            .collect();
        let both: Vec<_> = proved.intersection(&excused).collect();
        assert!(
            both.is_empty(),
            "MQTT {version}: an exception for what is proved: {both:?}"
        );
        let all: BTreeSet<&str> = proved.union(&excused).copied().collect();
        let missing: Vec<_> = known.difference(&all).collect();
        assert!(
            missing.is_empty(),
            "MQTT {version}: neither proved nor excused: {missing:?}"
        );
        let unknown: Vec<_> = all.difference(&known).collect();
        assert!(
            unknown.is_empty(),
            "MQTT {version}: no such statement: {unknown:?}"
        );
    }
}

#[test]
fn filter_takes_names_statements_and_versions() {
    let count = |version, only: &str| {
        let filter = Filter {
            version,
            only: Some(only.to_owned()),
        };
        cases().filter(|case| filter.takes(case)).count()
    };
    assert!(count(Some(Version::V5), "MQTT-3.1.0-2") > 0);
    assert_eq!(
        count(Some(Version::V5), "3.1.0-2"),
        count(Some(Version::V5), "MQTT-3.1.0-2")
    );
    assert_eq!(count(Some(Version::V5), "second_connect_closes"), 1);
    assert_eq!(count(None, "no such case"), 0);
}
