//! The `file:function` references of `ARCHITECTURE.md`: each has to exist, or the map lies.

use crate::files::Source;

/// What is wrong with the references of the page, if it is among the sources.
pub(super) fn faults(sources: &[Source]) -> Vec<String> {
    let page = sources.iter().find(|source| source.path == PAGE);
    let text = page.map_or("", |page| page.text.as_str());
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|quoted| quoted.split_once(".rs:"))
        .filter_map(|(file, function)| fault(sources, &format!("{file}.rs"), function))
        .collect()
}

fn fault(sources: &[Source], path: &str, function: &str) -> Option<String> {
    let Some(source) = sources.iter().find(|source| source.path == path) else {
        return Some(format!("{PAGE}: names {path}, which does not exist"));
    };
    let defined = source.text.match_indices("fn ").any(|(at, word)| {
        let behind = source.text.get(at + word.len()..).unwrap_or_default();
        behind
            .strip_prefix(function)
            .is_some_and(|rest| rest.starts_with(['(', '<']))
    });
    (!defined).then(|| format!("{PAGE}: names {function} in {path}, which has no such function"))
}

const PAGE: &str = "ARCHITECTURE.md";

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(page: &str) -> Vec<Source> {
        let source = |path: &str, text: &str| Source {
            path: path.into(),
            text: text.into(),
        };
        vec![
            source(PAGE, page),
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
    }
}
