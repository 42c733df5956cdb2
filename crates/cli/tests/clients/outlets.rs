//! Where messages go and how they are shown: `--decode`, `--to-dir`, `--append`, `--watch`, `--message-rate`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::broker::{Broker, martlet, run, text};

/// Name and content of each file.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn each_topic_has_a_file_with_its_newest_message() {
    let broker = Broker::start();
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("messages");
    let subscriber = broker.subscriber(&[
        "-t",
        "#",
        "-q",
        "1",
        "-C",
        "6",
        "--to-dir",
        &folder.to_string_lossy(),
    ]);
    let long = format!("long/{}", "x".repeat(400));
    for (topic, payload) in [
        ("a/b", "old"),
        ("a/b", "new"),
        ("../../outside", "x"),
        ("..", "y"),
        (long.as_str(), "z"),
        ("gone", ""),
    ] {
        let words = ["pub", "-q", "1", "-t", topic];
        let words: Vec<&str> = if payload.is_empty() {
            [&words[..], &["-n"]].concat()
        } else {
            [&words[..], &["-m", payload]].concat()
        };
        broker.succeed(&words, "");
    }
    assert_eq!(subscriber.finish(), (String::new(), Some(0)));
    let mut found = files(&folder);
    let cut: Vec<String> = found
        .keys()
        .filter(|name| name.contains('~'))
        .cloned()
        .collect();
    assert_eq!(cut.len(), 1, "{found:?}");
    assert!(cut[0].starts_with("long%2Fxxx") && cut[0].len() <= 240);
    assert_eq!(found.remove(&cut[0]).as_deref(), Some("z"));
    let wanted = [
        ("a%2Fb", "new"),
        ("%2E.%2F..%2Foutside", "x"),
        ("%2E.", "y"),
        ("gone", ""),
    ];
    assert_eq!(
        found,
        BTreeMap::from(wanted.map(|(name, text)| (name.to_owned(), text.to_owned())))
    );
    // Nothing beside the folder.
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
}

#[test]
fn get_fills_a_folder_in_any_form() {
    let broker = Broker::start();
    for topic in ["r/1", "r/2"] {
        broker.succeed(&["pub", "-t", topic, "-m", topic, "-r", "-q", "1"], "");
    }
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().to_string_lossy().into_owned();
    broker.succeed(&["get", "r/#", "--to-dir", &folder, "-F", "%t=%p"], "");
    let found = files(place.path());
    assert_eq!(found["r%2F1"], "r/1=r/1\n");
    assert_eq!(found["r%2F2"], "r/2=r/2\n");
}

#[test]
fn records_are_appended_whole() {
    let broker = Broker::start();
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("log");
    fs::write(&log, "before\n").unwrap();
    for payload in ["one", "two"] {
        let subscriber = broker.subscriber(&[
            "-t",
            "a",
            "-C",
            "1",
            "-v",
            "--append",
            &log.to_string_lossy(),
        ]);
        broker.succeed(&["pub", "-t", "a", "-m", payload], "");
        assert_eq!(subscriber.finish(), (String::new(), Some(0)));
    }
    assert_eq!(fs::read_to_string(&log).unwrap(), "before\na one\na two\n");
}

/// The program where no file may be longer than 1,024 bytes: what a full disk does to it.
fn on_a_full_disk(broker: &Broker, words: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.env_clear().stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // Two blocks of 512 bytes; bash's are of 1,024, and sh is not bash everywhere.
    command.args(["-c", "trap '' XFSZ; ulimit -f 2; exec \"$@\"", "sh"]);
    command.arg(env!("CARGO_BIN_EXE_martlet")).args(words);
    command.args(["-h", "127.0.0.1", "-p", &broker.port]);
    command
}

