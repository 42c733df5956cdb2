//! The `file:function` references of `ARCHITECTURE.md` and of the acceptance table: each has to exist, or the map lies.

use crate::files::Source;

/// What is wrong with the references of the pages, if they are among the sources.
pub(super) fn faults(sources: &[Source]) -> Vec<String> {
    let pages = sources
        .iter()
        .filter(|source| PAGES.contains(&source.path.as_str()));
    pages.flat_map(|page| faults_of(page, sources)).collect()
}

fn faults_of(page: &Source, sources: &[Source]) -> Vec<String> {
    let quoted = page.text.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|quoted| quoted.split_once(".rs:"))
        .filter_map(|(file, function)| fault(&page.path, sources, &format!("{file}.rs"), function))
        .collect()
}

fn fault(page: &str, sources: &[Source], path: &str, function: &str) -> Option<String> {
    let Some(source) = sources.iter().find(|source| source.path == path) else {
        return Some(format!("{page}: names {path}, which does not exist"));
    };
    let defined = source.text.match_indices("fn ").any(|(at, word)| {
        let behind = source.text.get(at + word.len()..).unwrap_or_default();
        behind
            .strip_prefix(function)
            .is_some_and(|rest| rest.starts_with(['(', '<']))
    });
    (!defined).then(|| format!("{page}: names {function} in {path}, which has no such function"))
}

const PAGES: [&str; 2] = ["ARCHITECTURE.md", "docs/client-acceptance.md"];

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(page: &str) -> Vec<Source> {
        let source = |path: &str, text: &str| Source {
            path: path.into(),
            text: text.into(),
        };
        vec![
            source(PAGES[0], page),
            source(
                "a/src/b.rs",
                "//! b\nfn known(x: u8) {}\nfn generic<T>() {}\n",
            ),
        ]
    }

    #[test]
    fn references_that_hold_are_fine() {
        let page = "see `a/src/b.rs:known` and `a/src/b.rs:generic`, not `b.rs` or `x:y`";
        assert!(faults(&sources(page)).is_empty());
    }

    #[test]
    fn missing_files_and_functions_are_found() {
        let page = "`a/src/c.rs:known`, `a/src/b.rs:kno`, `a/src/b.rs:gone`";
        assert_eq!(faults(&sources(page)).len(), 3);
        let mut all = sources("");
        all[0] = Source {
            path: PAGES[1].into(),
            text: page.into(),
        };
        assert_eq!(faults(&all).len(), 3);
    }
}
