//! Finds the clients and brokers that nobody here wrote.
//!
//! `cargo xtask test` installs them, names their folder in `MARTLET_TOOLS` and sets `MARTLET_REQUIRE_TOOLS=1`: then a
//! missing one fails the test. Otherwise the test does not run and says so.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, io, thread};

/// `mosquitto_pub` and `mosquitto_sub` are on the path.
#[must_use]
pub fn mosquitto() -> Option<()> {
    let starts = |program| Command::new(program).arg("--help").output().is_ok();
    found(
        "mosquitto-clients",
        (starts("mosquitto_pub") && starts("mosquitto_sub")).then_some(()),
    )
}

/// The broker `mosquitto`, which Debian puts where only root looks.
#[must_use]
pub fn mosquitto_broker() -> Option<PathBuf> {
    let mut candidates = ["mosquitto", "/usr/sbin/mosquitto"].iter();
    let starts = |program: &&str| Command::new(program).arg("-h").output().is_ok();
    found(
        "mosquitto",
        candidates.find(|one| starts(one)).map(PathBuf::from),
    )
}

/// `mosquitto_passwd`, which comes with the broker.
#[must_use]
pub fn mosquitto_passwd() -> Option<()> {
    let starts = Command::new("mosquitto_passwd").output().is_ok();
    found("mosquitto_passwd", starts.then_some(()))
}

/// The broker `nats-server`.
#[must_use]
pub fn nats_server() -> Option<PathBuf> {
    let own = folder().join("nats").join("bin").join("nats-server");
    let starts = |program: &PathBuf| succeeds(Command::new(program).arg("--version"));
    let mut candidates = [own, PathBuf::from("nats-server")].into_iter();
    found("nats-server", candidates.find(starts))
}

/// A Python that can import paho-mqtt.
#[must_use]
pub fn python_with_paho() -> Option<PathBuf> {
    let python = folder().join("venv").join("bin").join("python");
    let candidates = [python, PathBuf::from("python3")];
    let importing = |python: &PathBuf| {
        succeeds(Command::new(python).args(["-c", "import paho.mqtt.enums"]))
            .then(|| python.clone())
    };
    found(
        "paho-mqtt for Python",
        candidates.iter().find_map(importing),
    )
}

/// A `node` command that can load MQTT.js.
#[must_use]
pub fn node_with_mqtt() -> Option<Command> {
    let node = || {
        let mut node = Command::new("node");
        node.env("NODE_PATH", folder().join("node").join("node_modules"));
        node
    };
    found(
        "MQTT.js for Node",
        succeeds(node().args(["-e", "require('mqtt')"])).then(node),
    )
}

/// Passes the tool on; a missing one is a failure where tools are required, and a note elsewhere.
fn found<T>(name: &str, tool: Option<T>) -> Option<T> {
    if tool.is_none() {
        let required = env::var_os("MARTLET_REQUIRE_TOOLS").is_some_and(|value| value == "1");
        assert!(!required, "{name} is missing: run `cargo xtask tools`");
        not_run(&format!(
            "{name} is missing (`cargo xtask tools` installs it)"
        ));
    }
    tool
}

fn not_run(why: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    // Not by eprintln: the harness would keep the note of a passing test to itself.
    let _ = writeln!(io::stderr(), "NOT RUN: {test}: {why}");
}

fn folder() -> PathBuf {
    env::var_os("MARTLET_TOOLS").map_or_else(
        || {
            // .../target/debug/deps/clients-0123456789abcdef
            let test = env::current_exe().unwrap_or_default();
            test.ancestors()
                .nth(3)
                .unwrap_or_else(|| Path::new("target"))
                .join("interop")
        },
        PathBuf::from,
    )
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}
