//! The part about crossing shards: pairs whose two clients live on one shard, and pairs whose clients do not.
//!
//! A client's shard is a hash of its identifier, which never changes, so a prefix can be found by trying that puts each of
//! sixteen pairs where it is wanted (`shard_of` in `crates/engine/src/clients/client_slots.rs`, and its test, which knows these
//! prefixes, too).

use crate::files::Project;

use super::peers::{self, Peer};
use super::{Options, Outcome, bench};

/// What `--only` calls this part.
pub(crate) const NAME: &str = "crossing shards";

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    /// Behind `martlet bench`: the two clients of each pair on one shard, and on two.
    pub(crate) at_home: Way,
    pub(crate) crossing: Way,
}

/// A load with its name among the results.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) row: &'static str,
    pub(crate) arguments: &'static str,
}

macro_rules! load {
    ($name:literal, $arguments:literal) => {
        Load {
            name: $name,
            at_home: Way {
                row: concat!("crossing shards, none, ", $name),
                arguments: concat!("p2p --pairs 16 --prefix home-4995- ", $arguments),
            },
            crossing: Way {
                row: concat!("crossing shards, all, ", $name),
                arguments: concat!("p2p --pairs 16 --prefix away-426143- ", $arguments),
            },
        }
    };
}

/// From large batches to small ones.
pub(crate) const LOADS: [Load; 4] = [
    load!("QoS 0, window 256", "-q 0"),
    load!("QoS 0, window 4", "-q 0 --window 4"),
    load!("QoS 1, 20 unacknowledged", "-q 1"),
    load!("QoS 2, 20 unacknowledged", "-q 2"),
];

/// All loads, once, on one shard and on two.
pub(crate) fn run(
    project: &Project,
    martlet: &str,
    peers: &[Peer],
    options: &Options,
    results: &mut Vec<Outcome>,
) {
    for load in &LOADS {
        for peer in peers {
            let ways: &[&Way] = match peer.name.as_str() {
                peers::MARTLET => &[&load.at_home],
                peers::TWO_SHARDS => &[&load.at_home, &load.crossing],
                _ => continue,
            };
            for way in ways {
                let json = bench(project, martlet, peer, way.arguments, &options.seconds);
                let shown = match &json {
                    Ok(_) => "done".to_owned(),
                    Err(failure) => failure.to_string(),
                };
                println!("{}: {}: {shown}", way.row, peer.name);
                results.push(Outcome::new(peer, way.row, json));
            }
        }
    }
}
