//! Log lines: human on a terminal, JSON otherwise, to standard error.
//!
//! Lines are written by a thread of their own. A reader of standard error that stalls (a full pipe, a paused
//! terminal) would otherwise stall every shard that has something to say; this way lines are dropped, and counted.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use martlet_broker::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Keeps the log going; dropping it writes what is still waiting.
#[derive(Debug)]
pub(crate) struct Logging {
    lines: SyncSender<Line>,
    writer: Option<JoinHandle<()>>,
}

/// Starts logging as configured.
pub(crate) fn start(log: &Log) -> Result<Logging, String> {
    let filter = check_filter(log)?;
    let (lines, receiver) = sync_channel(LINES_WAITING_MAX);
    let dropped = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&dropped);
    let writer = thread::Builder::new()
        .name("martlet-log".to_owned())
        .spawn(move || write_lines(&receiver, &counted, &mut io::stderr()))
        .map_err(|error| format!("cannot start the log: {error}"))?;
    let queue = Queue {
        lines: lines.clone(),
        dropped,
    };
    let terminal = io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(terminal)
        .with_writer(queue);
    let installed = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.try_init()
    };
    installed.map_err(|error| format!("cannot start the log: {error}"))?;
    Ok(Logging {
        lines,
        writer: Some(writer),
    })
}

/// The filter, or what is wrong with it.
pub(crate) fn check_filter(log: &Log) -> Result<EnvFilter, String> {
    EnvFilter::builder().parse(&log.filter).map_err(|error| {
        format!(
            "{}: log.filter: '{}' is no log filter ({error}); write a level (error, warn, info, debug, trace, \
             off) or as RUST_LOG takes it: info,martlet_broker=debug",
            log.filter_origin, log.filter
        )
    })
}

impl Drop for Logging {
    fn drop(&mut self) {
        // The subscriber lives as long as the process and keeps a sender, so the end has to be said.
        if self.lines.send(Line::End).is_ok()
            && let Some(writer) = self.writer.take()
        {
            let _ = writer.join();
        }
    }
}

enum Line {
    Text(Vec<u8>),
    End,
}

/// The shards' end of the queue.
#[derive(Debug, Clone)]
struct Queue {
    lines: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter {
            queue: self,
            line: Vec::new(),
        }
    }
}

/// Collects one event; it is queued when the writer is dropped, without waiting.
struct LineWriter<'a> {
    queue: &'a Queue,
    line: Vec<u8>,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter<'_> {
    fn drop(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() && self.queue.lines.try_send(Line::Text(line)).is_err() {
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_lines(lines: &Receiver<Line>, dropped: &AtomicU64, out: &mut dyn Write) {
    while let Ok(Line::Text(line)) = lines.recv() {
        // Nobody to tell that standard error is gone.
        let _ = out.write_all(&line);
        let count = dropped.swap(0, Ordering::Relaxed);
        if count > 0 {
            let _ = writeln!(
                out,
                "{count} log lines were dropped: standard error was too slow"
            );
        }
    }
}

/// Lines that wait for standard error: a burst of a busy second, some megabytes at most.
const LINES_WAITING_MAX: usize = 8_192;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc::sync_channel;

    use martlet_broker::config::Log;
    use tracing_subscriber::fmt::MakeWriter;

    use super::{Line, Queue, check_filter, write_lines};

    #[test]
    fn a_stalled_reader_costs_lines_not_time_and_the_loss_is_told() {
        let (lines, receiver) = sync_channel(2);
        let dropped = Arc::new(AtomicU64::new(0));
        let queue = Queue {
            lines: lines.clone(),
            dropped: Arc::clone(&dropped),
        };
        for number in 0..5 {
            writeln!(queue.make_writer(), "line {number}").unwrap();
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
        drop((lines, queue));
        let mut out = Vec::new();
        write_lines(&receiver, &dropped, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "line 0\n3 log lines were dropped: standard error was too slow\nline 1\n"
        );
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn the_end_is_said_in_order() {
        let (lines, receiver) = sync_channel(4);
        lines.send(Line::Text(b"last words\n".to_vec())).unwrap();
        lines.send(Line::End).unwrap();
        let mut out = Vec::new();
        write_lines(&receiver, &AtomicU64::new(0), &mut out);
        assert_eq!(out, b"last words\n");
    }

    #[test]
    fn a_wrong_filter_is_refused_with_its_place() {
        let log = Log {
            filter: "info,martlet=loud".to_owned(),
            ..Log::default()
        };
        let error = check_filter(&log).unwrap_err();
        assert!(error.starts_with("default: log.filter: 'info,martlet=loud' is no log filter"));
        assert!(check_filter(&Log::default()).is_ok());
    }
}
