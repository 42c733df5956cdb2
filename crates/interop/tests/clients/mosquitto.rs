//! `mosquitto_pub` and `mosquitto_sub`, in 3.1, 3.1.1 and 5.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::process::Command;

use martlet_interop::{BrokerUnderTest, Program, tools};

use crate::{broker, large_payload};

/// The two programs, with one broker, one version and one name for topics and clients.
struct Mosquitto {
    broker: BrokerUnderTest,
    version: &'static str,
    prefix: String,
}

impl Mosquitto {
    /// None: the programs are not installed.
    fn find(version: &'static str, test: &str) -> Option<Self> {
        tools::mosquitto()?;
        let (broker, prefix) = broker(&format!("m{version}{test}"));
        Some(Self {
            broker,
            version,
            prefix,
        })
    }

    fn topic(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        // Line by line, although it writes to a pipe: the tests wait for its lines.
        let mut command = Command::new("stdbuf");
        command.args([
            "-oL",
            program,
            "-h",
            self.broker.host(),
            "-p",
            self.broker.port(),
            "-V",
            self.version,
        ]);
        command.args(arguments);
        command
    }

    /// A `mosquitto_sub` whose subscription stands; it writes `retain qos topic payload` per message.
    fn subscribe(&self, client: &str, topic: &str, arguments: &[&str]) -> io::Result<Program> {
        let id = format!("{}-{client}", self.prefix);
        let mut command = self.command(
            "mosquitto_sub",
            &["-d", "-F", "> %r %q %t %p", "-i", &id, "-t", topic],
        );
        let mut program = Program::start(command.args(arguments))?;
        program.wait_for("Subscribed (mid: ")?;
        Ok(program)
    }

    /// One client publishes each text in turn: what different clients publish has no order.
    fn publish_all(&self, topic: &str, qos: &str, texts: &[&str]) -> io::Result<()> {
        let mut command = self.command("mosquitto_pub", &["-t", topic, "-q", qos, "-l"]);
        let lines: String = texts.iter().flat_map(|text| [text, "\n"]).collect();
        Program::start_with_input(&mut command, &lines)?
            .succeed()
            .map(|_| ())
    }

