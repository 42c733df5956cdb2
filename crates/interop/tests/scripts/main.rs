//! Scripts of Debian's mosquitto programs, run with those programs and with ours under their names: standard output,
//! standard error and exit codes have to be the same.
//!
//! The scripts are in `crates/interop/scripts`, one file for each test; a line `=== name` starts a script, `prelude.sh`
//! stands in front of each. Both runs talk to a broker of ours, each with topics of its own; the two names are as long as
//! each other and are replaced by `TOPIC` before the comparison.
//!
//! The texts are those of mosquitto 2.0.11; with another version only standard output and exit codes are compared.

#![expect(
    clippy::unwrap_used,
    reason = "all of this is test code: what goes wrong fails the test that asked for it"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use martlet_interop::{BrokerUnderTest, program_binary, tools};

#[test]
fn mosquitto_pub_scripts() {
    compare("pub", include_str!("../../scripts/pub.txt"), 60);
}

#[test]
fn mosquitto_sub_scripts() {
    compare("sub", include_str!("../../scripts/sub.txt"), 55);
}

#[test]
fn mosquitto_rr_scripts() {
    compare("rr", include_str!("../../scripts/rr.txt"), 19);
}

#[test]
fn format_scripts() {
    compare("format", include_str!("../../scripts/format.txt"), 45);
}

#[test]
fn scripts_with_mistakes() {
    compare("errors", include_str!("../../scripts/errors.txt"), 100);
}

#[test]
fn mosquitto_passwd_scripts() {
    if tools::mosquitto_passwd().is_some() {
        compare("passwd", include_str!("../../scripts/passwd.txt"), 28);
    }
}

/// Runs each script with both kinds of programs. At least so many exit codes have to be compared.
fn compare(group: &str, scripts: &str, codes_min: usize) {
    if tools::mosquitto().is_none() {
        return;
    }
    // With one shard it is always the same order in which retained messages and SUBACK leave.
    let broker = BrokerUnderTest::start(1).unwrap();
    let same_version = version().contains("version 2.0.11 ");
    let stage = Stage::new(group, &broker);
    let mut differences = String::new();
    let mut codes = 0;
    for (number, script) in scripts.split("=== ").skip(1).enumerate() {
        let (name, text) = script.split_once('\n').unwrap();
        let theirs = stage.run(text, number, 't');
        let ours = stage.run(text, number, 'o');
        codes += theirs.out.matches("rc=").count();
        let mut differs = theirs.out != ours.out;
        differs |= same_version && theirs.err != ours.err;
        if differs {
            let _ = write!(
                differences,
                "\n=== {name}\n--- mosquitto\n{}{}\n--- martlet\n{}{}\n",
                theirs.out, theirs.err, ours.out, ours.err
            );
        }
    }
    fs::remove_dir_all(&stage.folder).unwrap();
    assert!(differences.is_empty(), "{differences}");
    assert!(codes >= codes_min, "only {codes} invocations were compared");
}

fn version() -> String {
    let output = Command::new("mosquitto_pub")
        .arg("--version")
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A folder with our programs under mosquitto's names, and options files that name the broker.
struct Stage {
    folder: PathBuf,
    port: String,
}

/// What a script printed.
struct Printed {
    out: String,
    err: String,
}

impl Stage {
    fn new(group: &str, broker: &BrokerUnderTest) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!(
            "martlet-scripts-{group}-{}-{number}",
            std::process::id()
        ));
        let names = [
            "mosquitto_pub",
            "mosquitto_sub",
            "mosquitto_rr",
            "mosquitto_passwd",
        ];
        fs::create_dir_all(folder.join("bin")).unwrap();
        fs::create_dir_all(folder.join("config")).unwrap();
        for name in names {
            link(&program_binary().unwrap(), &folder.join("bin").join(name));
            let options = format!("-h {}\n-p {}\n", broker.host(), broker.port());
            fs::write(folder.join("config").join(name), options).unwrap();
        }
        Self {
            folder,
            port: broker.port().to_owned(),
        }
    }

    fn run(&self, script: &str, number: usize, whose: char) -> Printed {
        let topic = format!("s{}-{number}-{whose}", std::process::id());
        let folder = self.folder.join(&topic);
        fs::create_dir(&folder).unwrap();
        let path = std::env::var("PATH").unwrap();
        let path = match whose {
            'o' => format!("{}:{path}", self.folder.join("bin").display()),
            _ => path,
        };
        let output = Command::new("timeout")
            .args(["60", "bash", "-c"])
            .arg(format!(
                "{}\n{script}",
                include_str!("../../scripts/prelude.sh")
            ))
            .env("PATH", path)
            .env("T", &topic)
            .env("D", &folder)
            .env("PORT", &self.port)
            .env("XDG_CONFIG_HOME", self.folder.join("config"))
            .env("TZ", "UTC")
            .env_remove("LC_ALL")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_ne!(
            output.status.code(),
            Some(124),
            "it hung:\n{script}\n{}",
            self.text(&output.stdout, &topic)
        );
        Printed {
            out: self.text(&output.stdout, &topic),
            err: self.text(&output.stderr, &topic),
        }
    }

    fn text(&self, bytes: &[u8], topic: &str) -> String {
        // Bytes that are no UTF-8 stay different from each other.
        let mut text = String::new();
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            for byte in chunk.invalid() {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
        let folder = self.folder.join(topic).display().to_string();
        text.replace(&folder, "FOLDER").replace(topic, "TOPIC")
    }
}

#[cfg(unix)]
fn link(target: &Path, name: &Path) {
    std::os::unix::fs::symlink(target, name).unwrap();
}

#[cfg(not(unix))]
fn link(target: &Path, name: &Path) {
    fs::copy(target, name).unwrap();
}
