//! The part about client libraries: what `martlet-client` and rumqttc cost the program that uses them.

use std::process::{Command, Stdio};

use crate::files::Project;
use crate::steps::{Failure, output};

use super::peers::{Peer, Running};
use super::{LOAD_CORE, Outcome, scratch};

/// What `--only` calls this part.
pub(crate) const NAME: &str = "client libraries";

/// What is run at each QoS: the rows of our library and of the other.
pub(crate) const QOS: [(&str, Pair); 2] = [
    (
        "0",
        Pair {
            ours: "client libraries, martlet, QoS 0",
            theirs: "client libraries, rumqttc, QoS 0",
        },
    ),
    (
        "1",
        Pair {
            ours: "client libraries, martlet, QoS 1",
            theirs: "client libraries, rumqttc, QoS 1",
        },
    ),
];

/// Names of rows.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) ours: &'static str,
    pub(crate) theirs: &'static str,
}

/// Both libraries on our broker, once.
pub(crate) fn run(
    project: &Project,
    peers: &[Peer],
    results: &mut Vec<Outcome>,
) -> Result<(), Failure> {
    let Some(peer) = peers.first() else {
        return Ok(());
    };
    let folder = project.target().join("release").join("examples");
    for (qos, rows) in &QOS {
        for (library, row) in [("martlet", rows.ours), ("rumqttc", rows.theirs)] {
            let broker = Running::start(peer, &scratch(project)?)?;
            let mut command = Command::new("taskset");
            command
                .args(["-c", LOAD_CORE])
                .arg(folder.join("client_load"));
            command.args([library, &broker.port().to_string()]);
            command.args([qos, MESSAGES]);
            let json = output(command.stdin(Stdio::null()));
            match &json {
                Ok(json) => println!("{row}: {}", json.trim()),
                Err(failure) => println!("{row}: {failure}"),
            }
            results.push(Outcome::new(peer, row, json));
        }
    }
    Ok(())
}

const MESSAGES: &str = "500000";
