//! `docs/benchmarks.md` with its table, the raw reports beside it, and a plot for each group of rows.

use std::fmt::Write as _;
use std::fs;

use crate::files::Project;
use crate::steps::Failure;

use super::Outcome;
use super::churn;
use super::crossing::LOADS;
use super::durable::{self, Brokers, COLUMNS, MANY_ROW};
use super::libraries::QOS;
use super::neighbours;
use super::peers::{MARTLET, Peer, TWO_SHARDS};
use super::rows::{Metric, Row, fewer_unacknowledged, number};

/// Everything that the page says.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    pub(crate) peers: &'a [Peer],
    /// Those of the part about storage.
    pub(crate) durable: &'a Brokers,
    pub(crate) rows: &'a [&'a Row],
    pub(crate) results: &'a [Outcome],
    pub(crate) seconds: &'a str,
    pub(crate) runs: u32,
}

impl Page<'_> {
    pub(crate) fn write(&self, project: &Project) -> Result<(), Failure> {
        let folder = project.path("docs/benchmarks");
        let write = |name: &str, text: String| {
            fs::create_dir_all(&folder)
                .and_then(|()| fs::write(project.path(name), text))
                .map_err(|error| Failure::new(format!("{name}: {error}"), "make it writable"))
        };
        write("docs/benchmarks/raw.json", self.raw())?;
        for (index, group) in self.groups().into_iter().enumerate() {
            write(
                &format!("docs/benchmarks/growth-{}.svg", index + 1),
                self.plot(group),
            )?;
        }
        // What people wrote below the figures stays.
        let old = project.read("docs/benchmarks.md").unwrap_or_default();
        let notes = old.split_once(NOTES).map_or("\n", |(_, notes)| notes);
        write("docs/benchmarks.md", self.markdown() + NOTES + notes)
    }

    fn markdown(&self) -> String {
        let mut text = String::from(HEAD);
        self.write_machine(&mut text);
        text.push_str("\n## Scenarios\n\n");
        self.write_table(
            &mut text,
            self.rows.iter().copied().filter(|row| row.group.is_none()),
        );
        self.write_two_shards(&mut text);
        for (index, group) in self.groups().into_iter().enumerate() {
            let _ = write!(text, "\n## Growth: {group}\n\n");
            let rows = self.rows.iter().copied();
            self.write_table(&mut text, rows.filter(|row| row.group == Some(group)));
            if group == churn::GROUP {
                let peers = self.peers.iter().map(|peer| peer.name.as_str());
                let row = |name: &str| self.rows.iter().find(|row| row.name == name);
                text += &churn::table(peers, |peer, name| self.median(row(name)?, peer));
            }
            let _ = write!(text, "\n![{group}](benchmarks/growth-{}.svg)\n", index + 1);
        }
        self.write_crossing(&mut text);
        text += &durable::table(self.durable, self.results);
        self.write_libraries(&mut text);
        self.write_commands(&mut text);
        text
    }

    fn write_two_shards(&self, text: &mut String) {
        let mut lines = String::new();
        for row in self.rows {
            let costs = |peer: &'static str| {
                let reports = self.all_named(peer, row.name);
                reports.map(|json| row.metric.figure(json?))
            };
            let ratio = neighbours::ratio(costs(TWO_SHARDS), costs(MARTLET));
            if let Some(ratio) = ratio {
                let _ = writeln!(lines, "| {} | {ratio} |", row.name);
            }
        }
        if !lines.is_empty() {
            text.push_str(TWO_SHARDS_HEAD);
            text.push_str(&lines);
        }
    }

    fn write_crossing(&self, text: &mut String) {
        let cost = |peer: &str, row: &str| {
            median(
                self.named(peer, row)
                    .filter_map(|json| Metric::Cpu.figure(json)),
            )
        };
        let mut lines = String::new();
        for load in &LOADS {
            let (none, all) = (load.at_home.row, load.crossing.row);
            let (Some(one), Some(home), Some(away)) = (
                cost(MARTLET, none),
                cost(TWO_SHARDS, none),
                cost(TWO_SHARDS, all),
            ) else {
                continue;
            };
            let _ = writeln!(
                lines,
                "| {} | {} | {} | {} | {:.3} | {:.2} |",
                load.name,
                shown(one),
                shown(home),
                shown(away),
                away - home,
                away / one,
            );
        }
        if !lines.is_empty() {
            text.push_str(CROSSING_HEAD);
            text.push_str(&lines);
        }
    }

    fn write_libraries(&self, text: &mut String) {
        let Some(peer) = self.peers.first() else {
            return;
        };
        let figure = |row: &str, name: &str| {
            median(
                self.named(&peer.name, row)
                    .filter_map(|json| number(json, &[name])),
            )
        };
        let mut lines = String::new();
        for (qos, rows) in &QOS {
            let cost = |row: &str| figure(row, "\"cpu_us\":");
            let rss = |row: &str| figure(row, "\"rss_bytes\":");
            let Some((our_us, their_us)) = cost(rows.ours).zip(cost(rows.theirs)) else {
                continue;
            };
            let mib = |bytes: Option<f64>| bytes.unwrap_or_default() / 1_048_576.0;
            let _ = writeln!(
                lines,
                "| QoS {qos} | {} | {} | {:.1} | {:.1} / {:.1} |",
                shown(our_us),
                shown(their_us),
                their_us / our_us,
                mib(rss(rows.ours)),
                mib(rss(rows.theirs)),
            );
        }
        if !lines.is_empty() {
            text.push_str(LIBRARIES_HEAD);
            text.push_str(&lines);
        }
    }

    fn named<'b>(&'b self, peer: &'b str, row: &'b str) -> impl Iterator<Item = &'b str> {
        self.all_named(peer, row).flatten()
    }

    /// Each run in its turn, those that failed included.
    fn all_named<'b>(
        &'b self,
        peer: &'b str,
        row: &'b str,
    ) -> impl Iterator<Item = Option<&'b str>> {
        Outcome::reports(self.results, peer, row)
    }

    fn write_machine(&self, text: &mut String) {
        let any = self
            .results
            .iter()
            .find_map(|result| result.json.as_ref().ok());
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let kernel = any
            .and_then(|json| json.split_once("\"kernel\":\"")?.1.split_once('"'))
            .map_or("", |(kernel, _)| kernel);
        let loads = self
            .results
            .iter()
            .filter_map(|result| number(result.json.as_ref().ok()?, &["\"load_average\":"]));
        let (low, high) = loads.fold((f64::MAX, 0.0_f64), |(low, high), load| {
            (low.min(load), high.max(load))
        });
        let _ = writeln!(
            text,
            "Linux {kernel}, {cores} cores; load average between {low:.1} and {high:.1} (the runs themselves make up \
             to 2). {} runs, in turn, {} s measured each (Martlet: {} where two shards are beside one); the median is shown. Rows about pairs and churn: {} runs of Martlet, one \
             of each other broker, {} s each.\n",
            self.runs,
            self.seconds,
            self.runs.max(neighbours::PAIRS),
            super::STEADY_TURNS,
            super::STEADY_SECONDS
        );
        for peer in self.peers {
            let _ = writeln!(text, "- {}: {}", peer.name, peer.version);
        }
    }

    fn write_table<'a>(&self, text: &mut String, rows: impl Iterator<Item = &'a Row>) {
        let mut head = String::from("| |");
        let mut line = String::from("|---|");
        for peer in self.peers {
            let _ = write!(head, " {} |", peer.name);
            line.push_str("---|");
        }
        let _ = writeln!(
            text,
            "{head} unit | target | mosquitto ÷ Martlet |\n{line}---|---|---|"
        );
        for row in rows {
            let _ = write!(text, "| {} |", row.name);
            for peer in self.peers {
                let _ = write!(text, " {} |", self.cell(&peer.name, row));
            }
            let target = row
                .target
                .map_or_else(String::new, |target| format!("≤ {target}"));
            let ratio = self
                .median(row, "mosquitto")
                .zip(self.median(row, MARTLET))
                .filter(|(_, martlet)| *martlet > 0.0)
                .map_or_else(String::new, |(other, martlet)| {
                    format!("{:.1}", other / martlet)
                });
            let _ = writeln!(text, " {} | {target} | {ratio} |", row.metric.unit());
        }
    }

    fn write_commands(&self, text: &mut String) {
        text.push_str("\n## Commands\n\n```text\n");
        for peer in self.peers.iter().chain(self.durable.usual()) {
            let _ = writeln!(text, "{}", peer.shown());
        }
        for peer in self.durable.told_by_command() {
            let _ = writeln!(text, "\n# {}, {MANY_ROW}\n{}", peer.name, peer.shown());
        }
        let _ = writeln!(
            text,
            "\ntaskset -c 1 martlet bench ROW --duration {} --quiet --json --port PORT --pid PID, where ROW is",
            self.seconds
        );
        for row in self.rows {
            let _ = writeln!(text, "{:<45} {}", row.name, row.arguments);
        }
        let ways = LOADS
            .iter()
            .flat_map(|load| [&load.at_home, &load.crossing]);
        for way in ways.filter(|way| self.results.iter().any(|result| result.row == way.row)) {
            let _ = writeln!(text, "{:<45} {}", way.row, way.arguments);
        }
        for column in COLUMNS.iter().filter(|_| !self.durable.is_empty()) {
            let _ = writeln!(text, "{:<45} {}", column.row, column.arguments);
        }
        text.push_str("```\n");
        let usual = self.peers.iter().chain(self.durable.usual());
        let usual = usual.map(|peer| (peer, String::new()));
        let told = self.durable.told_by_config();
        let told = told.map(|peer| (peer, format!(", {MANY_ROW}")));
        for (peer, row) in usual.chain(told) {
            if let Some(config) = peer.config() {
                let _ = write!(text, "\n{}{row}:\n\n```text\n{config}```\n", peer.name);
            }
        }
        text.push_str("\nPeers that speak one version on a port, or only 3.1.1, were run with `-V 3.1.1`.\n\n");
    }

    fn median(&self, row: &Row, peer: &str) -> Option<f64> {
        median(
            self.named(peer, row.name)
                .filter_map(|json| row.metric.figure(json)),
        )
    }

    fn cell(&self, peer: &str, row: &Row) -> String {
        let Some(figure) = self.median(row, peer) else {
            return "–".to_owned();
        };
        let mut cell = shown(figure);
        if row.metric == Metric::Latency {
            let p99 = self
                .named(peer, row.name)
                .filter_map(|json| number(json, &["\"latency_us\":{", "\"p99\":"]));
            let _ = write!(cell, " (p99 {})", shown(median(p99).unwrap_or_default()));
        }
        let lost: f64 = self
            .named(peer, row.name)
            .filter_map(|json| number(json, &["\"counts\":{", "\"lost\":"]))
            .sum();
        let expected: f64 = self
            .named(peer, row.name)
            .filter_map(|json| number(json, &["\"counts\":{", "\"expected\":"]))
            .sum();
        if lost > 0.0 && expected > 0.0 {
            let _ = write!(cell, " (lost {:.2} %)", lost / expected * 100.0);
        }
        cell += &fewer_unacknowledged(self.named(peer, row.name)).unwrap_or_default();
        cell
    }

    fn groups(&self) -> Vec<&'static str> {
        let mut groups: Vec<&'static str> = Vec::new();
        for group in self.rows.iter().filter_map(|row| row.group) {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        groups
    }

    fn raw(&self) -> String {
        let lines: Vec<String> = self
            .results
            .iter()
            .map(|result| {
                let json = result.json.as_deref().unwrap_or("null");
                format!(
                    "{{\"peer\":\"{}\",\"row\":\"{}\",\"report\":{json}}}",
                    result.peer, result.row
                )
            })
            .collect();
        format!("[\n{}\n]\n", lines.join(",\n"))
    }

    /// Cost over size; both axes as the rows stand, the vertical one logarithmic.
    fn plot(&self, group: &str) -> String {
        let rows: Vec<&Row> = self
            .rows
            .iter()
            .copied()
            .filter(|row| row.group == Some(group) && row.metric == Metric::Cpu)
            .collect();
        let mut svg = String::from(SVG_HEAD);
        let _ = writeln!(
            svg,
            "<text x=\"320\" y=\"20\" text-anchor=\"middle\">{group}: µs of CPU per delivery</text>"
        );
        let x = |index: u32| 80.0 + 130.0 * f64::from(index);
        let y = |figure: f64| 250.0 - 60.0 * (figure.max(0.01).log10() + 1.5);
        for (decade, label) in [(0.1, "0.1"), (1.0, "1"), (10.0, "10"), (100.0, "100")] {
            let height = y(decade);
            let _ = writeln!(
                svg,
                "<path d=\"M70 {height:.0}H500\" stroke=\"#ddd\"/><text x=\"60\" y=\"{:.0}\" text-anchor=\"end\">{label}</text>",
                height + 4.0
            );
        }
        for (index, row) in (0_u32..).zip(&rows) {
            let _ = writeln!(
                svg,
                "<text x=\"{:.0}\" y=\"290\" text-anchor=\"middle\">{}</text>",
                x(index),
                row.name
            );
        }
        for (number, (peer, colour)) in (0_u32..).zip(self.peers.iter().zip(COLOURS)) {
            let points: Vec<String> = (0_u32..)
                .zip(&rows)
                .filter_map(|(index, row)| {
                    let figure = self.median(row, &peer.name)?;
                    Some(format!("{:.0},{:.0}", x(index), y(figure)))
                })
                .collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
                 <text x=\"520\" y=\"{}\" fill=\"{colour}\">{}</text>",
                points.join(" "),
                60 + 18 * number,
                peer.name
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len().checked_sub(1)? / 2).copied()
}

