//! The guide: how the client thinks, and a recipe for each common job.
//!
//! # How it thinks
//! A [`Client`](crate::Client) is a handle on a connection that a task in the background keeps. Clone it, share it; nothing that a
//! program awaits, or forgets to, stops the connection.
//!
//! **Publishing.** `publish(..).await` is ready when the server has acknowledged the message (at QoS 0: when it is written), with a
//! [`Receipt`](crate::Receipt). Who does not want to wait for that calls `enqueue().await`, which is ready when the message is
//! admitted, and may keep or drop the [`Delivery`](crate::Delivery) that comes of it: the message goes its way in both cases.
//! `try_enqueue()` never waits. A [`PublishError`](crate::PublishError) gives the message back, and says whether the server can
//! have it all the same ([`Delivered`](crate::Delivered)).
//!
//! **Receiving.** [`subscribe`](crate::Client::subscribe) gives a stream, one for each part of a program that wants messages; what
//! several streams want is one subscription on the server. A message is acknowledged when `recv()` hands it out, so a slow program
//! slows the server down in place of losing messages; see [`Overflow`](crate::Overflow) for other ways. Dropping the stream unsubscribes.
//!
//! **When the connection breaks**, the client connects again, with growing pauses. Futures at QoS 1 and 2 go on waiting; if the server has kept the
//! session, what was in flight is sent again under its identifiers; if it has not, the client subscribes again before anything is
//! published. What is published meanwhile waits in the [`Outbox`](crate::Outbox), whose bounds and policy are yours to choose,
//! and which can be a file. [`state`](crate::Client::state) shows how it goes, [`stats`](crate::Client::stats) counts.
//!
//! **Sessions.** By default nothing is kept while a program is away. [`Session::persistent`](crate::Session::persistent) keeps
//! subscriptions and queued messages across restarts of the program; subscribe as always, in the first moments: what
//! arrives earlier waits for its stream. If the server holds such a session, the client frees each packet identifier
//! before it uses it for QoS 2 for the first time: the process before may have died in the middle of a handshake.
//!
//! # A sensor
//! Readings of an hour ago are of no use: of each topic the newest one waits for the broker, and the status topic always says whether the
//! sensor is there.
//!
//! ```no_run
//! use std::time::Duration;
//! use martlet_client::{Client, OnFull, Outbox};
//!
//! # fn read_sensor() -> f64 { 21.5 }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("mqtt://localhost")
//!     .client_id("cellar-1")
//!     .status("cellar/status", "online", "offline") // birth, will and goodbye
//!     .outbox(Outbox::memory().max_bytes(64 << 10).on_full(OnFull::DropOldest))
//!     .start()?; // keeps trying, also if there is no broker yet
//! let mut every_minute = tokio::time::interval(Duration::from_secs(60));
//! loop {
//!     every_minute.tick().await;
//!     let reading = client.publish("cellar/temperature", read_sensor()).qos(1).retain();
//!     reading.enqueue().await?; // not waiting for the broker: the next reading comes in any case
//! }
//! # }
//! ```
//!
//! # A command handler
//! Each command is acknowledged when it is done: if the program dies in the middle, it comes again.
//!
//! ```no_run
//! use std::time::Duration;
//! use martlet_client::{Client, ReasonCode, Session};
//!
//! # async fn switch(device: &str, on: bool) -> std::io::Result<()> { Ok(()) }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("mqtt://localhost")
//!     .client_id("switches")
//!     .session(Session::persistent(Duration::from_secs(3_600)))
//!     .connect()
//!     .await?;
//! let mut commands = client.subscribe("switch/+/set").qos(1).manual_ack().await?;
//! while let Some(command) = commands.recv().await {
//!     let device = command.topic.split('/').nth(1).unwrap_or_default().to_owned();
//!     match &*command.text() {
//!         "on" | "off" => {
//!             switch(&device, command.text() == "on").await?;
//!             client.publish(format!("switch/{device}/state"), command.payload.clone()).qos(1).retain().await?;
//!             command.ack();
//!         }
//!         _ => command.reject(ReasonCode::PayloadFormatInvalid),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Request and response
//! Response topics and correlation data are the client's business, in 3.1.1 too.
//!
//! ```
//! use std::time::Duration;
//! use martlet_client::{Client, test::Broker};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = Broker::start().await?; // any broker will do
//! let service = Client::builder(broker.url()).connect().await?;
//! let serving = tokio::spawn(async move {
//!     service.serve("math/double", |request| async move {
//!         request.text().parse::<i64>().map_or_else(|error| error.to_string(), |n| (2 * n).to_string())
//!     }).await
//! });
//! let client = Client::builder(broker.url()).connect().await?;
//! // Nobody answers until the service has subscribed: asking again is the caller's decision.
//! let answer = loop {
//!     if let Ok(answer) = client.request("math/double", 21).timeout(Duration::from_millis(500)).await {
//!         break answer;
//!     }
//! };
//! assert_eq!(answer.text(), "42");
//! # serving.abort();
//! # Ok(())
//! # }
//! ```
//!
//! # A bridge between two brokers
//! A message is acknowledged on one side when the other side has it, so none is lost when either goes away; up to 64 are under way at a time, and
//! they keep their order. `no_local` keeps a bridge in both directions from hearing itself (MQTT 5.0).
//!
//! ```
//! use std::time::Duration;
//! use martlet_client::{Client, Error, Session, test::Broker};
//! use tokio::sync::mpsc;
//!
//! async fn bridge(from: Client, to: Client, filter: &str) -> Result<(), Error> {
//!     let mut messages = from.subscribe(filter).qos(1).no_local().retain_as_published().manual_ack().await?;
//!     let (under_way, mut arrivals) = mpsc::channel(64);
//!     let acknowledge = tokio::spawn(async move {
//!         while let Some((delivery, token)) = arrivals.recv().await {
//!             let delivery: martlet_client::Delivery = delivery;
//!             let token: Option<martlet_client::AckToken> = token;
//!             // Refused over there: once more would not help.
//!             let _ = delivery.await;
//!             token.into_iter().for_each(|token| token.ack());
//!         }
//!     });
//!     while let Some(mut message) = messages.recv().await {
//!         let token = message.take_ack();
//!         let topic = format!("remote/{}", message.topic);
//!         if let Ok(delivery) = to.publish_message(message.to(topic)).enqueue().await {
//!             let _ = under_way.send((delivery, token)).await;
//!         }
//!     }
//!     drop(under_way);
//!     let _ = acknowledge.await;
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (here, there) = (Broker::start().await?, Broker::start().await?);
//! let kept = Session::persistent(Duration::from_secs(3_600));
//! let from = Client::builder(here.url()).client_id("bridge").session(kept.clone()).connect().await?;
//! let to = Client::builder(there.url()).client_id("bridge").session(kept).connect().await?;
//! let bridging = tokio::spawn(bridge(from.clone(), to, "home/#"));
//! # let reader = Client::builder(there.url()).connect().await?;
//! # let mut seen = reader.subscribe("remote/#").qos(1).await?;
//! # let writer = Client::builder(here.url()).connect().await?;
//! # let again = loop {
//! #     writer.publish("home/door", "open").qos(1).await?;
//! #     let wait = tokio::time::timeout(Duration::from_millis(200), seen.recv());
//! #     if let Ok(Some(message)) = wait.await { break message; }
//! # };
//! # assert_eq!((again.topic.as_str(), &*again.text()), ("remote/home/door", "open"));
//! # from.close(Duration::from_secs(5)).await.ok();
//! # bridging.await??;
//! # Ok(())
//! # }
//! ```
//!
//! # A Home Assistant device
//! Home Assistant finds the device by itself, shows it as unavailable when the program is gone, and is told again when it has started anew.
//!
//! ```no_run
//! use martlet_client::Client;
//! use martlet_client::home_assistant::{Device, Sensor};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let temperature = Sensor::new("temperature", "Temperature")
//!     .state("cellar/temperature")
//!     .unit("°C")
//!     .class("temperature")
//!     .measurement();
//! let device = Device::new("cellar-1", "Cellar").availability("cellar/status").sensor(temperature);
//! let client = Client::builder("mqtt://homeassistant.local")
//!     .status("cellar/status", "online", "offline")
//!     .start()?;
//! tokio::spawn(device.announce(client.clone()));
//! client.publish("cellar/temperature", 12.5).qos(1).retain().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Metrics
//! With feature `metrics`, the recorder of the [`metrics`](https://docs.rs/metrics) facade that is installed when a client is made gets
//! what [`Stats`](crate::Stats) says, without labels; several clients add up. All names begin with `martlet_client_`:
//!
//! | counters | |
//! |---|---|
//! | `published_total`, `failed_total` | messages that ended well, or badly |
//! | `expired_total`, `dropped_total`, `superseded_total` | of these: too old, too many, replaced by a newer retained one |
//! | `resent_total` | messages sent again after a reconnect |
//! | `received_total`, `lagged_total`, `unrouted_total`, `unacked_dropped_total` | messages from the server, and what did not reach the program |
//! | `late_replies_total` | answers that nobody waits for |
//! | `attempts_total`, `connections_total`, `sessions_lost_total` | attempts to connect, and how they went |
//! | `pings_total`, `sent_bytes_total`, `received_bytes_total` | traffic |
//!
//! | gauges | |
//! |---|---|
//! | `connected` | clients with a connection |
//! | `queued`, `queued_bytes`, `in_flight` | messages that are not sent, or not finished |
//! | `unacknowledged`, `held` | received messages that the program has not dealt with, or not asked for |
//!
//! And one histogram: `publish_seconds`, from a publish to its acknowledgement.
//!
//! # Tests without a broker
//! Feature `test` has a broker in the same process and a link that breaks on demand: module `test`.
