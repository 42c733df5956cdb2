//! For tests of programs that use MQTT: a broker in the same process, and a link that breaks on
//! demand. Feature `test`.
//!
//! ```
//! use std::time::Duration;
//! use martlet_client::{Client, test::{Broker, Link}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = Broker::start().await?;
//! let link = Link::to(broker.url()).await?;
//! let client = Client::builder(link.url()).connect().await?;
//! let delivery = client.publish("a", "b").qos(1).enqueue().await?;
//! link.cut(); // as if somebody had pulled the plug
//! let receipt = delivery.await?; // arrives all the same
//! # let _ = receipt;
//! # client.close(Duration::from_secs(5)).await?;
//! # Ok(())
//! # }
//! ```

mod broker;
mod link;
mod port;

pub use broker::Broker;
pub use link::Link;
pub use port::lasting_port;