    fn publish(&self, topic: &str, arguments: &[&str]) -> io::Result<()> {
        let mut command = self.command("mosquitto_pub", &["-t", topic]);
        Program::start(command.args(arguments))?
            .succeed()
            .map(|_| ())
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('?');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// The messages among the lines of [`Mosquitto::subscribe`].
fn messages(lines: &[String]) -> Vec<&str> {
    lines
        .iter()
        .filter_map(|line| line.strip_prefix("> "))
        .collect()
}

fn each_message_arrives_at_each_qos(version: &'static str) -> io::Result<()> {
    let Some(mosquitto) = Mosquitto::find(version, "qos") else {
        return Ok(());
    };
    for qos in ["0", "1", "2"] {
        let topic = mosquitto.topic(qos);
        let subscriber = mosquitto.subscribe("sub", &topic, &["-q", qos, "-C", "3"])?;
        mosquitto.publish_all(&topic, qos, &["one", "two", "three"])?;
        let lines = subscriber.succeed()?;
        let wanted = ["one", "two", "three"].map(|text| format!("0 {qos} {topic} {text}"));
        assert_eq!(messages(&lines), wanted);
    }
    Ok(())
}

fn a_large_payload_arrives_unchanged(version: &'static str) -> io::Result<()> {
    let Some(mosquitto) = Mosquitto::find(version, "large") else {
        return Ok(());
    };
    let folder = std::env::temp_dir().join(&mosquitto.prefix);
    fs::create_dir_all(&folder)?;
    let sent = folder.join("payload");
    fs::write(&sent, large_payload())?;
    for qos in ["0", "1", "2"] {
        let topic = mosquitto.topic(qos);
        // In hexadecimal digits: lines are text.
        let mut command = mosquitto.command(
            "mosquitto_sub",
            &["-d", "-F", "> %x", "-t", &topic, "-q", qos, "-C", "1"],
        );
        let mut subscriber = Program::start(&mut command)?;
        subscriber.wait_for("Subscribed (mid: ")?;
        mosquitto.publish(&topic, &["-q", qos, "-f", &sent.to_string_lossy()])?;
        let lines = subscriber.succeed()?;
        let wanted = hexadecimal(&large_payload());
        assert!(
            messages(&lines) == [wanted],
            "256 KiB at QoS {qos} arrived changed"
        );
    }
    fs::remove_dir_all(folder)
}

fn a_retained_message_is_kept_replaced_and_cleared(version: &'static str) -> io::Result<()> {
    let Some(mosquitto) = Mosquitto::find(version, "retained") else {
        return Ok(());
    };
    let topic = mosquitto.topic("status");
    mosquitto.publish(&topic, &["-r", "-q", "1", "-m", "old"])?;
    mosquitto.publish(&topic, &["-r", "-q", "1", "-m", "new"])?;
    let lines = mosquitto
        .subscribe("late", &topic, &["-q", "1", "-C", "1"])?
        .succeed()?;
    assert_eq!(messages(&lines), [format!("1 1 {topic} new")]);
    mosquitto.publish(&topic, &["-r", "-q", "1", "-n"])?;
    let subscriber = mosquitto.subscribe("later", &topic, &["-q", "1", "-C", "1"])?;
    mosquitto.publish(&topic, &["-q", "1", "-m", "live"])?;
    assert_eq!(
        messages(&subscriber.succeed()?),
        [format!("0 1 {topic} live")]
    );
    Ok(())
}

fn a_killed_client_leaves_its_will(version: &'static str) -> io::Result<()> {
    let Some(mosquitto) = Mosquitto::find(version, "will") else {
        return Ok(());
    };
    let topic = mosquitto.topic("will");
    let mut watcher = mosquitto.subscribe("watcher", &topic, &["-q", "1", "-C", "2"])?;
    let will = [
        "--will-topic",
        &topic,
        "--will-payload",
        "gone",
        "--will-qos",
        "1",
    ];
    let unrelated = mosquitto.topic("unrelated");
    mosquitto.subscribe("dying", &unrelated, &will)?.kill()?;
    watcher.wait_for("gone")?;
    // With -C it says goodbye: no will.
    let leaving =
        mosquitto.subscribe("leaving", &unrelated, &[&will[..], &["-C", "1"]].concat())?;
    mosquitto.publish(&unrelated, &["-q", "1", "-m", "leave"])?;
    leaving.succeed()?;
    mosquitto.publish(&topic, &["-q", "1", "-m", "last"])?;
    assert_eq!(
        messages(&watcher.succeed()?),
        [format!("0 1 {topic} gone"), format!("0 1 {topic} last")]
    );
    Ok(())
}

fn a_session_keeps_messages_for_its_client(version: &'static str) -> io::Result<()> {
    let Some(mosquitto) = Mosquitto::find(version, "session") else {
        return Ok(());
    };
    let topic = mosquitto.topic("session");
    let mut lasting = vec!["-c", "-q", "2"];
    if version == "mqttv5" {
        lasting.extend(["-x", "300"]);
    }
    let sleeper = mosquitto.subscribe("sleeper", &topic, &[&lasting[..], &["-C", "1"]].concat())?;
    mosquitto.publish(&topic, &["-q", "1", "-m", "first"])?;
    sleeper.succeed()?;
    mosquitto.publish_all(&topic, "1", &["one", "two"])?;
    mosquitto.publish_all(&topic, "2", &["three", "four"])?;
    let sleeper = mosquitto.subscribe("sleeper", &topic, &[&lasting[..], &["-C", "4"]].concat())?;
    let wanted = [("1", "one"), ("1", "two"), ("2", "three"), ("2", "four")];
    let wanted = wanted.map(|(qos, text)| format!("0 {qos} {topic} {text}"));
    let lines = sleeper.succeed()?;
    // The publishers were two: the order holds within what each sent. A stable sort keeps it.
    let mut arrived = messages(&lines);
    arrived.sort_by_key(|message| message.split(' ').nth(1));
    assert_eq!(arrived, wanted);
    Ok(())
}

fn a_group_shares_the_messages(version: &'static str) -> io::Result<()> {
    let Some(mosquitto) = Mosquitto::find(version, "shared") else {
        return Ok(());
    };
    let topic = mosquitto.topic("shared");
    let group = format!("$share/group/{topic}");
    let member = |name: &str| mosquitto.subscribe(name, &group, &["-q", "1"]);
    let (mut a, mut b) = (member("a")?, member("b")?);
    let texts: Vec<String> = (0..20)
        .map(|number| format!("message-{number:02}"))
        .collect();
    // What one publisher sent arrives in order at each member: behind one of these, nothing is
    // missing. Two for each.
    let sent: Vec<&str> = texts
        .iter()
        .map(String::as_str)
        .chain(["last"; 4])
        .collect();
    mosquitto.publish_all(&topic, "1", &sent)?;
    let mut received = Vec::new();
    for member in [&mut a, &mut b] {
        let before = received.len();
        loop {
            let line = member.wait_for("> ")?;
            match line.rsplit_once(' ') {
                Some((_, "last")) => break,
                Some((_, text)) => received.push(text.to_owned()),
                None => {}
            }
        }
        assert!(received.len() > before, "a member got nothing");
    }
    received.sort_unstable();
    assert_eq!(received, texts, "each message goes to exactly one member");
    Ok(())
}

macro_rules! versions {
    ($($module:ident $version:literal: $($test:ident)*;)*) => {
        $(
            mod $module {
                $(
                    #[test]
                    fn $test() -> std::io::Result<()> {
                        super::$test($version)
                    }
                )*
            }
        )*
    };
}

versions! {
    v31 "mqttv31": each_message_arrives_at_each_qos a_large_payload_arrives_unchanged
        a_retained_message_is_kept_replaced_and_cleared a_session_keeps_messages_for_its_client;
    v311 "mqttv311": each_message_arrives_at_each_qos a_large_payload_arrives_unchanged
        a_retained_message_is_kept_replaced_and_cleared a_killed_client_leaves_its_will
        a_session_keeps_messages_for_its_client a_group_shares_the_messages;
    v5 "mqttv5": each_message_arrives_at_each_qos a_large_payload_arrives_unchanged
        a_retained_message_is_kept_replaced_and_cleared a_killed_client_leaves_its_will
        a_session_keeps_messages_for_its_client a_group_shares_the_messages;
}

/// One publishes in each version; subscribers of all versions read each.
#[test]
fn versions_understand_each_other() -> io::Result<()> {
    let Some(mut mosquitto) = Mosquitto::find("mqttv311", "mixed") else {
        return Ok(());
    };
    let topic = mosquitto.topic("mixed");
    let mut subscribers = Vec::new();
    for version in VERSIONS {
        mosquitto.version = version;
        subscribers.push(mosquitto.subscribe(version, &topic, &["-q", "2", "-C", "3"])?);
    }
    for version in VERSIONS {
        mosquitto.version = version;
        mosquitto.publish(&topic, &["-q", "2", "-m", version])?;
    }
    for subscriber in subscribers {
        let lines = subscriber.succeed()?;
        // The publishers were three: their messages have no order.
        let mut arrived = messages(&lines);
        arrived.sort_unstable();
        let mut wanted = VERSIONS.map(|version| format!("0 2 {topic} {version}"));
        wanted.sort_unstable();
        assert_eq!(arrived, wanted);
    }
    Ok(())
}

const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv5"];

/// With the settings that a bridge has unless told otherwise: it asks for a protocol level of its own first.
#[test]
fn a_bridge_of_mosquitto_carries_messages_both_ways() -> io::Result<()> {
    let (Some(()), Some(program)) = (tools::mosquitto(), tools::mosquitto_broker()) else {
        return Ok(());
    };
    let (broker, prefix) = broker("bridge");
    let folder = tempfile::tempdir()?;
    // Free a moment ago; nobody else asks for a port like that here.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let port = port.to_string();
    let configuration = folder.path().join("bridge.conf");
    let address = format!("{}:{}", broker.host(), broker.port());
    fs::write(
        &configuration,
        format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nlog_dest stderr\nlog_type all\n\
             connection {prefix}\naddress {address}\nrestart_timeout 1\n\
             topic {prefix}/up out 1\ntopic {prefix}/down in 1\n"
        ),
    )?;
    let mut bridge = Program::start(Command::new(program).arg("-c").arg(&configuration))?;
    bridge.wait_for("Received SUBACK")?;
    for (topic, from, to) in [
        ("up", port.as_str(), broker.port()),
        ("down", broker.port(), &port),
    ] {
        let topic = format!("{prefix}/{topic}");
        let subscribe = ["-d", "-h", "127.0.0.1", "-p", to, "-q", "1", "-C", "1"];
        let mut subscriber = Program::start(
            Command::new("stdbuf")
                .args(["-oL", "mosquitto_sub", "-F", "> %q %p", "-t", &topic])
                .args(subscribe),
        )?;
        subscriber.wait_for("Subscribed (mid: ")?;
        let publish = ["-h", "127.0.0.1", "-p", from, "-q", "1", "-m", "over"];
        Program::start(
            Command::new("mosquitto_pub")
                .args(["-t", &topic])
                .args(publish),
        )?
        .succeed()?;
        assert_eq!(messages(&subscriber.succeed()?), ["1 over"]);
    }
    bridge.kill()
}
