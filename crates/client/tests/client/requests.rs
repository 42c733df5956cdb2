//! Requests and their answers, many at a time.

use std::sync::Arc;
use std::time::Duration;

use martlet_client::test::Broker;
use martlet_client::{Client, ErrorKind, Message, Version};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const COUNT: u32 = 10_000;
const HOUR: Duration = Duration::from_secs(3_600);

/// A broker whose queues take all that these tests have under way at a time.
async fn broker() -> Broker {
    let limits = martlet_broker::Limits {
        session_queue_messages_max: 1_000_000,
        session_queue_bytes_max: 1 << 30,
        ..martlet_broker::Limits::default()
    };
    Broker::start_with(move |builder| builder.limits(limits))
        .await
        .unwrap()
}

/// Doubles numbers, some of them later than others.
async fn serve(broker: &Broker, version: Version) -> Client {
    let builder = Client::builder(broker.url()).version(version);
    let service = builder.connect().await.unwrap();
    let serving = service.clone();
    tokio::spawn(async move {
        let double = async |request: Message| {
            let n: u64 = request.text().parse().unwrap();
            for _ in 0..n * 7 % 5 {
                tokio::task::yield_now().await;
            }
            n * 2
        };
        serving.serve("svc/double", double).await.unwrap();
    });
    service
}

/// Asks until there is an answer, and waits for all of them: in 3.1.1, later ones would pass for those of other requests.
async fn until_it_answers(client: &Client) {
    let mut answers = client.subscribe("svc/double/reply").qos(1).await.unwrap();
    let moment = Duration::from_millis(100);
    let ask = async |n: u32| client.publish("svc/double", n).qos(1).await.unwrap();
    loop {
        ask(0).await;
        if tokio::time::timeout(moment, answers.recv()).await.is_ok() {
            break;
        }
    }
    ask(1).await;
    while answers.recv().await.unwrap().text() != "2" {}
    answers.unsubscribe().await.unwrap();
}

#[tokio::test]
async fn p1_ten_thousand_requests_at_a_time_get_each_its_own_answer() {
    for version in [Version::V311, Version::V5] {
        let broker = broker().await;
        let service = serve(&broker, version).await;
        let builder = Client::builder(broker.url()).version(version);
        let client = builder.connect().await.unwrap();
        until_it_answers(&client).await;
        let mut asking = JoinSet::new();
        for n in 0..COUNT {
            let request = client.request("svc/double", n);
            asking.spawn(async move { (n, request.timeout(HOUR).await.unwrap()) });
        }
        let mut answered = 0;
        while let Some(answer) = asking.join_next().await {
            let (n, answer) = answer.unwrap();
            assert_eq!(answer.text(), (2 * n).to_string());
            answered += 1;
        }
        assert_eq!(answered, COUNT);
        client.flush(HOUR).await.unwrap();
        assert_eq!(client.pending_operations(), 0, "nobody is left waiting");
        drop(service);
    }
}

/// In 3.1.1 nothing but the order tells which answer is whose, so the slow one holds up those behind it.
#[tokio::test]
async fn answers_without_correlation_leave_in_the_order_of_the_requests() {
    for version in [Version::V311, Version::V5] {
        let broker = broker().await;
        let builder = || Client::builder(broker.url()).version(version);
        let service = builder().connect().await.unwrap();
        let gate = Arc::new(Semaphore::new(0));
        let (serving, slow) = (service.clone(), Arc::clone(&gate));
        tokio::spawn(async move {
            let handle = move |request: Message| {
                let slow = Arc::clone(&slow);
                async move {
                    match &*request.text() {
                        "slow" => slow.acquire().await.unwrap().forget(),
                        "last" => slow.add_permits(1),
                        "broken" => panic!("the handler fails, and answers nothing"),
                        _ => {}
                    }
                    request.text().into_owned()
                }
            };
            serving.serve("svc", handle).await.unwrap();
        });
        let client = builder().connect().await.unwrap();
        let mut answers = client.subscribe("svc/reply").qos(1).await.unwrap();
        // Bare requests, whatever the version; the first of them may come too early for the service.
        let ask = async |what: &str| client.publish("svc", what).qos(1).await.unwrap();
        loop {
            ask("ready").await;
            let wait = tokio::time::timeout(Duration::from_millis(100), answers.recv());
            if wait.await.is_ok() {
                break;
            }
        }
        for what in ["slow", "1", "broken", "2", "last"] {
            ask(what).await;
        }
        for what in ["slow", "1", "2", "last"] {
            let mut answer = answers.recv().await.unwrap();
            while answer.text() == "ready" {
                answer = answers.recv().await.unwrap();
            }
            assert_eq!(answer.text(), what);
        }
        drop(service);
    }
}

#[tokio::test]
async fn p1_late_and_foreign_answers_are_counted_and_given_to_nobody() {
    let broker = broker().await;
    let builder = || Client::builder(broker.url());
    let service = builder().connect().await.unwrap();
    let mut requests = service.subscribe("svc").qos(1).await.unwrap();
    let client = builder().connect().await.unwrap();
    let mut tasks = JoinSet::new();
    let mut ask = |what: &'static str, limit| {
        let request = client.request("svc", what).timeout(limit);
        tasks.spawn(async move { (what, request.await) });
    };
    ask("late", Duration::from_millis(1));
    let late = requests.recv().await.unwrap();
    // Its asker has gone before its answer comes.
    let (what, outcome) = tasks.join_next().await.unwrap().unwrap();
    assert_eq!(
        (what, outcome.unwrap_err().kind()),
        ("late", ErrorKind::Timeout)
    );
    let request = client.request("svc", "patient").timeout(HOUR);
    let patient = tokio::spawn(request.into_future());
    let in_time = requests.recv().await.unwrap();
    let answer = async |to: &Message, correlation: Option<&[u8]>, text: &str| {
        let topic = to.properties().response_topic.clone().unwrap();
        let mut answer = Message::new(topic, text).qos(1);
        answer.properties_mut().correlation_data = correlation.map(|data| data.to_vec().into());
        service.publish_message(answer).await.unwrap();
    };
    let number = |message: &Message| message.properties().correlation_data.clone().unwrap();
    answer(&late, Some(&number(&late)), "too late").await;
    answer(&in_time, Some(b"somebody else's"), "foreign").await;
    answer(&in_time, Some(&u64::MAX.to_be_bytes()), "foreign").await;
    answer(&in_time, Some(&number(&in_time)), "good").await;
    assert_eq!(patient.await.unwrap().unwrap().text(), "good");
    answer(&in_time, Some(&number(&in_time)), "twice").await;
    // An answer of its own comes behind all of them.
    let request = client.request("svc", "end").timeout(HOUR);
    let end = tokio::spawn(request.into_future());
    let last = requests.recv().await.unwrap();
    answer(&last, Some(&number(&last)), "end").await;
    assert_eq!(end.await.unwrap().unwrap().text(), "end");
    assert_eq!(client.stats().late_replies, 4);
}
