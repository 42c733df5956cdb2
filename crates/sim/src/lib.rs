//! A seeded world in which shards, clients and faults are simulated.
