//! What the kernel says about a process: CPU time and memory, from /proc. Elsewhere than on Linux there is nothing.

use std::fs;

use serde::Serialize;

/// CPU time that a process has used since its start.
#[expect(
    clippy::struct_field_names,
    reason = "the unit belongs into the name, and all are seconds"
)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct CpuTime {
    pub(crate) user_s: f64,
    pub(crate) system_s: f64,
    /// The sum of both as the scheduler counts it, in nanoseconds rather than ticks of 10 ms. Threads that have ended
    /// are not in it.
    pub(crate) scheduled_s: Option<f64>,
}

impl CpuTime {
    /// User and system time of a process and all its threads; `None`: this process.
    pub(crate) fn of(pid: Option<u32>) -> Option<Self> {
        let mut time = Self::parse(&fs::read_to_string(path(pid, "stat")).ok()?)?;
        time.scheduled_s = scheduled_s(pid);
        Some(time)
    }

    /// The time used since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            user_s: self.user_s - earlier.user_s,
            system_s: self.system_s - earlier.system_s,
            scheduled_s: self
                .scheduled_s
                .zip(earlier.scheduled_s)
                .map(|(now, then)| now - then),
        }
    }

    /// User and system time. The scheduler's figure is finer; it is taken unless it is so far below the other that
    /// threads must have ended.
    pub(crate) fn total_s(self) -> f64 {
        let ticks_s = self.user_s + self.system_s;
        self.scheduled_s
            .filter(|scheduled_s| *scheduled_s > ticks_s - 3.0 / TICKS_PER_SECOND)
            .unwrap_or(ticks_s)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The second field is the program's name in parentheses and may hold anything.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace().skip(11);
        let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_PER_SECOND);
        Some(Self {
            user_s: seconds()?,
            system_s: seconds()?,
            scheduled_s: None,
        })
    }
}

/// What the scheduler has counted for all threads.
fn scheduled_s(pid: Option<u32>) -> Option<f64> {
    let mut total_s = 0.0;
    for task in fs::read_dir(path(pid, "task")).ok()? {
        let line = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        let nanoseconds: f64 = line.split(' ').next()?.parse().ok()?;
        total_s += nanoseconds / 1e9;
    }
    Some(total_s)
}

/// Bytes of memory that the process holds (resident set).
pub(crate) fn rss_bytes(pid: Option<u32>) -> Option<u64> {
    parse_rss(&fs::read_to_string(path(pid, "status")).ok()?)
}

/// The program's name.
pub(crate) fn name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(path(Some(pid), "comm")).ok()?;
    Some(name.trim().to_owned())
}

/// Cores that this process may use, and the kernel's name and version.
pub(crate) fn machine() -> Machine {
    Machine {
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
            .to_owned(),
        load_average: fs::read_to_string("/proc/loadavg")
            .ok()
            .and_then(|line| line.split(' ').next()?.parse().ok()),
    }
}

/// Where the run took place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Machine {
    /// As far as this process may use them.
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Of the last minute, at the end of the run: whether others were at work.
    pub(crate) load_average: Option<f64>,
}

fn path(pid: Option<u32>, file: &str) -> String {
    pid.map_or_else(
        || format!("/proc/self/{file}"),
        |pid| format!("/proc/{pid}/{file}"),
    )
}

fn parse_rss(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1_024)
}

/// The unit of /proc/PID/stat; fixed for programs on every architecture that Linux still runs on.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::{CpuTime, parse_rss};

    #[test]
    fn the_kernels_lines_are_understood() {
        let stat = "12 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 99";
        let time = CpuTime::parse(stat).unwrap();
        assert_eq!((time.user_s, time.system_s), (2.5, 0.5));
        assert!(CpuTime::parse("nonsense").is_none());
        let with = |scheduled_s| CpuTime {
            scheduled_s,
            ..time
        };
        for (scheduled_s, total_s) in [(None, 3.0), (Some(2.995), 2.995), (Some(1.0), 3.0)] {
            assert!((with(scheduled_s).total_s() - total_s).abs() < 1e-9);
        }
        assert_eq!(
            parse_rss("Name:\tx\nVmRSS:\t    5120 kB\n"),
            Some(5_242_880)
        );
        assert_eq!(parse_rss("Name:\tx\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_a_name() {
        assert!(super::rss_bytes(None).unwrap() > 100_000);
        assert!(CpuTime::of(None).unwrap().total_s() >= 0.0);
        assert!(!super::name(std::process::id()).unwrap().is_empty());
    }
}
