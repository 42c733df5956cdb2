//! Subscription identifiers in a record: to be written, or as they were.

use super::decode::Reader;

/// Subscription identifiers: how many, then each as LEB128. Empty for none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ids<'a>(IdsFrom<'a>);

impl<'a> Ids<'a> {
    /// To write these.
    #[must_use]
    pub const fn new(ids: &'a [u32]) -> Self {
        Self(IdsFrom::Slice(ids))
    }

    /// What was read, and checked.
    pub(super) const fn encoded(bytes: &'a [u8]) -> Self {
        Self(IdsFrom::Encoded(bytes))
    }

    /// The identifiers, in the order in which they were written.
    pub fn iter(self) -> impl Iterator<Item = u32> + 'a {
        self.0.iter()
    }
}

#[derive(Clone, Copy, Debug)]
enum IdsFrom<'a> {
    Slice(&'a [u32]),
    Encoded(&'a [u8]),
}

impl Default for IdsFrom<'_> {
    fn default() -> Self {
        Self::Slice(&[])
    }
}

impl PartialEq for IdsFrom<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for IdsFrom<'_> {}

impl<'a> IdsFrom<'a> {
    fn iter(self) -> impl Iterator<Item = u32> + 'a {
        let (slice, encoded) = match self {
            Self::Slice(slice) => (slice, &[][..]),
            Self::Encoded(bytes) => (&[][..], bytes),
        };
        let mut reader = Reader::new(encoded);
        let encoded = core::iter::from_fn(move || u32::try_from(reader.integer().ok()?).ok());
        slice.iter().copied().chain(encoded)
    }
}
