//! The seam between the socket and the protocol: what TLS, WebSocket or a PROXY header will stand behind.
//!
//! A layer works in the driver's buffers. What it takes from the wire it peels in place; what goes out it hands to
//! the socket itself, so that the plain layer costs nothing: no copy, no allocation, one call that is inlined.

use std::io::{self, IoSlice};

/// Turns bytes of the wire into bytes of the protocol and back, for one connection.
pub(crate) trait ByteLayer {
    /// Takes bytes that came from the wire and leaves the bytes of the protocol at the front of the same buffer.
    ///
    /// Returns how many there are; what does not yet make a whole unit (a TLS record, a frame) the layer keeps.
    fn ingest(&mut self, wire: &mut [u8]) -> io::Result<usize>;

    /// Sends bytes of the protocol; `write` is one non-blocking write to the socket.
    ///
    /// Returns how many *protocol* bytes are taken and need not be presented again.
    fn emit(
        &mut self,
        plain: &[IoSlice<'_>],
        write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize>;
}

/// Plain TCP: the wire carries the protocol as it is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plain;

impl ByteLayer for Plain {
    fn ingest(&mut self, wire: &mut [u8]) -> io::Result<usize> {
        Ok(wire.len())
    }

    fn emit(
        &mut self,
        plain: &[IoSlice<'_>],
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        write(plain)
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::{ByteLayer, Plain};

    #[test]
    fn plain_bytes_pass_unchanged_both_ways_and_short_writes_are_reported() {
        let mut wire = *b"\x10\x00";
        assert_eq!(Plain.ingest(&mut wire).unwrap(), 2);
        assert_eq!(&wire, b"\x10\x00");

        let mut sent = Vec::new();
        let taken = Plain.emit(&[IoSlice::new(b"ab"), IoSlice::new(b"cd")], |slices| {
            sent.extend(
                slices
                    .iter()
                    .flat_map(|slice| slice.iter().copied())
                    .take(3),
            );
            Ok(3)
        });
        assert_eq!(taken.unwrap(), 3);
        assert_eq!(sent, b"abc");
    }
}
