//! What a seed chooses before the first step: bounds, rules, and who takes part.

use std::hash::BuildHasher;
use std::ops::RangeInclusive;

use martlet_codec::Version;
use martlet_engine::{Authentication, Limits, Policy};

use crate::client::{Client, PATIENT_MS, Rush};
use crate::hostile::Hostile;
use crate::rng::Rng;

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Decides everything else.
    pub seed: u64,
    /// How many steps, not counting those that bring the world to rest.
    pub steps: usize,
    /// How many shards.
    pub shards: usize,
    /// Bounds of one's own instead of those that the seed chooses.
    pub limits: Option<Limits>,
    /// There is a store, and the process crashes.
    pub store: bool,
    /// Each process has as many shards as the one before.
    pub same_shards: bool,
    /// There is an authenticator.
    pub asks: bool,
    /// Shards are stopped on purpose.
    pub stops: bool,
    /// Print what happens to the error output.
    pub trace: bool,
}

impl Options {
    /// The usual run of a seed.
    #[must_use]
    pub const fn new(seed: u64, shards: usize) -> Self {
        Self {
            seed,
            steps: STEPS,
            shards,
            limits: None,
            store: false,
            same_shards: false,
            asks: false,
            stops: false,
            trace: false,
        }
    }

    /// The usual run of a seed with a store and crashes.
    #[must_use]
    pub const fn with_store(seed: u64, shards: usize) -> Self {
        let mut options = Self::new(seed, shards);
        options.store = true;
        options
    }

    /// The same for a seed that nobody has a name for: half of them with an authenticator, half with planned stops.
    #[must_use]
    pub const fn varied(mut self) -> Self {
        self.asks = self.seed & 1 == 1;
        self.stops = self.seed & 2 == 2;
        self
    }

    /// What to type to see the same run again.
    #[must_use]
    pub fn command(&self) -> String {
        format!(
            "cargo run -p martlet-sim -- {}{}{}--seed {} --shards {} --steps {}",
            if self.asks { "--asks " } else { "" },
            if self.stops { "--stops " } else { "" },
            match (self.store, self.same_shards) {
                (false, _) => "",
                (true, false) => "--store ",
                (true, true) => "--store --same-shards ",
            },
            self.seed,
            self.shards,
            self.steps
        )
    }
}

/// Seeds that nobody has run before, as far as the hasher keys of this process are new.
#[must_use]
pub fn fresh_seeds(count: u64) -> Vec<u64> {
    let state = std::hash::RandomState::new();
    // Short enough to be read out.
    (0..count).map(|n| state.hash_one(n) >> 32).collect()
}

/// What the seed has chosen.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) limits: Limits,
    pub(crate) policy: Policy,
    pub(crate) rounds: usize,
    /// All steady clients subscribe to everything, not only the first.
    pub(crate) all_see_everything: bool,
    /// Hostile clients run into the bounds on purpose.
    pub(crate) exceeds: bool,
    /// There is an authenticator.
    pub(crate) asks: bool,
    /// How many steps belong to it: whether it is quick.
    pub(crate) answers_percent: usize,
    /// Shards are stopped on purpose.
    pub(crate) stops: bool,
    /// Whether a process may begin with another number of shards than the one before: bounds are per shard.
    pub(crate) may_change_shards: bool,
}

impl Setup {
    pub(crate) fn choose(options: &Options, rng: &mut Rng) -> Self {
        let chosen = choose_limits(rng);
        let mut limits = options.limits.clone().unwrap_or(chosen);
        if options.limits.is_none() && options.asks {
            choose_limits_of_authentication(options, &mut limits);
        }
        let usual = Limits::default();
        if options.limits.is_none() && has_rush(options) {
            limits.receive_maximum = usual.receive_maximum;
            limits.in_flight_to_client_max = usual.in_flight_to_client_max;
        }
        Self {
            may_change_shards: !options.same_shards
                && limits.retained_messages_max == usual.retained_messages_max
                && limits.memory_budget_bytes == usual.memory_budget_bytes,
            limits,
            policy: choose_policy(options),
            asks: options.asks,
            answers_percent: *Rng::new(options.seed ^ HASTE).pick(&[1, 3, 8]),
            stops: options.stops,
            rounds: rng.between(3, 5),
            exceeds: options.limits.is_some() || Rng::new(options.seed ^ EXCESSES).percent(40),
            all_see_everything: !Rng::new(options.seed ^ FEW_WITNESSES).percent(50),
        }
    }

    /// Steady witnesses, and clients of every version and persistence.
    pub(crate) fn clients(options: &Options, rng: &mut Rng) -> Vec<Client> {
        let versions = [Version::V31, Version::V311, Version::V5, Version::V5];
        let mut clients = Vec::new();
        for n in 0..STEADY_CLIENTS {
            let version = [Version::V5, Version::V311, Version::V5][n % 3];
            let mut client = Client::new(n, format!("steady-{n}"), version, Some(u32::MAX));
            client.steady = true;
            clients.push(client);
        }
        for n in STEADY_CLIENTS..STEADY_CLIENTS + rng.between(4, 9) {
            let version = *rng.pick(&versions);
            let expiry_s = *rng.pick(&[
                None,
                Some(0),
                Some(5),
                Some(100),
                Some(3_600),
                Some(u32::MAX),
            ]);
            clients.push(Client::new(n, format!("client-{n}"), version, expiry_s));
        }
        let shares_surely = rng.percent(75);
        for client in &mut clients {
            client.shares_surely = shares_surely;
        }
        let mut methods = Rng::new(options.seed ^ METHODS);
        for client in &mut clients {
            let may = options.asks && client.version == Version::V5;
            client.names_method = may && methods.percent(75);
        }
        if has_rush(options) {
            prepare_rush(&mut clients);
        }
        let mut probe = Client::new(clients.len(), PROBE.into(), Version::V5, None);
        probe.steady = true;
        probe.probe = true;
        clients.push(probe);
        clients
    }

