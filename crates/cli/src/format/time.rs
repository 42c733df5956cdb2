//! The local time of a message, and `strftime` in the C locale.

use std::env;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use tz::{TimeZone, UtcDateTime};

/// The time zone of this machine, or the one that TZ names.
#[derive(Debug)]
pub(crate) struct Zone(TimeZone);

impl Zone {
    /// UTC if there is nothing better.
    pub(crate) fn local() -> Self {
        let zone = match env::var("TZ") {
            Ok(name) if name.is_empty() => Ok(TimeZone::utc()),
            Ok(name) => TimeZone::from_posix_tz(&name),
            Err(_) => TimeZone::local(),
        };
        Self(zone.unwrap_or_else(|_| TimeZone::utc()))
    }
}

/// A moment in a time zone, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct LocalTime {
    unix_s: i64,
    nanoseconds: u32,
    offset_s: i32,
    zone: String,
    date: UtcDateTime,
}

impl LocalTime {
    /// Now.
    pub(crate) fn now(zone: &Zone) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a message is printed with the time of day; nothing here belongs to a shard"
        )]
        let now = SystemTime::now();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_s = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        Self::at(unix_s, since.subsec_nanos(), zone)
    }

    /// A moment; the epoch if a calendar has no such year.
    pub(crate) fn at(unix_s: i64, nanoseconds: u32, zone: &Zone) -> Self {
        let (offset_s, name) = zone.0.find_local_time_type(unix_s).map_or_else(
            |_| (0, "UTC".to_owned()),
            |kind| {
                let name = kind.time_zone_designation();
                (
                    kind.ut_offset(),
                    if name.is_empty() { "UTC" } else { name }.to_owned(),
                )
            },
        );
        let shifted = unix_s.saturating_add(i64::from(offset_s));
        UtcDateTime::from_timespec(shifted, nanoseconds).map_or_else(
            |_| Self {
                unix_s: 0,
                nanoseconds: 0,
                offset_s: 0,
                zone: "UTC".to_owned(),
                date: EPOCH,
            },
            |date| Self {
                unix_s,
                nanoseconds,
                offset_s,
                zone: name,
                date,
            },
        )
    }

    /// `2026-11-21T06:04:46+0000`
    pub(crate) fn iso(&self) -> String {
        self.all(b"FTz", &["", "T", ""])
    }

    /// `2026-11-21T06:04:46.696670Z+0000`: what mosquitto's JSON has.
    pub(crate) fn stamp(&self) -> String {
        let micros = self.nanoseconds / 1_000;
        let date = self.all(b"FT", &["", "T"]);
        format!("{date}.{micros:06}Z{}", self.all(b"z", &[""]))
    }

    /// `1795241086.892726918`
    pub(crate) fn unix(&self) -> String {
        format!("{}.{:09}", self.unix_s, self.nanoseconds)
    }

    fn all(&self, conversions: &[u8], before: &[&str]) -> String {
        let mut out = Vec::new();
        for (conversion, before) in conversions.iter().zip(before) {
            out.extend_from_slice(before.as_bytes());
            self.strftime(*conversion, &mut out);
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Writes what `%` and this letter stand for; what strftime does not know comes out as it is.
    pub(crate) fn strftime(&self, conversion: u8, out: &mut Vec<u8>) {
        let date = &self.date;
        // Writing into a Vec cannot fail.
        let _ = match conversion {
            b'N' => write!(out, "{:09}", self.nanoseconds),
            b'a' | b'A' | b'b' | b'B' | b'h' | b'p' | b'P' => {
                out.extend_from_slice(self.name(conversion).as_bytes());
                Ok(())
            }
            b'C' => write!(out, "{:02}", date.year().div_euclid(100)),
            b'd' => write!(out, "{:02}", date.month_day()),
            b'e' => write!(out, "{:2}", date.month_day()),
            b'g' => write!(out, "{:02}", self.iso_week().0.rem_euclid(100)),
            b'G' => write!(out, "{}", self.iso_week().0),
            b'H' => write!(out, "{:02}", date.hour()),
            b'I' => write!(out, "{:02}", self.hour12()),
            b'j' => write!(out, "{:03}", date.year_day() + 1),
            b'k' => write!(out, "{:2}", date.hour()),
            b'l' => write!(out, "{:2}", self.hour12()),
            b'm' => write!(out, "{:02}", date.month()),
            b'M' => write!(out, "{:02}", date.minute()),
            b'n' => out.write_all(b"\n"),
            b's' => write!(out, "{}", self.unix_s),
            b'S' => write!(out, "{:02}", date.second()),
            b't' => out.write_all(b"\t"),
            b'u' => write!(out, "{}", (date.week_day() + 6) % 7 + 1),
            b'U' => write!(out, "{:02}", self.week(0)),
            b'V' => write!(out, "{:02}", self.iso_week().1),
            b'w' => write!(out, "{}", date.week_day()),
            b'W' => write!(out, "{:02}", self.week(1)),
            b'y' => write!(out, "{:02}", date.year().rem_euclid(100)),
            b'Y' => write!(out, "{}", date.year()),
            b'z' => self.write_offset(out),
            b'Z' => out.write_all(self.zone.as_bytes()),
            b'%' => out.write_all(b"%"),
            b'c' | b'D' | b'F' | b'r' | b'R' | b'T' | b'x' | b'X' => {
                self.compound(conversion, out);
                Ok(())
            }
            // glibc takes a digit for a width and then has nothing to print but what it read.
            b'1'..=b'9' => {
                let text = format!("%{}", char::from(conversion));
                write!(
                    out,
                    "{text:>width$}",
                    width = usize::from(conversion - b'0')
                )
            }
            other => out.write_all(&[b'%', other]),
        };
    }

    fn compound(&self, conversion: u8, out: &mut Vec<u8>) {
        let parts: &[u8] = match conversion {
            b'c' => b"a b e T Y",
            b'D' | b'x' => b"m/d/y",
            b'F' => b"Y-m-d",
            b'r' => b"I:M:S p",
            b'R' => b"H:M",
            _ => b"H:M:S",
        };
        for part in parts {
            if part.is_ascii_alphabetic() {
                self.strftime(*part, out);
            } else {
                out.push(*part);
            }
        }
    }

    fn name(&self, conversion: u8) -> String {
        let morning = self.date.hour() < 12;
        let day = DAYS.get(usize::from(self.date.week_day())).copied();
        let month = MONTHS
            .get(usize::from(self.date.month()).wrapping_sub(1))
            .copied();
        let long = match conversion {
            b'p' => return if morning { "AM" } else { "PM" }.to_owned(),
            b'P' => return if morning { "am" } else { "pm" }.to_owned(),
            b'a' | b'A' => day.unwrap_or_default(),
            _ => month.unwrap_or_default(),
        };
        let length = if conversion.is_ascii_uppercase() {
            long.len()
        } else {
            3
        };
        long.chars().take(length).collect()
    }

    fn hour12(&self) -> u8 {
        match self.date.hour() % 12 {
            0 => 12,
            hour => hour,
        }
    }

    fn write_offset(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        let sign = if self.offset_s < 0 { '-' } else { '+' };
        let minutes = self.offset_s.abs() / 60;
        write!(out, "{sign}{:02}{:02}", minutes / 60, minutes % 60)
    }

    /// The week of the year; weeks start on this day (0: Sunday).
    fn week(&self, first_day: u16) -> u16 {
        let week_day = (u16::from(self.date.week_day()) + 7 - first_day) % 7;
        (self.date.year_day() + 7 - week_day) / 7
    }

    /// Year and week as ISO 8601 counts them.
    fn iso_week(&self) -> (i32, i32) {
        let year = self.date.year();
        let year_day = i32::from(self.date.year_day());
        let from_monday = (i32::from(self.date.week_day()) + 6) % 7;
        // The week belongs to the year of its Thursday.
        let thursday = year_day - from_monday + 3;
        if thursday < 0 {
            let days = days_of(year - 1);
            (year - 1, (thursday + days) / 7 + 1)
        } else if thursday >= days_of(year) {
            (year + 1, (thursday - days_of(year)) / 7 + 1)
        } else {
            (year, thursday / 7 + 1)
        }
    }
}

fn days_of(year: i32) -> i32 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if leap { 366 } else { 365 }
}

