//! Everything that is set once.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use martlet_codec::Version;

use crate::driver::Driver;
use crate::error::{Error, ErrorKind, Feature};
use crate::handle::Client;
use crate::machine::{Config, Machine, OpId, Outcome, Time};
use crate::message::{Message, Payload, seconds_up};
use crate::options::{OnSessionLost, Outbox, Reconnect, Session, SessionKind, Unrouted};
use crate::outbox::{FileStore, RestoredMessage};
use crate::shared::Shared;
use crate::topic::IntoTopic;
use crate::transport::{Tcp, Transport, Unix};
use crate::url::{Target, Url};

/// What a client is to be like; made by [`Client::builder`].
///
/// What makes no sense is reported when the client is made, as
/// [`InvalidOption`](ErrorKind::InvalidOption) or, for options that 3.1.1 does not have,
/// [`NotSupported`](ErrorKind::NotSupported).
#[must_use = "a builder does nothing until connect, start or build"]
pub struct Builder {
    url: Result<Url, Error>,
    config: Config,
    transport: Option<Box<dyn Transport>>,
    fault: Option<&'static str>,
}

impl Builder {
    pub(crate) fn new(url: &str) -> Self {
        let url = Url::parse(url);
        let mut config = Config::new(Version::V5);
        if let Ok(url) = &url {
            config.credentials.user_name.clone_from(&url.user);
            config.credentials.password = url.password.clone().map(String::into_bytes);
        }
        Self {
            url,
            config,
            transport: None,
            fault: None,
        }
    }

    /// Speaks MQTT 5.0, which is the default. A server that does not is an error: nothing is tried
    /// behind your back.
    pub const fn v5(self) -> Self {
        self.version(Version::V5)
    }

    /// Speaks MQTT 3.1.1.
    pub const fn v311(self) -> Self {
        self.version(Version::V311)
    }

    /// Speaks this version.
    pub const fn version(mut self, version: Version) -> Self {
        self.config.version = version;
        self
    }

    /// The version that will be spoken.
    #[must_use]
    pub const fn spoken_version(&self) -> Version {
        self.config.version
    }

