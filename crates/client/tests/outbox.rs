//! A process with an outbox in a file is killed at random moments: what it was told to be stored
//! arrives all the same.
//!
//! This program is both sides: started with `child`, it publishes and prints what is stored until it is
//! killed. `MARTLET_OUTBOX_KILLS=1000` kills that often; 50 times otherwise.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, and a program that talks to it"
)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use martlet_client::test::{Broker, Link};
use martlet_client::{Client, Outbox, Subscription};
use tokio::runtime::Runtime;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, directory, url, first] = arguments.as_slice()
        && mode == "child"
    {
        Runtime::new()
            .unwrap()
            .block_on(child(Path::new(directory), url, first.parse().unwrap()));
        return;
    }
    // What the test runner asks of its programs.
    if arguments.iter().any(|argument| argument == "--list") {
        println!("killed_at_random_moments_nothing_that_was_stored_is_lost: test");
        return;
    }
    let kills = std::env::var("MARTLET_OUTBOX_KILLS").map_or(50, |count| count.parse().unwrap());
    let runtime = Runtime::new().unwrap();
    killed_at_random_moments_nothing_that_was_stored_is_lost(&runtime, kills);
    println!(
        "test killed_at_random_moments_nothing_that_was_stored_is_lost ({kills} kills) ... ok"
    );
}

/// Publishes numbers and says which are stored.
async fn child(directory: &Path, url: &str, first: u64) {
    let outbox = Outbox::file(directory).unwrap().max_messages(1_000_000);
    let client = Client::builder(url).outbox(outbox).start().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..4 {
        let client = client.clone();
        tasks.spawn(async move {
            for n in 0.. {
                let number = first + 4 * n + lane;
                let qos = if n % 3 == 0 { 2 } else { 1 };
                // Some are large enough to be torn, and to have the file rewritten.
                let padding = "x".repeat(usize::try_from(number % 50 * 40).unwrap());
                let publish = client
                    .publish("meter", format!("{number} {padding}"))
                    .qos(qos);
                drop(publish.stored().await.unwrap());
                let mut out = std::io::stdout().lock();
                writeln!(out, "{number}").unwrap();
                out.flush().unwrap();
            }
        });
    }
    tasks.join_all().await;
}

fn killed_at_random_moments_nothing_that_was_stored_is_lost(runtime: &Runtime, kills: u32) {
    let directory = tempfile::tempdir().unwrap();
    let (broker, link, client, subscription) = runtime.block_on(async {
        let broker = Broker::start().await.unwrap();
        let link = Link::to(broker.url()).await.unwrap();
        let client = Client::builder(broker.url()).connect().await.unwrap();
        let subscription = client
            .subscribe("meter")
            .qos(1)
            .buffer(1_000)
            .await
            .unwrap();
        (broker, link, client, subscription)
    });
    let arrived = runtime.spawn(collect(subscription));
    let mut random = Random(std::process::id().into());
    let mut promised = BTreeSet::new();
    let mut largest = 0;
    for kill in 0..kills {
        // In every third life there is no connection, so messages pile up in the file.
        runtime.block_on(async { link.refuse(kill % 3 == 0) });
        let first = u64::from(kill) * 1_000_000;
        promised.extend(live_and_die(
            directory.path(),
            &link.url(),
            first,
            &mut random,
        ));
        let log = directory.path().join("outbox.log");
        largest = largest.max(std::fs::metadata(log).map_or(0, |file| file.len()));
    }
    runtime.block_on(async {
        link.refuse(false);
        let outbox = Outbox::file(directory.path()).unwrap();
        let sender = Client::builder(broker.url())
            .outbox(outbox)
            .connect()
            .await
            .unwrap();
        sender.flush(Duration::from_secs(60)).await.unwrap();
        sender.close(Duration::from_secs(60)).await.unwrap();
        let left = Outbox::file(directory.path()).unwrap();
        let empty = Client::builder(broker.url())
            .outbox(left)
            .connect()
            .await
            .unwrap();
        assert_eq!(
            empty.stats().queued + empty.stats().in_flight,
            0,
            "all is delivered"
        );
        // It comes behind everything else.
        empty.publish("meter", "end").qos(1).await.unwrap();
        let arrived = arrived.await.unwrap();
        let lost: Vec<&u64> = promised.difference(&arrived).collect();
        assert!(
            lost.is_empty(),
            "{} of {} lost: {lost:?}",
            lost.len(),
            promised.len()
        );
        client.close(Duration::from_secs(5)).await.unwrap();
    });
    println!(
        "{} messages stored, the file was {largest} bytes at most",
        promised.len()
    );
    assert!(promised.len() >= usize::try_from(kills).unwrap());
}

/// Starts a process and kills it: what it said was stored.
fn live_and_die(directory: &Path, url: &str, first: u64, random: &mut Random) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "child",
            directory.to_str().unwrap(),
            url,
            &first.to_string(),
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel();
    let reading = std::thread::spawn(move || {
        let mut line = String::new();
        while output.read_line(&mut line).is_ok_and(|length| length > 0) {
            // A line that was torn by the kill is no promise.
            let number = line.strip_suffix('\n').and_then(|line| line.parse().ok());
            if sender.send(number).is_err() {
                return;
            }
            line.clear();
        }
    });
    let mut promised = Vec::new();
    // From right after the start to well into its work.
    let wanted = random.below(60);
    while promised.len() < wanted {
        match lines.recv_timeout(Duration::from_secs(30)).unwrap() {
            Some(number) => promised.push(number),
            None => break,
        }
    }
    let moment = Duration::from_micros(random.below(8_000).try_into().unwrap());
    while let Ok(Some(number)) = lines.recv_timeout(moment) {
        promised.push(number);
        if random.below(20) == 0 {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    promised.extend(lines.iter().flatten());
    reading.join().unwrap();
    promised
}

/// Takes messages until the end.
async fn collect(mut subscription: Subscription) -> BTreeSet<u64> {
    let mut arrived = BTreeSet::new();
    while let Some(message) = subscription.recv().await {
        let text = message.text();
        if text == "end" {
            break;
        }
        arrived.insert(text.split(' ').next().unwrap().parse().unwrap());
    }
    arrived
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % limit).unwrap()
    }
}
