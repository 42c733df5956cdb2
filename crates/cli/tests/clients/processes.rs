//! Pipes, signals and secrets.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;

use crate::broker::{ACCEPT, Broker, PATIENCE, Running, answering, martlet, run, stub, text};

#[test]
fn a_reader_that_has_had_enough_ends_it_quietly() {
    let broker = Broker::start();
    let mut subscriber = broker.subscriber(&["-t", "pipe"]);
    let mut out = BufReader::new(subscriber.child.stdout.take().unwrap());
    broker.succeed(&["pub", "-t", "pipe", "-m", "one"], "");
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(
        line, "one\n",
        "a message comes at once, although it goes into a pipe"
    );
    drop(out);
    broker.succeed(&["pub", "-t", "pipe", "-m", "two"], "");
    assert_eq!(subscriber.child.wait().unwrap().code(), Some(0));
}

#[test]
fn both_signals_end_it_well() {
    let broker = Broker::start();
    for signal in ["-INT", "-TERM"] {
        let watcher = broker.subscriber(&["-t", "will", "--idle", "1s", "-C", "1"]);
        let subscriber =
            broker.subscriber(&["-t", "a", "--will-topic", "will", "--will-payload", "gone"]);
        subscriber.signal(signal);
        assert_eq!(subscriber.finish(), (String::new(), Some(0)));
        // It said goodbye: no will.
        assert_eq!(watcher.finish(), (String::new(), Some(27)));
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    // A broker that never acknowledges: the goodbye waits for it.
    let (sender, packets) = std::sync::mpsc::channel();
    let broker = stub(move |mut stream| {
        let mut bytes = [0; 100];
        let _ = stream.read(&mut bytes);
        let _ = stream.write_all(ACCEPT.1);
        let _ = stream.read(&mut bytes);
        let _ = sender.send(bytes[0] >> 4);
        let _ = stream.read(&mut bytes);
    });
    let port = broker.port().to_string();
    let mut command = martlet(&[
        "pub",
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-t",
        "a",
        "-l",
        "-q",
        "1",
        "-d",
    ]);
    command.stdin(Stdio::piped());
    let mut publisher = Running::start(command);
    publisher.wait_for("connected");
    publisher
        .child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"x\n")
        .unwrap();
    assert_eq!(packets.recv_timeout(PATIENCE), Ok(3));
    publisher.signal("-INT");
    publisher.wait_for("stopping");
    publisher.signal("-INT");
    assert_eq!(publisher.finish().1, Some(130));
}

#[test]
fn passwords_come_from_files_and_variables_and_are_never_printed() {
    // Refuses everybody; the tests looks at what is said.
    let port = answering(&[(1, b"\x20\x03\x00\x86\x00")])
        .port()
        .to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "hunter2\n").unwrap();
    let file = file.to_string_lossy().into_owned();
    let url = format!("mqtt://jo:hunter2@127.0.0.1:{port}/t");
    for words in [
        vec![
            "pub",
            "-t",
            "a",
            "-m",
            "x",
            "-u",
            "jo",
            "--password-file",
            &file,
            "-h",
            "127.0.0.1",
            "-p",
            &port,
        ],
        vec![
            "sub",
            "-t",
            "a",
            "-u",
            "jo",
            "--password-env",
            "SECRET",
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-d",
        ],
        vec!["pub", "-m", "x", &url, "-d"],
        vec!["conn", &url],
    ] {
        let output = run(martlet(&words).env("SECRET", "hunter2"), "");
        assert_eq!(output.status.code(), Some(134), "{words:?}");
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(!said.contains("hunter2"), "{said}");
    }
    let output = run(
        &mut martlet(&["pub", "-t", "a", "-m", "x", "--password-env", "NOSUCH"]),
        "",
    );
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn quiet_says_nothing() {
    let output = run(
        &mut martlet(&[
            "pub",
            "-h",
            "127.0.0.1",
            "-p",
            "1",
            "-t",
            "a",
            "-m",
            "x",
            "--quiet",
        ]),
        "",
    );
    assert_eq!((output.status.code(), output.stderr.len()), (Some(67), 0));
}

#[test]
fn a_subscriber_comes_back_and_says_so() {
    let broker = Broker::start();
    let subscriber = broker.subscriber(&["-t", "a", "-i", "taken", "-V", "311", "-C", "1"]);
    // Another client of this name: the broker closes the first connection.
    broker.succeed(
        &["pub", "-t", "b", "-m", "x", "-i", "taken", "-V", "311"],
        "",
    );
    subscriber.wait_for("connection lost");
    subscriber.wait_for("connected again");
    broker.succeed(&["pub", "-t", "a", "-m", "x", "-r", "-q", "1"], "");
    assert_eq!(subscriber.finish(), ("x\n".to_owned(), Some(0)));
    let subscriber = broker.subscriber(&["-t", "c", "-i", "taken", "-V", "311", "--no-reconnect"]);
    broker.succeed(
        &["pub", "-t", "b", "-m", "x", "-i", "taken", "-V", "311"],
        "",
    );
    assert_eq!(subscriber.finish().1, Some(67));
}
