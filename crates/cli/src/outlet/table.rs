//! `--watch`: a line for each topic, rewritten where it stands.

use std::collections::BTreeMap;
use std::io;

use terminal_size::{Height, Width, terminal_size_of};

use crate::screen::Screen;

/// A table on a terminal.
#[derive(Debug)]
pub(crate) struct Table {
    screen: Screen,
    rows: Rows,
}

impl Table {
    pub(super) const fn new(screen: Screen) -> Self {
        Self {
            screen,
            rows: Rows::new(),
        }
    }

    pub(super) fn put(&mut self, topic: &str, shown: &[u8]) -> io::Result<()> {
        let size = terminal_size_of(io::stdout()).map(|(Width(width), Height(height))| Size {
            width: usize::from(width),
            height: usize::from(height),
        });
        let bytes = self.rows.put(topic, shown, size.unwrap_or(USUAL));
        self.screen.show(&bytes)
    }
}

/// How large the terminal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    width: usize,
    height: usize,
}

/// The lines, and what has to be written to change one.
#[derive(Debug)]
struct Rows {
    lines: Vec<String>,
    /// Which line is whose.
    places: BTreeMap<String, usize>,
    size: Option<Size>,
}

impl Rows {
    const fn new() -> Self {
        Self {
            lines: Vec::new(),
            places: BTreeMap::new(),
            size: None,
        }
    }

    /// Takes up a message; gives what to write.
    fn put(&mut self, topic: &str, shown: &[u8], size: Size) -> Vec<u8> {
        let line = printable(shown);
        let at = match self.places.get(topic) {
            Some(at) => *at,
            None if self.lines.len() < ROWS_MAX => {
                self.places.insert(topic.to_owned(), self.lines.len());
                self.lines.push(String::new());
                self.lines.len() - 1
            }
            // More topics than anybody can watch.
            None => return Vec::new(),
        };
        if let Some(place) = self.lines.get_mut(at) {
            *place = line;
        }
        let mut out = Vec::new();
        if self.size == Some(size) {
            self.draw(at, size, &mut out);
        } else {
            // The first message, or the terminal has another size.
            self.size = Some(size);
            out.extend_from_slice(CLEAR);
            for at in 0..self.lines.len() {
                self.draw(at, size, &mut out);
            }
        }
        // The cursor waits below the table.
        let below = (self.lines.len() + 1).min(size.height);
        out.extend_from_slice(format!("\x1b[{below};1H").as_bytes());
        out
    }

    /// The last line of the terminal stays free: a prompt comes there.
    fn draw(&self, at: usize, size: Size, out: &mut Vec<u8>) {
        let Some(line) = self.lines.get(at).filter(|_| at + 1 < size.height) else {
            return;
        };
        let cut: String = line.chars().take(size.width).collect();
        out.extend_from_slice(format!("\x1b[{};1H{cut}\x1b[K", at + 1).as_bytes());
    }
}

/// One line without anything that a terminal would take for a command.
fn printable(shown: &[u8]) -> String {
    let text = String::from_utf8_lossy(shown);
    let line = text.trim_end_matches('\n').chars();
    line.map(|character| {
        if character.is_control() {
            '.'
        } else {
            character
        }
    })
    .collect()
}

/// More topics than this are not shown.
const ROWS_MAX: usize = 1_000;
const CLEAR: &[u8] = b"\x1b[2J";
/// For a terminal that does not say.
const USUAL: Size = Size {
    width: 80,
    height: 24,
};

#[cfg(test)]
mod tests {
    use super::{Rows, Size};

    fn put(rows: &mut Rows, topic: &str, shown: &str, size: Size) -> String {
        String::from_utf8(rows.put(topic, shown.as_bytes(), size)).unwrap()
    }

    #[test]
    fn each_topic_keeps_its_line() {
        let size = Size {
            width: 10,
            height: 4,
        };
        let mut rows = Rows::new();
        assert_eq!(
            put(&mut rows, "a", "a 1\n", size),
            "\x1b[2J\x1b[1;1Ha 1\x1b[K\x1b[2;1H"
        );
        assert_eq!(
            put(&mut rows, "b", "b 1\n", size),
            "\x1b[2;1Hb 1\x1b[K\x1b[3;1H"
        );
        assert_eq!(
            put(&mut rows, "a", "a 2\n", size),
            "\x1b[1;1Ha 2\x1b[K\x1b[3;1H"
        );
        // Another size: everything anew.
        let small = Size {
            width: 2,
            height: 2,
        };
        assert_eq!(
            put(&mut rows, "b", "b 2\n", small),
            "\x1b[2J\x1b[1;1Ha \x1b[K\x1b[2;1H"
        );
    }

    #[test]
    fn what_a_terminal_would_obey_is_not_sent_to_it() {
        let size = Size {
            width: 80,
            height: 24,
        };
        let mut rows = Rows::new();
        let drawn = put(&mut rows, "a", "a \x1b[31mred\x07\r\nsecond\n", size);
        assert!(drawn.contains("a .[31mred...second\x1b[K"), "{drawn:?}");
    }

    #[test]
    fn topics_beyond_the_bound_cost_nothing() {
        let size = Size {
            width: 80,
            height: 24,
        };
        let mut rows = Rows::new();
        for number in 0..2_000 {
            put(&mut rows, &number.to_string(), "x", size);
        }
        assert_eq!((rows.lines.len(), rows.places.len()), (1_000, 1_000));
    }
}
