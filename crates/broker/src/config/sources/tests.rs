//! Exact texts of what is refused, and which source wins.

use std::ffi::OsString;

use super::{Flags, Sources};
use crate::config::{Access, Config, LogFormat, Origin};

fn of_file(text: &str) -> Result<Config, String> {
    check(|sources| sources.file("m.toml", text))
}

fn check(fill: impl FnOnce(&mut Sources)) -> Result<Config, String> {
    let mut sources = Sources::new();
    fill(&mut sources);
    sources.check().map_err(|problems| problems.to_string())
}

fn vars(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn addresses(config: &Config) -> Vec<String> {
    config
        .listeners()
        .iter()
        .map(|listener| listener.address().to_string())
        .collect()
}

#[test]
fn nothing_said_is_loopback_with_the_default_bounds() {
    let config = Sources::new().check().unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(addresses(&config), ["127.0.0.1:1883"]);
    assert_eq!(config.listeners()[0].access(), Access::LoopbackOnly);
    assert!(config.sources().is_empty());
}

#[test]
fn a_whole_file_is_understood() {
    let config = of_file(
        r#"
        shards = 2
        [[listeners]]
        address = "localhost:1883"
        [[listeners]]
        address = "[::]:1884"
        allow_anonymous = true
        [limits]
        packet_bytes_max = "64 KiB"
        connect_timeout = "2s"
        connections_max = 500
        receive_maximum = 0x10
        [session]
        expiry_default = "1h"
        expiry_cap = 86_400
        keep_alive_cap = "10m"
        wills_on_shutdown = true
        [log]
        filter = "martlet=debug"
        format = "json"
        "#,
    )
    .unwrap();
    assert_eq!(config.shards(), Some(2));
    assert_eq!(addresses(&config), ["127.0.0.1:1883", "[::]:1884"]);
    assert_eq!(config.listeners()[1].access(), Access::AllowedExplicitly);
    assert_eq!(config.limits().packet_bytes_max, 65_536);
    assert_eq!(config.limits().connect_timeout_ms, 2_000);
    assert_eq!(config.limits().receive_maximum, 16);
    assert_eq!(config.connections_max(), Some(500));
    assert_eq!(config.policy().session_expiry_default_s, 3_600);
    assert_eq!(config.policy().session_expiry_cap_s, 86_400);
    assert_eq!(config.policy().keep_alive_cap_s, Some(600));
    assert!(config.policy().wills_on_shutdown);
    assert_eq!(config.log().format, LogFormat::Json);
    assert_eq!(config.log().filter, "martlet=debug");
    let place = Origin::File {
        name: "m.toml".into(),
        line: 19,
        column: 18,
    };
    assert_eq!(config.log().filter_origin, place);
    assert_eq!(config.sources(), ["file m.toml"]);
}

#[test]
fn unknown_keys_are_refused_with_what_was_probably_meant() {
    let cases = [
        (
            "shard = 2",
            "m.toml:1:1: shard: unknown key; did you mean 'shards'?",
        ),
        (
            "[limits]\n  packet_byte_max = 5",
            "m.toml:2:3: limits.packet_byte_max: unknown key; did you mean 'packet_bytes_max'?",
        ),
        (
            "receive_maximum = 5",
            "m.toml:1:1: receive_maximum: unknown key; 'receive_maximum' belongs to the section [limits]",
        ),
        (
            "[log]\nshards = 5",
            "m.toml:2:1: log.shards: unknown key; 'shards' belongs to the top of the file, before any section",
        ),
        (
            "[log]\ntls = 1",
            "m.toml:2:1: log.tls: unknown key; known here: filter, format",
        ),
        (
            "[tls]\n",
            "m.toml:1:2: tls: unknown key; known here: shards, listeners, limits, session, storage, log",
        ),
        (
            "[[listeners]]\nadress = 'localhost:1'\naddress = 'localhost:1'",
            "m.toml:2:1: listeners.adress: unknown key; did you mean 'address'?",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(of_file(text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn wrong_types_and_ranges_say_what_would_be_right() {
    let cases = [
        (
            "shards = 'two'",
            "m.toml:1:10: shards: expected a whole number from 1 to 64; found string 'two'",
        ),
        (
            "shards = 65",
            "m.toml:1:10: shards: expected a whole number from 1 to 64; found integer 65",
        ),
        (
            "shards = -1",
            "m.toml:1:10: shards: expected a whole number from 1 to 64; found integer -1",
        ),
        (
            "[limits]\nreceive_maximum = 0",
            "m.toml:2:19: limits.receive_maximum: expected a whole number from 1 to 65535; found integer 0",
        ),
        (
            "[session]\nexpiry_cap = '7 days'",
            "m.toml:2:14: session.expiry_cap: expected a number of seconds or a string like \"90s\" or \
             \"7d\" or \"never\", from 0ms to 4294967294s; found string '7 days'",
        ),
        (
            "[session]\nwills_on_shutdown = 'yes'",
            "m.toml:2:21: session.wills_on_shutdown: expected true or false; found string 'yes'",
        ),
        (
            "[log]\nformat = 'xml'",
            "m.toml:2:10: log.format: expected one of \"auto\", \"human\", \"json\"; found string 'xml'",
        ),
        (
            "limits = 3",
            "m.toml:1:10: limits: expected a section [limits]; found integer 3",
        ),
        (
            "listeners = []",
            "m.toml:1:13: listeners: the list is empty; expected a list of sections [[listeners]] with \
             address = \"127.0.0.1:1883\"",
        ),
        (
            "[[listeners]]\nallow_anonymous = true",
            "m.toml:1:1: listeners.address: missing; expected an address and a port, as \
             \"127.0.0.1:1883\", \"[::1]:1883\" or \"localhost:1883\"",
        ),
        (
            "[[listeners]]\naddress = '127.0.0.1'",
            "m.toml:2:11: listeners.address: expected an address and a port, as \"127.0.0.1:1883\", \
             \"[::1]:1883\" or \"localhost:1883\"; found \"127.0.0.1\"",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(of_file(text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn a_file_that_is_no_toml_says_where() {
    let error = of_file("shards = 2\nlimits = = 3\n").unwrap_err();
    assert!(error.starts_with("m.toml:2:10: "), "{error}");
    let error = of_file("shards = 2\nshards = 3\n").unwrap_err();
    assert!(
        error.starts_with("m.toml:2:1: ") && error.contains("duplicate"),
        "{error}"
    );
}

#[test]
fn every_problem_is_listed_not_only_the_first() {
    let error = of_file("shards = 0\nshard = 1\n[session]\nexpiry_default = '40d'\n").unwrap_err();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 3, "{error}");
    assert_eq!(
        lines[2],
        "m.toml:4:18: session.expiry_default: session.expiry_default (3456000) must not exceed \
         session.expiry_cap (2592000); change one of them"
    );
}

#[test]
fn contradictions_are_found_across_sources() {
    let error = check(|sources| {
        sources.file("m.toml", "[limits]\noutbox_bytes_hard_max = '2 MiB'");
        sources.environment(vars(&[("MARTLET_LIMITS_OUTBOX_BYTES_MAX", "4 MiB")]));
    })
    .unwrap_err();
    assert_eq!(
        error,
        "environment MARTLET_LIMITS_OUTBOX_BYTES_MAX: limits.outbox_bytes_max: \
         limits.outbox_bytes_max (4194304) must not exceed limits.outbox_bytes_hard_max (2097152); \
         change one of them"
    );
}

#[test]
fn the_environment_overrides_the_file_and_flags_override_both() {
    let file = "shards = 2\n[log]\nfilter = 'warn'\n[[listeners]]\naddress = '127.0.0.1:1'";
    let config = check(|sources| {
        sources.file("m.toml", file);
        sources.environment(vars(&[
            ("MARTLET_SHARDS", "3"),
            ("RUST_LOG", "info"),
            ("MARTLET_LISTEN", "127.0.0.1:2, [::1]:3"),
            ("HOME", "/nowhere"),
        ]));
    })
    .unwrap();
    assert_eq!(config.shards(), Some(3));
    assert_eq!(config.log().filter, "info");
    assert_eq!(addresses(&config), ["127.0.0.1:2", "[::1]:3"]);

    let config = check(|sources| {
        sources.file("m.toml", file);
        sources.environment(vars(&[("MARTLET_SHARDS", "3"), ("RUST_LOG", "info")]));
        sources.flags(&Flags {
            listen: vec!["127.0.0.1:4".into()],
            shards: Some(4),
            ..Flags::default()
        });
    })
    .unwrap();
    assert_eq!(config.shards(), Some(4));
    assert_eq!(addresses(&config), ["127.0.0.1:4"]);
    assert_eq!(
        config.sources(),
        [
            "file m.toml",
            "environment RUST_LOG",
            "environment MARTLET_SHARDS",
            "flag --listen",
            "flag --shards"
        ]
    );
}

#[test]
fn our_own_variable_for_the_filter_overrides_the_general_one() {
    let both = vars(&[("RUST_LOG", "info"), ("MARTLET_LOG_FILTER", "debug")]);
    let config = check(|sources| sources.environment(both)).unwrap();
    assert_eq!(config.log().filter, "debug");
}

#[test]
fn wrong_variables_and_flags_are_refused_by_name() {
    let error = check(|sources| {
        sources.environment(vars(&[
            ("MARTLET_SHARDS", "many"),
            ("MARTLET_ALLOW_ANONYMOUS", "2"),
        ]));
        sources.flags(&Flags {
            shards: Some(100),
            ..Flags::default()
        });
    })
    .unwrap_err();
    assert_eq!(
        error.lines().collect::<Vec<_>>(),
        [
            "environment MARTLET_ALLOW_ANONYMOUS: allow_anonymous: expected true or false; found \"2\"",
            "environment MARTLET_SHARDS: shards: expected a whole number from 1 to 64; found \"many\"",
            "flag --shards: shards: expected a whole number from 1 to 64; found 100",
        ]
    );
}

#[test]
fn unknown_variables_are_a_warning_because_platforms_set_some() {
    let mut sources = Sources::new();
    sources.environment(vars(&[
        ("MARTLET_SERVICE_HOST", "10.0.0.1"),
        ("MARTLET_SHARD", "2"),
    ]));
    assert_eq!(
        sources.warnings(),
        [
            "environment MARTLET_SERVICE_HOST: unknown, ignored",
            "environment MARTLET_SHARD: unknown, ignored; did you mean MARTLET_SHARDS?",
        ]
    );
    assert!(sources.check().is_ok());
}

#[test]
fn an_open_listener_needs_an_explicit_word() {
    let refused =
        "0.0.0.0:1883 can be reached from other machines, and no authentication is configured; ";
    let file = "[[listeners]]\naddress = '0.0.0.0:1883'";
    assert_eq!(
        of_file(file).unwrap_err(),
        format!(
            "m.toml:2:11: listeners.address: {refused}to let everybody in, write 'allow_anonymous = true' \
             in this listener, or listen on 127.0.0.1:1883"
        )
    );
    let listen = vars(&[("MARTLET_LISTEN", "0.0.0.0:1883")]);
    assert_eq!(
        check(|sources| sources.environment(listen)).unwrap_err(),
        format!(
            "environment MARTLET_LISTEN: listeners.address: {refused}to let everybody in, set \
             MARTLET_ALLOW_ANONYMOUS=true, or listen on 127.0.0.1:1883"
        )
    );
    let flags = |allow_anonymous| Flags {
        listen: vec!["0.0.0.0:1883".into()],
        allow_anonymous,
        ..Flags::default()
    };
    assert_eq!(
        check(|sources| sources.flags(&flags(false))).unwrap_err(),
        format!(
            "flag --listen: listeners.address: {refused}to let everybody in, add --allow-anonymous, or \
             listen on 127.0.0.1:1883"
        )
    );
    let config = check(|sources| sources.flags(&flags(true))).unwrap();
    assert_eq!(config.listeners()[0].access(), Access::AllowedExplicitly);
}

#[test]
fn the_environment_can_take_back_what_the_file_allows() {
    let error = check(|sources| {
        let file = "[[listeners]]\naddress = '0.0.0.0:1883'\nallow_anonymous = true";
        sources.file("m.toml", file);
        sources.environment(vars(&[("MARTLET_ALLOW_ANONYMOUS", "false")]));
    });
    assert!(error.is_err());
}

#[test]
fn socket_addr_opens_the_listener_as_in_the_seed_broker() {
    let seed = vars(&[("SOCKET_ADDR", "0.0.0.0:1884")]);
    let config = check(|sources| sources.environment(seed)).unwrap();
    assert_eq!(addresses(&config), ["0.0.0.0:1884"]);
    assert_eq!(config.listeners()[0].access(), Access::AllowedBySocketAddr);

    let both = vars(&[
        ("SOCKET_ADDR", "0.0.0.0:1884"),
        ("MARTLET_LISTEN", "127.0.0.1:1"),
    ]);
    assert_eq!(
        check(|sources| sources.environment(both)).unwrap_err(),
        "environment SOCKET_ADDR: listeners.address: MARTLET_LISTEN is set, too; unset one of them"
    );
}

#[test]
fn ipv4_loopback_written_as_ipv6_is_loopback_and_a_port_is_taken_once() {
    let config = of_file("[[listeners]]\naddress = '[::ffff:127.0.0.1]:1883'").unwrap();
    assert_eq!(config.listeners()[0].access(), Access::LoopbackOnly);
    let twice = "[[listeners]]\naddress = '127.0.0.1:5'\n[[listeners]]\naddress = 'localhost:5'";
    assert_eq!(
        of_file(twice).unwrap_err(),
        "m.toml:4:11: listeners.address: 127.0.0.1:5 is listed twice"
    );
}

#[test]
fn storage_is_durable_with_a_directory_and_in_memory_without() {
    use std::path::Path;

    use crate::config::Durability;

    let config = check(|_| {}).unwrap();
    assert_eq!(config.storage().durability(), Durability::Memory);
    let config = config.or_directory(|| Some("/state".into()));
    assert_eq!(config.storage().durability(), Durability::Fsync);
    assert_eq!(config.storage().directory(), Some(Path::new("/state")));

    let config = of_file("[storage]\ndurability = 'memory'").unwrap();
    let config = config.or_directory(|| Some("/state".into()));
    assert_eq!(config.storage().durability(), Durability::Memory);
    assert_eq!(config.storage().directory(), None);

    let config = check(|sources| {
        sources.file(
            "m.toml",
            "storage.directory = '/file'\nstorage.durability = 'os'",
        );
        sources.environment(vars(&[("MARTLET_DATA_DIR", "/variable")]));
    });
    let config = config.unwrap().or_directory(|| Some("/state".into()));
    assert_eq!(config.storage().directory(), Some(Path::new("/variable")));
    assert_eq!(config.storage().durability(), Durability::Os);

    let config = check(|sources| {
        sources.environment(vars(&[("MARTLET_DATA_DIR", "/variable")]));
        sources.flags(&Flags {
            data_directory: Some("/flag".into()),
            durability: Some("fsync".into()),
            ..Flags::default()
        });
    });
    assert_eq!(
        config.unwrap().storage().directory(),
        Some(Path::new("/flag"))
    );
}

#[test]
fn contradictory_storage_is_refused() {
    let problems = check(|sources| {
        sources.environment(vars(&[
            ("MARTLET_DATA_DIR", "/a"),
            ("MARTLET_STORAGE_DIRECTORY", "/b"),
        ]));
        sources.flags(&Flags {
            durability: Some("raid".into()),
            ..Flags::default()
        });
    });
    assert_eq!(
        problems.unwrap_err(),
        "environment MARTLET_DATA_DIR: storage.directory: MARTLET_STORAGE_DIRECTORY is set, too; unset one of them\n\
         flag --durability: storage.durability: expected one of \"fsync\", \"os\", \"memory\"; found raid"
    );
}
