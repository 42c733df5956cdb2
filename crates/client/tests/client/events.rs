//! What the library writes into a log: little, and nothing that is anybody's business.

use std::cell::RefCell;
use std::fmt::{Debug, Write as _};
use std::future::Future;
use std::time::Duration;

use martlet_client::test::Broker;
use martlet_client::{Client, ReasonCode, Session, State, Version};
use martlet_codec::{ConnAck, Disconnect, Packet, PropertiesBuf, Property};
use tokio::runtime::Runtime;
use tracing::field::{Field, Visit};
use tracing::span;

use crate::server::{Sent, pipe};

/// Takes all events of this library, at every level, as one line each, by the thread that they happen on: each test has its
/// own. It is there for the whole process, because what one thread alone listens to, others can switch off.
struct Lines;

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("martlet_client")
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut line = attributes.metadata().name().to_owned();
        attributes.record(&mut Line(&mut line));
        Self::push(line);
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        let mut line = String::new();
        values.record(&mut Line(&mut line));
        Self::push(line);
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = event.metadata().level().to_string();
        event.record(&mut Line(&mut line));
        Self::push(line);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl Lines {
    /// Runs something on a runtime of one thread and comes back with what was said.
    fn of<R>(runtime: &Runtime, life: impl Future<Output = R>) -> (R, Vec<String>) {
        // One of the tests is the first.
        let _ = tracing::subscriber::set_global_default(Self);
        let result = runtime.block_on(life);
        (result, LINES.take())
    }

    fn push(line: String) {
        LINES.with_borrow_mut(|lines| lines.push(line));
    }
}

/// None of these may be seen: each is part of a topic, a payload, an identifier or a login, and servers repeat them.
const SECRETS: [&str; 5] = ["t0pic", "payl0ad", "cl1ent", "us3r", "passw0rd"];

async fn live(version: Version) {
    let broker = Broker::start().await.unwrap();
    let login = broker.url().replace("mqtt://", "mqtt://us3r:passw0rd@");
    let client = Client::builder(login)
        .version(version)
        .client_id("cl1ent")
        .session(Session::persistent(Duration::from_secs(60)))
        .status("t0pic/status", "payl0ad", "payl0ad")
        .connect()
        .await
        .unwrap();
    let mut sub = client.subscribe("t0pic/#").qos(1).await.unwrap();
    for qos in 0..3 {
        client.publish("t0pic/a", "payl0ad").qos(qos).await.unwrap();
    }
    assert!(sub.recv().await.is_some());
    client.publish("t0pic/+", "payl0ad").await.unwrap_err();
    client.subscribe("t0pic/#/a").await.unwrap_err();
    drop(broker);
    let mut state = client.state();
    state.wait_for(|state| !state.is_connected()).await.unwrap();
    drop((client, sub));
    refused(version).await;
}

/// Servers that explain themselves at length.
async fn refused(version: Version) {
    let explanation = "us3r with passw0rd as cl1ent may not say payl0ad on t0pic";
    let mut said = PropertiesBuf::new();
    if version.is_v5() {
        said.push(Property::ReasonString(explanation));
        said.push(Property::ServerReference("us3r:passw0rd@b.example"));
    }
    let (transport, mut servers) = pipe(version);
    let builder = Client::builder("mqtt://us3r:passw0rd@x").version(version);
    let client = builder.transport(transport).start().unwrap();
    let mut server = servers.recv().await.unwrap();
    assert!(matches!(server.next().await, Some(Sent::Connect { .. })));
    server
        .send(&Packet::ConnAck(ConnAck {
            session_present: false,
            reason: ReasonCode::ServerUnavailable,
            properties: said.as_properties(),
        }))
        .await;
    let mut state = client.state();
    let refused = |state: &State| matches!(state, State::Connecting { last_error: Some(error), .. } if error.reason().is_some());
    state.wait_for(refused).await.unwrap();
    if version.is_v5() {
        // The program itself is told everything.
        let State::Connecting { last_error, .. } = state.borrow().clone() else {
            panic!("it tries again");
        };
        assert_eq!(last_error.unwrap().detail(), Some(explanation));
        let mut server = servers.recv().await.unwrap();
        server.accept(false).await;
        state.wait_for(State::is_connected).await.unwrap();
        server
            .send(&Packet::Disconnect(Disconnect {
                reason: ReasonCode::ServerMoved,
                properties: said.as_properties(),
            }))
            .await;
        state.wait_for(refused).await.unwrap();
    }
}

#[test]
fn p1_events_name_no_topic_no_payload_no_client_and_no_login() {
    let mut all = Vec::new();
    for version in [Version::V311, Version::V5] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (done, lines) = Lines::of(&runtime, async {
            tokio::time::timeout(Duration::from_secs(120), live(version)).await
        });
        done.unwrap();
        all.extend(lines);
    }
    for wanted in ["connected", "not connected", "server unavailable", "closed"] {
        assert!(all.iter().any(|line| line.contains(wanted)), "{all:#?}");
    }
    for line in &all {
        for secret in SECRETS {
            assert!(!line.contains(secret), "{line}");
        }
    }
}

/// An hour without a server.
#[test]
fn must_have_4_a_server_that_is_down_is_one_line_per_attempt() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let (attempts, all) = Lines::of(&runtime, async {
        let nobody = martlet_client::transport_fn(|| async {
            Err::<tokio::io::DuplexStream, _>(std::io::ErrorKind::ConnectionRefused.into())
        });
        let builder = Client::builder("mqtt://x").transport(nobody);
        let client = builder.start().unwrap();
        let nothing = std::future::pending::<()>();
        let hour = Duration::from_secs(3_600);
        tokio::time::timeout(hour, nothing).await.unwrap_err();
        client.stats().attempts
    });
    let shown = |line: &&String| !line.starts_with("DEBUG") && !line.starts_with("TRACE");
    let shown: Vec<&String> = all.iter().filter(shown).collect();
    let failures = shown.iter().filter(|line| line.contains("trying again"));
    let failures = failures.count();
    assert!(shown.len() <= failures + 1, "nothing else but the end");
    assert!(attempts > 60, "{attempts}");
    assert_eq!(failures as u64, attempts);
}
