//! What the design promises of the command line, a test for each sentence that has none elsewhere.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::broker::{ACCEPT, Broker, Running, answering, martlet, run, stub, text, with_some_wait};

#[test]
fn three_of_five_messages_are_printed_and_end_with_27() {
    let broker = Broker::start();
    for topic in ["n/1", "n/2", "n/3"] {
        broker.succeed(&["pub", "-t", topic, "-m", "x", "-r", "-q", "1"], "");
    }
    let output = with_some_wait(|wait| {
        let words = ["sub", "-t", "n/#", "-C", "5", "-W", wait];
        Some(run(&mut broker.client(&words), "")).filter(|output| output.stdout.len() >= 6)
    });
    assert_eq!(text(&output.stdout), "x\nx\nx\n");
    assert_eq!(output.status.code(), Some(27));
}

#[test]
fn head_ends_a_pipe_without_an_error_line() {
    let broker = Broker::start();
    for topic in ["n/1", "n/2", "n/3"] {
        broker.succeed(&["pub", "-t", topic, "-m", "x", "-r", "-q", "1"], "");
    }
    let place = format!("-h 127.0.0.1 -p {}", broker.port);
    for program in [
        // A message each 50 ms: the reader is gone before the last.
        format!("sub {place} -t n/# -t tick"),
        format!("get {place} n/#"),
        "completions bash".to_owned(),
        "man".to_owned(),
        "pub --help".to_owned(),
    ] {
        let line = format!(
            "'{0}' {program} | head -1 | wc -l; echo ${{PIPESTATUS[0]}}",
            env!("CARGO_BIN_EXE_martlet")
        );
        let mut command = Command::new("bash");
        command.args(["-c", &line]).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(Stdio::piped());
        let Ok(child) = command.spawn() else {
            return; // no bash here
        };
        if program.starts_with("sub") {
            // It prints until it notices that nobody reads.
            let mut ticking = broker.client(&["pub", "-t", "tick", "-m", "x", "--rate", "20"]);
            let ticking = Running::start({
                ticking.args(["--repeat", "100000"]);
                ticking
            });
            let output = child.wait_with_output().unwrap();
            drop(ticking);
            assert_eq!(text(&output.stdout), "1\n0\n", "{program}");
            assert_eq!(text(&output.stderr), "", "{program}");
        } else {
            let output = child.wait_with_output().unwrap();
            assert_eq!(text(&output.stdout), "1\n0\n", "{program}");
            assert_eq!(text(&output.stderr), "", "{program}");
        }
    }
}

/// What a stub answers to which packet types.
type Answers = &'static [(u8, &'static [u8])];

#[test]
fn each_refusal_of_3_1_1_has_the_code_of_mqtt_5() {
    let refusals: [(Answers, i32); 5] = [
        (&[(1, b"\x20\x02\x00\x01")], 132),
        (&[(1, b"\x20\x02\x00\x02")], 133),
        (&[(1, b"\x20\x02\x00\x03")], 136),
        (&[(1, b"\x20\x02\x00\x04")], 134),
        (&[(1, b"\x20\x02\x00\x05")], 135),
    ];
    for (answers, code) in refusals {
        let port = answering(answers).port().to_string();
        for program in [
            &["pub", "-t", "a", "-m", "x"][..],
            &["sub", "-t", "a"],
            &["rr", "-t", "a", "-m", "x"],
            &["get", "a"],
            &["conn"],
        ] {
            let mut command = martlet(program);
            command.args(["-h", "127.0.0.1", "-p", &port, "-V", "311"]);
            let output = run(&mut command, "");
            let told = text(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{program:?}: {told}");
        }
    }
}

#[test]
fn a_brokers_goodbye_is_the_exit_code() {
    // Session taken over, behind the SUBACK.
    let taken = answering(&[ACCEPT, (8, b"\x90\x04IJ\x00\x00\xe0\x02\x8e\x00")]);
    let port = taken.port().to_string();
    let output = run(
        &mut martlet(&[
            "sub",
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-t",
            "a",
            "--no-reconnect",
        ]),
        "",
    );
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(142), "{told}");
    assert!(told.contains("session taken over"), "{told}");
    // Quota exceeded, in place of a PUBACK and of a SUBACK: who has one thing to do does not try for ever.
    let quota = answering(&[ACCEPT, (3, b"\xe0\x02\x97\x00"), (8, b"\xe0\x02\x97\x00")]);
    let port = quota.port().to_string();
    for program in [
        &["pub", "-t", "a", "-m", "x", "-q", "1"][..],
        &["rr", "-t", "a", "-m", "x"],
        &["get", "a"],
    ] {
        let mut command = martlet(program);
        command.args(["-h", "127.0.0.1", "-p", &port]);
        let output = run(&mut command, "");
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(151), "{program:?}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains("quota exceeded"), "{told}");
    }
}

