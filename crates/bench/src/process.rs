//! What the kernel says about a process: CPU time and memory, from /proc. Elsewhere than on Linux there is nothing.

use std::fs;

use serde::Serialize;

/// CPU time that a process has used since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct CpuTime {
    pub(crate) user_s: f64,
    pub(crate) system_s: f64,
}

impl CpuTime {
    /// User and system time of a process and all its threads; `None`: this process.
    pub(crate) fn of(pid: Option<u32>) -> Option<Self> {
        Self::parse(&fs::read_to_string(path(pid, "stat")).ok()?)
    }

    /// The time used since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            user_s: self.user_s - earlier.user_s,
            system_s: self.system_s - earlier.system_s,
        }
    }

    pub(crate) fn total_s(self) -> f64 {
        self.user_s + self.system_s
    }

    fn parse(stat: &str) -> Option<Self> {
        // The second field is the program's name in parentheses and may hold anything.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace().skip(11);
        let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_PER_SECOND);
        Some(Self {
            user_s: seconds()?,
            system_s: seconds()?,
        })
    }
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
