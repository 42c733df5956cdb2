//! What a recorder of the `metrics` facade is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use martlet_client::test::Broker;
use martlet_client::{Client, Outbox, State, Stats, Version};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use parking_lot::Mutex;

/// The value of each figure, and what it was said to be.
#[derive(Default)]
struct Board {
    values: Mutex<BTreeMap<String, Arc<Value>>>,
    described: Mutex<BTreeMap<String, String>>,
}

#[derive(Default)]
struct Value(Mutex<f64>);

impl CounterFn for Value {
    fn increment(&self, more: u64) {
        *self.0.lock() += f64::from(u32::try_from(more).unwrap());
    }

    fn absolute(&self, _: u64) {
        panic!("several clients would not add up");
    }
}

impl GaugeFn for Value {
    fn increment(&self, more: f64) {
        *self.0.lock() += more;
    }

    fn decrement(&self, less: f64) {
        *self.0.lock() -= less;
    }

    fn set(&self, _: f64) {
        panic!("several clients would not add up");
    }
}

/// Counts.
impl HistogramFn for Value {
    fn record(&self, value: f64) {
        assert!((0.0..60.0).contains(&value), "{value}");
        *self.0.lock() += 1.0;
    }
}

impl Board {
    fn value(&self, key: &Key) -> Arc<Value> {
        assert_eq!(key.labels().count(), 0, "nothing says whose it is: {key}");
        let mut values = self.values.lock();
        Arc::clone(values.entry(key.name().to_owned()).or_default())
    }

    fn describe(&self, name: &KeyName, what: &SharedString) {
        let (name, what) = (name.as_str().to_owned(), what.to_string());
        self.described.lock().insert(name, what);
    }

    fn get(&self, name: &str) -> f64 {
        let values = self.values.lock();
        let value = values.get(&format!("martlet_client_{name}"));
        *value.unwrap_or_else(|| panic!("{name}")).0.lock()
    }
}

impl Recorder for Board {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, what: SharedString) {
        self.describe(&name, &what);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, what: SharedString) {
        self.describe(&name, &what);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, what: SharedString) {
        self.describe(&name, &what);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.value(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.value(key))
    }
}

/// Each figure that a recorder has, as the client's own statistics have it.
fn figures(stats: &Stats) -> [(&'static str, u64); 22] {
    let size = |size: usize| size as u64;
    [
        ("published_total", stats.published),
        ("failed_total", stats.failed),
        ("expired_total", stats.expired),
        ("dropped_total", stats.dropped),
        ("superseded_total", stats.superseded),
        ("resent_total", stats.resent),
        ("received_total", stats.received),
        ("lagged_total", stats.lagged),
        ("unrouted_total", stats.unrouted),
        ("unacked_dropped_total", stats.unacked_dropped),
        ("late_replies_total", stats.late_replies),
        ("connections_total", stats.connections),
        ("attempts_total", stats.attempts),
        ("sessions_lost_total", stats.sessions_lost),
        ("pings_total", stats.pings),
        ("received_bytes_total", stats.bytes_received),
        ("sent_bytes_total", stats.bytes_sent),
        ("queued", size(stats.queued)),
        ("queued_bytes", size(stats.queued_bytes)),
        ("in_flight", size(stats.in_flight)),
        ("unacknowledged", size(stats.unacknowledged)),
        ("held", size(stats.held)),
    ]
}

fn compare(board: &Board, one: &Client, two: &Client) {
    let (one, two) = (one.stats(), two.stats());
    for ((name, first), (_, second)) in figures(&one).into_iter().zip(figures(&two)) {
        let all = f64::from(u32::try_from(first + second).unwrap());
        assert!((board.get(name) - all).abs() < 0.5, "{name}: {all}");
    }
}

async fn live(board: &Board, version: Version) {
    let mut broker = Broker::start().await.unwrap();
    let outbox = Outbox::memory().qos0(true).max_messages(3);
    let url = broker.url();
    let builder = || Client::builder(&url).version(version);
    let outbox = outbox.on_full(martlet_client::OnFull::DropOldest);
    let client = builder().outbox(outbox).connect().await.unwrap();
    let other = builder().connect().await.unwrap();
    let mut sub = client.subscribe("a").qos(2).await.unwrap();
    let before = board.get("publish_seconds");
    for qos in 0..3 {
        client.publish("a", qos).qos(qos).await.unwrap();
        other.publish("a", qos).qos(qos).await.unwrap();
    }
    for _ in 0..6 {
        sub.recv().await.unwrap();
    }
    for client in [&client, &other] {
        client.flush(Duration::from_secs(60)).await.unwrap();
    }
    assert!((board.get("connected") - 2.0).abs() < 0.5);
    assert!((board.get("publish_seconds") - before - 6.0).abs() < 0.5);
    broker.stop().await;
    for client in [&client, &other] {
        let mut state = client.state();
        state.wait_for(|state| !state.is_connected()).await.unwrap();
    }
    assert!(board.get("connected").abs() < 0.5);
    for n in 0..5 {
        drop(client.publish("a", n).try_enqueue().unwrap());
    }
    assert!((board.get("queued") - 3.0).abs() < 0.5);
    if version == Version::V311 {
        compare(board, &client, &other);
    }
    drop((client, other, sub));
    // Its driver ends, and with it the last that holds the client.
    while board.get("queued") + board.get("queued_bytes") > 0.5 {
        tokio::task::yield_now().await;
    }
    assert!(broker.restart().await.is_ok(), "that was not the end of it");
    let connected = builder().connect().await.unwrap();
    let state = connected.state();
    assert!(matches!(&*state.borrow(), State::Connected { .. }));
    assert!((board.get("connected") - 1.0).abs() < 0.5);
}

#[test]
fn p1_a_recorder_is_told_what_the_statistics_say() {
    let board = Board::default();
    for version in [Version::V311, Version::V5] {
        // One thread, because the recorder is this thread's.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        metrics::with_local_recorder(&board, || {
            runtime.block_on(async {
                let life = live(&board, version);
                tokio::time::timeout(Duration::from_secs(120), life)
                    .await
                    .unwrap();
            });
        });
        drop(runtime);
        assert!(board.get("connected").abs() < 0.5, "all clients are gone");
    }
    let named: Vec<String> = board.values.lock().keys().cloned().collect();
    let described: Vec<String> = board.described.lock().keys().cloned().collect();
    assert_eq!(named, described);
    assert_eq!(named.len(), 24);
    let guide = include_str!("../../src/guide.rs");
    for name in named {
        let short = name.strip_prefix("martlet_client_").unwrap();
        assert!(
            guide.contains(&format!("`{short}`")),
            "{name} is not in the guide"
        );
    }
}