#[test]
fn a_proxy_is_69_as_long_as_there_is_none() {
    for program in [&["pub", "-m", "x"][..], &["sub"]] {
        let mut command = martlet(program);
        command.args(["-t", "a", "--proxy", "socks5h://127.0.0.1:1"]);
        let output = run(&mut command, "");
        assert_eq!(output.status.code(), Some(69));
        assert_eq!(text(&output.stderr).lines().count(), 1);
    }
}

#[test]
fn a_publisher_fails_at_once_and_with_retry_it_does_not() {
    for (retry, code) in [(false, Some(67)), (true, Some(0))] {
        let count = AtomicU32::new(0);
        let port = stub(move |mut stream| {
            let mut bytes = [0; 100];
            let _ = stream.read(&mut bytes);
            // The first connection is closed without a word.
            if count.fetch_add(1, Ordering::Relaxed) == 0 {
                return;
            }
            let _ = stream.write_all(b"\x20\x02\x00\x00");
            let _ = stream.read(&mut bytes);
            let _ = stream.write_all(b"\x40\x02\x00\x01");
            let _ = stream.read(&mut bytes);
        })
        .port()
        .to_string();
        let mut command = martlet(&["pub", "-h", "127.0.0.1", "-p", &port, "-t", "a", "-q", "1"]);
        command.args(["-m", "x", "-V", "311"]);
        if retry {
            command.arg("--retry");
        }
        let output = run(&mut command, "");
        assert_eq!(output.status.code(), code, "{}", text(&output.stderr));
    }
}

#[test]
fn a_signal_ends_every_program_with_0() {
    let broker = Broker::start();
    // A topic without anybody who answers, a get that waits for more, a pub that waits for lines.
    for words in [
        &["rr", "-t", "nobody", "-m", "x", "-d"][..],
        &["pub", "-t", "a", "-l", "-d"],
        &["sub", "-t", "a", "-d"],
    ] {
        let mut command = broker.client(words);
        command.stdin(Stdio::piped());
        let client = Running::start(command);
        client.wait_for("connected");
        client.signal("-INT");
        assert_eq!(client.finish(), (String::new(), Some(0)), "{words:?}");
    }
}

#[test]
fn json_output_ends_with_a_status_for_programs() {
    let port = answering(&[
        ACCEPT,
        (3, b"\x40\x04IJ\x87\x00"),
        (8, b"\x90\x04IJ\x00\x87"),
    ])
    .port()
    .to_string();
    let output = run(
        &mut martlet(&[
            "sub",
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-t",
            "a",
            "--output",
            "json",
        ]),
        "",
    );
    assert_eq!(output.status.code(), Some(135));
    let told = text(&output.stderr);
    let status: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!(status["program"], "sub");
    assert_eq!(status["code"], 135);
    assert_eq!(status["messages"], 0);
    assert!(status["error"].as_str().unwrap().contains("not authorized"));
}

#[test]
fn a_password_is_in_nothing_that_is_said() {
    let broker = Broker::start();
    let port = &broker.port;
    let folder = tempfile::tempdir().unwrap();
    let options = folder.path().join("options");
    std::fs::write(&options, "-P hunter2\n").unwrap();
    let options = options.to_string_lossy();
    let here = ["-h", "127.0.0.1", "-p", port, "-u", "jo", "-P", "hunter2"];
    for words in [
        // Wrong in different ways, and right.
        &["pub", "-t", "a/#", "-m", "x"][..],
        &["pub", "-t", "a", "-m", "x", "-d", "-q", "1"],
        &["pub", "-t", "a", "-m", "x", "hunter"],
        &["sub", "-t", "a", "-E", "-d"],
        &["sub", "-t", "a", "-d", "--output", "json", "-W", "100ms"],
        &["conn", "--probe"],
        &["get", "a", "-o", &options],
        &["get", "a", "--pw", "hunter2", "--output", "json"],
    ] {
        let mut command = martlet(words);
        command.args(here).env("MQTT_PASSWORD", "hunter2");
        let output = run(&mut command, "");
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(!said.contains("hunter2"), "{words:?}: {said}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_idle_publisher_has_two_threads() {
    let broker = Broker::start();
    let subscriber = broker.subscriber(&["-t", "a", "-q", "1", "-C", "1"]);
    let mut command = broker.client(&["pub", "-t", "a", "-l", "-q", "1"]);
    command.stdin(Stdio::piped());
    let mut client = Running::start(command);
    let mut lines = client.child.stdin.take().unwrap();
    lines.write_all(b"x\n").unwrap();
    assert_eq!(subscriber.finish().0, "x\n");
    // One for the connection, one for standard input.
    let status = format!("/proc/{}/status", client.child.id());
    let status = std::fs::read_to_string(status).unwrap();
    let threads = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"));
    assert_eq!(threads.map(str::trim), Some("2"), "{status}");
}
