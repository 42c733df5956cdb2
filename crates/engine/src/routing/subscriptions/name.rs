//! The name of one level, without an allocation if it is short.

use alloc::boxed::Box;

/// Up to 22 bytes in place, more on the heap; 24 bytes in both cases.
pub(super) enum Name {
    Short { len: u8, bytes: [u8; SHORT_MAX] },
    Long(Box<[u8]>),
}

impl Name {
    pub(super) const EMPTY: Self = Self::Short {
        len: 0,
        bytes: [0; SHORT_MAX],
    };

    pub(super) fn new(name: &[u8]) -> Self {
        let mut bytes = [0; SHORT_MAX];
        match (bytes.get_mut(..name.len()), u8::try_from(name.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(name);
                Self::Short { len, bytes }
            }
            _ => Self::Long(name.into()),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        }
    }
}

const SHORT_MAX: usize = 22;

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn names_of_every_length_come_back() {
        let text = [b'x'; 300];
        for len in 0..text.len() {
            let name = Name::new(&text[..len]);
            assert_eq!(name.as_bytes(), &text[..len]);
            assert_eq!(matches!(name, Name::Short { .. }), len <= 22);
        }
        assert_eq!(Name::EMPTY.as_bytes(), b"");
        assert_eq!(size_of::<Name>(), 24);
    }
}
