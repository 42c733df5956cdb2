//! Stores that earlier versions wrote. They are never written anew: a version that cannot read one has broken the format.
//!
//! A new format gets a folder of its own beside the old ones, made with `cargo run --example golden`.

#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by a panic; and not every file needs every one of these"
)]

mod support;

use std::fs;
use std::path::Path;

use martlet_store::suite::{Churn, restored};
use martlet_store::tools::{DumpForm, dump, verify};
use martlet_store::{RealDisk, Store};

use support::{copy_of, maintain, open};

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// A store of a format: its highest counters, and how many bodies and references it had when it was written.
struct Golden {
    format: u32,
    highest: (u64, u64),
    references: (u64, u64),
}

const GOLDEN: [Golden; 3] = [
    Golden {
        format: 1,
        highest: (1_144, 1_249),
        references: (33, 42),
    },
    Golden {
        format: 2,
        highest: (1_073_741_824, 2_147_483_652),
        references: (29, 36),
    },
    Golden {
        format: 3,
        highest: (1_073_741_825, 4_294_967_300),
        references: (31, 38),
    },
];

#[test]
fn every_format_is_read_as_it_was_written() {
    for Golden { format, .. } in GOLDEN {
        let folder = copy_of(&golden(&format!("format-{format}")));
        let mut lines = Vec::new();
        dump(
            &mut RealDisk::new(folder.path()),
            DumpForm::JsonLines,
            &mut lines,
        )
        .unwrap();
        let expected = fs::read_to_string(golden(&format!("format-{format}.jsonl"))).unwrap();
        let lines = String::from_utf8(lines).unwrap();
        for (line, expected) in lines.lines().zip(expected.lines()) {
            assert_eq!(line, expected, "format {format}");
        }
        assert_eq!(lines.lines().count(), expected.lines().count());
    }
}

#[test]
fn every_format_is_opened_and_gone_on_with() {
    for Golden {
        format,
        highest,
        references,
    } in GOLDEN
    {
        let folder = copy_of(&golden(&format!("format-{format}")));
        let recovery = verify(&mut RealDisk::new(folder.path()), &mut |_| {}).unwrap();
        // The last batch names a body that there never was.
        assert_eq!(recovery.faults.len(), 1, "{:?}", recovery.faults);
        let (mut log, recovery) = open(folder.path());
        let before = Some(format).filter(|format| *format < FORMAT);
        assert_eq!(recovery.upgraded_from, before);
        let counters = (
            recovery.highest_session_counter,
            recovery.highest_number_counter,
        );
        assert_eq!(counters, highest, "format {format}");
        assert_eq!((recovery.bodies, recovery.references), references);
        let mut churn = Churn::new(2);
        churn.resume(restored(&mut log, 2));
        for _ in 0..300 {
            log.append(&churn.batch(9)).unwrap();
            log.sync().unwrap();
            maintain(&mut log, &churn);
        }
        drop(log);
        let text = fs::read_to_string(folder.path().join("FORMAT")).unwrap();
        assert_eq!(text, format!("martlet store {FORMAT}\n"));
        let (mut log, recovery) = open(folder.path());
        assert!(!recovery.has_loss(), "{:?}", recovery.faults);
        assert_eq!(restored(&mut log, 2), churn.model);
    }
}

/// The one that is written now.
const FORMAT: u32 = 3;
