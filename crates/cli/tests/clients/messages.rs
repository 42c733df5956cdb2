//! Messages there and back.

use crate::broker::{Broker, Running, run, text, with_some_wait};

#[test]
fn a_message_arrives_at_each_qos_in_each_version() {
    let broker = Broker::start();
    for version in ["5", "311", "31"] {
        for qos in ["0", "1", "2"] {
            let subscriber = broker.subscriber(&[
                "-t", "a/+", "-C", "2", "-q", qos, "-V", version, "-i", "s", "-F", "%q %t %p",
            ]);
            broker.succeed(
                &[
                    "pub", "-t", "a/b", "-m", "hello", "-q", qos, "-V", version, "-i", "p",
                ],
                "",
            );
            broker.succeed(
                &[
                    "pub", "-t", "a/c", "--hex", "-m", "68 69", "-q", qos, "-V", version, "-i", "p",
                ],
                "",
            );
            assert_eq!(
                subscriber.finish(),
                (format!("{qos} a/b hello\n{qos} a/c hi\n"), Some(0))
            );
        }
    }
}

#[test]
fn a_retained_value_is_got_and_one_that_is_not_there_is_not() {
    let broker = Broker::start();
    for topic in [
        "home/a/temperature",
        "home/b/temperature",
        "zoo",
        "\u{e9}/\u{fc}",
    ] {
        broker.succeed(&["pub", "-t", topic, "-m", topic, "-r", "-q", "1"], "");
    }
    for version in ["5", "311"] {
        assert_eq!(broker.succeed(&["get", "zoo", "-V", version], ""), "zoo\n");
        let mut all: Vec<String> = broker
            .succeed(&["get", "#", "-V", version, "-v"], "")
            .lines()
            .map(str::to_owned)
            .collect();
        all.sort();
        assert_eq!(all.len(), 4, "{all:?}");
        let two = broker.succeed(&["get", "home/+/temperature", "-V", version], "");
        assert_eq!(two.lines().count(), 2);
        let output = run(&mut broker.client(&["get", "nowhere", "-V", version]), "");
        assert_eq!(
            text(&output.stderr),
            "martlet get: no retained value for nowhere\n"
        );
        assert_eq!((output.status.code(), output.stdout.len()), (Some(27), 0));
    }
}

#[test]
fn what_is_printed_as_json_can_be_published_again() {
    let from = Broker::start();
    let to = Broker::start();
    from.succeed(
        &[
            "pub",
            "-t",
            "t/text",
            "-m",
            "h\u{e9}llo \"you\"",
            "-r",
            "-q",
            "1",
            "--content-type",
            "text/plain",
            "--user-property",
            "k=v",
        ],
        "",
    );
    from.succeed(
        &[
            "pub",
            "-t",
            "t/binary",
            "--hex",
            "-m",
            "ff0001",
            "-r",
            "-q",
            "2",
            "--correlation-data",
            "c",
        ],
        "",
    );
    from.succeed(&["pub", "-t", "t/empty", "--size", "3", "-r"], "");
    let lines = from.succeed(&["get", "t/#", "--output", "json", "-q", "2"], "");
    for line in lines.lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(object["retain"], 1, "{line}");
    }
    to.succeed(&["pub", "-l", "--input", "jsonl"], &lines);
    let mut first: Vec<&str> = lines.lines().collect();
    let again = to.succeed(&["get", "t/#", "--output", "json", "-q", "2"], "");
    let mut second: Vec<&str> = again.lines().collect();
    let without_time = |line: &&str| line.split_once(',').unwrap().1.to_owned();
    first.sort_by_key(without_time);
    second.sort_by_key(without_time);
    let first: Vec<String> = first.iter().map(without_time).collect();
    let second: Vec<String> = second.iter().map(without_time).collect();
    assert_eq!(first, second);
    assert_eq!(first.len(), 3);
}

#[test]
fn lines_name_their_topics() {
    let broker = Broker::start();
    let input = "a/1 one\na/2 two words\n";
    broker.succeed(
        &["pub", "-l", "--topic-separator", " ", "-r", "-q", "1"],
        input,
    );
    assert_eq!(broker.succeed(&["get", "a/1", "-v"], ""), "a/1 one\n");
    assert_eq!(broker.succeed(&["get", "a/2", "-v"], ""), "a/2 two words\n");
}

#[test]
fn a_thousand_lines_arrive_in_their_order() {
    let broker = Broker::start();
    let subscriber = broker.subscriber(&["-t", "many", "-q", "1", "-C", "1000"]);
    let lines: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
    let input = lines.join("\n") + "\n";
    broker.succeed(&["pub", "-t", "many", "-l", "-q", "1"], &input);
    assert_eq!(subscriber.finish(), (input, Some(0)));
}

