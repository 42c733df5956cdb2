//! The program as its user sees it: what it prints, how it ends.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    reason = "tests: helpers outside #[test] functions may fail as well"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a";
const ACCEPTED: [u8; 4] = [0x20, 0x02, 0x00, 0x00];

/// The program with nothing of this process's environment that could change what it does.
fn martlet() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_martlet"));
    clean(&mut command);
    command
}

fn clean(command: &mut Command) {
    command.env_clear().stdin(Stdio::null());
    // What a test leaves behind is gone with it.
    command.env("MARTLET_STORAGE_DURABILITY", "memory");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
}

/// A broker at work; ended when dropped.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    log: BufReader<ChildStderr>,
    address: SocketAddr,
    greeting: Vec<String>,
}

impl Running {
    /// Starts it and reads its greeting up to the line about the configuration.
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut greeting: Vec<String> = Vec::new();
        while !greeting
            .last()
            .is_some_and(|line| line.starts_with("configuration: "))
        {
            let mut line = String::new();
            assert!(
                out.read_line(&mut line).unwrap() > 0,
                "it ended: {greeting:?}"
            );
            greeting.push(line.trim_end().to_owned());
        }
        let listening = greeting
            .iter()
            .find(|line| line.starts_with("listening on "))
            .unwrap();
        let address = listening.split(' ').nth(2).unwrap().parse().unwrap();
        Self {
            child,
            out,
            log,
            address,
            greeting,
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// The next log line that contains this.
    fn wait_for_log(&mut self, part: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(
                self.log.read_line(&mut line).unwrap() > 0,
                "the log ended without {part:?}"
            );
            if line.contains(part) {
                return line;
            }
        }
    }

    fn open(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    }

