//! The seeds of the fuzz targets of recovery are of the present format: they were of the first one for long, and what came
//! later was fuzzed from nothing.

#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

use std::fs;
use std::path::Path;

#[expect(dead_code, reason = "the program itself is not run")]
#[path = "../examples/fuzz_seeds.rs"]
mod example;

#[test]
fn the_seeds_in_the_tree_are_those_of_today() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, bytes) in example::seeds() {
        let there = fs::read(corpus.join(&name)).unwrap();
        assert!(
            there == bytes,
            "{name}: cargo run -p martlet-store --example fuzz_seeds"
        );
    }
}
