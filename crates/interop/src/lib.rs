//! Tests of the broker with clients that nobody here wrote.
//!
//! [`BrokerUnderTest`] is a broker of our own in a process of its own, on a free port; [`Program`] is a client program whose
//! lines a test waits for; [`tools`] finds the clients. The tests are in `tests/clients` (`mosquitto_pub` and
//! `mosquitto_sub`, paho-mqtt, MQTT.js, rumqttc), `tests/conformance.rs` and `tests/scripts` (our programs under
//! mosquitto's names beside mosquitto's own); the scripts that drive the Python and the
//! JavaScript client are in `clients`.
//!
//! `cargo xtask test` installs the clients and insists on them. Plain `cargo test` runs what it finds and names what it
//! did not run. With `MARTLET_INTEROP_TARGET=host:port` the same tests run against any other broker.

mod broker;
mod program;
pub mod tools;

pub use broker::{BrokerUnderTest, program_binary};
pub use program::Program;
