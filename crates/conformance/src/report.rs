//! What a run found, for people and for machines.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::case::{Case, Outcome, Version};
use crate::exceptions::EXCEPTIONS;

/// One case and how it ended.
#[derive(Clone, Debug)]
pub struct CaseResult {
    /// The case.
    pub case: &'static Case,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub elapsed: Duration,
}

/// The outcomes of a run.
#[derive(Clone, Debug)]
pub struct Report {
    results: Vec<CaseResult>,
}

/// What the cases together say about one statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatementState {
    /// No case applied to this broker.
    Skip,
    /// At least one case passed and none failed.
    Pass,
    /// At least one case failed.
    Fail,
}

impl Report {
    pub(crate) const fn new(results: Vec<CaseResult>) -> Self {
        Self { results }
    }

    /// Every case that ran, in the order of the suite.
    #[must_use]
    pub fn results(&self) -> &[CaseResult] {
        &self.results
    }

    /// Cases that passed, failed and were skipped.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for result in &self.results {
            match result.outcome {
                Outcome::Pass => counts.0 += 1,
                Outcome::Fail(_) => counts.1 += 1,
                Outcome::Skip(_) => counts.2 += 1,
            }
        }
        counts
    }

    /// Whether no case failed. A run of no case at all is no success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        let (passed, failed, _) = self.counts();
        failed == 0 && passed > 0
    }

    /// The state of every statement that a case of this run names, with the names of those cases.
    #[must_use]
    pub fn statements(
        &self,
    ) -> BTreeMap<(Version, StatementKey), (StatementState, Vec<&'static str>)> {
        let mut table = BTreeMap::new();
        for result in &self.results {
            let state = match result.outcome {
                Outcome::Pass => StatementState::Pass,
                Outcome::Fail(_) => StatementState::Fail,
                Outcome::Skip(_) => StatementState::Skip,
            };
            for statement in result.case.statements {
                let key = (result.case.version, StatementKey::new(statement));
                let row = table
                    .entry(key)
                    .or_insert((StatementState::Skip, Vec::new()));
                row.0 = row.0.max(state);
                row.1.push(result.case.name);
            }
        }
        table
    }

    /// The table by statement, then each failure and skip, then the sums.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        for ((version, key), (state, names)) in self.statements() {
            let word = match state {
                StatementState::Pass => "pass",
                StatementState::Fail => "FAIL",
                StatementState::Skip => "skip",
            };
            let _ = writeln!(
                out,
                "{version:<6} MQTT-{:<9} {word}  {}",
                key.id,
                names.join(", ")
            );
        }
        for result in &self.results {
            if result.outcome != Outcome::Pass {
                let case = result.case;
                let _ = writeln!(out, "{:<6} {}: {}", case.version, case.name, result.outcome);
            }
        }
        let (passed, failed, skipped) = self.counts();
        let exceptions = EXCEPTIONS.iter().map(|list| list.len()).sum::<usize>();
        let _ = writeln!(
            out,
            "{passed} passed, {failed} failed, {skipped} skipped; \
             {exceptions} statements cannot be tested from outside"
        );
        out
    }

    /// One line per case: version, name, outcome, milliseconds, statements, text; tab between.
    #[must_use]
    pub fn render_lines(&self) -> String {
        let mut out = String::new();
        for result in &self.results {
            let (word, text) = match &result.outcome {
                Outcome::Pass => ("pass", ""),
                Outcome::Fail(text) => ("fail", text.as_str()),
                Outcome::Skip(text) => ("skip", text.as_str()),
            };
            let _ = writeln!(
                out,
                "{}\t{}\t{word}\t{}\t{}\t{}",
                result.case.version,
                result.case.name,
                result.elapsed.as_millis(),
                result.case.statements.join(","),
                text.replace(['\t', '\n'], " ")
            );
        }
        out
    }
}

/// A statement id that sorts by its numbers: 3.1.2-9 before 3.1.2-10.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatementKey {
    numbers: Vec<u32>,
    /// The id without the `MQTT-` prefix.
    pub id: &'static str,
}

impl StatementKey {
    fn new(id: &'static str) -> Self {
        let numbers = id
            .split(['.', '-'])
            .map(|part| part.parse().unwrap_or(u32::MAX))
            .collect();
        Self { numbers, id }
    }
}
