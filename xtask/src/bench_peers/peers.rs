//! How each broker is started: without persistence, everybody let in, no queue limit that would drop what a row sends.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::steps::Failure;

use super::{BOTH_CORES, BROKER_CORE, LOAD_CORE};

/// A broker that takes part.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) name: String,
    /// As it says itself.
    pub(crate) version: String,
    /// Program and arguments; `{port}`, `{config}` and `{scratch}` are replaced.
    command: String,
    /// The configuration file, if it needs one.
    config: Option<String>,
    /// What its file's name ends with: two go by that, the others do not care.
    config_ending: &'static str,
    environment: Vec<(&'static str, &'static str)>,
    many: Many,
    /// The cores that it may use, as taskset wants them.
    cores: &'static str,
    /// And the load.
    pub(crate) load_cores: &'static str,
    /// What the tool has to do differently for it.
    pub(crate) bench_arguments: &'static str,
}

/// How a broker is told to take [`MANY`] messages from a client before it has acknowledged the first, and to send a client as many.
#[derive(Debug, Clone, Copy)]
enum Many {
    /// It cannot be told, or has no such limit.
    Untold,
    /// By these variables of its environment.
    Variables(&'static [&'static str]),
    /// By this word in its configuration.
    Word(&'static str),
}

impl Peer {
    /// One that has a core to itself, and nothing special.
    fn on_one_core(name: &str, version: String, command: String) -> Self {
        Self {
            name: name.to_owned(),
            version,
            command,
            config: None,
            config_ending: CONFIG_ENDING,
            environment: Vec::new(),
            many: Many::Untold,
            cores: BROKER_CORE,
            load_cores: LOAD_CORE,
            bench_arguments: "",
        }
    }

    /// Martlet, and all that are installed or were asked for. `packages`: where those of npm are looked for.
    pub(crate) fn all(martlet: &str, packages: &Path, asked: &[(String, String)]) -> Vec<Self> {
        let mut peers = vec![Self {
            environment: MARTLET_ENVIRONMENT.to_vec(),
            ..Self::on_one_core(
                MARTLET,
                version(martlet, "--version"),
                format!(
                    "{martlet} broker --listen 127.0.0.1:{{port}} --shards 1 --durability memory"
                ),
            )
        }];
        if let Some(program) = find("mosquitto") {
            let command = format!("{program} -c {{config}}");
            peers.push(Self {
                config: Some(MOSQUITTO.to_owned()),
                ..Self::on_one_core("mosquitto", version(&program, "-h"), command)
            });
        }
        if let Some(program) = find("rumqttd") {
            let command = format!("{program} -q -c {{config}}");
            peers.push(Self {
                config: Some(RUMQTTD.to_owned()),
                // One port speaks one version.
                bench_arguments: "-V 3.1.1",
                ..Self::on_one_core("rumqttd", version(&program, "--version"), command)
            });
        }
        if let Some(program) = find("nats-server") {
            let command = format!("{program} -c {{config}}");
            peers.push(Self {
                config: Some(NATS.to_owned()),
                environment: vec![("GOMAXPROCS", "1")],
                bench_arguments: "-V 3.1.1",
                ..Self::on_one_core("nats-server", version(&program, "--version"), command)
            });
        }
        peers.extend(Self::aedes(packages));
        peers.extend(asked.iter().map(|(name, command)| Self {
            bench_arguments: "-V 3.1.1",
            ..Self::on_one_core(name, String::new(), command.clone())
        }));
        peers
    }

    /// It is a package, not a program: a few lines make a broker of it.
    fn aedes(packages: &Path) -> Option<Self> {
        let node = find("node")?;
        let folder = packages.join("node_modules").join("aedes");
        let module = folder.join("aedes.js");
        if !module.is_file() {
            return None;
        }
        let package = fs::read_to_string(folder.join("package.json")).unwrap_or_default();
        let number = package
            .lines()
            .find_map(|line| line.trim().strip_prefix("\"version\": \""))
            .map_or("", |rest| rest.trim_end_matches(['"', ',']));
        let version = format!("aedes {number}, Node {}", version(&node, "--version"));
        let command = format!("{node} {{config}} {{port}} {}", module.display());
        Some(Self {
            config: Some(AEDES.to_owned()),
            config_ending: "mjs",
            bench_arguments: "-V 3.1.1",
            ..Self::on_one_core("aedes", version, command)
        })
    }

