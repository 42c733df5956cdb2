//! rumqttc, in 3.1.1 and 5: the same scenarios over the two halves of that crate.

mod v4;
mod v5;

use std::collections::VecDeque;
use std::time::Duration;

use crate::{broker, large_payload};

/// What a client of either version does and sees, in words of its own.
trait Client: Sized {
    /// Sends nothing yet: the connection is made by the first [`next`](Self::next).
    fn new(setup: &Setup) -> Self;

    /// The next thing that happens; None for what no test waits for.
    async fn next(&mut self) -> Result<Option<Seen>, String>;

    async fn subscribe(&self, filter: &str, qos: u8) -> Result<(), String>;

    async fn publish(
        &self,
        topic: &str,
        qos: u8,
        retain: bool,
        payload: &[u8],
    ) -> Result<(), String>;

    async fn disconnect(&self) -> Result<(), String>;
}

#[derive(Clone, Debug)]
struct Setup {
    id: String,
    host: String,
    port: u16,
    clean: bool,
    /// topic, payload, QoS
    will: Option<(String, &'static str, u8)>,
}

#[derive(Debug)]
enum Seen {
    Connected {
        session_present: bool,
    },
    Subscribed {
        granted: Vec<u8>,
    },
    /// A QoS 0 message has been written, or one of QoS 1 or 2 has been acknowledged to the end.
    Published,
    Disconnecting,
    Message(Message),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
}

/// A connected client, with the messages that came while it waited for something else.
struct Peer<C> {
    client: C,
    session_present: bool,
    messages: VecDeque<Message>,
}

impl<C: Client> Peer<C> {
    async fn connect(setup: &Setup) -> Self {
        let mut peer = Self {
            client: C::new(setup),
            session_present: false,
            messages: VecDeque::new(),
        };
        peer.session_present = peer
            .wait(|seen| match seen {
                Seen::Connected { session_present } => Some(*session_present),
                _ => None,
            })
            .await;
        peer
    }

    async fn subscribe(mut self, filter: &str, qos: u8) -> Self {
        self.client.subscribe(filter, qos).await.unwrap();
        let granted = self
            .wait(|seen| match seen {
                Seen::Subscribed { granted } => Some(granted.clone()),
                _ => None,
            })
            .await;
        assert_eq!(granted, [qos], "SUBACK for {filter}");
        self
    }

    /// Publishes all and waits for the end of each: many are in flight together.
    async fn publish(&mut self, topic: &str, qos: u8, payloads: &[Vec<u8>]) {
        for payload in payloads {
            self.client
                .publish(topic, qos, false, payload)
                .await
                .unwrap();
        }
        for _ in payloads {
            self.wait(|seen| matches!(seen, Seen::Published).then_some(()))
                .await;
        }
    }

    async fn retain(&mut self, topic: &str, payload: &[u8]) {
        self.client.publish(topic, 1, true, payload).await.unwrap();
        self.wait(|seen| matches!(seen, Seen::Published).then_some(()))
            .await;
    }

    async fn receive(&mut self) -> Message {
        while self.messages.is_empty() {
            self.step().await;
        }
        self.messages.pop_front().unwrap()
    }

    async fn expect(&mut self, topic: &str, qos: u8, retain: bool, payload: &[u8]) {
        let message = self.receive().await;
        let start = String::from_utf8_lossy(message.payload.get(..40).unwrap_or(&message.payload))
            .into_owned();
        assert_eq!(
            (message.topic.as_str(), message.qos, message.retain),
            (topic, qos, retain),
            "{start}"
        );
        assert!(
            message.payload == payload,
            "another payload: {start} ({} bytes)",
            message.payload.len()
        );
    }

    async fn disconnect(mut self) {
        self.client.disconnect().await.unwrap();
        self.wait(|seen| matches!(seen, Seen::Disconnecting).then_some(()))
            .await;
    }

