//! Decodes a stream of MQTT 3.1 or 3.1.1 from either side and reads all that is in its packets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use martlet_codec::Version;
use martlet_fuzz::{control, decode_all, read_all, rules};

fuzz_target!(|input: &[u8]| {
    if let Some((control, stream)) = control(input) {
        let version = if control & 2 == 0 {
            Version::V311
        } else {
            Version::V31
        };
        decode_all(stream, rules(control, version), |packet, _| {
            read_all(&packet)
        });
    }
});