const EPOCH: UtcDateTime = match UtcDateTime::new(1970, 1, 1, 0, 0, 0, 0) {
    Ok(epoch) => epoch,
    Err(_) => panic!("the epoch is a date"),
};

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

#[cfg(test)]
mod tests {
    use tz::TimeZone;

    use super::{LocalTime, Zone};

    fn print(time: &LocalTime, conversions: &str) -> String {
        let mut out = Vec::new();
        for conversion in conversions.bytes() {
            time.strftime(conversion, &mut out);
            out.push(b'|');
        }
        String::from_utf8(out).unwrap()
    }

    /// Measured: mosquitto_sub 2.0.11 with these letters behind `@`, at this second.
    #[test]
    fn every_letter_prints_what_glibc_prints() {
        let time = LocalTime::at(1_795_241_086, 892_784_284, &Zone(TimeZone::utc()));
        assert_eq!(
            print(&time, "YmdHMSNzZcxXpejuwVGgCDhkl"),
            "2026|11|21|06|04|46|892784284|+0000|UTC|Sat Nov 21 06:04:46 2026|11/21/26|06:04:46|AM|21|325|6|6|47|\
             2026|26|20|11/21/26|Nov| 6| 6|"
        );
        assert_eq!(
            print(&time, "nPrRstTUWyQE+5aAbBFI%"),
            "\n|am|06:04:46 AM|06:04|1795241086|\t|06:04:46|46|46|26|%Q|%E|%+|   %5|Sat|Saturday|Nov|November|\
             2026-11-21|06|%|"
        );
    }

    #[test]
    fn stamps_are_mosquittos() {
        let zone = Zone(TimeZone::from_posix_tz("EST5EDT,M3.2.0,M11.1.0").unwrap());
        let time = LocalTime::at(1_795_241_086, 892_784_284, &zone);
        assert_eq!(time.iso(), "2026-11-21T01:04:46-0500");
        assert_eq!(time.stamp(), "2026-11-21T01:04:46.892784Z-0500");
        assert_eq!(time.unix(), "1795241086.892784284");
        assert_eq!(print(&time, "Z"), "EST|");
        let half = Zone(TimeZone::from_posix_tz("IST-5:30").unwrap());
        assert_eq!(print(&LocalTime::at(0, 0, &half), "zHM"), "+0530|05|30|");
    }

    /// Years in which the ISO week belongs to another year; figures from `date`.
    #[test]
    fn weeks_at_the_turn_of_the_year() {
        let utc = Zone(TimeZone::utc());
        for (unix_s, wanted) in [
            (1_609_459_200, "2020|53|00|00|"), // 2021-01-01, a Friday
            (1_735_603_200, "2025|01|52|53|"), // 2024-12-31, a Tuesday
            (1_704_067_200, "2024|01|00|01|"), // 2024-01-01, a Monday
            (1_672_531_200, "2022|52|01|00|"), // 2023-01-01, a Sunday
        ] {
            assert_eq!(
                print(&LocalTime::at(unix_s, 0, &utc), "GVUW"),
                wanted,
                "{unix_s}"
            );
        }
    }
}
