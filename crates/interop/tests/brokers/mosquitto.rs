//! Debian's mosquitto, in 3.1.1 and 5.0, or the broker that the environment names.

use martlet_client::Version;
use martlet_interop::tools;

use crate::peer::{Peer, suffer};
use crate::suite::Manners;

async fn against_mosquitto(version: Version) {
    if let Ok(target) = std::env::var("MARTLET_CLIENT_TARGET") {
        suffer(&format!("mqtt://{target}"), version, MANNERS).await;
        return;
    }
    let Some(program) = tools::mosquitto_broker() else {
        return;
    };
    let mosquitto = Peer::start(&program, |port, _| {
        format!("listener {port} 127.0.0.1\nallow_anonymous true\n")
    });
    mosquitto.suffer(version, MANNERS).await;
}

//= mqtt311 7.0.0-2 test
#[tokio::test]
async fn the_client_works_with_mosquitto_in_3_1_1() {
    against_mosquitto(Version::V311).await;
}

#[tokio::test]
async fn the_client_works_with_mosquitto_in_5_0() {
    // A target may not speak it: say so by MARTLET_CLIENT_VERSION=3.1.1.
    if std::env::var("MARTLET_CLIENT_VERSION").as_deref() != Ok("3.1.1") {
        against_mosquitto(Version::V5).await;
    }
}

const MANNERS: Manners = Manners {
    copies_per_filter: false,
    settles_later: false,
};
