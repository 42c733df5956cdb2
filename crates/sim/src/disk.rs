//! A simulated disk: what programs see (the cache), and what survives (the medium).
//!
//! ```text
//! write, create, rename, remove --> cache --sync(file), sync_names--> medium
//!                                     |                                 |
//!                       Crash::Kill: the cache stays     Crash::Power: the medium, and whatever had got there already
//! ```
//! What was changed and not synced lies between the two. When the power fails, each sector of 512 bytes has got to the medium
//! with any number of the changes made to it, in their order, but in no order with other sectors; a change may be torn at any
//! byte; a file may have its new length without its bytes; names follow in order. A failed sync leaves each change where it
//! was, brings it to the medium, or takes it back: nobody can know.
//!
//! All faults are chosen by the disk's own sequence of chance, which the run's seed begins.

mod device;
mod file;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use self::file::File;
use crate::rng::Rng;

pub(crate) use self::device::Device;

/// A disk, as the simulation holds it; clones share it. A program holds a [`Device`].
#[derive(Debug, Clone)]
pub(crate) struct SimDisk {
    state: Arc<cell::Cell>,
}

mod cell {
    //! A store has to be `Send`. A run is single-threaded, so this lock is never contended.
    #[expect(
        clippy::disallowed_types,
        reason = "a store asks for Send; never contended"
    )]
    pub(super) type Cell = std::sync::Mutex<super::State>;
}

/// How a process ends that does not choose to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The process is gone, the machine is not: whatever was written is there.
    Kill,
    /// The machine has no power: what was not synced has got to the medium in parts.
    Power,
}

#[derive(Debug, Clone)]
struct State {
    rng: Rng,
    files: BTreeMap<FileId, File>,
    next_file: FileId,
    /// As programs see them.
    names: BTreeMap<String, FileId>,
    folders: BTreeSet<String>,
    /// As they are on the medium.
    stable_names: BTreeMap<String, FileId>,
    stable_folders: BTreeSet<String>,
    /// What happened to names since they were synced.
    namings: Vec<Naming>,
    locked: bool,
    /// Nothing can be created or made longer.
    full: bool,
    /// After so many more calls one fails.
    error_in: Option<u32>,
    /// After so many more changes the power, or the process, is gone: the last one is done in part.
    fuse: Option<u32>,
    dead: bool,
    /// A failed sync takes nothing away from what programs see.
    keeps: bool,
    talks: bool,
}

type FileId = u64;

#[derive(Debug, Clone)]
enum Naming {
    Folder(String),
    Is(String, FileId),
    Moves(String, String),
    Ends(String),
}

impl SimDisk {
    /// An empty disk.
    pub(crate) fn new(seed: u64) -> Self {
        Self::from_state(State {
            rng: Rng::new(seed),
            files: BTreeMap::new(),
            next_file: 0,
            names: BTreeMap::new(),
            folders: BTreeSet::new(),
            stable_names: BTreeMap::new(),
            stable_folders: BTreeSet::new(),
            namings: Vec::new(),
            locked: false,
            full: false,
            error_in: None,
            fuse: None,
            dead: false,
            keeps: false,
            talks: false,
        })
    }

    /// A failed sync takes nothing away from what programs see: for programs that promise nothing but that.
    pub(crate) fn keeps_what_is_seen(&self) {
        self.with(|state| state.keeps = true);
    }

    /// Says to the error output what programs do to it, or does not.
    pub(crate) fn talk(&self, talks: bool) {
        self.with(|state| state.talks = talks);
    }

    fn from_state(state: State) -> Self {
        Self {
            state: Arc::new(cell::Cell::new(state)),
        }
    }

    fn with<T>(&self, what: impl FnOnce(&mut State) -> T) -> T {
        what(&mut self.state.lock().expect("one thread"))
    }

    /// Another disk with the same content and without faults.
    pub(crate) fn fork(&self) -> Self {
        let mut state = self.with(|state| state.clone());
        state.heal();
        state.locked = false;
        state.talks = false;
        Self::from_state(state)
    }

    /// The process ends now. What it left is what the next one finds; no fault is pending.
    pub(crate) fn crash(&self, how: Crash) {
        self.with(|state| {
            state.heal();
            state.locked = false;
            state.say(|| format!("{how:?}"));
            if how == Crash::Power {
                state.lose_power();
            }
        });
    }

    /// The power fails, or the process is killed, in the middle of one of the next calls that change something.
    pub(crate) fn die_in(&self, changes: u32) {
        self.with(|state| state.fuse = Some(changes));
    }

    /// Whether that has come.
    pub(crate) fn is_dead(&self) -> bool {
        self.with(|state| state.dead)
    }

    /// One of the next calls fails.
    pub(crate) fn fail_in(&self, calls: u32) {
        self.with(|state| state.error_in = Some(calls));
    }

    /// Nothing can be created or made longer from now on; or it can again.
    pub(crate) fn set_full(&self, full: bool) {
        self.with(|state| state.full = full);
    }

