//! The page `docs/conformance.md`: what the citations cover, statement by statement.
//!
//! It names files without line numbers, so that it changes when coverage changes and not with every edit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::spec::Standard;
use crate::spec::citations::Citations;
use crate::spec::needs_test;
use crate::spec::table::{Exceptions, Statement, Statements};

pub(crate) fn render(
    tables: &BTreeMap<Standard, Statements>,
    citations: &Citations,
    exceptions: &Exceptions,
) -> String {
    let mut page = String::from(
        "# Conformance\n\n\
         <!-- Written by `cargo xtask spec` from the tables in spec/ and the citations in the code. -->\n\n\
         Each normative statement of the two specifications, by its number there, with the files that cite it: the code\n\
         that obeys it and the tests that fail if it does not. `martlet conformance HOST:PORT` runs the black-box part\n\
         against any broker. Statements that bind only a client need no test here. Summaries are ours; the\n\
         specifications decide.\n\n\
         | | statements | bind a server | tested | exceptions | missing |\n|---|---|---|---|---|---|\n",
    );
    for (standard, table) in tables {
        let ours: Vec<&Statement> = table
            .iter()
            .filter(|statement| needs_test(statement))
            .collect();
        let tested = ours
            .iter()
            .filter(|statement| citations.is_tested(*standard, &statement.id))
            .count();
        let excepted = exceptions
            .ids()
            .filter(|(version, _)| version == standard)
            .count();
        let missing = ours.len().saturating_sub(tested + excepted);
        let _ = writeln!(
            page,
            "| {} | {} | {} | {tested} | {excepted} | {missing} |",
            standard.title(),
            table.iter().count(),
            ours.len(),
        );
    }
    for (standard, table) in tables {
        let _ = write!(
            page,
            "\n## {}\n\n| id | side | level | statement | obeyed in | tested in |\n|---|---|---|---|---|---|\n",
            standard.title()
        );
        for statement in table.iter() {
            let places = citations.places(*standard, &statement.id);
            let obeyed = places
                .map(|places| files(&places.obeyed))
                .unwrap_or_default();
            let mut tested = places
                .map(|places| files(&places.tested))
                .unwrap_or_default();
            if tested.is_empty() {
                tested = match exceptions.reason(*standard, &statement.id) {
                    Some(reason) => format!("exception: {}", cell(reason)),
                    None if needs_test(statement) => "**missing**".to_owned(),
                    None => String::new(),
                };
            }
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {obeyed} | {tested} |",
                statement.id,
                statement.side.name(),
                statement.level,
                cell(&statement.summary),
            );
        }
    }
    page
}

/// `crates/codec/src/a.rs` as `codec/a.rs`: the folders that every path has say nothing.
fn files(paths: &BTreeSet<String>) -> String {
    let short: Vec<String> = paths
        .iter()
        .map(|path| {
            format!(
                "`{}`",
                path.strip_prefix("crates/")
                    .unwrap_or(path)
                    .replacen("/src/", "/", 1)
            )
        })
        .collect();
    short.join(", ")
}

/// Text that cannot break out of its table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Source;

    fn page(code: &str) -> String {
        let table = "id,section,side,level,summary\nMQTT-1-1,1,both,MUST,a | b\nMQTT-1-2,1,client,MUST,c\n\
                     MQTT-1-3,1,server,MUST,d\n";
        let tables = BTreeMap::from([(Standard::Mqtt5, Statements::parse(table).unwrap())]);
        let exceptions = Exceptions::parse("version,id,reason\nmqtt5,1-3,why\n").unwrap();
        let file = Source {
            path: "crates/codec/src/tests/a.rs".into(),
            text: code.into(),
        };
        render(&tables, &Citations::scan(&[file]), &exceptions)
    }

    #[test]
    fn the_summary_counts_what_the_rows_show() {
        let covered = page("//= mqtt5 1-1 test\nfn a() {}\n");
        assert!(
            covered.contains("| MQTT 5.0 | 3 | 2 | 1 | 1 | 0 |"),
            "{covered}"
        );
        assert!(
            covered.contains("| 1-1 | both | MUST | a \\| b |  | `codec/tests/a.rs` |"),
            "{covered}"
        );
        assert!(
            covered.contains("| 1-3 | server | MUST | d |  | exception: why |"),
            "{covered}"
        );
        let bare = page("fn a() {}\n");
        assert!(bare.contains("| MQTT 5.0 | 3 | 2 | 0 | 1 | 1 |"), "{bare}");
        assert!(bare.contains("| a \\| b |  | **missing** |"), "{bare}");
    }

    #[test]
    fn moving_a_citation_within_its_file_leaves_the_page_as_it_is() {
        assert_eq!(
            page("//= mqtt5 1-1 test\nfn a() {}\n"),
            page("\n\n\n//= mqtt5 1-1 test\nfn a() {}\n")
        );
    }
}
