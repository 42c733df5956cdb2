//! What a client library costs: one process that publishes to itself through a broker, and the CPU time that it took.
//!
//! `client_load LIBRARY PORT QOS COUNT`, where LIBRARY is `martlet` or `rumqttc` (both in MQTT 3.1.1, on a runtime of one
//! thread, each with one connection that publishes and one that receives). At most 256 messages of 64 bytes are on their
//! way, so nothing needs to be dropped; every message carries its number, and a gap or a repetition ends the run with an
//! error. The first tenth warms up and is not counted. Writes one line of JSON. `cargo xtask bench-peers` runs it.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(
    clippy::cast_precision_loss,
    reason = "counts of a run are far below 2^52"
)]

use std::error::Error;
use std::sync::Arc;

use martlet_client::{Client, QoS, Version};
use tokio::sync::Semaphore;

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [library, port, qos, count] = words.as_slice() else {
        return Err("client_load LIBRARY PORT QOS COUNT".into());
    };
    let load = Load {
        port: port.parse()?,
        qos: qos.parse()?,
        count: count.parse()?,
        window: Arc::new(Semaphore::new(WINDOW)),
    };
    let cost = match library.as_str() {
        "martlet" => load.martlet().await?,
        "rumqttc" => load.rumqttc().await?,
        other => return Err(format!("'{other}' is neither martlet nor rumqttc").into()),
    };
    println!(
        "{{\"library\":\"{library}\",\"qos\":{qos},\"messages\":{},\"cpu_us\":{:.4},\"rss_bytes\":{}}}",
        cost.messages,
        cost.cpu_s * 1e6 / cost.messages as f64,
        rss_bytes()?
    );
    Ok(())
}

struct Load {
    port: u16,
    qos: u8,
    count: u64,
    window: Arc<Semaphore>,
}

struct Cost {
    messages: u64,
    cpu_s: f64,
}

impl Load {
    async fn martlet(&self) -> Outcome<Cost> {
        let url = format!("mqtt://127.0.0.1:{}", self.port);
        let qos = QoS::try_from(self.qos).map_err(|_| "QOS: 0, 1 or 2")?;
        let builder = |id: &str| {
            Client::builder(&url)
                .version(Version::V311)
                .client_id(id)
                .max_in_flight(IN_FLIGHT)
        };
        let receiver = builder("load-receiver").connect().await?;
        let sender = builder("load-sender").connect().await?;
        let mut messages = receiver
            .subscribe(TOPIC)
            .qos(qos)
            .buffer(2 * WINDOW)
            .await?;
        let (window, count) = (Arc::clone(&self.window), self.count);
        let publishing = tokio::spawn(async move {
            for number in 0..count {
                if let Ok(permit) = window.acquire().await {
                    permit.forget();
                }
                let publish = sender.publish(TOPIC, payload(number)).qos(qos);
                // What becomes of it is seen at the other end.
                drop(publish.enqueue().await.map_err(|error| error.to_string())?);
            }
            Ok::<_, String>(sender)
        });
        let mut book = Book::new(self);
        while book.wants_more() {
            let message = messages.recv().await.ok_or("the stream ended")?;
            book.add(&message.payload)?;
        }
        drop(publishing.await??);
        Ok(book.cost)
    }

    async fn rumqttc(&self) -> Outcome<Cost> {
        use rumqttc::{AsyncClient, Event, MqttOptions, Packet};
        let qos = rumqttc::qos(self.qos).map_err(|_| "QOS: 0, 1 or 2")?;
        let client = |id: &str| {
            let mut options = MqttOptions::new(id, "127.0.0.1", self.port);
            options.set_inflight(IN_FLIGHT);
            AsyncClient::new(options, WINDOW)
        };
        let (receiver, mut receiving) = client("load-receiver");
        let (sender, mut sending) = client("load-sender");
        receiver.subscribe(TOPIC, qos).await?;
        while !matches!(receiving.poll().await?, Event::Incoming(Packet::SubAck(_))) {}
        tokio::spawn(async move { while sending.poll().await.is_ok() {} });
        let (window, count) = (Arc::clone(&self.window), self.count);
        let publishing = tokio::spawn(async move {
            for number in 0..count {
                if let Ok(permit) = window.acquire().await {
                    permit.forget();
                }
                sender.publish(TOPIC, qos, false, payload(number)).await?;
            }
            Ok::<_, rumqttc::ClientError>(sender)
        });
        let mut book = Book::new(self);
        while book.wants_more() {
            if let Event::Incoming(Packet::Publish(publish)) = receiving.poll().await? {
                book.add(&publish.payload)?;
            }
        }
        drop(publishing.await??);
        Ok(book.cost)
    }
}

/// What has arrived: each message once and in order.
struct Book<'a> {
    load: &'a Load,
    next: u64,
    begun_s: f64,
    cost: Cost,
}

impl<'a> Book<'a> {
    const fn new(load: &'a Load) -> Self {
        Self {
            load,
            next: 0,
            begun_s: 0.0,
            cost: Cost {
                messages: 0,
                cpu_s: 0.0,
            },
        }
    }

    const fn wants_more(&self) -> bool {
        self.next < self.load.count
    }

    fn add(&mut self, payload: &[u8]) -> Outcome<()> {
        let bytes = payload.first_chunk().ok_or("a payload is too short")?;
        let number = u64::from_be_bytes(*bytes);
        if number != self.next {
            return Err(format!("message {number} came instead of {}", self.next).into());
        }
        let warm = self.load.count / 10;
        if number == warm {
            self.begun_s = cpu_s()?;
        }
        self.next += 1;
        self.load.window.add_permits(1);
        if !self.wants_more() {
            self.cost = Cost {
                messages: self.load.count - warm,
                cpu_s: cpu_s()? - self.begun_s,
            };
        }
        Ok(())
    }
}

fn payload(number: u64) -> Vec<u8> {
    let mut payload = vec![0x2e; 64];
    if let Some(start) = payload.first_chunk_mut() {
        *start = number.to_be_bytes();
    }
    payload
}

/// CPU time of this process's threads, as the scheduler counts it.
fn cpu_s() -> Outcome<f64> {
    let mut sum_ns = 0.0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let line = std::fs::read_to_string(task?.path().join("schedstat"))?;
        sum_ns += line.split(' ').next().unwrap_or_default().parse::<f64>()?;
    }
    Ok(sum_ns / 1e9)
}

fn rss_bytes() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().nth(1));
    Ok(1024 * kib.ok_or("no VmRSS")?.parse::<u64>()?)
}

const TOPIC: &str = "load/one";
/// Messages on their way at most.
const WINDOW: usize = 256;
/// Of them unacknowledged at most.
const IN_FLIGHT: u16 = 64;
