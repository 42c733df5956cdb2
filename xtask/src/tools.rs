//! The clients that nobody here wrote: found, or installed, or missed with one line that says how to get them.
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
    mosquitto_clients(&pins)?;
    paho(&folder, &pins)?;
    mqtt_js(&folder, &pins)?;
    Ok(folder)
}

/// What `crates/interop/tools.toml` says.
#[derive(Debug, PartialEq, Eq)]
struct Pins {
    debian: String,
    paho_mqtt: String,
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
            paho_mqtt: value("paho-mqtt")?,
            mqtt_js: value("mqtt")?,
        })
    }
}

/// `mosquitto_pub` and `mosquitto_sub`, from the distribution.
fn mosquitto_clients(pins: &Pins) -> Result<(), Failure> {
    // A usage error is exit code 1, too: that it starts is all that matters.
    let starts = |program: &str| Command::new(program).arg("--help").output().is_ok();
    let there = || starts("mosquitto_pub") && starts("mosquitto_sub");
    if there() {
        println!("mosquitto_pub, mosquitto_sub: there");
        return Ok(());
    }
    let missing = || {
        let remedy = format!(
            "install them: apt-get install {0} (Debian, Ubuntu; elsewhere: mosquitto)",
            pins.debian
        );
        Failure::new("mosquitto_pub and mosquitto_sub are missing", remedy)
    };
    if !succeeds(Command::new("apt-get").arg("--version")) {
        return Err(missing());
    }
    let install = [
        "install",
        "-y",
        "--no-install-recommends",
        pins.debian.as_str(),
    ];
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

/// paho-mqtt in a virtual environment of its own.
fn paho(folder: &Path, pins: &Pins) -> Result<(), Failure> {
    let environment = folder.join("venv");
    let python = environment.join("bin").join("python");
    let wanted = format!(
        "import importlib.metadata as m; assert m.version('paho-mqtt') == '{}'",
        pins.paho_mqtt
    );
    if succeeds(Command::new(&python).args(["-c", &wanted])) {
        println!("paho-mqtt {}: there", pins.paho_mqtt);
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
            .arg(&environment),
        "python3's venv module does not work: apt-get install python3-venv",
    )?;
    let package = format!("paho-mqtt=={}", pins.paho_mqtt);
    run(
        Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            &package,
        ]),
        "paho-mqtt could not be fetched from PyPI: check the network, then run `cargo xtask tools`",
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

    #[test]
    fn every_pin_is_read() {
        let pins = Pins::parse("# x\ndebian = \"m-c\"\npaho-mqtt = \"2.2.0\"\nmqtt = \"5.16.0\"\n")
            .unwrap();
        assert_eq!(
            pins,
            Pins {
                debian: "m-c".into(),
                paho_mqtt: "2.2.0".into(),
                mqtt_js: "5.16.0".into()
            }
        );
    }

    #[test]
    fn a_missing_pin_is_named() {
        let failure = Pins::parse("debian = \"m-c\"\nmqtt = \"5.16.0\"\n").unwrap_err();
        assert!(failure.to_string().contains("'paho-mqtt ="), "{failure}");
    }
}