    pub(crate) fn hostiles(&self) -> Vec<Hostile> {
        (0..2)
            .map(|n| Hostile::new(format!("hostile-{n}"), self.exceeds))
            .collect()
    }
}

/// Whether clients publish in bursts to shared subscriptions that are slow: in a quarter of the runs.
fn has_rush(options: &Options) -> bool {
    Rng::new(options.seed ^ RUSH).one_in(4)
}

fn prepare_rush(clients: &mut [Client]) {
    for client in &mut *clients {
        client.rushes = Some(Rush::Publisher);
    }
    let with_parts = clients.iter_mut().skip(*RUSH_PARTS.start());
    for (client, (part, keeps_session)) in with_parts.zip(PARTS) {
        client.rushes = Some(part);
        client.version = Version::V5;
        if !keeps_session {
            client.expiry_s = None;
        }
    }
}

fn choose_policy(options: &Options) -> Policy {
    Policy {
        authentication: if options.asks {
            Authentication::Ask
        } else {
            Authentication::Anonymous
        },
        wills_on_shutdown: options.stops && Rng::new(options.seed ^ LAST_WILLS).percent(50),
        ..Policy::default()
    }
}

/// In half of the runs the authenticator has all the time of the world, and the witnesses authenticate anew, too; in some there is
/// room for few sessions, and whose verdict comes late does not find any.
fn choose_limits_of_authentication(options: &Options, limits: &mut Limits) {
    let mut rng = Rng::new(options.seed ^ PATIENCE);
    limits.authentication_timeout_ms = *rng.pick(&[PATIENT_MS, PATIENT_MS, 200, 10_000]);
    if !options.store && rng.one_in(6) {
        limits.sessions_max = STEADY_CLIENTS + rng.between(1, 4);
    }
}

/// Half of the runs have bounds that drop nothing; in the others some bound is so small that it is hit.
fn choose_limits(rng: &mut Rng) -> Limits {
    let mut limits = Limits {
        in_flight_to_client_max: *rng.pick(&[1, 2, 5, 256]),
        receive_maximum: *rng.pick(&[1, 2, 5, 64]),
        topic_aliases_from_client_max: *rng.pick(&[0, 1, 3, 32]),
        topic_aliases_to_client_max: *rng.pick(&[0, 1, 3, 32]),
        route_cache_entries_max: *rng.pick(&[1, 3, 1_000]),
        retained_chunk_messages: *rng.pick(&[1, 2, 64]),
        ..Limits::default()
    };
    match rng.below(16) {
        0 => limits.session_queue_messages_max = rng.between(1, 6),
        1 => limits.session_queue_bytes_max = rng.between(80, 600),
        2 => limits.outbox_bytes_max = rng.between(40, 300),
        3 => limits.group_queue_messages_max = rng.between(1, 4),
        4 => limits.memory_budget_bytes = rng.between(500, 4_000),
        5 => {
            limits.outbox_bytes_hard_max = rng.between(400, 1_500);
            limits.outbox_bytes_max = limits.outbox_bytes_hard_max / 2;
        }
        6 => limits.retained_messages_max = rng.between(1, 3),
        7 => limits.subscriptions_per_session_max = rng.between(1, 3),
        _ => {}
    }
    limits
}

/// Makes a sequence of its own of a seed: a choice that came later leaves the runs of the named seeds as they were.
const FEW_WITNESSES: u64 = 5_150;
/// See [`FEW_WITNESSES`].
const EXCESSES: u64 = 13_316;
/// See [`FEW_WITNESSES`].
const HASTE: u64 = 10_001;
/// See [`FEW_WITNESSES`].
const METHODS: u64 = 77_031;
/// See [`FEW_WITNESSES`].
const PATIENCE: u64 = 60_606;
/// See [`FEW_WITNESSES`].
const LAST_WILLS: u64 = 90_210;
/// See [`FEW_WITNESSES`].
const RUSH: u64 = 36_088;
/// Who has a part of its own in a rush; they act more often than others, who publish.
pub(crate) const RUSH_PARTS: RangeInclusive<usize> = 1..=PARTS.len();
/// Their parts, and who keeps its session. Which member goes is gone for good, and what it had goes to the others: one stays from
/// the first step to the last, what others leave has to reach it. The second stream sends runs to other shards.
const PARTS: [(Rush, bool); 6] = [
    (Rush::Witness, true),
    (Rush::Member, true),
    (Rush::Member, false),
    (Rush::Member, false),
    (Rush::Stream, true),
    (Rush::Stream, false),
];
/// The client that asks what is retained.
pub(crate) const PROBE: &str = "probe";
/// Witnesses in every run.
const STEADY_CLIENTS: usize = 3;
/// Steps of a usual run.
const STEPS: usize = 4_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_rush_has_its_client() {
        let rushes = (0..100).map(|seed| Options::new(seed, 1)).filter(has_rush);
        for options in rushes {
            let clients = Setup::clients(&options, &mut Rng::new(options.seed));
            // The last one is the probe.
            for (at, client) in clients.iter().enumerate().take(clients.len() - 1) {
                let has_part = client.rushes != Some(Rush::Publisher);
                assert_eq!(has_part, RUSH_PARTS.contains(&at), "{at}");
            }
            assert!(RUSH_PARTS.end() < &(clients.len() - 1));
        }
    }
}
