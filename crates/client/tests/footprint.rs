//! How much memory an idle publisher takes: a process that is connected and waits.
//!
//! This program is both sides: started with `child`, it connects, publishes, says so and waits until its input ends.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, and a program that talks to it"
)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use martlet_client::Client;
use martlet_client::test::Broker;
use tokio::runtime::Runtime;

const NAME: &str = "must_have_14_an_idle_publisher_takes_less_than_five_megabytes";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, url] = arguments.as_slice()
        && mode == "child"
    {
        idle(url);
        return;
    }
    // What the test runner asks of its programs.
    if arguments.iter().any(|argument| argument == "--list") {
        println!("{NAME}: test");
        return;
    }
    if cfg!(target_os = "linux") {
        must_have_14_an_idle_publisher_takes_less_than_five_megabytes();
        println!("test {NAME} ... ok");
    }
}

fn idle(url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let client = runtime.block_on(async {
        let client = Client::builder(url).connect().await.unwrap();
        for n in 0..100 {
            client.publish("meter/power", n).qos(1).await.unwrap();
        }
        client
    });
    println!("ready");
    let waiting = runtime.spawn_blocking(|| std::io::stdin().read(&mut [0]).unwrap());
    runtime.block_on(waiting).unwrap();
    drop(client);
}

fn must_have_14_an_idle_publisher_takes_less_than_five_megabytes() {
    let runtime = Runtime::new().unwrap();
    let broker = runtime.block_on(Broker::start()).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", &broker.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut said).unwrap();
    assert_eq!(said.trim(), "ready");
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let kilobytes = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    drop(child.stdin.take());
    child.wait().unwrap();
    let (own, all) = (kilobytes("RssAnon:"), kilobytes("VmRSS:"));
    assert!(own < 1_000, "{own} kB of its own");
    // Code that nobody has optimized is larger.
    let limit = if cfg!(debug_assertions) {
        10_000
    } else {
        5_000
    };
    assert!(all < limit, "{all} kB");
    println!("{own} kB of its own, {all} kB in all");
}
