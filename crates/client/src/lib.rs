//! An async MQTT client. [The guide](guide) says how it thinks and has a recipe for each common job.
//!
//! ```no_run
//! use martlet_client::Client;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("mqtt://localhost").client_id("meter-1").connect().await?;
//! let mut commands = client.subscribe("meter/+/set").qos(1).await?;
//! client.publish("meter/status", "online").qos(1).retain().await?;
//! while let Some(command) = commands.recv().await {
//!     println!("{}: {}", command.topic, command.text());
//! }
//! # Ok(())
//! # }
//! ```

mod acks;
pub mod blocking;
mod builder;
pub mod compat;
mod driver;
mod error;
pub mod guide;
mod handle;
pub mod home_assistant;
pub mod machine;
mod message;
#[cfg(feature = "metrics")]
mod meters;
mod ops;
mod options;
mod outbox;
mod publish;
mod request;
mod retained;
mod serve;
mod shared;
mod state;
mod subscribe;
#[cfg(feature = "test")]
pub mod test;
mod topic;
mod transport;
mod url;

pub use acks::AckToken;
pub use builder::Builder;
pub use bytes::Bytes;
#[cfg(feature = "compat")]
pub use compat::client;
pub use driver::Driver;
pub use error::{Delivered, Error, ErrorKind, Feature, PublishError, Receipt, Unfinished};
pub use handle::Client;
pub use machine::Granted;
pub use martlet_codec::{QoS, ReasonCode, RetainHandling, TopicError, Version};
pub use message::{Message, Payload, Properties};
pub use options::{OnFull, OnSessionLost, Outbox, Overflow, Reconnect, Session, Unrouted};
pub use publish::{Delivery, Publish, Publishing, TooLate};
pub use request::{Request, Requesting};
pub use retained::RetainedSet;
pub use state::{Limits, State, Stats};
pub use subscribe::{Subscribe, Subscribing, Subscription};
pub use topic::{Filter, IntoFilter, IntoQoS, IntoTopic, Topic};
pub use transport::{ByteStream, Opening, Transport, transport_fn};
pub use url::{Target, Url};
