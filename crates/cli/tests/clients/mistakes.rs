//! What goes wrong: one clear line on standard error, nothing on standard output, and a code that says what it was.

use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use crate::broker::{ACCEPT, answering, martlet, run, stub, text};

/// Ends with this code, and with one line that contains this and a remedy.
fn fails(command: &mut Command, input: &str, code: i32, part: &str) {
    let output = run(command, input);
    let line = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{line}");
    assert_eq!(text(&output.stdout), "");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains(part), "{line}");
}

#[expect(clippy::too_many_lines, reason = "a table of mistakes")]
#[test]
fn a_wrong_command_line_is_64_and_says_how_it_is_right() {
    for (words, part) in [
        (&["pub", "-t", "a"][..], "give one of -m TEXT"),
        (&["pub", "-m", "a"], "add -t TOPIC"),
        (
            &["pub", "-t", "a/+", "-m", "x"],
            "'a/+' is no topic to publish to: contains a wildcard",
        ),
        (
            &["pub", "-t", "", "-m", "x"],
            "is no topic to publish to: empty",
        ),
        (
            &["pub", "-t", "a", "-m", "x", "-n"],
            "-n: there is a payload already",
        ),
        (
            &["pub", "-t", "a", "-m", "x", "-q", "3"],
            "-q: '3' is not 0, 1 or 2",
        ),
        (
            &["pub", "-t", "a", "-m", "x", "-p", "x"],
            "a port from 1 to 65535",
        ),
        (
            &["pub", "-t", "a", "-m", "x", "--size"],
            "--size wants a value",
        ),
        (
            &["pub", "-t", "a", "-m", "x", "--retain=yes"],
            "takes no value",
        ),
        (
            &["pub", "-t", "a", "-m", "x", "--foo"],
            "there is no option '--foo' here; --help",
        ),
        (
            &["pub", "-t", "a", "-m", "x", "-C", "1"],
            "there is no option '-C' here",
        ),
        (
            &["pub", "-t", "a", "-m", "x", "extra"],
            "'extra' is no option",
        ),
        (
            &["pub", "-t", "a", "-m", "x", "-V", "6"],
            "there are 5, 311, 31 and auto",
        ),
        (
            &["pub", "-t", "a", "-m", "x", "-V", "311", "-x", "5"],
            "-x is of MQTT 5",
        ),
        (
            &[
                "pub",
                "-t",
                "a",
                "-m",
                "x",
                "-V",
                "311",
                "--content-type",
                "x",
            ],
            "is of MQTT 5",
        ),
        (&["pub", "-t", "a", "-m", "x", "-c"], "add -i ID"),
        (
            &["pub", "-t", "a", "-m", "x", "-D", "publish", "foo", "x"],
            "there is no property 'foo'",
        ),
        (
            &["pub", "-t", "a", "-m", "x", "--expiry", "soon"],
            "'soon' is not a number of seconds",
        ),
        (
            &["pub", "-l", "-t", "a", "--topic-separator", " "],
            "each line names its topic",
        ),
        (
            &["pub", "-t", "a", "--template", "{{m}}"],
            "--template: there is no field '{{m}}'; there are n, topic",
        ),
        (
            &["pub", "-t", "a", "--template", "{{line}}"],
            "{{line}} is what a line of standard input says; add -l",
        ),
        (
            &["pub", "-t", "a", "--template", "x", "-m", "y"],
            "--template: there is a payload already",
        ),
        (
            &["pub", "-t", "a", "-l", "--rate", "fast"],
            "--rate: 'fast' is not a rate; write 10, 0.5, 100/m or 3600/h",
        ),
        (
            &["pub", "-t", "a", "-m", "x", "--rate", "5"],
            "there is only one message; add --repeat COUNT or -l",
        ),
        (
            &[
                "pub",
                "-t",
                "a",
                "-m",
                "x",
                "--repeat",
                "2",
                "--rate",
                "5",
                "--repeat-delay",
                "1",
            ],
            "--rate and --repeat-delay exclude each other",
        ),
        (&["pub", "http://broker/t", "-m", "x"], "is no URL for MQTT"),
        (&["sub"], "add -t FILTER"),
        (
            &["sub", "-t", "a/#/b"],
            "'a/#/b' is no topic filter: # is not alone",
        ),
        (
            &["sub", "-t", "$share/g"],
            "no topic filter behind the share name",
        ),
        (
            &["sub", "-t", "a", "-W", "soon"],
            "write 5, 0.5, 500ms or 2m",
        ),
        (&["sub", "-t", "a", "-F", "%y"], "there is no field '%y'"),
        (
            &["sub", "-t", "a", "-R", "--retained-only"],
            "together they leave nothing",
        ),
        (
            &["sub", "-t", "a", "--will-payload", "x"],
            "without --will-topic",
        ),
        (&["get"], "write martlet get TOPIC"),
        (&["conn", "-t", "x"], "there is no option '-t' here"),
    ] {
        fails(&mut martlet(words), "", 64, part);
    }
    // Arguments that are no UTF-8.
    let wrong = std::ffi::OsStr::from_bytes(b"a\xff");
    fails(
        martlet(&["pub", "-m", "x", "-t"]).arg(wrong),
        "",
        64,
        "-t: not UTF-8",
    );
}