    /// Martlet with a shard on each of two cores.
    pub(crate) fn two_shards(martlet: &str) -> Self {
        Self {
            environment: MARTLET_ENVIRONMENT.to_vec(),
            cores: BOTH_CORES,
            ..Self::on_one_core(
                TWO_SHARDS,
                version(martlet, "--version"),
                format!(
                    "{martlet} broker --listen 127.0.0.1:{{port}} --shards 2 --durability memory"
                ),
            )
        }
    }

    /// Brokers that keep what they acknowledge, each with its most careful settings; Martlet with the others, too. They
    /// have both cores, as the load has.
    pub(crate) fn durable(martlet: &str) -> Vec<Self> {
        let ours = |durability: &str| Self {
            environment: MARTLET_ENVIRONMENT.to_vec(),
            many: Many::Variables(&[
                "MARTLET_LIMITS_RECEIVE_MAXIMUM",
                "MARTLET_LIMITS_IN_FLIGHT_TO_CLIENT_MAX",
            ]),
            cores: BOTH_CORES,
            load_cores: BOTH_CORES,
            ..Self::on_one_core(
                &format!("Martlet, {durability}"),
                version(martlet, "--version"),
                format!(
                    "{martlet} broker --listen 127.0.0.1:{{port}} --data-dir {{scratch}} --durability {durability}"
                ),
            )
        };
        let mut peers = vec![ours("memory"), ours("fsync"), ours("os")];
        let other = |name: &str, program: &str, flag: &str, config: &str| Self {
            cores: BOTH_CORES,
            load_cores: BOTH_CORES,
            config: Some(config.to_owned()),
            ..Self::on_one_core(
                name,
                version(program, flag),
                format!("{program} -c {{config}}"),
            )
        };
        if let Some(program) = find("mosquitto") {
            let name = "mosquitto, autosave_on_changes";
            peers.push(Self {
                // In both directions.
                many: Many::Word("max_inflight_messages"),
                ..other(name, &program, "-h", MOSQUITTO_DURABLE)
            });
        }
        if let Some(program) = find("nats-server") {
            let name = "nats-server, sync always";
            peers.push(Self {
                bench_arguments: "-V 3.1.1",
                ..other(name, &program, "--version", NATS_DURABLE)
            });
        }
        peers
    }

    /// The same broker, told to take and send [`MANY`] unacknowledged messages, as far as it can be.
    pub(crate) fn with_many(&self) -> Self {
        let mut peer = self.clone();
        match peer.many {
            Many::Untold => {}
            Many::Variables(names) => {
                let variables = names.iter().map(|name| (*name, MANY));
                peer.environment.extend(variables);
            }
            Many::Word(word) => {
                let config = peer.config.get_or_insert_default();
                let _ = writeln!(config, "{word} {MANY}");
            }
        }
        peer
    }

    /// The command without the folders of this machine.
    pub(crate) fn shown(&self) -> String {
        let environment: Vec<String> = self
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value} "))
            .collect();
        let words: Vec<&str> = self
            .command
            .split(' ')
            .map(|word| word.rsplit('/').next().unwrap_or(word))
            .collect();
        format!(
            "{}taskset -c {} {}",
            environment.concat(),
            self.cores,
            words.join(" ")
        )
    }

    /// The configuration, as it is written.
    pub(crate) fn config(&self) -> Option<&str> {
        self.config.as_deref()
    }
}

/// A broker that runs; it is stopped when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    port: u16,
}

impl Running {
    /// Starts it with nothing stored.
    pub(crate) fn start(peer: &Peer, scratch: &Path) -> Result<Self, Failure> {
        // What an earlier run stored is not to be loaded.
        let _ = fs::remove_dir_all(stored(peer, scratch));
        Self::start_again(peer, scratch)
    }