#[test]
fn a_full_disk_is_74_and_leaves_no_torn_file() {
    let broker = Broker::start();
    broker.succeed(&["pub", "-t", "big", "--size", "9000", "-r", "-q", "1"], "");
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("big"), "old").unwrap();
    let log = place.path().join("log");
    fs::write(&log, "before\n").unwrap();
    for (option, path) in [("--to-dir", &folder), ("--append", &log)] {
        for program in [&["sub", "-C", "1"][..], &["get"]] {
            let path = path.to_string_lossy();
            let words = [program, &["-t", "big", option, &path]].concat();
            let output = run(&mut on_a_full_disk(&broker, &words), "");
            let told = text(&output.stderr);
            assert_eq!(output.status.code(), Some(74), "{words:?}: {told}");
            assert_eq!(told.lines().count(), 1, "{told}");
            assert!(told.contains(&format!("cannot write {path}")), "{told}");
        }
    }
    assert_eq!(
        files(&folder),
        BTreeMap::from([("big".to_owned(), "old".to_owned())])
    );
    assert_eq!(fs::read_to_string(&log).unwrap(), "before\n");
    // A device that is always full, and standard output on it.
    if Path::new("/dev/full").exists() {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let mut to_stdout = broker.client(&["get", "big"]);
        to_stdout.stdout(full.unwrap());
        for command in [
            &mut broker.client(&["sub", "-t", "big", "-C", "1", "--append", "/dev/full"]),
            &mut to_stdout,
        ] {
            let output = run(command, "");
            let told = text(&output.stderr);
            assert_eq!(output.status.code(), Some(74), "{told}");
            assert!(told.contains("make room on the disk"), "{told}");
        }
    }
}

#[test]
fn a_place_that_is_none_is_found_before_anything_is_connected() {
    // Nobody listens there: it does not come that far.
    let far = ["-h", "127.0.0.1", "-p", "1"];
    for (words, code, part) in [
        (
            &["sub", "-t", "a", "--to-dir", "/nosuch/folder"][..],
            74,
            "cannot write /nosuch/folder: no such file or directory; is the folder there?",
        ),
        (
            &["get", "a", "--append", "/"],
            74,
            "cannot write /: is a directory",
        ),
        (
            &["sub", "-t", "a", "--to-dir", "/dev/null"],
            74,
            "cannot write /dev/null: not a directory",
        ),
        (
            &["sub", "-t", "a", "--to-dir="],
            64,
            "--to-dir: '' is not a path",
        ),
        (
            &["sub", "-t", "a", "--to-dir", "x", "--append", "y"],
            64,
            "give one of --to-dir, --append and --watch",
        ),
        (
            &["sub", "-t", "a", "--watch"],
            64,
            "--watch wants a terminal",
        ),
        (
            &["sub", "-t", "a", "--watch", "--message-rate"],
            64,
            "there is no message to show",
        ),
        (
            &["sub", "-t", "a", "--decode", "xml"],
            64,
            "--decode: 'xml' is not a form of payloads; there are json, cbor",
        ),
    ] {
        let output = run(&mut martlet(&[words, &far].concat()), "");
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn payloads_are_decoded_in_every_kind_of_output() {
    let broker = Broker::start();
    // {"t": 21.5, "ok": true}
    for (topic, payload) in [
        ("p/cbor", "a2 61 74 f9 4d60 62 6f6b f5"),
        ("p/msgpack", "82 a1 74 ca41ac0000 a2 6f6b c3"),
    ] {
        let words = ["pub", "-t", topic, "--hex", "-m", payload, "-r", "-q", "1"];
        broker.succeed(&words, "");
        let form = topic.strip_prefix("p/").unwrap();
        let got = |words: &[&str]| {
            broker.succeed(&[&["get", topic, "--decode", form], words].concat(), "")
        };
        assert_eq!(got(&[]), "{\"t\":21.5,\"ok\":true}\n");
        assert_eq!(got(&["-F", "%t %p"]), format!("{topic} {}", got(&[])));
        assert_eq!(
            got(&["--pretty"]),
            "{\n\t\"t\":\t21.5,\n\t\"ok\":\ttrue\n}\n"
        );
        let object: serde_json::Value = serde_json::from_str(&got(&["--output", "json"])).unwrap();
        assert_eq!(object["payload"]["t"], 21.5);
        // The length is that of what came.
        assert_eq!(object["payloadlen"], payload.replace(' ', "").len() / 2);
    }
    let words = [
        "pub", "-t", "p/proto", "--hex", "-m", "089601", "-r", "-q", "1",
    ];
    broker.succeed(&words, "");
    assert_eq!(
        broker.succeed(&["get", "p/proto", "--decode", "protobuf"], ""),
        "{\"1\":150}\n"
    );
}

#[test]
fn what_cannot_be_decoded_is_told_left_out_and_is_65() {
    let broker = Broker::start();
    for (topic, payload) in [("d/1", "{\"a\": 1}"), ("d/2", "no json"), ("d/3", "[]")] {
        broker.succeed(&["pub", "-t", topic, "-m", payload, "-r", "-q", "1"], "");
    }
    for words in [
        &["get", "d/#"][..],
        &["sub", "-t", "d/#", "--retained-only"],
        &["sub", "-t", "d/#", "-C", "2", "--idle", "10"],
    ] {
        let words = [words, &["--decode", "json"]].concat();
        let output = run(&mut broker.client(&words), "");
        let mut lines: Vec<String> = text(&output.stdout).lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(lines, ["[]", "{\"a\":1}"], "{words:?}");
        let told = text(&output.stderr);
        assert!(told.contains("d/2: no JSON: expected ident"), "{told}");
        if words.contains(&"-C") {
            // Which two came first is the broker's choice: the third may not have been read.
            assert!(matches!(output.status.code(), Some(0 | 65)), "{told}");
        } else {
            assert_eq!(output.status.code(), Some(65), "{told}");
            assert!(told.contains("left out: 1"), "{told}");
        }
    }
}

#[test]
fn a_message_rate_counts_every_message() {
    let broker = Broker::start();
    let subscriber = broker.subscriber(&["-t", "m", "-q", "1", "-C", "20", "--message-rate"]);
    broker.succeed(
        &["pub", "-t", "m", "-m", "x", "--repeat", "20", "-q", "1"],
        "",
    );
    let (lines, code) = subscriber.finish();
    let sum: u64 = lines.lines().map(|line| line.parse::<u64>().unwrap()).sum();
    assert_eq!((sum, code), (20, Some(0)), "{lines}");
}

#[test]
fn on_a_terminal_each_topic_keeps_its_line() {
    let broker = Broker::start();
    for (topic, payload) in [("w/1", "one"), ("w/2", "two\x1b[31m")] {
        broker.succeed(&["pub", "-t", topic, "-m", payload, "-r", "-q", "1"], "");
    }
    // A terminal from util-linux.
    let line = format!(
        "{} sub -h 127.0.0.1 -p {} -t w/# -C 2 --watch",
        env!("CARGO_BIN_EXE_martlet"),
        broker.port
    );
    let mut command = Command::new("script");
    command
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        return; // not installed
    };
    let mut drawn = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut drawn)
        .unwrap();
    assert!(child.wait().unwrap().success(), "{drawn:?}");
    assert!(drawn.contains("w/1 one\x1b[K"), "{drawn:?}");
    assert!(drawn.contains("w/2 two.[31m\x1b[K"), "{drawn:?}");
    assert!(drawn.contains("\x1b[2J\x1b[1;1H"), "{drawn:?}");
}

