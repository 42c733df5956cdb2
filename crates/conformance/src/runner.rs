//! Runs cases on a pool of threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crate::case::{Case, Outcome, Version};
use crate::harness::Target;
use crate::report::{CaseResult, Report};
use crate::{v5, v311};

/// Which cases to run; the default takes all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this version.
    pub version: Option<Version>,
    /// Only cases with this statement id (`3.1.2-4`, with or without `MQTT-`), or whose name
    /// contains this text.
    pub only: Option<String>,
}

impl Filter {
    /// Whether the filter lets this case through.
    #[must_use]
    pub fn takes(&self, case: &Case) -> bool {
        let wanted = self.only.as_deref().is_none_or(|only| {
            let id = only.strip_prefix("MQTT-").unwrap_or(only);
            case.statements.contains(&id) || case.name.contains(only)
        });
        wanted && self.version.is_none_or(|version| version == case.version)
    }
}

/// All cases of the suite, 3.1.1 first.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    v311::GROUPS
        .iter()
        .chain(v5::GROUPS)
        .flat_map(|group| group.iter())
}

/// Runs what `filter` takes, `jobs` cases at a time, and reports in the order of the suite.
#[must_use]
pub fn run(target: &Target, filter: &Filter, jobs: usize) -> Report {
    let chosen: Vec<&'static Case> = cases().filter(|case| filter.takes(case)).collect();
    run_cases(target, &chosen, jobs)
}

/// As [`run`], for cases given by hand.
pub(crate) fn run_cases(target: &Target, chosen: &[&'static Case], jobs: usize) -> Report {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, chosen.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = chosen.get(index) else {
                        return;
                    };
                    let started = Instant::now();
                    let outcome = Outcome::from((case.run)(target));
                    let result = CaseResult {
                        case,
                        outcome,
                        elapsed: started.elapsed(),
                    };
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(index, result);
                }
            });
        }
    });
    let results = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    Report::new(results.into_values().collect())
}
