//! `martlet store`, on directories that real brokers have written or are writing.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::broker::{Broker, martlet, run, text};

fn store(words: &[&str], directory: &Path) -> Output {
    let mut command = martlet(&[&["store"], words].concat());
    run(command.arg(directory), "")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// It could not be done: one line that says what, where and what to do.
fn refused(output: &Output, place: &Path, what: &str, remedy: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let place = place.display().to_string();
    for part in ["martlet: ", &place, what, remedy] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert_eq!(output.stdout, b"");
}

/// Leaves a session with two messages, and a retained message.
fn fill(broker: &Broker) {
    let session = ["sub", "-i", "keeper", "-c", "-x", "3600", "-q", "1"];
    broker.succeed(&[&session[..], &["-t", "q/#", "-E"]].concat(), "");
    broker.succeed(&["pub", "-t", "q/a", "-q", "1", "-l"], "one\ntwo\n");
    broker.succeed(&["pub", "-t", "state", "-q", "1", "-r", "-m", "on"], "");
}

/// Finds again what [`fill`] has left.
fn find(broker: &Broker) {
    assert_eq!(broker.succeed(&["get", "state"], ""), "on\n");
    // Its subscription is there, while nobody has subscribed anew; and then its queue.
    broker.succeed(&["pub", "-t", "q/a", "-q", "1", "-m", "three"], "");
    let words = ["sub", "-i", "keeper", "-c", "-x", "3600", "-q", "1"];
    let words = [&words[..], &["-t", "q/#", "--idle", "1s"]].concat();
    let output = run(&mut broker.client(&words), "");
    assert_eq!(text(&output.stdout), "one\ntwo\nthree\n");
}

fn filled() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let broker = Broker::start_in(&folder.path().join("data"));
    fill(&broker);
    let data = broker.stop();
    (folder, data)
}

/// Stops the load also if the test fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn a_backup_of_a_running_broker_can_be_started() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let broker = Broker::start_in(&data);
    fill(&broker);
    let stop = AtomicBool::new(false);
    let copy = thread::scope(|scope| {
        // Somebody publishes all the time.
        let session = ["sub", "-i", "other", "-c", "-x", "3600", "-q", "1"];
        broker.succeed(&[&session[..], &["-t", "load", "-E"]].concat(), "");
        let mut load = broker.client(&["pub", "-t", "load", "-q", "1", "-l"]);
        let mut load = load.stdin(Stdio::piped()).spawn().unwrap();
        let mut lines = load.stdin.take().unwrap();
        let stop = &stop;
        let stopped = StopAtEnd(stop);
        scope.spawn(move || {
            for number in 0_u64.. {
                if stop.load(SeqCst) || writeln!(lines, "load {number}").is_err() {
                    return;
                }
            }
        });
        let mut last = PathBuf::new();
        for number in 0..3 {
            last = folder.path().join(format!("copies/{number}"));
            let from = ["backup", "--json", "--data-dir", data.to_str().unwrap()];
            let output = store(&from, &last);
            assert_eq!(text(&output.stderr), "");
            assert_eq!(output.status.code(), Some(0));
            let told = json(&output);
            assert_eq!(told["outcome"], "copied");
            assert_eq!(told["process"], broker.pid());
            assert_eq!(told["copy"], last.to_str().unwrap());
            assert!(told["messages"].as_u64() >= Some(3), "{told}");
            // Looking at what is being written is possible as well.
            let output = store(&["verify"], &data);
            let said = text(&output.stdout);
            assert_eq!(output.status.code(), Some(0), "{said}");
            assert!(said.contains(": whole\n"), "{said}");
            let user = format!("process {} is using it", broker.pid());
            assert!(said.contains(&user), "{said}");
        }
        drop(stopped);
        assert_eq!(load.wait().unwrap().code(), Some(0));
        last
    });
    // Nobody else may read the messages.
    assert_eq!(
        fs::metadata(&copy).unwrap().permissions().mode() & 0o777,
        0o700
    );
    find(&Broker::start_in(&copy));
    // The first one goes on as if nothing had been.
    find(&broker);
    drop(broker);
    let output = store(&["backup", "--data-dir", data.to_str().unwrap()], &copy);
    refused(
        &output,
        &copy,
        "there is a store already",
        "name an empty folder",
    );
}

#[test]
fn what_is_whole_and_what_is_damaged_is_told_by_words_and_codes() {
    let (_folder, data) = filled();
    let output = store(&["verify"], &data);
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stdout);
    let start = format!(
        "{}: whole\n  3 messages, 3 references to them",
        data.display()
    );
    assert!(said.starts_with(&start), "{said}");
    assert_eq!(text(&output.stderr), "");
    let told = json(&store(&["verify", "--json"], &data));
    assert_eq!(
        (&told["outcome"], &told["messages"]),
        (&"whole".into(), &3.into())
    );
    assert_eq!(
        (&told["in_use"], &told["process"]),
        (&false.into(), &Value::Null)
    );

    // One header of two: nothing is missing, but it is not as it was written.
    let segment = data.join("log/00000001.seg");
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(b"?", 9).unwrap();
    let output = store(&["verify"], &data);
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stdout);
    assert!(said.contains(": damaged, but nothing is missing"), "{said}");
    let output = store(&["repair"], &data);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains(": repaired; nothing is missing"));
    assert_eq!(store(&["verify"], &data).status.code(), Some(0));
}