    fn connect(&self) -> TcpStream {
        let mut stream = self.open();
        stream.write_all(CONNECT).unwrap();
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).unwrap();
        assert_eq!(connack, ACCEPTED);
        stream
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, as some tests want it to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn fails_with(output: &Output, code: i32, message: &str) {
    assert_eq!(text(&output.stderr).trim_end(), message);
    assert_eq!(output.status.code(), Some(code));
}

#[test]
fn it_greets_serves_and_stops_on_both_signals() {
    for signal in ["-INT", "-TERM"] {
        let mut command = martlet();
        command.args(["--listen", "127.0.0.1:0", "--shards", "2"]);
        let mut broker = Running::start(command);
        let address = broker.address;
        let [version, listening, state, configuration] = broker.greeting.as_slice() else {
            panic!("{:?}", broker.greeting);
        };
        assert_eq!(*version, format!("martlet {}", env!("CARGO_PKG_VERSION")));
        assert_eq!(
            *listening,
            format!("listening on {address} (tcp, anonymous access allowed: loopback only)")
        );
        assert_eq!(*state, "state in memory: nothing survives a restart");
        let sources = "configuration: environment MARTLET_STORAGE_DURABILITY, flag --listen, flag --shards; 2 shards, up to ";
        assert!(configuration.starts_with(sources), "{configuration}");
        drop(broker.connect());
        broker.signal(signal);
        assert_eq!(broker.child.wait().unwrap().code(), Some(0));
        let mut rest = String::new();
        broker.out.read_to_string(&mut rest).unwrap();
        assert_eq!(
            rest,
            "only programs on this machine can connect; to open it to a network you trust:\n  \
             martlet broker --listen 0.0.0.0:1883 --allow-anonymous\n"
        );
    }
}

#[test]
fn the_subcommand_and_the_bare_program_are_the_same() {
    let mut command = martlet();
    command.args(["broker", "--listen", "127.0.0.1:0"]);
    drop(Running::start(command).connect());
}

#[test]
fn every_end_of_a_connection_is_logged_with_its_reason() {
    let mut command = martlet();
    command.args(["--listen", "127.0.0.1:0"]);
    let mut broker = Running::start(command);
    let mut client = broker.connect();
    broker.wait_for_log("client connected");
    client.write_all(b"\xe0\x00").unwrap();
    let line = broker.wait_for_log(r#"client \"a\": disconnected"#);
    assert!(
        line.starts_with('{') && line.contains(r#""level":"INFO""#),
        "{line}"
    );
    // SUBSCRIBE with reserved flags: the field, the byte and the statement.
    let mut client = broker.connect();
    client.write_all(b"\x80\x00").unwrap();
    let line = broker.wait_for_log(r#"client \"a\": "#);
    assert!(line.contains(r#""level":"WARN""#), "{line}");
    assert!(
        line.contains("at byte 0") && line.contains("[MQTT-"),
        "{line}"
    );
}

/// A client chooses its identifier: it must not write lines of its own to the log, or commands to the terminal that shows it.
#[test]
fn a_client_identifier_cannot_break_out_of_its_log_line() {
    let mut command = martlet();
    command.args(["--listen", "127.0.0.1:0"]);
    command.env("MARTLET_LOG_FORMAT", "human");
    let mut broker = Running::start(command);
    let mut client = broker.open();
    client
        .write_all(b"\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05a\n\x1b[m")
        .unwrap();
    let line = broker.wait_for_log("client connected");
    assert!(line.contains(r"client=a\n\u{1b}[m "), "{line:?}");
}

#[test]
fn a_taken_port_is_one_line_and_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = martlet().args(["--listen", &address]).output().unwrap();
    fails_with(
        &output,
        1,
        &format!(
            "martlet: cannot listen on {address}: Address already in use (os error 98); another program \
             listens there: stop it, or choose another port"
        ),
    );
}

#[test]
fn a_wrong_configuration_lists_everything_and_starts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("m.toml");
    fs::write(&file, "shard = 2\n[limits]\nreceive_maximum = 0\n").unwrap();
    let name = file.display();
    let expected = format!(
        "martlet: {name}:1:1: shard: unknown key; did you mean 'shards'?\n\
         {name}:3:19: limits.receive_maximum: expected a whole number from 1 to 65535; found integer 0"
    );
    let output = martlet().arg("--config").arg(&file).output().unwrap();
    fails_with(&output, 2, &expected);
    assert!(output.stdout.is_empty());
    let output = martlet().arg("check-config").arg(&file).output().unwrap();
    fails_with(&output, 2, &expected);
    let output = martlet().env("MARTLET_CONFIG", &file).output().unwrap();
    fails_with(&output, 2, &expected);

    let missing = directory.path().join("missing.toml");
    let output = martlet().arg("--config").arg(&missing).output().unwrap();
    let name = missing.display();
    fails_with(
        &output,
        2,
        &format!("martlet: cannot read {name}: No such file or directory (os error 2)"),
    );
}

#[test]
fn a_wrong_log_filter_is_refused() {
    let output = martlet()
        .args(["--listen", "127.0.0.1:0"])
        .env("RUST_LOG", "martlet=loud")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    let start = "martlet: environment RUST_LOG: log.filter: 'martlet=loud' is no log filter";
    assert!(error.starts_with(start), "{error}");
}

#[test]
fn the_network_is_let_in_only_on_an_explicit_word() {
    let output = martlet().args(["--listen", "0.0.0.0:0"]).output().unwrap();
    fails_with(
        &output,
        2,
        "martlet: flag --listen: listeners.address: 0.0.0.0:0 can be reached from other machines, and no \
         authentication is configured; to let everybody in, add --allow-anonymous, or listen on 127.0.0.1:0",
    );
    let mut command = martlet();
    command.args(["--listen", "0.0.0.0:0", "--allow-anonymous"]);
    let broker = Running::start(command);
    assert!(
        broker
            .greeting
            .iter()
            .any(|line| line.ends_with("(tcp, anonymous access allowed: allow_anonymous)"))
    );
    drop(broker.connect());
}

#[test]
fn socket_addr_works_as_in_the_seed_broker_with_a_warning() {
    let mut command = martlet();
    command
        .env("SOCKET_ADDR", "0.0.0.0:0")
        .env("RUST_LOG", "info");
    let mut broker = Running::start(command);
    drop(broker.connect());
    let mut warning = String::new();
    broker.out.read_line(&mut warning).unwrap();
    assert!(
        warning.starts_with("WARNING: SOCKET_ADDR opens the broker"),
        "{warning}"
    );
}

#[test]
fn the_example_file_is_right() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/martlet.toml");
    let output = martlet().arg("check-config").arg(&file).output().unwrap();
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    // Every setting stands in it, commented out at its default: with the signs taken away it is still right.
    let everything: String = fs::read_to_string(&file)
        .unwrap()
        .lines()
        .flat_map(|line| [line.strip_prefix("#: ").unwrap_or(line), "\n"])
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("everything.toml");
    fs::write(&file, everything).unwrap();
    let output = martlet().arg("check-config").arg(&file).output().unwrap();
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

/// Without descriptors accepting pauses (it neither ends nor spins) and goes on when there are some again.
#[test]
fn used_up_file_descriptors_pause_accepting_and_are_logged() {
    let mut command = Command::new("sh");
    clean(&mut command);
    // Standard input and output and a dozen of the runtime's leave fewer than the 90 % that the limit allows.
    command.args([
        "-c",
        "ulimit -n 32; exec \"$0\" --listen 127.0.0.1:0 --shards 2",
    ]);
    command.arg(env!("CARGO_BIN_EXE_martlet"));
    let mut broker = Running::start(command);
    let flood: Vec<TcpStream> = (0..64).map(|_| broker.open()).collect();
    // Each line stands for a pause that has begun, and the pauses grow: it does not spin.
    for pause_ms in [100, 200, 400] {
        let line = broker.wait_for_log("accepting new connections is paused");
        assert!(
            line.contains(&format!(r#""pause_ms":{pause_ms}"#)),
            "{line}"
        );
        assert!(line.contains("raise the limit of open files"), "{line}");
    }
    drop(flood);
    drop(broker.connect());
}

/// CONNECT of MQTT 3.1.1 with Clean Session 0, client identifier "a".
const CONNECT_DURABLE: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x00\x00\x01a";

/// Connects the durable session; says whether it was there.
fn connect_durable(broker: &Running) -> (TcpStream, bool) {
    let mut stream = broker.open();
    stream.write_all(CONNECT_DURABLE).unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!(connack[3], 0);
    (stream, connack[2] == 1)
}

/// A broker with a directory, durably.
fn durable(directory: &Path) -> Command {
    let mut command = martlet();
    command.env_remove("MARTLET_STORAGE_DURABILITY");
    command.args(["--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(directory);
    command
}

#[test]
fn sessions_and_their_messages_survive_kill_9_and_a_stop() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("new/folder");
    let mut broker = Running::start(durable(&data));
    let shown = format!(
        "state in {} (durability: fsync); restored 0 sessions",
        data.display()
    );
    assert!(
        broker.greeting[2].starts_with(&shown),
        "{:?}",
        broker.greeting
    );
    let (mut stream, was_there) = connect_durable(&broker);
    assert!(!was_there);
    // SUBSCRIBE to "t" at QoS 1, and its SUBACK.
    stream.write_all(b"\x82\x06\x00\x01\x00\x01t\x01").unwrap();
    let mut suback = [0; 5];
    stream.read_exact(&mut suback).unwrap();
    drop(stream);
    // PUBLISH at QoS 1 with RETAIN from somebody else, and its PUBACK.
    let mut publisher = broker.open();
    publisher
        .write_all(&[CONNECT.get(..14).unwrap(), b"b"].concat())
        .unwrap();
    publisher.read_exact(&mut [0; 4]).unwrap();
    publisher.write_all(b"\x33\x07\x00\x01t\x00\x07hi").unwrap();
    publisher.read_exact(&mut [0; 4]).unwrap();
    broker.child.kill().unwrap();
    broker.child.wait().unwrap();

    for signal in ["-TERM", "-INT"] {
        let mut broker = Running::start(durable(&data));
        assert!(
            broker.greeting[2].contains("; restored 1 sessions, 1 retained"),
            "{:?}",
            broker.greeting
        );
        let (mut stream, was_there) = connect_durable(&broker);
        assert!(was_there);
        // It is not acknowledged, so it comes again.
        let mut publish = [0; 9];
        stream.read_exact(&mut publish).unwrap();
        assert_eq!(&publish[1..5], b"\x07\x00\x01t");
        assert_eq!(&publish[7..], b"hi");
        broker.signal(signal);
        assert_eq!(broker.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn state_goes_to_the_users_state_directory_unless_told_otherwise() {
    let home = tempfile::tempdir().unwrap();
    let start = |file: &str| {
        let path = home.path().join("martlet.toml");
        fs::write(&path, file).unwrap();
        let mut command = martlet();
        command.env_remove("MARTLET_STORAGE_DURABILITY");
        command.env("HOME", home.path());
        command
            .args(["--listen", "127.0.0.1:0", "--config"])
            .arg(path);
        Running::start(command).greeting[2].clone()
    };
    let folder = home.path().join(".local/state/martlet");
    assert!(start("").starts_with(&format!("state in {} (", folder.display())));
    let elsewhere = home.path().join("elsewhere");
    let file = format!(
        "[storage]\ndirectory = '{}'\ndurability = 'os'",
        elsewhere.display()
    );
    let shown = format!("state in {} (durability: os)", elsewhere.display());
    assert!(start(&file).starts_with(&shown));
    let before = fs::read_dir(&folder).unwrap().count();
    start("[storage]\ndurability = 'memory'");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), before);
}

#[test]
fn a_directory_that_cannot_be_used_is_one_line_and_code_1() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let output = durable(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    let start = format!("martlet: cannot keep state in {}: ", file.display());
    assert!(error.starts_with(&start), "{error}");
    assert!(
        error.contains("name another directory (--data-dir)"),
        "{error}"
    );

    let data = directory.path().join("data");
    let first = Running::start(durable(&data));
    let output = durable(&data).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains(&data.display().to_string()), "{error}");
    assert!(
        error.contains(&format!("in use by another process ({})", first.child.id())),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");
}

/// A limit on the size of files makes writes fail in a way that no store can put up with.
#[test]
fn a_store_that_fails_ends_the_program_with_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    clean(&mut command);
    command.env_remove("MARTLET_STORAGE_DURABILITY");
    command.env("RUST_LOG", "off");
    // Without the trap the system would end the program before it could say anything.
    let script = "trap '' XFSZ; ulimit -f 2000; exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_martlet")]);
    command.args(["--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(directory.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = text(&output.stderr);
    let start = format!("martlet: {}: the store failed", directory.path().display());
    assert!(error.starts_with(&start), "{error}");
    assert!(error.contains("start the broker again"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn who_reads_a_page_of_help_may_stop_when_it_is_enough() {
    for (words, code) in [
        (["--help"].as_slice(), 0),
        (&["bench", "--help"], 0),
        (&["conformance", "--help"], 0),
        (&["conformance", "--list"], 0),
        (&["man"], 0),
        // What is wrong with it was not read, but is.
        (&["conformance", "--what"], 2),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = martlet().args(words).stdout(writer).output().unwrap();
        assert_eq!(text(&output.stderr), "", "{words:?}");
        assert_eq!(output.status.code(), Some(code), "{words:?}");
    }
}

/// A file of the folder `packaging`, or one beside it.
fn packaged(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(name)).unwrap()
}

/// What stands behind this word at the beginning of lines.
fn lines_of<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    text.lines()
        .filter_map(|line| line.strip_prefix(word))
        .collect()
}

/// A command line of the unit, with our program, the example file, and `%S` in a folder of the test.
fn unit_command(unit: &str, line: &str, state: &Path) -> Command {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/martlet.toml");
    let words: Vec<&str> = line.split_whitespace().collect();
    let (program, arguments) = words.split_first().unwrap();
    assert_eq!(*program, "/usr/local/bin/martlet");
    let mut command = martlet();
    command.env_remove("MARTLET_STORAGE_DURABILITY");
    for setting in lines_of(unit, "Environment=") {
        let (name, value) = setting.split_once('=').unwrap();
        command.env(name, value.replace("%S", &state.display().to_string()));
    }
    command.args(arguments.iter().map(|word| match *word {
        "/etc/martlet.toml" => example.as_os_str(),
        other => other.as_ref(),
    }));
    command
}

#[test]
fn the_unit_starts_the_broker_and_does_not_repeat_a_wrong_configuration() {
    let unit = packaged("packaging/martlet.service");
    let state = tempfile::tempdir().unwrap();
    let [start] = lines_of(&unit, "ExecStart=")[..] else {
        unreachable!("one start");
    };
    // Only the main process's answer keeps systemd from trying again.
    assert_eq!(lines_of(&unit, "ExecStartPre="), [""; 0]);
    assert_eq!(lines_of(&unit, "Type="), ["notify"]);
    let mut command = unit_command(&unit, start, state.path());
    command.env("MARTLET_LISTEN", "127.0.0.1:0");
    let manager = ServiceManager::new(state.path());
    command.env("NOTIFY_SOCKET", &manager.path);
    let mut broker = Running::start(command);
    manager.wait_for("READY=1");
    broker.connect();
    let kept = state.path().join("martlet");
    assert!(
        broker.greeting[2].starts_with(&format!("state in {}", kept.display())),
        "{:?}",
        broker.greeting
    );
    broker.signal("-TERM");
    manager.wait_for("STOPPING=1");
    assert_eq!(broker.child.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    broker.log.read_to_string(&mut log).unwrap();
    assert!(!log.contains("ignored"), "{log}");
    let mut wrong = unit_command(&unit, start, state.path());
    wrong.env("MARTLET_LISTEN", "nowhere");
    let code = wrong.output().unwrap().status.code().unwrap().to_string();
    assert_eq!(lines_of(&unit, "RestartPreventExitStatus="), [code]);
}

/// What a service manager hears.
struct ServiceManager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl ServiceManager {
    fn new(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let patience = Some(Duration::from_secs(10));
        socket.set_read_timeout(patience).unwrap();
        Self { socket, path }
    }

    /// Reads until this is said. Returns what was said before.
    fn wait_for(&self, news: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let mut bytes = [0; 1_024];
            let received = self.socket.recv(&mut bytes);
            let said = text(bytes.get(..received.unwrap()).unwrap());
            if said.lines().any(|line| line == news) {
                return before;
            }
            before.push(said.clone());
        }
    }
}

#[test]
fn a_service_manager_hears_how_far_a_recovery_is() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("martlet");
    let start = |notify: &Path| {
        let mut command = martlet();
        command
            .args(["broker", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&folder)
            .env("NOTIFY_SOCKET", notify)
            .env_remove("MARTLET_STORAGE_DURABILITY");
        Running::start(command)
    };
    let manager = ServiceManager::new(state.path());
    let broker = start(&manager.path);
    manager.wait_for("READY=1");
    let mut client = broker.connect();
    // PUBLISH of QoS 1, to be retained: there is something to restore.
    client.write_all(b"\x33\x06\x00\x01a\x00\x01x").unwrap();
    let mut puback = [0; 4];
    client.read_exact(&mut puback).unwrap();
    broker.signal("-KILL");
    drop(broker);

    let broker = start(&manager.path);
    let before = manager.wait_for("READY=1");
    let steps = |said: &&String| {
        said.starts_with("STATUS=restoring, ") && said.contains("\nEXTEND_TIMEOUT_USEC=120000000\n")
    };
    assert!(!before.is_empty(), "nothing of a recovery");
    assert!(before.iter().all(|said| steps(&said)), "{before:?}");
    drop(broker);

    // Nobody listens there: that is said, and nothing else comes of it.
    let mut broker = start(&state.path().join("nobody"));
    broker.wait_for_log("the service manager was not told (Open)");
    broker.connect();
}

#[test]
fn the_container_starts_the_broker() {
    let file = packaged("Dockerfile");
    let state = tempfile::tempdir().unwrap();
    let mut command = martlet();
    command.env_remove("MARTLET_STORAGE_DURABILITY");
    for setting in lines_of(&file, "ENV ")
        .iter()
        .flat_map(|line| line.split_whitespace())
    {
        let (name, value) = setting.split_once('=').unwrap();
        match value {
            "/var/lib/martlet" => command.env(name, state.path()),
            // Another test may have the port.
            "0.0.0.0:1883" => command.env(name, "0.0.0.0:0"),
            value => command.env(name, value),
        };
    }
    assert_eq!(lines_of(&file, "ENTRYPOINT "), [r#"["martlet"]"#]);
    assert_eq!(lines_of(&file, "CMD "), [r#"["broker"]"#]);
    command.arg("broker");
    let mut broker = Running::start(command);
    broker.address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    broker.connect();
    broker.signal("-TERM");
    assert_eq!(broker.child.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    broker.log.read_to_string(&mut log).unwrap();
    assert!(!log.contains("ignored"), "{log}");
    let package = format!(
        "RUN cargo build --release --locked -p {}",
        env!("CARGO_PKG_NAME")
    );
    assert!(file.contains(&package), "{file}");
}
