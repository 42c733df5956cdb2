//! `cargo xtask spec`: checks the citations of the specifications in both directions and writes `docs/conformance.md`.
//!
//! ```text
//! spec/*.csv ─── Statements ──┐
//! **/*.rs ────── Citations ───┼── check ── faults, if any
//! spec/exceptions.csv ────────┘     └───── page ── docs/conformance.md
//! ```
//! A statement whose side is `server` or `both` needs a test that cites it, or a line in the exceptions. The exceptions
//! only shrink: one whose statement has a test is a fault.

mod citations;
mod page;
mod table;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use crate::files::Project;
use crate::spec::citations::Citations;
use crate::spec::table::{Exceptions, Side, Statement, Statements};
use crate::steps::Failure;

/// What to do with the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// Write it.
    Write,
    /// Fail if it is not what would be written.
    Compare,
}

/// The specification that a statement belongs to; the same number means different things in the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standard {
    Mqtt311,
    Mqtt5,
}

impl Standard {
    pub(crate) const ALL: [Self; 2] = [Self::Mqtt311, Self::Mqtt5];

    /// The word in a citation.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Mqtt311 => "mqtt311",
            Self::Mqtt5 => "mqtt5",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Mqtt311 => "MQTT 3.1.1",
            Self::Mqtt5 => "MQTT 5.0",
        }
    }

    fn table_path(self) -> &'static str {
        match self {
            Self::Mqtt311 => "spec/mqtt-3.1.1.csv",
            Self::Mqtt5 => "spec/mqtt-5.0.csv",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|standard| standard.word() == word)
    }
}

/// Checks everything, then writes or compares the page.
pub(crate) fn run(project: &Project, mode: Page) -> Result<(), Failure> {
    let mut tables = BTreeMap::new();
    for standard in Standard::ALL {
        let path = standard.table_path();
        let statements = Statements::parse(&project.read(path)?)
            .map_err(|fault| Failure::new(format!("{path}: {fault}"), "restore the table"))?;
        tables.insert(standard, statements);
    }
    let exceptions = Exceptions::parse(&project.read(EXCEPTIONS)?)
        .map_err(|fault| Failure::new(format!("{EXCEPTIONS}: {fault}"), "mend the line"))?;
    let citations = Citations::scan(&project.sources(&[".rs"])?);

    let faults = check(&tables, &citations, &exceptions);
    let page = page::render(&tables, &citations, &exceptions);
    let on_disk = fs::read_to_string(project.path(PAGE)).unwrap_or_default();
    if mode == Page::Write && on_disk != page {
        // Written in spite of faults: what is covered is true, and the page shows what is missing.
        fs::create_dir_all(project.path("docs"))
            .and_then(|()| fs::write(project.path(PAGE), &page))
            .map_err(|error| {
                Failure::new(
                    format!("{PAGE} cannot be written: {error}"),
                    "see the message",
                )
            })?;
        println!("{PAGE}: written");
    }
    if !faults.is_empty() {
        let mut list = format!("{} faults in the citations", faults.len());
        for fault in &faults {
            let _ = write!(list, "\n  {fault}");
        }
        return Err(Failure::new(
            list,
            "cite the statement where it is obeyed and where it is tested (CONTRIBUTING.md)",
        ));
    }
    if mode == Page::Compare && on_disk != page {
        return Err(Failure::new(
            format!("{PAGE} is stale"),
            "run `cargo xtask spec` and commit the page",
        ));
    }
    println!(
        "{} statements tested, {} exceptions",
        citations.tested_count(),
        exceptions.count()
    );
    Ok(())
}