#[test]
fn wrong_input_is_65_and_says_where() {
    let broker = answering(&[ACCEPT, (3, b"\x40\x02IJ")]);
    let port = broker.port().to_string();
    let pub_ = |words: &[&str]| {
        let mut command = martlet(&["pub", "-h", "127.0.0.1", "-p", &port, "-q", "1"]);
        command.args(words);
        command
    };
    fails(
        &mut pub_(&["-t", "a", "-f", "/nosuch"]),
        "",
        65,
        "cannot read /nosuch",
    );
    fails(
        &mut pub_(&["-t", "a", "--hex", "-m", "abc"]),
        "",
        65,
        "-m: no hexadecimal digits",
    );
    fails(
        &mut pub_(&["-t", "a", "--base64", "-s"]),
        "?",
        65,
        "standard input: no base64",
    );
    fails(
        &mut pub_(&["-t", "a", "-m", "x", "--password-file", "/nosuch"]),
        "",
        65,
        "cannot read /nosuch",
    );
    fails(
        &mut pub_(&["-l", "--topic-separator", " "]),
        "a 1\nb\n",
        65,
        "line 2: there is no ' '",
    );
    fails(
        &mut pub_(&["-l", "--topic-separator", " "]),
        "a/+ 1\n",
        65,
        "line 1: 'a/+' is no topic",
    );
    fails(
        &mut pub_(&["-l", "--input", "jsonl"]),
        "{\"topic\":\"a\"}\n{",
        65,
        "line 2: not the JSON of a message",
    );
    fails(
        &mut pub_(&["-l", "--input", "jsonl"]),
        "{\"payload\":\"a\"}\n",
        65,
        "line 1: no topic in it, and no -t",
    );
}

#[test]
fn a_message_that_is_too_large_is_65_and_not_sent() {
    // Maximum Packet Size 100.
    let broker = answering(&[(1, b"\x20\x08\x00\x00\x05\x27\x00\x00\x00\x64")]);
    let port = broker.port().to_string();
    let words = [
        "pub",
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-t",
        "a",
        "--size",
        "200",
        "-q",
        "1",
    ];
    fails(&mut martlet(&words), "", 65, "larger than the 100 bytes");
}

#[test]
fn no_way_to_the_broker_is_66_or_67() {
    fails(
        &mut martlet(&["pub", "-h", "nosuch.invalid", "-t", "a", "-m", "x"]),
        "",
        66,
        "the name has no address; check -h",
    );
    fails(
        &mut martlet(&["pub", "-h", "127.0.0.1", "-p", "1", "-t", "a", "-m", "x"]),
        "",
        67,
        "nothing listens there",
    );
    fails(
        &mut martlet(&["sub", "--unix", "/nosuch", "-t", "a"]),
        "",
        67,
        "is the path right?",
    );
    fails(
        &mut martlet(&["get", "mqtt://127.0.0.1:1/a"]),
        "",
        67,
        "nothing listens there",
    );
    fails(
        &mut martlet(&["rr", "-h", "127.0.0.1", "-p", "1", "-t", "a", "-m", "x"]),
        "",
        67,
        "nothing listens there",
    );
}

#[test]
fn tls_where_plain_text_was_meant_is_68() {
    // Answers everything with the alert that OpenSSL sends to what is no hello.
    let alert = stub(|mut stream| {
        let _ = stream.read(&mut [0; 1_000]);
        let _ = stream.write_all(b"\x15\x03\x01\x00\x02\x02\x46");
    });
    // Hangs up on what is no hello.
    let mute = stub(|mut stream| {
        let mut bytes = [0; 1_000];
        if stream.read(&mut bytes).is_ok() && bytes[0] == 0x16 {
            let _ = stream.write_all(b"\x15\x03\x03\x00\x02\x02\x28");
        }
    });
    for address in [alert, mute] {
        let port = address.port().to_string();
        for program in [
            &["pub", "-t", "a", "-m", "x"][..],
            &["sub", "-t", "a"],
            &["get", "a"],
        ] {
            let mut command = martlet(program);
            command.args(["-h", "127.0.0.1", "-p", &port]);
            fails(
                &mut command,
                "",
                68,
                "speaks TLS and we spoke plain text; use the broker's plain port",
            );
        }
    }
    fails(
        &mut martlet(&["pub", "mqtts://localhost", "-t", "a", "-m", "x"]),
        "",
        68,
        "not supported yet",
    );
    fails(
        &mut martlet(&["sub", "-t", "a", "--cafile", "x"]),
        "",
        68,
        "not supported yet",
    );
}

