//! Decodes a stream of MQTT 5.0 from either side and reads all that is in its packets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use martlet_codec::Version;
use martlet_fuzz::{control, decode_all, read_all, rules};

fuzz_target!(|input: &[u8]| {
    if let Some((control, stream)) = control(input) {
        decode_all(stream, rules(control, Version::V5), |packet, _| {
            read_all(&packet)
        });
    }
});