    /// The client identifier. Without one the server chooses.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.config.client_id = id.into();
        self
    }

    /// User name and password, instead of those in the URL.
    pub fn credentials(mut self, user: impl Into<String>, password: impl Payload) -> Self {
        self.config.credentials.user_name = Some(user.into());
        self.config.credentials.password = Some(password.into_payload().to_vec());
        self
    }

    /// The user name alone.
    pub fn user_name(mut self, user: impl Into<String>) -> Self {
        self.config.credentials.user_name = Some(user.into());
        self
    }

    /// The password alone.
    pub fn password(mut self, password: impl Payload) -> Self {
        self.config.credentials.password = Some(password.into_payload().to_vec());
        self
    }

    /// What the server keeps between connections; [`Session::clean`] by default.
    pub const fn session(mut self, session: Session) -> Self {
        self.config.session = session;
        self
    }

    /// The longest silence, in whole seconds: 60 s by default, nothing switches it off. A dead link
    /// is noticed after one and a half times this. The server may choose another value.
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        match u16::try_from(seconds_up(interval)) {
            Ok(seconds) => self.config.keep_alive_s = seconds,
            Err(_) => self.fault = Some("keep alive is 65,535 seconds at most"),
        }
        self
    }

    /// How long one attempt to connect may take, CONNACK included: 30 s by default, `None`: as long
    /// as the operating system likes.
    pub fn connect_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.connect_timeout = limit.into();
        self
    }

    /// How long to wait between attempts.
    pub const fn reconnect(mut self, policy: Reconnect) -> Self {
        self.config.reconnect = policy;
        self
    }

    /// Does not connect again: the client is closed when the connection is lost.
    pub const fn no_reconnect(mut self) -> Self {
        self.config.reconnects = false;
        self
    }

    /// The message that the server publishes when the connection dies.
    pub fn will(mut self, message: Message) -> Self {
        self.config.will = Some(message);
        self
    }

    /// How long after the death of the connection the will is published (MQTT 5.0).
    pub fn will_delay(mut self, delay: Duration) -> Self {
        self.config.will_delay_s = seconds_up(delay);
        self
    }

    /// The message that is published first on each connection.
    pub fn birth(mut self, message: Message) -> Self {
        self.config.birth = Some(message);
        self
    }

    /// The message that is published last before a proper disconnect, which deletes the will.
    pub fn goodbye(mut self, message: Message) -> Self {
        self.config.goodbye = Some(message);
        self
    }

    /// Birth, will and goodbye in one: the topic always says, retained and at QoS 1, whether the
    /// client is there.
    ///
    /// ```
    /// # use martlet_client::Client;
    /// let client = Client::builder("mqtt://localhost").status("meter/status", "online", "offline");
    /// # drop(client);
    /// ```
    pub fn status(
        self,
        topic: impl IntoTopic,
        online: impl Payload,
        offline: impl Payload,
    ) -> Self {
        let topic = topic.into_topic();
        let message = |payload| Message::new(&topic, payload).retain().qos(1);
        let offline = offline.into_payload();
        self.birth(message(online.into_payload()))
            .will(message(offline.clone()))
            .goodbye(message(offline))
    }

    /// How many messages at QoS 1 and 2 the server may have sent that we have not acknowledged: 256
    /// by default. Since a message is acknowledged when the application takes it, this bounds what
    /// waits for it (MQTT 5.0; 3.1.1 servers have a bound of their own).
    pub const fn receive_maximum(mut self, count: u16) -> Self {
        self.config.receive_maximum = if count == 0 { 1 } else { count };
        self
    }

    /// How many messages at QoS 1 and 2 we send without having seen their acknowledgement: 1,024 by
    /// default, 16,384 at most, or fewer if the server wants it so. In 3.1.1, where servers cannot say what they want,
    /// 20 of them may be at QoS 2 unless this is set: mosquitto, for one, loses what exceeds that.
    pub fn max_in_flight(mut self, count: u16) -> Self {
        self.config.in_flight_max = count.clamp(1, IN_FLIGHT_MAX);
        self.config.in_flight_qos2_max = Some(self.config.in_flight_max);
        self
    }

    /// The largest packet that we take: 64 MiB by default. In 5.0 the server is told.
    pub const fn max_packet_size(mut self, bytes: u32) -> Self {
        self.config.packet_size_max = if bytes < 16 { 16 } else { bytes };
        self
    }

    /// How many topic aliases the server may use, and how many we use: 64 each by default. 0
    /// switches them off (MQTT 5.0).
    pub const fn topic_aliases(mut self, incoming: u16, outgoing: u16) -> Self {
        self.config.aliases_in_max = incoming;
        self.config.aliases_out_max = outgoing;
        self
    }

    /// The queue of messages to send.
    pub fn outbox(mut self, outbox: Outbox) -> Self {
        self.config.outbox = outbox;
        self
    }

    /// What becomes of messages in flight when the server has lost the session.
    pub const fn on_session_lost(mut self, qos1: OnSessionLost, qos2: OnSessionLost) -> Self {
        self.config.lost_qos1 = qos1;
        self.config.lost_qos2 = qos2;
        self
    }

    /// What becomes of messages that no subscription of this program wants.
    pub const fn unrouted(mut self, policy: Unrouted) -> Self {
        self.config.unrouted = policy;
        self
    }

    /// The most bytes that may wait in all streams together: 256 MiB by default. Beyond, the
    /// connection is closed, and the server keeps the rest.
    pub const fn max_inbound_bytes(mut self, bytes: usize) -> Self {
        self.config.inbound_bytes_max = bytes;
        self
    }

    /// Connects again when an acknowledgement does not come for so long, instead of letting the
    /// publish fail. Off by default: servers may take their time.
    pub const fn ack_watchdog(mut self, limit: Duration) -> Self {
        self.config.ack_watchdog = Some(limit);
        self
    }

    /// A name and a value for CONNECT (MQTT 5.0); may be repeated.
    pub fn user_property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let pair = (name.into(), value.into());
        self.config.user_properties.push(pair);
        self
    }

    /// Asks the server where responses should go (MQTT 5.0).
    pub const fn request_response_information(mut self) -> Self {
        self.config.request_response_information = true;
        self
    }

    /// Another way to the server than the URL says: see [`Transport`].
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transport = Some(Box::new(transport));
        self
    }

    /// Connects and waits for the server's answer. The first attempt decides: a refusal, or no
    /// server, is an error. Later the client connects again by itself.
    ///
    /// # Cancellation
    /// The socket is closed, and nothing is left.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn connect(self) -> Result<Client, Error> {
        let (client, mut driver) = self.build_idle()?;
        let shared = client.shared();
        let op = shared.with(|core, now| {
            let op = core.ops.begin();
            core.machine.start(now, Some(op));
            op
        });
        // The driver runs inside this future until the connection stands, so dropping the future
        // leaves no task.
        let outcome = run_until(&mut driver, &shared, op).await;
        match outcome {
            Some(Outcome::Connected) => {
                tokio::spawn(driver);
                Ok(client)
            }
            Some(Outcome::ConnectFailed(error)) => Err(error),
            _ => Err(Error::new(ErrorKind::Closed)),
        }
    }

    /// Starts to connect in the background and keeps trying, whatever happens:
    /// [`Client::state`] shows how it goes.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(self) -> Result<Client, Error> {
        let (client, driver) = self.build()?;
        tokio::spawn(driver);
        Ok(client)
    }

    /// As [`start`](Self::start), for those who run the [`Driver`] themselves.
    pub fn build(self) -> Result<(Client, Driver), Error> {
        let (client, driver) = self.build_idle()?;
        client
            .shared()
            .with(|core, now| core.machine.start(now, None));
        Ok((client, driver))
    }

    fn build_idle(mut self) -> Result<(Client, Driver), Error> {
        let transport: Box<dyn Transport> = match (self.transport, self.url) {
            (Some(own), _) => own,
            (None, Err(error)) => return Err(error),
            (None, Ok(url)) => match url.target {
                Target::Tcp { host, port } => Box::new(Tcp { host, port }),
                Target::Unix(path) => Box::new(Unix { path }),
            },
        };
        if let Some(fault) = self.fault {
            return Err(Error::with_detail(ErrorKind::InvalidOption, fault));
        }
        check(&self.config)?;
        let store = self.config.outbox.file.take();
        let shared = shared_with(self.config, store);
        let driver = Driver::new(Arc::clone(&shared), transport);
        Ok((Client::new(shared), driver))
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("url", &self.url)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// The machine and what belongs to it, with what an earlier process has left in the outbox.
fn shared_with(mut config: Config, store: Option<Arc<FileStore>>) -> Arc<Shared> {
    config.stores = store.is_some();
    let mut machine = Machine::new(config, random_seed());
    for RestoredMessage {
        number,
        message,
        expires_in,
    } in store.iter().flat_map(|store| store.take_restored())
    {
        machine.restore(Time::default(), number, message, expires_in);
    }
    let shared = Arc::new(Shared::new(machine, store.clone()));
    if let Some(store) = store {
        let client = Arc::downgrade(&shared);
        store.on_progress(move |well| {
            let Some(shared) = client.upgrade() else {
                return;
            };
            shared.with(|core, _| {
                if well {
                    core.machine.set_storage_busy(false);
                } else {
                    core.machine.on_storage_failed();
                }
            });
        });
    }
    shared
}

async fn run_until(driver: &mut Driver, shared: &Shared, op: OpId) -> Option<Outcome> {
    let mut wait = std::pin::pin!(shared.wait(op));
    let mut running = true;
    std::future::poll_fn(|cx| {
        use std::future::Future;
        if running {
            running = std::pin::Pin::new(&mut *driver).poll(cx).is_pending();
        }
        wait.as_mut().poll(cx)
    })
    .await
}

fn check(config: &Config) -> Result<(), Error> {
    let invalid = |what: &str| Err(Error::with_detail(ErrorKind::InvalidOption, what));
    let v5 = config.version.is_v5();
    let long = |text: &str| text.len() > usize::from(u16::MAX) || text.contains('\0');
    //= mqtt311 3.1.3-7
    if config.client_id.is_empty() {
        match config.session.kind {
            SessionKind::Persistent => {
                return invalid("a persistent session needs a client identifier");
            }
            SessionKind::Fresh if !v5 => {
                return invalid("a session that is resumed needs a client identifier in 3.1.1");
            }
            SessionKind::Fresh | SessionKind::Clean => {}
        }
    }
    if long(&config.client_id) || config.credentials.user_name.as_deref().is_some_and(long) {
        return invalid("client identifier and user name have 65,535 bytes at most, and no U+0000");
    }
    let password = config.credentials.password.as_deref();
    if password.is_some_and(|password| password.len() > usize::from(u16::MAX)) {
        return invalid("a password has 65,535 bytes at most");
    }
    //= mqtt311 3.1.2-22
    if password.is_some() && config.credentials.user_name.is_none() && !v5 {
        return invalid("3.1.1 has no password without a user name");
    }
    for message in [&config.will, &config.birth, &config.goodbye]
        .into_iter()
        .flatten()
    {
        if let Some(fault) = message.topic.fault() {
            let detail = format!("will, birth or goodbye: {fault}");
            return Err(Error::with_detail(ErrorKind::InvalidTopic, detail));
        }
        if !message.qos_valid {
            return invalid("QoS is 0, 1 or 2");
        }
        if message.properties.is_some() && !v5 {
            return Err(Error::new(ErrorKind::NotSupported(Feature::Mqtt5)));
        }
    }
    if config
        .will
        .as_ref()
        .is_some_and(|will| will.payload.len() > usize::from(u16::MAX))
    {
        return invalid("a will has 65,535 bytes at most");
    }
    let needs_v5 = config.will_delay_s > 0
        || !config.user_properties.is_empty()
        || config.request_response_information;
    if needs_v5 && !v5 {
        return Err(Error::new(ErrorKind::NotSupported(Feature::Mqtt5)));
    }
    Ok(())
}

/// Far from all packet identifiers: there is always a free one, and it is found quickly.
const IN_FLIGHT_MAX: u16 = 16_384;

/// From the operating system's randomness, by way of the seed of a hash map.
fn random_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
