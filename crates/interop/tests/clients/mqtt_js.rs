//! MQTT.js, in 3.1.1 and 5. The scenarios are in `clients/mqtt_js_client.js`.

use martlet_interop::{Program, tools};

use crate::broker;

fn run(version: &str, scenario: &str) {
    let Some(mut node) = tools::node_with_mqtt() else {
        return;
    };
    let (broker, prefix) = broker(&format!("js{version}{scenario}"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/mqtt_js_client.js");
    node.args([
        script,
        broker.host(),
        broker.port(),
        version,
        scenario,
        &prefix,
    ]);
    let outcome = Program::start(&mut node).and_then(Program::succeed);
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
    scenarios!("4": qos0 qos1 qos2 large wildcards retained will session shared);
}

mod v5 {
    scenarios!("5": qos0 qos1 qos2 large wildcards retained will session shared);
    scenarios!("5": properties topic_alias);
}
