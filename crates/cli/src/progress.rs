//! A line on the terminal that counts while something takes more than a moment.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// The line. It is taken away when this is dropped; where standard error is no terminal there is none.
#[derive(Debug)]
pub(crate) struct ProgressLine {
    is_terminal: bool,
    begun: Instant,
    shown: Option<(&'static str, u8)>,
}

impl ProgressLine {
    pub(crate) fn new() -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            begun: Instant::now(),
            shown: None,
        }
    }

    /// Says how far it is. `work` is what the whole is called, `doing` the part of it.
    pub(crate) fn show(&mut self, work: &str, doing: &'static str, percent: u8) {
        let is_news = self.shown != Some((doing, percent));
        if !self.is_terminal || !is_news || self.begun.elapsed() < PATIENCE {
            return;
        }
        self.shown = Some((doing, percent));
        // What comes next in the log writes over it: the line ends where it began.
        let _ = write!(
            io::stderr(),
            "{ERASE}{work}, {doing}: {:3} %\r",
            percent.min(100)
        );
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "{ERASE}");
        }
    }
}

/// To the beginning of the line, and away with what is there.
const ERASE: &str = "\r\x1b[K";
/// Who waits no longer than this needs no line.
const PATIENCE: Duration = Duration::from_millis(200);
