//! The interface of the aimeqtt client, for programs that were written for it.
//!
//! With the feature `compat` the module [`client`] also stands at the root of this crate, so such a program needs
//! no change but one line in its `Cargo.toml`:
//!
//! ```toml
//! aimeqtt = { package = "martlet-client", version = "0.1", features = ["compat"] }
//! ```
//!
//! What is different: messages of any size and any bytes are received; the keep alive is the one that was asked for;
//! two programs do not throw each other out; refusals are logged; a half-open link is noticed; subscriptions
//! come back after a reconnect; the callback gets the messages one after the other, in their order; and while the
//! broker is away `publish` keeps the newest 1,000 messages and returns, in place of stopping the program.

/// The client and its options.
pub mod client {
    use std::fmt;
    use std::sync::Arc;
    use std::time::Duration;

    use crate::builder::Builder;
    use crate::error::PublishError;
    use crate::options::{OnFull, Outbox};
    use crate::transport::Tcp;

    /// Where to connect to, and how.
    #[derive(Clone)]
    pub struct ClientOptions {
        host: String,
        port: u16,
        credentials: Option<(String, String)>,
        keep_alive_s: u16,
        callback: Option<Arc<dyn Fn(String) + Send + Sync>>,
    }

    impl ClientOptions {
        /// A broker on this machine, without credentials, keep alive 60 s.
        #[must_use]
        pub fn new() -> Self {
            Self {
                host: "localhost".into(),
                port: 1_883,
                credentials: None,
                keep_alive_s: 60,
                callback: None,
            }
        }

        /// The broker's name or address.
        #[must_use]
        pub fn with_broker_host(mut self, host: String) -> Self {
            self.host = host;
            self
        }

        /// The broker's port.
        #[must_use]
        pub const fn with_broker_port(mut self, port: u16) -> Self {
            self.port = port;
            self
        }

        /// User name and password.
        #[must_use]
        pub fn with_credentials(mut self, username: String, password: String) -> Self {
            self.credentials = Some((username, password));
            self
        }

        /// The keep alive in seconds.
        #[must_use]
        pub const fn with_keep_alive(mut self, keep_alive: u16) -> Self {
            self.keep_alive_s = keep_alive;
            self
        }

        /// What is called with the payload of each message.
        #[must_use]
        pub fn with_callback_handler(
            mut self,
            callback: impl Fn(String) + Send + Sync + 'static,
        ) -> Self {
            self.callback = Some(Arc::new(callback));
            self
        }
    }

    impl Default for ClientOptions {
        fn default() -> Self {
            Self::new()
        }
    }

    impl fmt::Debug for ClientOptions {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("ClientOptions")
                .field("host", &self.host)
                .field("port", &self.port)
                .finish_non_exhaustive()
        }
    }

    /// A handle of the client.
    #[derive(Clone)]
    pub struct Client {
        inner: crate::Client,
        callback: Option<Arc<dyn Fn(String) + Send + Sync>>,
    }

    /// Starts a client, which connects in the background and keeps trying.
    ///
    /// # Panics
    /// Outside a tokio runtime, and if user name or password are longer than MQTT allows.
    #[expect(
        clippy::expect_used,
        clippy::unused_async,
        reason = "the signature is that of aimeqtt, which has no error and is async"
    )]
    pub async fn new(options: ClientOptions) -> Client {
        let outbox = Outbox::memory()
            .qos0(true)
            .max_messages(QUEUED_MAX)
            .on_full(OnFull::DropOldest);
        let mut builder = Builder::new("mqtt://localhost")
            .v311()
            .keep_alive(Duration::from_secs(options.keep_alive_s.into()))
            .outbox(outbox)
            .transport(Tcp {
                host: options.host,
                port: options.port,
            });
        if let Some((user, password)) = options.credentials {
            builder = builder.credentials(user, password);
        }
        Client {
            inner: builder.start().expect("credentials that MQTT can carry"),
            callback: options.callback,
        }
    }

    impl Client {
        /// Publishes a message at QoS 0: comes back when it is written or, while the broker is away,
        /// when it is in the queue.
        pub async fn publish(&self, topic: String, payload: String) -> Result<(), ClientError> {
            let delivery = self.inner.publish(topic, payload).try_enqueue()?;
            if self.inner.state().borrow().is_connected() {
                delivery.await?;
            }
            Ok(())
        }

        /// Subscribes in the background, now and after each reconnect; the messages go to the callback.
        pub fn subscribe(&mut self, topic_filter: String) -> Result<(), ClientError> {
            crate::Filter::new(&topic_filter)
                .check()
                .map_err(|fault| ClientError(fault.to_string()))?;
            let client = self.inner.unowned();
            let callback = self.callback.clone();
            tokio::spawn(async move {
                let mut messages = match client.subscribe(topic_filter).await {
                    Ok(messages) => messages,
                    Err(error) => {
                        let error = crate::error::Public(&error);
                        tracing::error!(%error, "a subscription was refused");
                        return;
                    }
                };
                while let Some(message) = messages.recv().await {
                    if let Some(callback) = &callback {
                        callback(message.text().into_owned());
                    }
                }
            });
            Ok(())
        }
    }

    impl fmt::Debug for Client {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Client").finish_non_exhaustive()
        }
    }

    /// Why a message could not be published.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ClientError(String);

    impl From<PublishError> for ClientError {
        fn from(error: PublishError) -> Self {
            Self(error.to_string())
        }
    }

    impl fmt::Display for ClientError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.0)
        }
    }

    impl std::error::Error for ClientError {}

    const QUEUED_MAX: usize = 1_000;
}
