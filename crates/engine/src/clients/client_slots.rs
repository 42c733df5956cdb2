//! Which shard is at home to whom.
//!
//! A client identifier, a topic and a group filter each hash to one of 256 slots, and a slot belongs to a shard.
//! The step in between makes the hash *stable*: it has no seed, it is the same in every version and on every
//! machine, and stored sessions may be kept by slot and found again under another number of shards.
//!
//! Stability has a price: somebody who may choose client identifiers can choose them all for one shard. That
//! shard is then as slow as a broker with one thread, which is why connections are limited per shard too. Hash
//! *tables* are seeded instead, and are not exposed to this.

/// How many slots there are: enough for 64 shards to share them evenly, few enough for a table.
pub const SLOT_COUNT: usize = 256;

/// The slot of a client identifier. Part of the storage format: it never changes.
#[must_use]
pub fn slot_of(client_id: &str) -> u8 {
    // The highest bits: the last step of the hash multiplies, so they depend on every bit of the text.
    let [slot, ..] = stable_hash(client_id.as_bytes()).to_be_bytes();
    slot
}

/// The shard that holds the session of a client, out of `shard_count` (0 is taken for 1).
#[must_use]
pub fn shard_of(client_id: &str, shard_count: usize) -> usize {
    usize::from(slot_of(client_id)) % shard_count.max(1)
}

/// The shard that holds the retained message of a topic.
#[must_use]
pub fn owner_of_topic(topic: &str, shard_count: usize) -> usize {
    shard_of(topic, shard_count)
}

/// The shard that holds the queue of a shared subscription, given its whole filter (`$share/name/filter`).
#[must_use]
pub fn owner_of_group(group_filter: &str, shard_count: usize) -> usize {
    shard_of(group_filter, shard_count)
}

/// 64-bit FNV-1a, and then the finishing steps of `MurmurHash3`: FNV alone leaves the high bits of short texts,
/// which is what identifiers are, too much alike.
const fn stable_hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut rest = bytes;
    while let [byte, after @ ..] = rest {
        hash = (hash ^ *byte as u64).wrapping_mul(0x0000_0100_0000_01b3);
        rest = after;
    }
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::{SLOT_COUNT, owner_of_group, owner_of_topic, shard_of, slot_of, stable_hash};
    use alloc::format;

    /// Computed apart from this code. They must never change: stores rely on them.
    #[test]
    fn slots_are_the_same_for_ever() {
        for (client_id, hash, slot) in GOLDEN {
            assert_eq!(stable_hash(client_id.as_bytes()), hash, "{client_id:?}");
            assert_eq!(slot_of(client_id), slot, "{client_id:?}");
        }
    }

    #[test]
    fn similar_identifiers_spread_over_all_slots() {
        for pattern in ["device-{}", "{}", "sensor/{}/temperature"] {
            let mut counts = [0_u32; SLOT_COUNT];
            for number in 0..100 * 256 {
                let id = pattern.replace("{}", &format!("{number}"));
                counts[usize::from(slot_of(&id))] += 1;
            }
            let (least, most) = (counts.iter().min(), counts.iter().max());
            assert!(
                least >= Some(&60) && most <= Some(&145),
                "{pattern}: {least:?} to {most:?}"
            );
        }
    }

    #[test]
    fn every_shard_is_home_to_somebody_and_none_is_out_of_range() {
        for shard_count in 1..=64 {
            let mut seen = [false; 64];
            for number in 0..2_000 {
                seen[shard_of(&format!("client{number}"), shard_count)] = true;
            }
            assert!(seen[..shard_count].iter().all(|home| *home));
            assert!(seen[shard_count..].iter().all(|home| !*home));
        }
        assert_eq!(shard_of("a", 0), 0);
        assert_eq!(owner_of_topic("a/b", 1), 0);
        assert_eq!(owner_of_group("$share/g/a/#", 1), 0);
    }

    /// `xtask bench-peers` measures with them what crossing costs.
    #[test]
    fn the_pairs_of_the_benchmark_live_where_it_says() {
        for (prefix, crosses) in [("home-4995-", false), ("away-426143-", true)] {
            let mut homes = [0_u32; 2];
            for pair in 0..16 {
                let publisher = shard_of(&format!("{prefix}{pair}"), 2);
                let subscriber = shard_of(&format!("{prefix}{}", 16 + pair), 2);
                assert_eq!(publisher != subscriber, crosses, "{prefix}{pair}");
                homes[publisher] += 1;
            }
            assert!(homes[0].abs_diff(homes[1]) <= 2, "{prefix} {homes:?}");
        }
    }

    const GOLDEN: [(&str, u64, u8); 4] = [
        ("", 0xefd0_1f60_ba99_2926, 239),
        ("a", 0x82a2_a958_a9be_ce5b, 130),
        ("client-1", 0xf93b_d2c1_6ac6_882d, 249),
        ("Bürste", 0x0dc9_5412_9774_1621, 13),
    ];
}