#[test]
fn something_else_than_a_broker_is_said_to_be_what_it_is() {
    for (answer, part) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "speaks HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "it says 'SSH-2.0-OpenSSH_9.2'"),
    ] {
        let address = stub(move |mut stream| {
            let _ = stream.read(&mut [0; 1_000]);
            let _ = stream.write_all(answer);
        });
        let port = address.port().to_string();
        fails(
            &mut martlet(&["pub", "-h", "127.0.0.1", "-p", &port, "-t", "a", "-m", "x"]),
            "",
            1,
            part,
        );
    }
}

/// What a stub answers to which packet types, the command line, the exit code, and a part of the message.
type Refusal = (
    &'static [(u8, &'static [u8])],
    &'static [&'static str],
    i32,
    &'static str,
);

#[test]
fn a_refusal_is_the_reason_code_of_mqtt_5() {
    let refusing: [Refusal; 9] = [
        (
            &[(1, b"\x20\x03\x00\x87\x00")],
            &["pub", "-t", "a", "-m", "x"],
            135,
            "not authorized; give -u NAME and --password-file",
        ),
        (
            &[(1, b"\x20\x03\x00\x86\x00")],
            &["sub", "-t", "a", "-u", "jo"],
            134,
            "bad user name or password; check -u",
        ),
        (
            &[(1, b"\x20\x03\x00\x84\x00")],
            &["get", "a"],
            132,
            "try -V 311",
        ),
        (
            &[(1, b"\x20\x02\x00\x05")],
            &["pub", "-V", "311", "-t", "a", "-m", "x"],
            135,
            "not authorized",
        ),
        (
            &[(1, b"\x20\x02\x00\x04")],
            &["pub", "-V", "311", "-t", "a", "-m", "x"],
            134,
            "bad user name or password",
        ),
        (
            &[ACCEPT, (3, b"\x40\x04IJ\x87\x00")],
            &["pub", "-t", "a", "-m", "x", "-q", "1"],
            135,
            "refused the message to 'a': not authorized",
        ),
        (
            &[ACCEPT, (3, b"\x50\x04IJ\x97\x00")],
            &["pub", "-t", "a", "-m", "x", "-q", "2"],
            151,
            "quota exceeded",
        ),
        (
            &[ACCEPT, (8, b"\x90\x04IJ\x00\x87")],
            &["sub", "-t", "a"],
            135,
            "refused the subscription to a",
        ),
        (
            &[ACCEPT, (8, b"\x90\x05IJ\x00\x01\x87")],
            &["sub", "-t", "a", "-t", "b"],
            135,
            "refused the subscription to b: not authorized; --any",
        ),
    ];
    for (answers, words, code, part) in refusing {
        let port = answering(answers).port().to_string();
        let mut command = martlet(words);
        command.args(["-h", "127.0.0.1", "-p", &port]);
        fails(&mut command, "", code, part);
    }
}

#[test]
fn of_many_messages_the_first_refusal_decides_and_all_are_told() {
    let port = answering(&[ACCEPT, (3, b"\x40\x04IJ\x87\x00")])
        .port()
        .to_string();
    let output = run(
        &mut martlet(&[
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
        ]),
        "1\n2\n3\n",
    );
    assert_eq!(output.status.code(), Some(135));
    assert_eq!(text(&output.stderr).lines().count(), 3);
}

#[test]
fn with_any_one_refused_filter_is_only_told() {
    // The second filter is refused; then a message comes on the first.
    let port = answering(&[ACCEPT, (8, b"\x90\x05IJ\x00\x00\x87\x30\x05\x00\x01a\x00x")])
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
            "-t",
            "b",
            "--any",
            "-C",
            "1",
        ]),
        "",
    );
    assert_eq!(
        (text(&output.stdout), output.status.code()),
        ("x\n".to_owned(), Some(0))
    );
    assert!(text(&output.stderr).contains("subscription to b: not authorized"));
}

#[test]
fn auto_falls_back_to_3_1_1_and_says_so() {
    let old = stub(|mut stream| {
        let mut bytes = [0; 100];
        let _ = stream.read(&mut bytes);
        // Hangs up on 5; reads the message of 3.1.1 and acknowledges it.
        if bytes[8] == 4 {
            let _ = stream.write_all(b"\x20\x02\x00\x00");
            let _ = stream.read(&mut bytes);
            let _ = stream.write_all(b"\x40\x02\x00\x01");
            let _ = stream.read(&mut bytes);
        }
    });
    let port = old.port().to_string();
    let words = [
        "pub",
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-t",
        "a",
        "-m",
        "x",
        "-q",
        "1",
        "-V",
        "auto",
    ];
    let output = run(&mut martlet(&words), "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("trying MQTT 3.1.1"));
}
