//! Real clients against the broker: one module per client, one test per thing that people do with it.
//!
//! Every test starts a broker of its own with two shards, so that clients of one test live on different shards, too.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this is test code: what goes wrong fails the test that asked for it"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one event among the many of somebody else's enum"
)]

mod mosquitto;
mod mqtt_js;
mod paho;
mod rumqttc;

use martlet_interop::BrokerUnderTest;

/// A broker, and a name that no other test uses for its topics and client identifiers: the broker may be a lasting one.
fn broker(test: &str) -> (BrokerUnderTest, String) {
    let broker = BrokerUnderTest::start(SHARDS).unwrap_or_else(|error| panic!("{error}"));
    (broker, format!("{test}-{}", std::process::id()))
}

/// 256 KiB in which every part looks different.
fn large_payload() -> Vec<u8> {
    (0..256 * 1024_u32)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0])
        .collect()
}

const SHARDS: usize = 2;
