//! `martlet conn`: each stage has a line and a code.

use std::io::{Read as _, Write as _};

use crate::broker::{Broker, answering, martlet, run, stub, text};

fn conn(words: &[&str]) -> (String, Option<i32>) {
    let output = run(&mut martlet(&[&["conn"], words].concat()), "");
    assert_eq!(text(&output.stderr), "");
    (text(&output.stdout), output.status.code())
}

#[test]
fn a_good_connection_shows_its_stages_and_its_limits() {
    let broker = Broker::start();
    for version in ["5", "311", "31"] {
        let (lines, code) = conn(&[
            "-h",
            "127.0.0.1",
            "-p",
            &broker.port,
            "--probe",
            "-V",
            version,
            "-i",
            "doctor",
        ]);
        assert_eq!(code, Some(0), "{lines}");
        let stages: Vec<&str> = lines
            .lines()
            .filter_map(|line| line.strip_prefix("ok ")?.split_whitespace().next())
            .collect();
        assert_eq!(
            stages,
            [
                "dns", "tcp", "connect", "qos0", "qos1", "qos2", "retain", "shared"
            ],
            "{lines}"
        );
        assert!(!lines.contains("FAIL"), "{lines}");
        assert_eq!(
            lines.contains("packets up to 1048576 bytes"),
            version == "5",
            "{lines}"
        );
    }
    // Nothing is left behind.
    let output = run(&mut broker.client(&["get", "martlet/#"]), "");
    assert_eq!(output.status.code(), Some(27));
    let lines = broker.succeed(&["conn", "--output", "json"], "");
    assert!(lines.contains("\"stage\":\"connect\""), "{lines}");
    for line in lines.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn each_stage_that_fails_has_a_code_and_a_remedy() {
    let refusing = answering(&[(1, b"\x20\x03\x00\x87\x00")]).to_string();
    let tls = stub(|mut stream| {
        let _ = stream.read(&mut [0; 1_000]);
        let _ = stream.write_all(b"\x15\x03\x01\x00\x02\x02\x46");
    });
    let http = stub(|mut stream| {
        let _ = stream.read(&mut [0; 1_000]);
        let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
    });
    let mute = stub(drop);
    for (words, code, part) in [
        (&["nosuch.invalid"][..], 66, "FAIL  dns"),
        (&["127.0.0.1:1"], 67, "nothing listens there"),
        (&["unix:/nosuch"], 67, "is the path right?"),
        (&[&refusing], 135, "refused: not authorized; give -u NAME"),
        (&[&tls.to_string()], 68, "this port speaks TLS"),
        (&[&http.to_string()], 1, "this port speaks HTTP"),
        (
            &[&mute.to_string()],
            1,
            "closed the connection without a word",
        ),
    ] {
        let (lines, found) = conn(words);
        assert_eq!(found, Some(code), "{words:?}: {lines}");
        assert!(lines.contains(part) && lines.contains("FAIL"), "{lines}");
    }
}
