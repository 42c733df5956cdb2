//! A stream gives the same packets, and the same error at the same place, however it is cut into
//! reads. The number of bytes that decoding asks for is never more than it needs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use martlet_codec::{DecodeError, Decoded, Rules, decode};
use martlet_fuzz::{any_version, control, rules};

fuzz_target!(|input: &[u8]| {
    let Some((control, stream)) = control(input) else {
        return;
    };
    let rules = rules(control, any_version(control));
    let whole = packets(stream, rules, stream.len().max(1));
    let size = usize::from(control >> 3) + 1;
    assert_eq!(packets(stream, rules, size), whole, "reads of {size}");
    if stream.len() <= 64 {
        assert_eq!(packets(stream, rules, 1), whole, "reads of 1");
    }
});

/// Ends of the packets in the stream and the error that ends it, when `size` bytes arrive at a time.
fn packets(stream: &[u8], rules: Rules, size: usize) -> (Vec<usize>, Option<DecodeError>) {
    let mut ends = Vec::new();
    let mut start = 0;
    let mut needed = 0;
    let mut arrived = 0;
    while arrived < stream.len() {
        arrived = (arrived + size).min(stream.len());
        loop {
            let read = &stream[start..arrived];
            match decode(read, rules) {
                Ok(Decoded::Packet { length, .. }) => {
                    assert!(
                        length >= needed,
                        "{needed} bytes asked for, {length} needed"
                    );
                    start += length;
                    ends.push(start);
                    needed = 0;
                }
                Ok(Decoded::Incomplete { at_least }) => {
                    assert!(at_least > read.len() && at_least >= needed);
                    needed = at_least;
                    break;
                }
                Err(error) => return (ends, Some(error)),
            }
        }
    }
    (ends, None)
}
