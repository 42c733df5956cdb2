//! Collections that the shard is made of: `slab` with keys that do not come back, `paged` for large tables, `wheel` for timers.

pub(crate) mod paged;
pub(crate) mod slab;
pub(crate) mod wheel;