#[test]
fn a_reader_that_stands_still_does_not_cost_the_connection() {
    // Keep-alive one second, and nobody reads: the connection has a thread of its own.
    let broker = Broker::start();
    let watcher = broker.subscriber(&["-t", "gone", "-C", "1"]);
    let mut subscriber = broker.subscriber(&[
        "-t",
        "big",
        "-q",
        "1",
        "-k",
        "1",
        "-C",
        "4",
        "--will-topic",
        "gone",
        "--will-payload",
        "x",
        "--no-reconnect",
    ]);
    let mut out = subscriber.child.stdout.take().unwrap();
    // More than a pipe holds.
    for _ in 0..4 {
        broker.succeed(&["pub", "-t", "big", "--size", "100000", "-q", "1"], "");
    }
    // Another client whose keep-alive of one second does run out says when that would have been.
    let mute = mute_client(&broker, "mute");
    assert_eq!(watcher.finish().0, "mute\n");
    drop(mute);
    let mut all = Vec::new();
    out.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), 400_004);
    assert_eq!(subscriber.child.wait().unwrap().code(), Some(0));
}

/// A client with a keep-alive of two seconds that sends nothing; its will says so.
fn mute_client(broker: &Broker, will: &str) -> std::net::TcpStream {
    let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{}", broker.port)).unwrap();
    let mut packet = b"\x10\x00\x00\x04MQTT\x04\x06\x00\x02\x00\x01m\x00\x04gone\x00".to_vec();
    packet.push(u8::try_from(will.len()).unwrap());
    packet.extend_from_slice(will.as_bytes());
    packet[1] = u8::try_from(packet.len() - 2).unwrap();
    stream.write_all(&packet).unwrap();
    stream
}