    /// No faults are to come.
    pub(crate) fn heal(&self) {
        self.with(State::heal);
    }

    /// Damages a file: a bit, some bytes, its end, all of it. Says what was done, and whether that
    /// was at the end of the log, where it can go unnoticed.
    pub(crate) fn damage(&self, rng: &mut Rng) -> (String, bool) {
        self.with(|state| {
            let names: Vec<(String, FileId)> = state
                .names
                .iter()
                .filter(|(_, id)| state.files[*id].len() > 0)
                .map(|(name, id)| (name.clone(), *id))
                .collect();
            if names.is_empty() {
                return ("nothing to damage".to_owned(), false);
            }
            let (name, id) = rng.pick(&names).clone();
            let file = state.file(id);
            let file_len = file.len();
            let written = file.written_end().clamp(1, file_len);
            let at = rng.below(written);
            let is_segment = |name: &&String| name.starts_with("log/0");
            let segments: Vec<_> = names.iter().map(|n| &n.0).filter(is_segment).collect();
            // The last one may be in reserve.
            let at_end = segments.iter().rev().take(2).any(|last| **last == name);
            let file = state.file(id);
            let what = match rng.below(8) {
                0..=3 => {
                    let mask = 1 << rng.below(8);
                    file.change(at, |byte| byte ^ mask);
                    format!("a bit of {name} at {at}")
                }
                4 | 5 => {
                    let count = rng.between(1, 600);
                    let zero = rng.one_in(2);
                    for at in at..at + count {
                        let byte = if zero {
                            0
                        } else {
                            u8::try_from(rng.below(256)).unwrap_or(0)
                        };
                        file.change(at, |_| byte);
                    }
                    format!("{count} bytes of {name} at {at}")
                }
                6 => {
                    file.cut(at);
                    format!("{name} is cut at {at}")
                }
                _ => {
                    state.names.remove(&name);
                    state.stable_names.remove(&name);
                    format!("{name} is missing")
                }
            };
            // A file that is shorter than it was made is seen wherever it is.
            let was_cut = file_len != state.files[&id].len();
            (what, at_end && !was_cut)
        })
    }
}

impl State {
    fn heal(&mut self) {
        self.full = false;
        self.error_in = None;
        self.fuse = None;
        self.dead = false;
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.talks {
            eprintln!("  disk: {}", what());
        }
    }

    /// Each call begins here; it may be the one that fails.
    fn call(&mut self) -> io::Result<()> {
        if self.dead {
            return Err(out());
        }
        match &mut self.error_in {
            Some(0) => {
                self.error_in = None;
                Err(io::Error::other("input/output error"))
            }
            Some(calls) => {
                *calls -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A call that changes something: `true` if it is the last one, to be done in part.
    fn change(&mut self) -> io::Result<bool> {
        self.call()?;
        match &mut self.fuse {
            Some(0) => {
                self.dead = true;
                Ok(true)
            }
            Some(changes) => {
                *changes -= 1;
                Ok(false)
            }
            None => Ok(false),
        }
    }

    fn file(&mut self, id: FileId) -> &mut File {
        self.files
            .get_mut(&id)
            .expect("nobody opened a file that is forgotten")
    }

    /// Brings the names in a folder to the medium.
    fn sync_folder(&mut self, folder: &str) {
        let namings = core::mem::take(&mut self.namings);
        for naming in namings {
            if naming.is_in(folder) {
                naming.apply(&mut self.stable_names, &mut self.stable_folders);
            } else {
                self.namings.push(naming);
            }
        }
    }

    fn lose_power(&mut self) {
        let kept = self.rng.below(self.namings.len() + 1);
        let namings = core::mem::take(&mut self.namings);
        for naming in namings.into_iter().take(kept) {
            naming.apply(&mut self.stable_names, &mut self.stable_folders);
        }
        self.names = self.stable_names.clone();
        self.folders = self.stable_folders.clone();
        for file in self.files.values_mut() {
            file.lose_power(&mut self.rng);
        }
        let names = &self.names;
        self.files.retain(|id, _| names.values().any(|n| n == id));
    }
}

impl Naming {
    fn is_in(&self, folder: &str) -> bool {
        let within = |name: &str| name.rsplit_once('/').map_or("", |(folder, _)| folder) == folder;
        match self {
            Self::Folder(name) | Self::Is(name, _) | Self::Ends(name) => within(name),
            Self::Moves(from, to) => within(from) || within(to),
        }
    }

    fn apply(self, names: &mut BTreeMap<String, FileId>, folders: &mut BTreeSet<String>) {
        match self {
            Self::Folder(name) => _ = folders.insert(name),
            Self::Is(name, id) => _ = names.insert(name, id),
            Self::Moves(from, to) => {
                if let Some(id) = names.remove(&from) {
                    names.insert(to, id);
                }
            }
            Self::Ends(name) => _ = names.remove(&name),
        }
    }
}

fn out() -> io::Error {
    io::Error::other("the process is gone")
}
