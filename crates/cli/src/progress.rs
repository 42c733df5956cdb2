//! A line on the terminal that counts while something takes more than a moment.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// The line. It is taken away when this is dropped; where standard error is no terminal there is none.
#[derive(Debug)]
pub(crate) struct ProgressLine {
    is_terminal: bool,
    begun: Instant,
    is_shown: bool,
    last: Option<(&'static str, u8)>,
}

impl ProgressLine {
    pub(crate) fn new() -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            begun: Instant::now(),
            is_shown: false,
            last: None,
        }
    }

    /// Says how far it is. `work` is what the whole is called, `doing` the part of it. Whether that is further than the last time:
    /// most steps are too short to count.
    pub(crate) fn show(&mut self, work: &str, doing: &'static str, percent: u8) -> bool {
        let is_news = self.last.replace((doing, percent)) != Some((doing, percent));
        let is_due = self.is_terminal && self.begun.elapsed() >= PATIENCE;
        if is_due && (is_news || !self.is_shown) {
            self.is_shown = true;
            // What comes next in the log writes over it: the line ends where it began.
            let _ = write!(
                io::stderr(),
                "{ERASE}{work}, {doing}: {:3} %\r",
                percent.min(100)
            );
        }
        is_news
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "{ERASE}");
        }
    }
}

/// To the beginning of the line, and away with what is there.
const ERASE: &str = "\r\x1b[K";
/// Who waits no longer than this needs no line.
const PATIENCE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::ProgressLine;

    #[test]
    fn a_step_is_news_once() {
        let mut line = ProgressLine::new();
        let mut show = |doing, percent| line.show("restoring", doing, percent);
        assert!(show("messages", 0));
        assert!(!show("messages", 0));
        assert!(show("messages", 1));
        assert!(show("sessions", 1));
        assert!(!show("sessions", 1));
    }
}