/// Three digits that mean something.
fn shown(figure: f64) -> String {
    if figure < 1.0 {
        format!("{figure:.3}")
    } else if figure < 10.0 {
        format!("{figure:.2}")
    } else if figure < 100.0 {
        format!("{figure:.1}")
    } else {
        format!("{figure:.0}")
    }
}

const HEAD: &str = "\
# Benchmarks

Written by `cargo xtask bench-peers`; the reports behind every figure are in [raw.json](benchmarks/raw.json). The figure
is CPU time of the broker's process, user and system, for each delivered message (or connection): on shared machines it is
far steadier than throughput. The broker has one core, `martlet bench` another; 64 bytes of payload and no persistence
unless the row says otherwise. Lost messages, if any, are shown beside the figure.

";
const CROSSING_HEAD: &str = "
## Crossing shards

16 pairs. Their client identifiers are chosen so that with two shards no pair, or each pair, has its publisher on one shard and
its subscriber on the other; half of the pairs would cross by chance. CPU of the broker for each message, in µs.

| | one shard | two, none crosses | two, all cross | a crossing | two, all cross ÷ one |
|---|---|---|---|---|---|
";
const TWO_SHARDS_HEAD: &str = "
## Two shards

What a delivered message costs with two shards on two cores, one of which the load has as well, of what it costs with one shard on one core,
in the run right before: the median, and the range.

