//! What a client has to be able to do with any broker.

use std::collections::BTreeMap;
use std::time::Duration;

use martlet_client::test::Link;
use martlet_client::{Builder, Client, ErrorKind, Filter, Message, Session, State, Version};

const PATIENCE: Duration = Duration::from_secs(10);

/// What the specifications leave to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manners {
    /// One copy of a message for each of a client's filters that matches it, in place of one in all. In 3.1.1 nothing says
    /// which copy belongs to which.
    pub(crate) copies_per_filter: bool,
    /// A retained message is there for new subscriptions some time after its acknowledgement; what one
    /// connection leaves behind may come after what the next one says; and some of what a session has waiting may come behind
    /// the rest of it, as duplicates.
    pub(crate) settles_later: bool,
}

/// Runs everything, with topics and names that no other run uses.
pub(crate) async fn run(url: &str, version: Version, manners: Manners) {
    let run = format!("m{}v{}", std::process::id(), version.level());
    let new = |name: &str| {
        let builder = Client::builder(url).version(version);
        builder.client_id(format!("{run}{name}"))
    };
    every_qos_and_size(new("qos"), &run).await;
    if !manners.copies_per_filter {
        overlapping_streams(new("overlap"), &run).await;
    }
    the_retained_set(new("retained"), &run, manners).await;
    requests_and_answers(new("request"), &run).await;
    wills_and_goodbyes(url, version, &run, manners).await;
    a_session_over_a_broken_link(url, version, &run).await;
    nothing_is_forgotten_while_away(url, version, &run, manners).await;
    many_messages_in_order(new("many"), &run).await;
    if version.is_v5() {
        properties_and_expiry(new("properties"), &run).await;
    }
}

async fn every_qos_and_size(builder: Builder, run: &str) {
    let client = builder.connect().await.unwrap();
    let filters = [Filter::new(format!("{run}/size/#")).qos(2)];
    let mut sub = client.subscribe_many(filters).await.unwrap();
    for qos in 0..3 {
        for size in [0, 1, 127, 128, 16_384, 200_000] {
            let payload = vec![b'x'; size];
            let topic = format!("{run}/size/{qos}");
            client.publish(topic, payload).qos(qos).await.unwrap();
            let message = sub.recv().await.unwrap();
            assert_eq!(
                (message.payload.len(), message.qos.bits()),
                (size, u8::try_from(qos).unwrap())
            );
        }
    }
    sub.unsubscribe().await.unwrap();
    client.close(PATIENCE).await.unwrap();
}

async fn overlapping_streams(builder: Builder, run: &str) {
    let client = builder.connect().await.unwrap();
    let mut wide = client.subscribe(format!("{run}/o/#")).qos(1).await.unwrap();
    let mut narrow = client.subscribe(format!("{run}/o/+")).qos(2).await.unwrap();
    for n in 0..50 {
        client
            .publish(format!("{run}/o/x"), n)
            .qos(1)
            .await
            .unwrap();
    }
    for n in 0..50 {
        assert_eq!(wide.recv().await.unwrap().text(), n.to_string());
        assert_eq!(narrow.recv().await.unwrap().text(), n.to_string());
    }
    client.close(PATIENCE).await.unwrap();
}

async fn the_retained_set(builder: Builder, run: &str, manners: Manners) {
    let client = builder.connect().await.unwrap();
    for n in 0..150 {
        let publish = client.publish(format!("{run}/r/{n}"), n).qos(n % 2);
        publish.retain().await.unwrap();
    }
    for qos in 0..3 {
        let filter = Filter::new(format!("{run}/r/#")).qos(qos);
        retained_are(&client, filter, 150, manners).await;
    }
    for n in 0..150 {
        let delete = Message::new(format!("{run}/r/{n}"), ()).retain().qos(1);
        client.publish_message(delete).await.unwrap();
    }
    retained_are(&client, Filter::new(format!("{run}/r/#")), 0, manners).await;
    client.close(PATIENCE).await.unwrap();
}

