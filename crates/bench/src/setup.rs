//! Connections and subscriptions before a run: all of them stand, or there is no run.

use std::io;
use std::time::Duration;

use martlet_codec::{
    ConnAck, Connect, Packet, PacketId, PropertiesBuf, Property, QoS, Subscribe,
    SubscribeFiltersBuf, SubscriptionOptions, TopicFilter, Version,
};

use crate::clock::nanoseconds;
use crate::error::Error;
use crate::number::{count, float, length, whole};
use crate::settings::Settings;
use crate::swarm::{Handler, Swarm};

/// A client to bring up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Client {
    /// What it subscribes to.
    pub(crate) filters: Vec<String>,
    /// Its session outlives the connection.
    pub(crate) keep_session: bool,
}

/// What the broker said to a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Welcome {
    /// Messages that the broker takes before it acknowledges the first.
    receive_maximum: u16,
}

impl Welcome {
    /// How many messages this client may have unacknowledged: as many as were asked for, unless the broker takes fewer.
    pub(crate) fn unacknowledged_max(self, settings: &Settings) -> u16 {
        settings.inflight.min(self.receive_maximum)
    }
}

/// Opens one connection per client, in order, and makes its subscriptions.
///
/// Connection numbers of the swarm and the numbers in client identifiers start at `first_number`.
pub(crate) fn bring_up(
    swarm: &mut Swarm,
    settings: &Settings,
    clients: &[Client],
) -> Result<Vec<Welcome>, Error> {
    let clock = swarm.clock();
    let start_ns = clock.now_ns();
    let deadline_ns = start_ns + nanoseconds(settings.setup);
    let mut setup = Setup::new(clients);
    let mut first = None;
    let mut opened = 0;
    while setup.finished < clients.len() {
        let now_ns = clock.now_ns();
        if now_ns > deadline_ns {
            return Err(Error::Broker(format!(
                "after {:?} only {} of {} clients were connected and subscribed",
                settings.setup,
                setup.finished,
                clients.len()
            )));
        }
        let due = settings.connect_rate.map_or(clients.len(), |rate| {
            length(whole(float(now_ns - start_ns) / 1e9 * rate) + 1)
        });
        let due = due
            .min(setup.finished + settings.concurrency)
            .min(clients.len());
        while opened < due {
            let keep = clients
                .get(opened)
                .is_some_and(|client| client.keep_session);
            let index = open(swarm, settings, opened, !keep, keep)?;
            opened += 1;
            setup.first = *first.get_or_insert(index);
        }
        swarm.turn(&mut setup, Duration::from_millis(1))?;
        setup.subscribe_next(swarm, settings, clients)?;
        if let Some(problem) = setup.problem.take() {
            return Err(Error::Broker(problem));
        }
    }
    Ok(setup.welcomes)
}

/// Makes the subscriptions of clients that are connected already, in order from connection 0.
pub(crate) fn subscribe_all(
    swarm: &mut Swarm,
    settings: &Settings,
    clients: &[Client],
) -> Result<(), Error> {
    let mut setup = Setup::new(clients);
    setup.next = (0..clients.len()).collect();
    let deadline_ns = swarm.clock().now_ns() + nanoseconds(settings.setup);
    loop {
        setup.subscribe_next(swarm, settings, clients)?;
        if setup.finished == clients.len() {
            return Ok(());
        }
        swarm.turn(&mut setup, Duration::from_millis(20))?;
        if let Some(problem) = setup.problem.take() {
            return Err(Error::Broker(problem));
        }
        if swarm.clock().now_ns() > deadline_ns {
            return Err(Error::Broker(format!(
                "after {:?} only {} of {} clients had their subscriptions",
                settings.setup,
                setup.finished,
                clients.len()
            )));
        }
    }
}

/// Lets the broker's memory settle; connections that end meanwhile are noticed by who asks for them.
pub(crate) fn settle(swarm: &mut Swarm, settings: &Settings) -> Result<(), Error> {
    let end_ns = swarm.clock().now_ns() + nanoseconds(settings.settle);
    let mut nobody = Setup::new(&[]);
    while swarm.clock().now_ns() < end_ns {
        swarm.turn(&mut nobody, Duration::from_millis(20))?;
    }
    Ok(())
}

/// Opens the connection of one client.
pub(crate) fn open(
    swarm: &mut Swarm,
    settings: &Settings,
    number: usize,
    clean_start: bool,
    keep_session: bool,
) -> Result<usize, Error> {
    let connect = connect_packet(settings, number, clean_start, keep_session)?;
    let from = settings.local_address(number);
    Ok(swarm.open(settings.address, from, &connect)?)
}