#[test]
fn what_is_lost_is_told_and_the_rest_goes_on() {
    let (_folder, data) = filled();
    let segment = data.join("log/00000001.seg");
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    // The first frame.
    file.write_all_at(b"\xFF\xFE\xFD", 4_096 + 40).unwrap();
    let output = store(&["verify"], &data);
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stdout);
    assert!(said.contains("log/00000001.seg at byte 4096: "), "{said}");
    assert!(
        said.contains("lost batch 1\n    a start or a repair"),
        "{said}"
    );
    let error = format!(
        "martlet: {}: damaged: something that was acknowledged is lost\n",
        data.display()
    );
    assert_eq!(text(&output.stderr), error);
    let output = store(&["verify", "--json"], &data);
    assert_eq!(output.status.code(), Some(3));
    let told = json(&output);
    assert_eq!(
        (&told["outcome"], &told["loss"]),
        (&"loss".into(), &true.into())
    );
    let fault = &told["faults"][0];
    assert_eq!(
        (&fault["offset"], &fault["loss"]),
        (&4_096.into(), &true.into())
    );
    let copy = data.with_extension("copy");
    let from = ["backup", "--data-dir", data.to_str().unwrap()];
    let output = store(&from, &copy);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stdout).contains(": copied as it is: something"));

    let output = store(&["repair", "--json"], &data);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(json(&output)["loss"], true);
    assert_eq!(fs::read_dir(data.join("quarantine")).unwrap().count(), 1);
    let output = store(&["repair"], &data);
    let said = text(&output.stdout);
    assert!(
        said.contains("lost batch 1, as an earlier start said"),
        "{said}"
    );
    assert_eq!(
        Broker::start_in(&data).succeed(&["get", "state"], ""),
        "on\n",
        "what is behind the damage is there"
    );
}

#[test]
fn what_cannot_be_done_is_one_line() {
    let (folder, data) = filled();
    let missing = folder.path().join("missing");
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    for tool in ["verify", "dump", "repair"] {
        let output = store(&[tool], &missing);
        refused(&output, &missing, "no such directory", "'state in ...'");
        let output = store(&[tool], &other);
        refused(&output, &other, "no store here", "'state in ...'");
    }
    assert_eq!(
        fs::read_dir(&other).unwrap().count(),
        0,
        "nothing was made there"
    );
    let copy = folder.path().join("copy");
    for from in [&missing, &other] {
        let words = ["backup", "--data-dir", from.to_str().unwrap()];
        refused(&store(&words, &copy), from, "", "'state in ...'");
    }
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let words = ["backup", "--data-dir", data.to_str().unwrap()];
    let below = file.join("copy");
    refused(
        &store(&words, &below),
        &below,
        "cannot make the directory",
        "name another one",
    );

    let broker = Broker::start_in(&data);
    let user = format!("in use by another process ({})", broker.pid());
    refused(
        &store(&["repair"], &data),
        &data,
        &user,
        "stop that one first",
    );
    broker.stop();

    fs::write(data.join("FORMAT"), "martlet store 99\n").unwrap();
    for words in [&["verify"][..], &["dump"], &["repair"]] {
        let output = store(words, &data);
        refused(&output, &data, "has format 99", "use the newer version");
    }
    let output = store(&words, &copy);
    refused(&output, &data, "has format 99", "use the newer version");
}

#[test]
fn the_brokers_own_directory_is_the_default() {
    let (folder, data) = filled();
    let file = folder.path().join("martlet.toml");
    fs::write(
        &file,
        format!("[storage]\ndirectory = '{}'\n", data.display()),
    )
    .unwrap();
    let whole = format!("{}: whole\n", data.display());
    let mut by_file = martlet(&["store", "verify", "--config"]);
    by_file.arg(&file);
    let mut by_variable = martlet(&["store", "verify"]);
    by_variable.env("MARTLET_DATA_DIR", &data);
    let mut by_flag = martlet(&["store", "verify", "--data-dir"]);
    by_flag.arg(&data);
    for mut command in [by_file, by_variable, by_flag] {
        let output = run(&mut command, "");
        let said = text(&output.stdout);
        assert!(said.starts_with(&whole), "{said}{}", text(&output.stderr));
    }
    let mut memory = martlet(&["store", "verify"]);
    let output = run(memory.env("MARTLET_STORAGE_DURABILITY", "memory"), "");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("name a directory"));
}

#[test]
fn a_dump_is_lines_and_ends_quietly_when_nobody_reads() {
    let (_folder, data) = filled();
    let lines = text(&store(&["dump"], &data).stdout);
    assert!(lines.contains(" client_id=\"keeper\""), "{lines}");
    assert!(lines.contains(" topic=\"state\""), "{lines}");
    let objects = text(&store(&["dump", "--json"], &data).stdout);
    assert_eq!(objects.lines().count(), lines.lines().count());
    for object in objects.lines() {
        let object: Value = serde_json::from_str(object).unwrap();
        assert!(object["record"].is_string(), "{object}");
    }

    // More than a pipe holds.
    let broker = Broker::start_in(&data);
    let words = ["pub", "-t", "q/c", "-q", "1", "-l"];
    broker.succeed(&words, &"a message of some length\n".repeat(2_000));
    broker.stop();
    let mut command = martlet(&["store", "dump"]);
    let mut child = command.arg(&data).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stderr).as_str()),
        (Some(0), "")
    );
}
