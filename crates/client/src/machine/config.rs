//! What the machine is told once.

use std::fmt;
use std::time::Duration;

use martlet_codec::Version;

use crate::message::Message;
use crate::options::{OnSessionLost, Outbox, Reconnect, Session, Unrouted};

/// The settings of a [`Machine`](super::Machine). The [`Builder`](crate::Builder) makes and checks
/// them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The version to speak.
    pub version: Version,
    /// The client identifier; empty: the server chooses.
    pub client_id: String,
    /// User name and password.
    pub credentials: Credentials,
    /// What the server keeps between connections.
    pub session: Session,
    /// The Keep Alive to ask for, in seconds; 0: none.
    pub keep_alive_s: u16,
    /// How long an attempt to connect may take, CONNACK included.
    pub connect_timeout: Option<Duration>,
    /// How long to wait between attempts.
    pub reconnect: Reconnect,
    /// Whether to connect again at all.
    pub reconnects: bool,
    /// Published by the server when the connection dies.
    pub will: Option<Message>,
    /// Seconds between the death of the connection and the will (5.0).
    pub will_delay_s: u32,
    /// Published first on each connection.
    pub birth: Option<Message>,
    /// Published last before DISCONNECT.
    pub goodbye: Option<Message>,
    /// How many messages at QoS 1 and 2 the server may have sent without our acknowledgement (5.0).
    pub receive_maximum: u16,
    /// How many we have on their way at a time, at most.
    pub in_flight_max: u16,
    /// How many of these at QoS 2; `None`: as the version needs it.
    pub in_flight_qos2_max: Option<u16>,
    /// The largest packet that we take.
    pub packet_size_max: u32,
    /// How many topic aliases the server may use (5.0).
    pub aliases_in_max: u16,
    /// How many topic aliases we use, if the server allows as many (5.0).
    pub aliases_out_max: u16,
    /// The queue of messages to send.
    pub outbox: Outbox,
    /// Whether messages at QoS 1 and 2 are to be recorded: [`Event::Store`](super::Event::Store).
    pub stores: bool,
    /// What becomes of QoS 1 messages in flight when the session is lost.
    pub lost_qos1: OnSessionLost,
    /// What becomes of QoS 2 messages in flight when the session is lost.
    pub lost_qos2: OnSessionLost,
    /// What becomes of messages that no stream wants.
    pub unrouted: Unrouted,
    /// The most bytes of messages in the buffers of all streams together.
    pub inbound_bytes_max: usize,
    /// An acknowledgement that does not come within this time makes us connect again.
    pub ack_watchdog: Option<Duration>,
    /// User properties of CONNECT (5.0).
    pub user_properties: Vec<(String, String)>,
    /// Asks for Response Information (5.0).
    pub request_response_information: bool,
}

impl Config {
    pub(super) fn in_flight_qos2_max(&self) -> u16 {
        let by_version = if self.version.is_v5() {
            self.in_flight_max
        } else {
            IN_FLIGHT_QOS2_OF_311
        };
        self.in_flight_qos2_max.unwrap_or(by_version)
    }

    /// The defaults for a version.
    #[must_use]
    pub fn new(version: Version) -> Self {
        Self {
            version,
            client_id: String::new(),
            credentials: Credentials::default(),
            session: Session::clean(),
            keep_alive_s: 60,
            connect_timeout: Some(Duration::from_secs(30)),
            reconnect: Reconnect::default(),
            reconnects: true,
            will: None,
            will_delay_s: 0,
            birth: None,
            goodbye: None,
            receive_maximum: 256,
            in_flight_max: 1_024,
            in_flight_qos2_max: None,
            packet_size_max: 64 << 20,
            aliases_in_max: 64,
            aliases_out_max: 64,
            outbox: Outbox::memory(),
            stores: false,
            lost_qos1: OnSessionLost::Republish,
            lost_qos2: OnSessionLost::Fail,
            unrouted: Unrouted::Hold,
            inbound_bytes_max: 256 << 20,
            ack_watchdog: None,
            user_properties: Vec::new(),
            request_response_information: false,
        }
    }
}

/// 5.0 servers say what they take. In 3.1.1 mosquitto takes 20, and what comes beyond it acknowledges and throws away.
const IN_FLIGHT_QOS2_OF_311: u16 = 20;

/// User name and password. Debug output shows neither.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub user_name: Option<String>,
    /// The password.
    pub password: Option<Vec<u8>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |set: bool| if set { "(set)" } else { "(none)" };
        f.debug_struct("Credentials")
            .field("user_name", &shown(self.user_name.is_some()))
            .field("password", &shown(self.password.is_some()))
            .finish()
    }
}