/// So many retained messages are there; with some brokers, sooner or later.
async fn retained_are(client: &Client, filter: Filter, count: usize, manners: Manners) {
    // Else never by silence: an hour of it is too long for this test.
    let idle = if manners.settles_later { 1 } else { 3_600 };
    loop {
        let set = client.retained([filter.clone()], Duration::from_secs(idle));
        let found = set.await.unwrap().collect().await.len();
        if manners.settles_later && found != count {
            continue;
        }
        assert_eq!(found, count, "{filter:?}");
        return;
    }
}

async fn requests_and_answers(builder: Builder, run: &str) {
    let client = builder.connect().await.unwrap();
    let (server, filter) = (client.clone(), format!("{run}/svc/+"));
    let serving = tokio::spawn(async move {
        let double = async |request: Message| request.text().parse::<i64>().unwrap() * 2;
        server.serve(filter, double).await
    });
    // In 3.1.1 an answer that comes too late would pass for that to the next request on its topic.
    let ask = |what: &str, n: i64| client.request(format!("{run}/svc/{what}"), n);
    let moment = Duration::from_millis(100);
    while ask("ready", 0).timeout(moment).await.is_err() {}
    for n in 0..100 {
        assert_eq!(
            ask("double", n).timeout(PATIENCE).await.unwrap().text(),
            (n * 2).to_string()
        );
    }
    client.close(PATIENCE).await.unwrap();
    serving.await.unwrap().unwrap();
}

async fn wills_and_goodbyes(url: &str, version: Version, run: &str, manners: Manners) {
    let topic = format!("{run}/status");
    let observer = Client::builder(url)
        .version(version)
        .connect()
        .await
        .unwrap();
    let mut status = observer.subscribe(&topic).qos(1).await.unwrap();
    let link = Link::to(url).await.unwrap();
    let quick = martlet_client::Reconnect {
        longest: Duration::from_millis(50),
        ..martlet_client::Reconnect::default()
    };
    let device = Client::builder(link.url())
        .version(version)
        .client_id(format!("{run}device"))
        .reconnect(quick)
        .status(&topic, "online", "offline");
    let device = device.connect().await.unwrap();
    // What is not acknowledged yet would come twice.
    device.flush(PATIENCE).await.unwrap();
    let mut next = async || status.recv().await.unwrap().text().into_owned();
    assert_eq!(next().await, "online");
    link.cut();
    let mut after_the_cut = [next().await, next().await];
    if manners.settles_later {
        after_the_cut.sort();
    }
    assert_eq!(after_the_cut, ["offline", "online"]);
    device.close(PATIENCE).await.unwrap();
    assert_eq!(next().await, "offline");
}

async fn a_session_over_a_broken_link(url: &str, version: Version, run: &str) {
    let link = Link::to(url).await.unwrap();
    let quick = martlet_client::Reconnect {
        longest: Duration::from_millis(20),
        ..martlet_client::Reconnect::default()
    };
    let client = Client::builder(link.url())
        .version(version)
        .client_id(format!("{run}session"))
        .session(Session::fresh(Duration::from_secs(600)))
        .reconnect(quick)
        .connect()
        .await
        .unwrap();
    let topic = format!("{run}/once");
    let mut sub = client.subscribe(&topic).qos(2).await.unwrap();
    let mut seen = BTreeMap::<String, u32>::new();
    for n in 0..200 {
        drop(client.publish(&topic, n).qos(2).enqueue().await.unwrap());
        if n % 20 == 10 {
            link.cut();
        }
    }
    client.flush(Duration::from_secs(60)).await.unwrap();
    while seen.len() < 200 {
        let message = sub.recv().await.unwrap();
        *seen.entry(message.text().into_owned()).or_default() += 1;
    }
    assert!(seen.values().all(|count| *count == 1), "{seen:?}");
    assert_eq!(client.stats().sessions_lost, 0);
    client.close(PATIENCE).await.unwrap();
}

