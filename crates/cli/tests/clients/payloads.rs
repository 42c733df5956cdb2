//! What makes payloads and what paces them: `--template`, `--rate`; `--strict` and `--latency` beside them.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::broker::{ACCEPT, Broker, Running, answering, martlet, run, text};

#[test]
fn a_template_is_filled_in_for_each_message() {
    let broker = Broker::start();
    let subscriber = broker.subscriber(&["-t", "t/#", "-q", "1", "-C", "5", "-v"]);
    let template = "{\"n\":{{n}},\"from\":\"{{topic}}\",\"v\":{{random:7:7}}}";
    broker.succeed(
        &[
            "pub",
            "-t",
            "t/a",
            "--template",
            template,
            "--repeat",
            "2",
            "-q",
            "1",
        ],
        "",
    );
    broker.succeed(
        &[
            "pub",
            "-l",
            "--topic-separator",
            " ",
            "--template",
            "{{n}}:{{line}}",
            "-q",
            "1",
        ],
        "t/b one\nt/c two words\n",
    );
    broker.succeed(
        &["pub", "-t", "t/d", "--template", "{{brace}}x}}", "-q", "1"],
        "",
    );
    let (lines, code) = subscriber.finish();
    assert_eq!(
        lines,
        "t/a {\"n\":1,\"from\":\"t/a\",\"v\":7}\nt/a {\"n\":2,\"from\":\"t/a\",\"v\":7}\n\
         t/b 1:one\nt/c 2:two words\nt/d {{x}}\n"
    );
    assert_eq!(code, Some(0));
}

#[test]
fn a_template_knows_what_time_it_is() {
    let broker = Broker::start();
    let template = "{{unix}} {{unix_ms}} {{time}}";
    broker.succeed(
        &["pub", "-t", "now", "--template", template, "-r", "-q", "1"],
        "",
    );
    let line = broker.succeed(&["get", "now"], "");
    let [unix, unix_ms, time] = line.trim().split(' ').collect::<Vec<_>>()[..] else {
        panic!("{line}");
    };
    assert_eq!(unix_ms.get(..unix_ms.len() - 3), Some(unix));
    assert!(unix.parse::<u64>().unwrap() > 1_700_000_000);
    assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
}

#[test]
fn a_rate_holds_the_next_message_back_until_its_time() {
    let broker = Broker::start();
    let subscriber = broker.subscriber(&["-t", "slow", "-q", "1", "-C", "2"]);
    for (words, input) in [
        (&["-m", "x", "--repeat", "2"][..], None),
        (&["-l"], Some("x\ny\n")),
    ] {
        let one = broker.subscriber(&["-t", "slow", "-q", "1", "-C", "1"]);
        let mut command = broker.client(&["pub", "-t", "slow", "-q", "1", "--rate", "1/h", "-d"]);
        command.args(words);
        if input.is_some() {
            command.stdin(std::process::Stdio::piped());
        }
        let mut publisher = Running::start(command);
        if let Some(lines) = input {
            use std::io::Write as _;
            let mut stdin = publisher.child.stdin.take().unwrap();
            stdin.write_all(lines.as_bytes()).unwrap();
        }
        assert_eq!(one.finish(), ("x\n".to_owned(), Some(0)));
        // The second is due in an hour: it still waits.
        publisher.signal("-TERM");
        assert_eq!(publisher.finish().1, Some(0));
    }
    // Two publishers, one message each.
    assert_eq!(subscriber.finish(), ("x\nx\n".to_owned(), Some(0)));
}

#[test]
fn a_high_rate_loses_nothing() {
    let broker = Broker::start();
    let subscriber = broker.subscriber(&["-t", "fast", "-q", "1", "-C", "500"]);
    let lines: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    let input = lines.join("\n") + "\n";
    broker.succeed(
        &["pub", "-t", "fast", "-l", "-q", "1", "--rate", "100000/s"],
        &input,
    );
    assert_eq!(subscriber.finish(), (input, Some(0)));
}

/// Started under mosquitto's name.
fn mosquitto_pub(port: u16, words: &[&str]) -> Command {
    let port = port.to_string();
    let mut command = martlet(&["-h", "127.0.0.1", "-p", &port, "-V", "5", "-q", "1"]);
    command.arg0("mosquitto_pub").args(words);
    command
}

#[test]
fn strict_lets_a_refusal_decide_how_mosquitto_pub_ends() {
    let port = answering(&[ACCEPT, (3, b"\x40\x04IJ\x87\x00")]).port();
    for words in [&["-t", "a", "-m", "x"][..], &["-t", "a", "-l"]] {
        let output = run(&mut mosquitto_pub(port, words), "x\n");
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        let told = text(&output.stderr);
        assert!(told.contains("failed: Not authorized"), "{told}");
        let mut strict = mosquitto_pub(port, words);
        let output = run(strict.arg("--strict"), "x\n");
        assert_eq!(output.status.code(), Some(135), "{words:?}");
        assert_eq!(text(&output.stderr), told);
    }
    let broker = answering(&[ACCEPT, (3, b"\x40\x02IJ")]).port();
    let mut accepted = mosquitto_pub(broker, &["-t", "a", "-m", "x", "--strict"]);
    assert_eq!(run(&mut accepted, "").status.code(), Some(0));
    // Here it is always so, and the option is no mistake.
    let port = port.to_string();
    let words = [
        "pub",
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-q",
        "1",
        "-t",
        "a",
        "-m",
        "x",
        "--strict",
    ];
    assert_eq!(run(&mut martlet(&words), "").status.code(), Some(135));
}

#[test]
fn latency_is_told_beside_the_response() {
    let broker = Broker::start();
    let service = broker.subscriber(&["-t", "svc", "-C", "1", "-F", "%R|%D"]);
    let asking = Running::start(broker.client(&[
        "rr",
        "-t",
        "svc",
        "-m",
        "?",
        "--correlation-data",
        "mine",
        "--latency",
    ]));
    let (line, _) = service.finish();
    let (topic, data) = line.trim().split_once('|').unwrap();
    broker.succeed(
        &["pub", "-t", topic, "-m", "!", "--correlation-data", data],
        "",
    );
    let told = asking.wait_for("response after ");
    assert!(told.ends_with(" ms"), "{told}");
    assert_eq!(asking.finish(), ("!\n".to_owned(), Some(0)));
}