#[test]
fn each_filter_has_the_qos_behind_it() {
    let broker = Broker::start();
    for topic in ["one", "two", "three"] {
        broker.succeed(&["pub", "-t", topic, "-m", topic, "-r", "-q", "2"], "");
    }
    let lines = broker.succeed(
        &[
            "sub", "-t", "one", "-q", "1", "-t", "two", "-q", "0", "-t", "three", "-C", "3", "-F",
            "%t %q",
        ],
        "",
    );
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one 1", "three 0", "two 0"]);
}

#[test]
fn only_retained_messages_end_by_themselves_and_can_be_removed() {
    let broker = Broker::start();
    for topic in ["r/1", "r/2"] {
        broker.succeed(&["pub", "-t", topic, "-m", topic, "-r", "-q", "1"], "");
    }
    let lines = broker.succeed(
        &[
            "sub",
            "-t",
            "r/#",
            "--retained-only",
            "--remove-retained",
            "-T",
            "r/2",
        ],
        "",
    );
    assert_eq!(lines, "r/1\n");
    assert_eq!(
        broker.succeed(&["sub", "-t", "r/#", "--retained-only"], ""),
        "r/2\n"
    );
}

#[test]
fn too_few_messages_end_with_27() {
    let broker = Broker::start();
    broker.succeed(&["pub", "-t", "few", "-m", "x", "-r", "-q", "1"], "");
    for option in ["-W", "--idle"] {
        let output = with_some_wait(|wait| {
            let words = ["sub", "-t", "few", "-C", "5", option, wait];
            Some(run(&mut broker.client(&words), "")).filter(|output| !output.stdout.is_empty())
        });
        assert_eq!(text(&output.stdout), "x\n");
        assert_eq!(output.status.code(), Some(27));
        assert!(
            text(&output.stderr).contains("with 1 of 5 messages"),
            "{}",
            text(&output.stderr)
        );
    }
    let output = with_some_wait(|wait| {
        let words = ["sub", "-t", "few", "--idle", wait, "--output", "json"];
        Some(run(&mut broker.client(&words), "")).filter(|output| !output.stdout.is_empty())
    });
    assert_eq!(output.status.code(), Some(0));
    let status: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(
        (&status["code"], &status["messages"]),
        (&0.into(), &1.into())
    );
}

#[test]
fn a_request_gets_its_response() {
    let broker = Broker::start();
    let service = broker.subscriber(&["-t", "svc", "-C", "1", "-F", "%R|%D|%p"]);
    let asking = Running::start(broker.client(&[
        "rr",
        "-t",
        "svc",
        "-m",
        "question",
        "--correlation-data",
        "mine",
        "-W",
        "30",
    ]));
    let (line, _) = service.finish();
    let [topic, data, question] = line.trim().split('|').collect::<Vec<_>>()[..] else {
        panic!("{line}");
    };
    assert_eq!((data, question), ("mine", "question"));
    broker.succeed(
        &[
            "pub",
            "-t",
            topic,
            "-m",
            "not for us",
            "--correlation-data",
            "other",
        ],
        "",
    );
    broker.succeed(
        &[
            "pub",
            "-t",
            topic,
            "-m",
            "answer",
            "--correlation-data",
            data,
        ],
        "",
    );
    assert_eq!(asking.finish(), ("answer\n".to_owned(), Some(0)));
    let output = run(
        &mut broker.client(&["rr", "-t", "svc", "-m", "x", "-W", "200ms"]),
        "",
    );
    assert_eq!(output.status.code(), Some(27));
}

#[test]
fn a_profile_an_options_file_and_the_environment_are_options() {
    let broker = Broker::start();
    let home = tempfile::tempdir().unwrap();
    let profiles = home.path().join("martlet").join("profiles");
    std::fs::create_dir_all(&profiles).unwrap();
    std::fs::write(
        profiles.join("mine"),
        format!("# home\n-h 127.0.0.1\n-p {}\n-q 1\n", broker.port),
    )
    .unwrap();
    let file = home.path().join("more");
    std::fs::write(&file, "-t from/file\n-D publish user-property k a value\n").unwrap();
    let mut command = crate::broker::martlet(&[
        "pub",
        "--profile",
        "mine",
        "-o",
        &file.to_string_lossy(),
        "-m",
        "x",
        "-r",
    ]);
    command.env("XDG_CONFIG_HOME", home.path());
    assert_eq!(run(&mut command, "").status.code(), Some(0));
    let mut command = crate::broker::martlet(&["get", "from/file", "-F", "%t %P"]);
    command
        .env("MQTT_HOST", "127.0.0.1")
        .env("MQTT_PORT", &broker.port);
    let output = run(&mut command, "");
    assert_eq!(
        text(&output.stdout),
        "from/file k:a value\n",
        "{}",
        text(&output.stderr)
    );
    let mut command = crate::broker::martlet(&[
        "get",
        &format!("mqtt://127.0.0.1:{}/from/file", broker.port),
    ]);
    command.env("MQTT_URL", "mqtt://nowhere.invalid:1");
    assert_eq!(text(&run(&mut command, "").stdout), "x\n");
}