async fn nothing_is_forgotten_while_away(url: &str, version: Version, run: &str, manners: Manners) {
    let persistent = || {
        Client::builder(url)
            .version(version)
            .client_id(format!("{run}away"))
            .session(Session::persistent(Duration::from_secs(600)))
    };
    let topic = format!("{run}/away");
    let first = persistent().connect().await.unwrap();
    first.subscribe(&topic).qos(1).await.unwrap().detach();
    first.close(PATIENCE).await.unwrap();
    let other = Client::builder(url)
        .version(version)
        .connect()
        .await
        .unwrap();
    for n in 0..50 {
        other.publish(&topic, n).qos(1).await.unwrap();
    }
    let second = persistent().connect().await.unwrap();
    let mut state = second.state();
    let resumed = |state: &State| {
        matches!(
            state,
            State::Connected {
                session_present: true,
                ..
            }
        )
    };
    state.wait_for(resumed).await.unwrap();
    let mut sub = second.subscribe(&topic).qos(1).await.unwrap();
    let (mut arrived, mut again) = (Vec::new(), Vec::new());
    while arrived.len() + again.len() < 50 {
        let message = sub.recv().await.unwrap();
        let number = message.text().parse::<u32>().unwrap();
        let late = manners.settles_later && message.duplicate;
        (if late { &mut again } else { &mut arrived }).push(number);
    }
    assert!(arrived.is_sorted(), "{arrived:?}, then {again:?}");
    arrived.extend(again);
    arrived.sort_unstable();
    let wanted = (0..50).collect::<Vec<_>>();
    assert_eq!(arrived, wanted, "each once: {:?}", second.stats());
    second.close(PATIENCE).await.unwrap();
    // Leaves nothing behind.
    let clean = Client::builder(url)
        .version(version)
        .client_id(format!("{run}away"));
    clean
        .connect()
        .await
        .unwrap()
        .close(PATIENCE)
        .await
        .unwrap();
}

async fn many_messages_in_order(builder: Builder, run: &str) {
    let client = builder.connect().await.unwrap();
    let topic = format!("{run}/many");
    let mut sub = client.subscribe(&topic).qos(1).await.unwrap();
    // Brokers bound their queues.
    for batch in 0..50 {
        for n in 0..100 {
            drop(
                client
                    .publish(&topic, batch * 100 + n)
                    .qos(1)
                    .enqueue()
                    .await
                    .unwrap(),
            );
        }
        for n in 0..100 {
            assert_eq!(
                sub.recv().await.unwrap().text(),
                (batch * 100 + n).to_string()
            );
        }
    }
    client.close(PATIENCE).await.unwrap();
}

async fn properties_and_expiry(builder: Builder, run: &str) {
    let client = builder.connect().await.unwrap();
    let topic = format!("{run}/properties");
    let others = client.subscribe(&topic).qos(1).no_local().await.unwrap();
    client.publish(&topic, "mine").qos(1).await.unwrap();
    others.unsubscribe().await.unwrap();
    assert_eq!(client.stats().received, 0);
    let mut all = client.subscribe(&topic).qos(1).await.unwrap();
    let publish = client
        .publish(&topic, "{}")
        .qos(1)
        .content_type("application/json");
    let publish = publish
        .text()
        .expiry(Duration::from_secs(60))
        .user_property("k", "v");
    publish.await.unwrap();
    let message = all.recv().await.unwrap();
    let properties = message.properties();
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    assert!(properties.is_text && properties.expiry_s.is_some_and(|s| s <= 60));
    assert_eq!(properties.user("k"), Some("v"));
    // Aliases come by themselves; a topic that is used a lot is the proof that they work.
    for n in 0..100 {
        client
            .publish(format!("{topic}/{}", n % 3), n)
            .await
            .unwrap();
    }
    let wrong = client.publish("a/+", "").await.unwrap_err();
    assert_eq!(wrong.kind, ErrorKind::InvalidTopic);
    client.close(PATIENCE).await.unwrap();
}
