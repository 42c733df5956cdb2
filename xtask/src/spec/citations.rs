//! Citations in the code: comment lines that name a statement, directly above what obeys or tests it.
//!
//! A line that starts like a citation and is none is a fault, so a typing error cannot hide one.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::{Line, Source};
use crate::spec::Standard;

/// One citation and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Citation {
    pub(crate) standard: Standard,
    pub(crate) id: String,
    pub(crate) is_test: bool,
    pub(crate) path: String,
    pub(crate) line: usize,
}

/// The files that cite one statement.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) obeyed: BTreeSet<String>,
    pub(crate) tested: BTreeSet<String>,
}

/// All citations of the project.
#[derive(Debug, Default)]
pub(crate) struct Citations {
    list: Vec<Citation>,
    places: BTreeMap<(Standard, String), Places>,
    malformed: Vec<String>,
}

impl Citations {
    pub(crate) fn scan(sources: &[Source]) -> Self {
        let mut citations = Self::default();
        for source in sources {
            let lines: Vec<Line<'_>> = source.lines().collect();
            for (index, line) in lines.iter().enumerate() {
                let Some(text) = line.text.trim().strip_prefix(MARK) else {
                    continue;
                };
                match parse(text, *line, lines.get(index + 1..).unwrap_or_default()) {
                    Ok((standard, id, is_test)) => {
                        let path = source.path.clone();
                        citations.add(Citation {
                            standard,
                            id,
                            is_test,
                            path,
                            line: line.number,
                        });
                    }
                    Err(fault) => {
                        citations
                            .malformed
                            .push(format!("{}:{}: {fault}", source.path, line.number));
                    }
                }
            }
        }
        citations
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Citation> {
        self.list.iter()
    }

    pub(crate) fn places(&self, standard: Standard, id: &str) -> Option<&Places> {
        self.places.get(&(standard, id.to_owned()))
    }

    pub(crate) fn is_tested(&self, standard: Standard, id: &str) -> bool {
        self.places(standard, id)
            .is_some_and(|places| !places.tested.is_empty())
    }

    pub(crate) fn tested_count(&self) -> usize {
        self.places
            .values()
            .filter(|places| !places.tested.is_empty())
            .count()
    }

    /// Lines that look like citations and are none.
    pub(crate) fn malformed(&self) -> &[String] {
        &self.malformed
    }

    fn add(&mut self, citation: Citation) {
        let places = self
            .places
            .entry((citation.standard, citation.id.clone()))
            .or_default();
        let files = if citation.is_test {
            &mut places.tested
        } else {
            &mut places.obeyed
        };
        files.insert(citation.path.clone());
        self.list.push(citation);
    }
}

/// Reads what follows the mark, and checks the place by what follows the line.
fn parse(
    text: &str,
    line: Line<'_>,
    below: &[Line<'_>],
) -> Result<(Standard, String, bool), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (standard, id, is_test) = match words.as_slice() {
        [standard, id] => (standard, id, false),
        [standard, id, "test"] => (standard, id, true),
        _ => {
            return Err(format!(
                "'{MARK}{text}' is not '{MARK} mqtt5 ID' or '{MARK} mqtt311 ID', with 'test' or without"
            ));
        }
    };
    let Some(standard) = Standard::from_word(standard) else {
        return Err(format!("'{standard}' is neither mqtt5 nor mqtt311"));
    };
    if is_test && !line.in_test {
        return Err("a test is cited in code that is none".to_owned());
    }
    let next = below
        .iter()
        .map(|line| line.text.trim())
        .find(|text| !text.starts_with(MARK))
        .unwrap_or_default();
    if next.is_empty() || next.starts_with('}') {
        return Err("nothing stands directly below the citation".to_owned());
    }
    Ok((standard, (*id).to_owned(), is_test))
}

const MARK: &str = "//=";

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(path: &str, text: &str) -> Citations {
        Citations::scan(&[Source {
            path: path.into(),
            text: text.into(),
        }])
    }

    #[test]
    fn code_and_tests_are_told_apart() {
        let text = "//= mqtt5 1-1\nfn a() {}\n#[cfg(test)]\nmod t {\n    //= mqtt5 1-1 test\n    fn b() {}\n}\n";
        let found = scan("crates/a/src/a.rs", text);
        let places = found.places(Standard::Mqtt5, "1-1").unwrap();
        assert_eq!((places.obeyed.len(), places.tested.len()), (1, 1));
        assert!(found.is_tested(Standard::Mqtt5, "1-1"));
        assert!(
            !found.is_tested(Standard::Mqtt311, "1-1"),
            "the versions are not mixed up"
        );
        assert_eq!(found.malformed(), [""; 0]);
    }

    #[test]
    fn a_citation_of_code_is_no_test() {
        let found = scan("crates/a/tests/a.rs", "//= mqtt5 1-1\nfn a() {}\n");
        assert!(!found.is_tested(Standard::Mqtt5, "1-1"));
    }

    #[test]
    fn a_test_cited_in_production_code_is_a_fault() {
        let found = scan("crates/a/src/a.rs", "//= mqtt5 1-1 test\nfn a() {}\n");
        assert_eq!(
            found.malformed(),
            ["crates/a/src/a.rs:1: a test is cited in code that is none"]
        );
        assert!(!found.is_tested(Standard::Mqtt5, "1-1"));
    }

    #[test]
    fn misspelt_citations_are_faults() {
        for line in [
            "//= mqtt4 1-1",
            "//= mqtt5",
            "//= mqtt5 1-1 tests",
            "//= mqtt5 1-1 1-2 test",
            "//=mqtt5",
        ] {
            let found = scan("crates/a/tests/a.rs", &format!("{line}\nfn a() {{}}\n"));
            assert_eq!(found.malformed().len(), 1, "{line}");
            assert_eq!(found.iter().count(), 0, "{line}");
        }
    }

    #[test]
    fn a_citation_above_nothing_is_a_fault() {
        for text in [
            "//= mqtt5 1-1\n\nfn a() {}\n",
            "fn a() {\n    //= mqtt5 1-1\n}\n",
            "//= mqtt5 1-1",
        ] {
            assert_eq!(
                scan("crates/a/src/a.rs", text).malformed().len(),
                1,
                "{text}"
            );
        }
        assert_eq!(
            scan(
                "crates/a/src/a.rs",
                "//= mqtt5 1-1\n//= mqtt5 1-2\nfn a() {}\n"
            )
            .iter()
            .count(),
            2
        );
    }
}