| | two shards ÷ one |
|---|---|
";
const LIBRARIES_HEAD: &str = "
## Client libraries

One process with one connection that publishes and one that receives, 3.1.1, 64 bytes, at most 256 messages on their way,
through Martlet; the figure is the CPU time of that process for each message (`crates/interop/examples/client_load.rs`).

| | martlet-client, µs | rumqttc, µs | rumqttc ÷ martlet-client | RSS, MiB |
|---|---|---|---|---|
";
/// Below this line the page belongs to people.
const NOTES: &str = "## Notes\n";
const SVG_HEAD: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"640\" height=\"310\" font-family=\"sans-serif\" font-size=\"12\">\n\
    <rect width=\"640\" height=\"310\" fill=\"white\"/>\n";
const COLOURS: [&str; 6] = [
    "#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#0f766e", "#525252",
];

#[cfg(test)]
mod tests {
    use super::{median, shown};

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([2.0, 1.0].into_iter()), Some(1.0));
        assert_eq!(median(std::iter::empty()), None);
    }

    #[test]
    fn three_digits_are_shown() {
        assert_eq!(shown(0.1234), "0.123");
        assert_eq!(shown(5.678), "5.68");
        assert_eq!(shown(56.78), "56.8");
        assert_eq!(shown(567.8), "568");
    }
}
