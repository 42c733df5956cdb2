//! What was found in a store: for people, or as JSON.

use std::io::{self, Write};
use std::path::Path;

use martlet_store::{Fault, RealDisk, Recovery};
use serde_json::json;

use super::damaged;
use crate::exit::Exit;

/// What a tool came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Everything is there and as it was written.
    Whole,
    /// Not everything is as it was written, but nothing is missing.
    Damaged,
    /// Something that was acknowledged is lost.
    Lossy,
    /// There was nothing to repair.
    Sound,
    /// It is in order again, and nothing is missing.
    Repaired,
    /// It is in order again, but something that was acknowledged is lost.
    RepairedWithLoss,
    /// The copy is whole.
    Copied,
    /// The copy is as damaged as the store.
    CopiedWithLoss,
}

impl Outcome {
    pub(super) fn of_look(recovery: &Recovery) -> Self {
        if recovery.has_loss() {
            Self::Lossy
        } else if is_damaged(recovery) {
            Self::Damaged
        } else {
            Self::Whole
        }
    }

    pub(super) fn of_repair(recovery: &Recovery) -> Self {
        if recovery.has_loss() {
            Self::RepairedWithLoss
        } else if is_damaged(recovery) {
            Self::Repaired
        } else {
            Self::Sound
        }
    }

    pub(super) fn of_copy(recovery: &Recovery) -> Self {
        if recovery.has_loss() {
            Self::CopiedWithLoss
        } else {
            Self::Copied
        }
    }

    /// For programs.
    const fn word(self) -> &'static str {
        match self {
            Self::Whole | Self::Sound => "whole",
            Self::Damaged => "damaged",
            Self::Lossy | Self::RepairedWithLoss | Self::CopiedWithLoss => "loss",
            Self::Repaired => "repaired",
            Self::Copied => "copied",
        }
    }

    /// For people.
    const fn sentence(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Damaged => "damaged, but nothing is missing: repair it, or start the broker",
            Self::Lossy => "damaged: something that was acknowledged is lost",
            Self::Sound => "whole; there was nothing to repair",
            Self::Repaired => "repaired; nothing is missing",
            Self::RepairedWithLoss => "repaired, but something that was acknowledged is lost",
            Self::Copied => "copied",
            Self::CopiedWithLoss => "copied as it is: something that was acknowledged is lost",
        }
    }

    const fn is_good(self) -> bool {
        matches!(
            self,
            Self::Whole | Self::Sound | Self::Repaired | Self::Copied
        )
    }
}

/// Who uses the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    Nobody,
    Process(u32),
    /// Nobody can tell who.
    Somebody,
}

impl User {
    pub(super) fn of(disk: &RealDisk) -> Self {
        match disk.holder() {
            Ok(Some(Some(pid))) => Self::Process(pid),
            Ok(Some(None)) => Self::Somebody,
            Ok(None) | Err(_) => Self::Nobody,
        }
    }

    const fn pid(self) -> Option<u32> {
        match self {
            Self::Process(pid) => Some(pid),
            Self::Nobody | Self::Somebody => None,
        }
    }
}

/// What there is to tell.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) outcome: Outcome,
    pub(super) directory: &'a Path,
    pub(super) recovery: &'a Recovery,
    pub(super) user: User,
    /// Where the copy is, and how large.
    pub(super) copy: Option<(&'a Path, u64)>,
}

impl Told<'_> {
    /// Prints it. An error if it is not good, for the exit code.
    pub(super) fn tell(&self, json: bool, out: &mut dyn Write) -> Result<(), Exit> {
        let text = if json {
            format!("{}\n", self.json())
        } else {
            self.text()
        };
        quietly(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
        if self.outcome.is_good() {
            return Ok(());
        }
        Err(damaged(self.directory, self.outcome.sentence()))
    }

    fn text(&self) -> String {
        let recovery = self.recovery;
        let mut lines = vec![match self.copy {
            None => format!("{}: {}", self.directory.display(), self.outcome.sentence()),
            Some((to, bytes)) => format!(
                "{}: {} to {}, {}",
                self.directory.display(),
                self.outcome.sentence(),
                to.display(),
                mebibytes(bytes)
            ),
        }];
        lines.push(format!(
            "  {} messages, {} references to them (queued, or retained)",
            recovery.bodies, recovery.references
        ));
        lines.push(format!(
            "  {} in {} segments, of which {} are needed; {} batches, {} records",
            mebibytes(recovery.bytes),
            recovery.segments,
            mebibytes(recovery.live_bytes),
            recovery.batches,
            recovery.records
        ));
        let process = match self.user {
            User::Nobody => None,
            User::Process(pid) => Some(format!("process {pid}")),
            User::Somebody => Some("a process".to_owned()),
        };
        if let Some(process) = process {
            lines.push(format!(
                "  {process} is using it: this is how it was a moment ago"
            ));
        }
        for fault in &recovery.faults {
            lines.push(fault.to_string());
            lines.push(format!("    {}", fault.kind.advice()));
        }
        lines.push(String::new());
        lines.join("\n")
    }

    fn json(&self) -> serde_json::Value {
        let recovery = self.recovery;
        let faults: Vec<_> = recovery.faults.iter().map(fault_json).collect();
        let mut told = json!({
            "directory": self.directory.to_string_lossy(),
            "outcome": self.outcome.word(),
            "loss": recovery.has_loss(),
            "messages": recovery.bodies,
            "references": recovery.references,
            "segments": recovery.segments,
            "bytes": recovery.bytes,
            "live_bytes": recovery.live_bytes,
            "batches": recovery.batches,
            "records": recovery.records,
            "in_use": self.user != User::Nobody,
            "process": self.user.pid(),
            "faults": faults,
        });
        if let Some((to, bytes)) = self.copy
            && let Some(told) = told.as_object_mut()
        {
            told.insert("copy".to_owned(), json!(to.to_string_lossy()));
            told.insert("copy_bytes".to_owned(), json!(bytes));
        }
        told
    }
}

fn is_damaged(recovery: &Recovery) -> bool {
    recovery.faults.iter().any(|fault| fault.kind.is_damage())
}

fn fault_json(fault: &Fault) -> serde_json::Value {
    json!({
        "file": fault.file,
        "offset": fault.offset,
        "what": fault.kind.to_string(),
        "loss": fault.kind.is_loss(),
        "advice": fault.kind.advice(),
    })
}

fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10).div_ceil(1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// Nobody reading is no error.
pub(super) fn quietly(result: io::Result<()>) -> Result<(), Exit> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Exit::failed(format!(
            "cannot write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}