/// CONNECT of one client.
pub(crate) fn connect_packet(
    settings: &Settings,
    number: usize,
    clean_start: bool,
    keep_session: bool,
) -> io::Result<Vec<u8>> {
    let client_id = settings.client_id(number);
    let user_name = settings.username(number);
    let mut properties = PropertiesBuf::new();
    if settings.version.is_v5() {
        // More than any window of ours, so that the broker's own limits decide.
        properties.push(Property::ReceiveMaximum(u16::MAX));
        if keep_session {
            properties.push(Property::SessionExpiryInterval(SESSION_EXPIRY_S));
        }
    }
    let connect = Connect {
        version: settings.version,
        // 3.x has one flag for both.
        clean_start: clean_start && (settings.version == Version::V5 || !keep_session),
        keep_alive_s: settings.keepalive,
        properties: properties.as_properties(),
        client_id: &client_id,
        will: None,
        user_name: user_name.as_deref(),
        password: settings.password.as_deref().map(str::as_bytes),
    };
    let mut bytes = Vec::new();
    Packet::Connect(connect)
        .encode(settings.version, &mut bytes)
        .map_err(|error| io::Error::other(format!("CONNECT cannot be sent: {error}")))?;
    Ok(bytes)
}

/// Sends one SUBSCRIBE.
pub(crate) fn subscribe(
    swarm: &mut Swarm,
    conn: usize,
    packet_id: PacketId,
    filters: &[String],
    qos: QoS,
) -> Result<(), Error> {
    let mut list = SubscribeFiltersBuf::new();
    for filter in filters {
        let filter = TopicFilter::new(filter)
            .map_err(|error| Error::Arguments(format!("topic filter {filter:?}: {error}")))?;
        list.push(filter, SubscriptionOptions::with_qos(qos));
    }
    let subscribe = Subscribe {
        packet_id,
        properties: martlet_codec::Properties::EMPTY,
        filters: list.as_filters(),
    };
    Ok(swarm.send_packet(conn, &Packet::Subscribe(subscribe))?)
}

/// Counts what is up.
#[derive(Debug)]
struct Setup {
    /// The first connection number.
    first: usize,
    finished: usize,
    welcomes: Vec<Welcome>,
    /// Filters of each client that were sent.
    sent: Vec<usize>,
    /// Clients whose next SUBSCRIBE is due.
    next: Vec<usize>,
    problem: Option<String>,
}

impl Setup {
    fn new(clients: &[Client]) -> Self {
        Self {
            first: 0,
            finished: 0,
            welcomes: vec![
                Welcome {
                    receive_maximum: u16::MAX
                };
                clients.len()
            ],
            sent: vec![0; clients.len()],
            next: Vec::new(),
            problem: None,
        }
    }

    fn subscribe_next(
        &mut self,
        swarm: &mut Swarm,
        settings: &Settings,
        clients: &[Client],
    ) -> Result<(), Error> {
        for client in std::mem::take(&mut self.next) {
            let filters = clients
                .get(client)
                .map_or(&[][..], |client| &client.filters);
            let Some(sent) = self.sent.get_mut(client) else {
                continue;
            };
            let rest = filters.get(*sent..).unwrap_or_default();
            if rest.is_empty() {
                self.finished += 1;
                continue;
            }
            let part = rest.get(..FILTERS_PER_PACKET).unwrap_or(rest);
            *sent += part.len();
            subscribe(
                swarm,
                self.first + client,
                PacketId::MIN,
                part,
                settings.qos,
            )?;
        }
        Ok(())
    }
}

impl Handler for Setup {
    fn opened(&mut self, conn: usize, connack: &ConnAck<'_>) {
        let client = conn - self.first;
        if let Some(welcome) = self.welcomes.get_mut(client) {
            let maximum = connack.properties.receive_maximum();
            welcome.receive_maximum = maximum.unwrap_or(u16::MAX);
        }
        self.next.push(client);
    }

    fn subscribed(&mut self, conn: usize, reasons: &[u8]) {
        if let Some(refused) = reasons.iter().find(|reason| **reason >= 0x80) {
            self.problem = Some(format!("a subscription was refused: 0x{refused:02X}"));
        }
        self.next.push(conn - self.first);
    }

    fn closed(&mut self, conn: usize, why: &str) {
        let number = count(conn);
        self.problem = Some(format!("connection {number}: {why}"));
    }
}

/// Some brokers refuse longer ones.
const FILTERS_PER_PACKET: usize = 50;
/// Long enough for any run, and they do not stay for ever if a run is cut off.
const SESSION_EXPIRY_S: u32 = 3_600;
