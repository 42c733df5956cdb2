//! paho-mqtt for Python, in 3.1.1 and 5. The scenarios are in `clients/paho_client.py`.

use std::process::Command;

use martlet_interop::{Program, tools};

use crate::broker;

fn run(version: &str, scenario: &str) {
    let Some(python) = tools::python_with_paho() else {
        return;
    };
    let (broker, prefix) = broker(&format!("paho{version}{scenario}"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/paho_client.py");
    let mut command = Command::new(python);
    command.args([
        "-u",
        script,
        broker.host(),
        broker.port(),
        version,
        scenario,
        &prefix,
    ]);
    let outcome = Program::start(&mut command).and_then(Program::succeed);
    assert!(
        outcome
            .as_ref()
            .is_ok_and(|lines| lines.iter().any(|line| line == "ok")),
        "{outcome:#?}"
    );
}

macro_rules! scenarios {
    ($version:literal: $($scenario:ident)*) => {
        $(
            #[test]
            fn $scenario() {
                super::run($version, stringify!($scenario));
            }
        )*
    };
}

mod v311 {
    scenarios!("4": qos0 qos1 qos2 lower_qos large wildcards retained will session takeover shared);
}

mod v5 {
    scenarios!("5": qos0 qos1 qos2 lower_qos large wildcards retained will session takeover shared);
    scenarios!("5": properties options versions_mixed);
}