    /// Starts it on what it has stored.
    pub(crate) fn start_again(peer: &Peer, scratch: &Path) -> Result<Self, Failure> {
        let failed = |problem: String| {
            Failure::new(
                format!("{} did not start: {problem}", peer.name),
                "start it by hand to see why",
            )
        };
        let port = free_port().map_err(|error| failed(error.to_string()))?;
        let config = stored(peer, scratch).with_extension(peer.config_ending);
        let store = stored(peer, scratch);
        fs::create_dir_all(&store).map_err(|error| failed(error.to_string()))?;
        let fill = |text: &str| {
            text.replace("{port}", &port.to_string())
                .replace("{config}", &config.display().to_string())
                .replace("{scratch}", &store.display().to_string())
        };
        if let Some(text) = peer.config() {
            fs::write(&config, fill(text)).map_err(|error| failed(error.to_string()))?;
        }
        let child = Command::new("taskset")
            .args(["-c", peer.cores])
            .args(fill(&peer.command).split(' '))
            .envs(peer.environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let running = Self { child, port };
        if running.answers_within(START) {
            Ok(running)
        } else {
            Err(failed("it answers no CONNECT".to_owned()))
        }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// taskset replaces itself by the broker, so this is the broker's.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn answers_within(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            if self.answers() {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        let mut first = [0];
        stream
            .set_read_timeout(Some(Duration::from_secs(1)))
            .is_ok()
            && stream.write_all(CONNECT).is_ok()
            && stream.read_exact(&mut first).is_ok()
            && first == [0x20]
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have died by itself, which its row shows.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder of what a broker stores. No blanks: commands are split at them.
fn stored(peer: &Peer, scratch: &Path) -> PathBuf {
    scratch.join(format!("{}.store", peer.name.replace([' ', ','], "-")))
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A program on the PATH, or where Debian keeps daemons.
fn find(program: &str) -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/usr/local/sbin"])
        .map(|folder| format!("{folder}/{program}"))
        .find(|candidate| Path::new(candidate).is_file())
}

/// The first line of what a program says about itself, without its folder.
fn version(program: &str, flag: &str) -> String {
    let Ok(output) = Command::new(program).arg(flag).output() else {
        return String::new();
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// The name of Martlet on one core.
pub(crate) const MARTLET: &str = "Martlet";
/// The name of Martlet with a shard on each of two cores.
pub(crate) const TWO_SHARDS: &str = "Martlet, 2 shards";
/// So many messages are unacknowledged in the row that asks for many.
pub(crate) const MANY: &str = "1000";
/// How long a start may take; one that has much to load included.
const START: Duration = Duration::from_secs(30);
const CONFIG_ENDING: &str = "toml";
// One packet of 1 MiB and its header must fit; queues hold what a row sends.
const MARTLET_ENVIRONMENT: &[(&str, &str)] = &[
    ("RUST_LOG", "error"),
    ("MARTLET_LIMITS_PACKET_BYTES_MAX", "2MiB"),
    ("MARTLET_LIMITS_SESSION_QUEUE_MESSAGES_MAX", "1000000"),
    ("MARTLET_LIMITS_SESSION_QUEUE_BYTES_MAX", "1GiB"),
];
/// CONNECT of MQTT 3.1.1, clean session, client identifier "probe".
const CONNECT: &[u8] = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05probe";

const MOSQUITTO: &str = "\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 0
log_dest none
";

const RUMQTTD: &str = "\
id = 0
[router]
id = 0
max_connections = 20010
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v4.1]
name = \"v4-1\"
listen = \"127.0.0.1:{port}\"
next_connection_delay_ms = 0
[v4.1.connections]
connection_timeout_ms = 60000
max_payload_size = 2097152
max_inflight_count = 100
dynamic_filters = true
";

const AEDES: &str = "\
import { createServer } from 'node:net';
const [port, module] = process.argv.slice(2);
const { Aedes } = await import(module);
const broker = await Aedes.createBroker();
createServer(broker.handle).listen({ port: Number(port), host: '127.0.0.1', backlog: 1024 });
";

const MOSQUITTO_DURABLE: &str = "\
user root
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {scratch}/
autosave_on_changes true
autosave_interval 1
max_queued_messages 0
log_dest none
";

const NATS_DURABLE: &str = "\
server_name: bench
listen: 127.0.0.1:-1
jetstream { store_dir: \"{scratch}\", sync_interval: always }
mqtt { listen: \"127.0.0.1:{port}\" }
";

const NATS: &str = "\
server_name: bench
listen: 127.0.0.1:-1
jetstream { store_dir: \"{scratch}\" }
mqtt { listen: \"127.0.0.1:{port}\" }
";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{CONNECT, Peer, stored};

    #[test]
    fn the_probe_is_as_long_as_it_says() {
        assert_eq!(usize::from(CONNECT[1]), CONNECT.len() - 2);
    }

    #[test]
    fn commands_are_shown_without_folders() {
        let asked = [("x".to_owned(), "/opt/x/bin/broker -p {port}".to_owned())];
        let peers = Peer::all("/a/b/martlet", Path::new("/nowhere"), &asked);
        let shown = peers.last().unwrap().shown();
        assert_eq!(shown, "taskset -c 0 broker -p {port}");
        assert!(peers[0].shown().contains(" martlet broker --listen"));
    }

    #[test]
    fn durable_peers_keep_their_things_in_folders_without_blanks() {
        for peer in Peer::durable("/a/b/martlet") {
            let folder = stored(&peer, Path::new("/x"));
            assert!(
                !folder.display().to_string().contains([' ', ',']),
                "{folder:?}"
            );
        }
    }
}
