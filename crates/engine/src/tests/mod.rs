//! Tests of the whole shard, each a short story between a few clients.

mod authentication;
mod durable;
mod flows;
mod groups;
mod keep_alive;
mod late;
mod lent;
mod limits;
mod offers;
mod packs;
mod pieces;
mod retained;
mod runs;
mod sessions;
mod several;
mod world;