/// Every fault, in a fixed order.
fn check(
    tables: &BTreeMap<Standard, Statements>,
    citations: &Citations,
    exceptions: &Exceptions,
) -> Vec<String> {
    let mut faults: Vec<String> = citations.malformed().to_vec();
    let known = |standard: Standard, id: &str| {
        tables
            .get(&standard)
            .is_some_and(|table| table.get(id).is_some())
    };
    for citation in citations.iter() {
        if !known(citation.standard, &citation.id) {
            let (path, line, word, id) = (
                &citation.path,
                citation.line,
                citation.standard.word(),
                &citation.id,
            );
            faults.push(format!("{path}:{line}: {word} has no statement {id}"));
        }
    }
    for (standard, id) in exceptions.ids() {
        let word = standard.word();
        match tables.get(&standard).and_then(|table| table.get(id)) {
            None => faults.push(format!("{EXCEPTIONS}: {word} has no statement {id}")),
            Some(statement) if !needs_test(statement) => {
                faults.push(format!(
                    "{EXCEPTIONS}: {word} {id} binds only a client and needs no exception"
                ));
            }
            Some(_) if citations.is_tested(standard, id) => {
                faults.push(format!(
                    "{EXCEPTIONS}: {word} {id} has a test now: remove the line"
                ));
            }
            Some(_) => {}
        }
    }
    for (standard, table) in tables {
        for statement in table.iter().filter(|statement| needs_test(statement)) {
            let id = statement.id.as_str();
            if !citations.is_tested(*standard, id) && exceptions.reason(*standard, id).is_none() {
                faults.push(format!(
                    "{} {id} has no test: {}",
                    standard.word(),
                    statement.summary
                ));
            }
        }
    }
    faults
}

/// Whether a broker can break this statement.
fn needs_test(statement: &Statement) -> bool {
    match statement.side {
        Side::Server | Side::Both => true,
        Side::Client => false,
    }
}

const EXCEPTIONS: &str = "spec/exceptions.csv";
const PAGE: &str = "docs/conformance.md";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Source;

    const TABLE: &str = "id,section,side,level,summary\n\
        MQTT-1.1-1,1.1,both,MUST,one\nMQTT-1.1-2,1.1,server,MUST,two\nMQTT-1.1-3,1.1,client,MUST,three\n";

    fn faults(code: &str, exceptions: &str) -> Vec<String> {
        let empty = Statements::parse("id,section,side,level,summary\n").unwrap();
        let tables = BTreeMap::from([
            (Standard::Mqtt311, empty),
            (Standard::Mqtt5, Statements::parse(TABLE).unwrap()),
        ]);
        let file = Source {
            path: "crates/a/tests/a.rs".into(),
            text: code.into(),
        };
        let exceptions = Exceptions::parse(&format!("version,id,reason\n{exceptions}")).unwrap();
        check(&tables, &Citations::scan(&[file]), &exceptions)
    }

    const BOTH_TESTED: &str = "//= mqtt5 1.1-1 test\n//= mqtt5 1.1-2 test\nfn a() {}\n";

    #[test]
    fn statements_with_tests_are_no_faults() {
        assert_eq!(faults(BOTH_TESTED, ""), [""; 0]);
    }

    #[test]
    fn a_server_statement_without_test_is_a_fault_and_a_client_statement_is_not() {
        let found = faults(
            "//= mqtt5 1.1-1 test\nfn a() {}\n//= mqtt5 1.1-2\nfn b() {}\n",
            "",
        );
        assert_eq!(found, ["mqtt5 1.1-2 has no test: two"]);
    }

    #[test]
    fn an_exception_stands_for_a_test() {
        assert_eq!(
            faults(
                "//= mqtt5 1.1-1 test\nfn a() {}\n",
                "mqtt5,1.1-2,cannot be seen from outside\n"
            ),
            [""; 0]
        );
    }

    #[test]
    fn an_exception_with_a_test_must_go() {
        let found = faults(BOTH_TESTED, "mqtt5,1.1-2,cannot be seen from outside\n");
        assert_eq!(
            found,
            ["spec/exceptions.csv: mqtt5 1.1-2 has a test now: remove the line"]
        );
    }

    #[test]
    fn an_exception_for_a_client_statement_or_for_nothing_is_a_fault() {
        let found = faults(BOTH_TESTED, "mqtt5,1.1-3,why\nmqtt5,9.9-9,why\n");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("binds only a client"), "{found:?}");
        assert!(found[1].contains("no statement 9.9-9"), "{found:?}");
    }

    #[test]
    fn an_unknown_id_is_a_fault_with_its_place() {
        let found = faults(
            &format!("{BOTH_TESTED}//= mqtt311 1.1-1\nfn c() {{}}\n"),
            "",
        );
        assert_eq!(
            found,
            ["crates/a/tests/a.rs:4: mqtt311 has no statement 1.1-1"]
        );
    }
}