    async fn wait<T>(&mut self, wanted: impl Fn(&Seen) -> Option<T>) -> T {
        loop {
            if let Some(value) = self.step().await.as_ref().and_then(&wanted) {
                return value;
            }
        }
    }

    async fn step(&mut self) -> Option<Seen> {
        let seen = tokio::time::timeout(PATIENCE, self.client.next())
            .await
            .expect("an event")
            .expect("a connection");
        match seen {
            Some(Seen::Message(message)) => {
                self.messages.push_back(message);
                None
            }
            other => other,
        }
    }
}

/// A broker and the names of one test.
struct Stage {
    broker: martlet_interop::BrokerUnderTest,
    prefix: String,
}

impl Stage {
    fn setup(&self, client: &str) -> Setup {
        Setup {
            id: format!("{}-{client}", self.prefix),
            host: self.broker.host().to_owned(),
            port: self.broker.port().parse().unwrap(),
            clean: true,
            will: None,
        }
    }

    async fn connect<C: Client>(&self, client: &str) -> Peer<C> {
        Peer::connect(&self.setup(client)).await
    }

    fn topic(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }
}

async fn messages_arrive_once_and_in_order_at_each_qos<C: Client>(stage: Stage) {
    let mut publisher: Peer<C> = stage.connect("pub").await;
    for qos in 0..3 {
        let topic = stage.topic(&qos.to_string());
        let mut subscriber = stage
            .connect::<C>(&format!("sub{qos}"))
            .await
            .subscribe(&topic, qos)
            .await;
        // rumqttc 0.25 counts its QoS 0 messages into its outgoing channel: 50 fit.
        let payloads: Vec<Vec<u8>> = (0..50)
            .map(|number| format!("message {number}").into_bytes())
            .collect();
        publisher.publish(&topic, qos, &payloads).await;
        for payload in &payloads {
            subscriber.expect(&topic, qos, false, payload).await;
        }
        publisher.publish(&topic, qos, &[b"last".to_vec()]).await;
        subscriber.expect(&topic, qos, false, b"last").await;
    }
}

async fn a_large_payload_arrives_unchanged<C: Client>(stage: Stage) {
    let topic = stage.topic("large");
    let mut subscriber = stage.connect::<C>("sub").await.subscribe(&topic, 2).await;
    let mut publisher: Peer<C> = stage.connect("pub").await;
    for qos in 0..3 {
        publisher.publish(&topic, qos, &[large_payload()]).await;
        subscriber
            .expect(&topic, qos, false, &large_payload())
            .await;
    }
}

async fn a_retained_message_is_kept_replaced_and_cleared<C: Client>(stage: Stage) {
    let topic = stage.topic("retained");
    let mut publisher: Peer<C> = stage.connect("pub").await;
    publisher.retain(&topic, b"old").await;
    publisher.retain(&topic, b"new").await;
    let mut late = stage.connect::<C>("late").await.subscribe(&topic, 1).await;
    late.expect(&topic, 1, true, b"new").await;
    publisher.retain(&topic, b"").await;
    late.expect(&topic, 1, false, b"").await;
    let mut later = stage.connect::<C>("later").await.subscribe(&topic, 1).await;
    publisher.publish(&topic, 1, &[b"live".to_vec()]).await;
    later.expect(&topic, 1, false, b"live").await;
}

async fn a_lost_client_leaves_its_will<C: Client>(stage: Stage) {
    let topic = stage.topic("will");
    let mut watcher = stage
        .connect::<C>("watcher")
        .await
        .subscribe(&topic, 2)
        .await;
    for qos in 0..3 {
        let will = Some((topic.clone(), "gone", qos));
        // Dropped: the connection ends without DISCONNECT.
        drop(
            Peer::<C>::connect(&Setup {
                will,
                ..stage.setup("dying")
            })
            .await,
        );
        watcher.expect(&topic, qos, false, b"gone").await;
    }
    let will = Some((topic.clone(), "not wanted", 1));
    Peer::<C>::connect(&Setup {
        will,
        ..stage.setup("leaving")
    })
    .await
    .disconnect()
    .await;
    watcher.publish(&topic, 1, &[b"last".to_vec()]).await;
    watcher.expect(&topic, 1, false, b"last").await;
}

async fn a_session_keeps_messages_for_its_client<C: Client>(stage: Stage) {
    let topic = stage.topic("session");
    let lasting = Setup {
        clean: false,
        ..stage.setup("sleeper")
    };
    let sleeper = Peer::<C>::connect(&lasting).await;
    assert!(!sleeper.session_present);
    sleeper.subscribe(&topic, 2).await.disconnect().await;
    let mut publisher: Peer<C> = stage.connect("pub").await;
    for qos in [1, 2] {
        let payloads: Vec<Vec<u8>> = (0..30)
            .map(|number| format!("{qos} {number}").into_bytes())
            .collect();
        publisher.publish(&topic, qos, &payloads).await;
    }
    let mut sleeper = Peer::<C>::connect(&lasting).await;
    assert!(sleeper.session_present, "the session was lost");
    for qos in [1, 2] {
        for number in 0..30 {
            sleeper
                .expect(&topic, qos, false, format!("{qos} {number}").as_bytes())
                .await;
        }
    }
    sleeper.disconnect().await;
    assert!(
        !stage.connect::<C>("sleeper").await.session_present,
        "a clean start finds no session"
    );
}

async fn a_group_shares_the_messages<C: Client>(stage: Stage) {
    let topic = stage.topic("shared");
    let group = format!("$share/group/{topic}");
    let mut members = Vec::new();
    for number in 0..3 {
        members.push(
            stage
                .connect::<C>(&format!("member{number}"))
                .await
                .subscribe(&group, 1)
                .await,
        );
    }
    let mut publisher: Peer<C> = stage.connect("pub").await;
    let payloads: Vec<Vec<u8>> = (0..60)
        .map(|number| format!("message {number:02}").into_bytes())
        .collect();
    publisher.publish(&topic, 1, &payloads).await;
    // What one publisher sent arrives in order at each member: behind one of these, nothing is
    // missing. Two for each.
    publisher
        .publish(&topic, 1, &vec![b"last".to_vec(); 6])
        .await;
    let mut received = Vec::new();
    for (number, mut member) in members.into_iter().enumerate() {
        let before = received.len();
        loop {
            let message = member.receive().await;
            if message.payload == b"last" {
                break;
            }
            received.push(message.payload);
        }
        assert!(received.len() > before, "member {number} got nothing");
    }
    received.sort_unstable();
    assert_eq!(
        received, payloads,
        "each message goes to exactly one member"
    );
}

macro_rules! tests {
    ($($test:ident)*) => {
        mod in_v311 {
            $(
                #[test]
                fn $test() {
                    super::run(stringify!($test), "4", super::$test::<super::v4::V4>);
                }
            )*
        }
        mod in_v5 {
            $(
                #[test]
                fn $test() {
                    super::run(stringify!($test), "5", super::$test::<super::v5::V5>);
                }
            )*
        }
    };
}

tests! {
    messages_arrive_once_and_in_order_at_each_qos
    a_large_payload_arrives_unchanged
    a_retained_message_is_kept_replaced_and_cleared
    a_lost_client_leaves_its_will
    a_session_keeps_messages_for_its_client
    a_group_shares_the_messages
}

fn run<F: Future<Output = ()>>(test: &str, version: &str, body: impl FnOnce(Stage) -> F) {
    let (broker, prefix) = broker(&format!("rumqttc{version}{test}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .expect("a runtime")
        .block_on(body(Stage { broker, prefix }));
}

/// How long a client waits for any one event.
const PATIENCE: Duration = Duration::from_secs(20);
