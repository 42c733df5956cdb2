//! Where messages go: to standard output, to a file for each topic, to the end of one file, to a table on a terminal.
//!
//! Map: here the choice and its errors; `folder` is `--to-dir`, `log` is `--append`, `table` is `--watch`.

mod folder;
mod log;
mod table;

use std::io::{self, IsTerminal as _};

use self::folder::Folder;
use self::log::Log;
use self::table::Table;
use crate::exit::{Exit, NO_OUTPUT, USAGE, words};
use crate::screen::Screen;
use crate::settings::{Output, Place};

/// Where messages go.
#[derive(Debug)]
pub(crate) enum Outlet {
    Screen(Screen),
    Folder(Folder),
    Log(Log),
    Table(Table),
}

/// Why no more can be shown.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// Nobody reads any more, which is no error.
    Gone,
    /// It could not be written.
    Failed(Exit),
}

impl Outlet {
    /// Opens it, before anything is connected: what is wrong with it shows at once.
    pub(crate) fn open(output: &Output) -> Result<Self, Exit> {
        match &output.place {
            Place::Screen => Screen::new().map(Self::Screen).map_err(Exit::failed),
            Place::Folder(path) => Folder::open(path).map(Self::Folder),
            Place::Log(path) => Log::open(path).map(Self::Log),
            Place::Table if !io::stdout().is_terminal() => Err(Exit::new(
                USAGE,
                "--watch wants a terminal for standard output; leave it out, or use --to-dir DIR",
            )),
            Place::Table => Screen::new()
                .map(|screen| Self::Table(Table::new(screen)))
                .map_err(Exit::failed),
        }
    }

    /// Writes a message as it is to be shown.
    pub(crate) fn put(&mut self, topic: &str, shown: &[u8]) -> Result<(), Stopped> {
        match self {
            Self::Screen(screen) => screen.show(shown).map_err(|error| on_screen(&error)),
            Self::Folder(folder) => folder.put(topic, shown).map_err(Stopped::Failed),
            Self::Log(log) => log.put(shown).map_err(Stopped::Failed),
            Self::Table(table) => table.put(topic, shown).map_err(|error| on_screen(&error)),
        }
    }
}

fn on_screen(error: &io::Error) -> Stopped {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Stopped::Gone;
    }
    Stopped::Failed(not_written("standard output", error))
}

/// What could not be written, and why.
fn not_written(place: &str, error: &io::Error) -> Exit {
    let remedies = [
        (io::ErrorKind::NotFound, "; is the folder there?"),
        (
            io::ErrorKind::PermissionDenied,
            "; may this user write there?",
        ),
        (io::ErrorKind::StorageFull, "; make room on the disk"),
    ];
    let advice = remedies
        .iter()
        .find(|(kind, _)| *kind == error.kind())
        .map_or("", |(_, advice)| *advice);
    Exit::new(
        NO_OUTPUT,
        format!("cannot write {place}: {}{advice}", words(error)),
    )
}
