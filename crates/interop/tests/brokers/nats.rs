//! nats-server, which speaks MQTT 3.1.1 beside its own protocol.
//!
//! It sends one copy of a message for each filter that matches, as 3.1.1 lets it; so two streams with filters that overlap
//! may each see two. Retained messages and wills take their way through its streams on disk, and are seen a moment later.
//!
//! Of the messages that a session has waiting, the first few sometimes come last, with DUP set, thirty seconds after the rest (six of
//! 510 runs on a busy machine). They were not on the wire before: the client's counters showed one connection, and 50 PUBLISH
//! packets received for the 50 messages, 49 of them in the first millisecond and message 0 after 29.972 s. The server had handed
//! them to its own consumer before the connection had subscribed, and took 30 s, its wait for an acknowledgement, to hand
//! them out again.

use martlet_client::Version;
use martlet_interop::tools;

use crate::peer::Peer;
use crate::suite::Manners;

#[tokio::test]
async fn the_client_works_with_nats_server_in_3_1_1() {
    let Some(program) = tools::nats_server() else {
        return;
    };
    let nats = Peer::start(&program, |port, folder| {
        let store = folder.join("jetstream");
        format!(
            "server_name: martlet\nhost: 127.0.0.1\nport: -1\njetstream {{ store_dir: {store:?} }}\n\
             mqtt {{ host: 127.0.0.1, port: {port} }}\n"
        )
    });
    nats.suffer(Version::V311, MANNERS).await;
}

const MANNERS: Manners = Manners {
    copies_per_filter: true,
    settles_later: true,
};
