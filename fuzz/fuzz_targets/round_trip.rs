//! What can be decoded can be encoded, in a form that is not longer, means the same and stays as it
//! is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use martlet_codec::{Decoded, Packet, decode};
use martlet_fuzz::{any_version, control, decode_all, rules};

fuzz_target!(|input: &[u8]| {
    let Some((control, stream)) = control(input) else {
        return;
    };
    let rules = rules(control, any_version(control));
    decode_all(stream, rules, |packet, bytes| {
        let version = if let Packet::Connect(connect) = packet {
            connect.version
        } else {
            rules.version
        };
        let mut canonical = Vec::new();
        packet
            .encode(version, &mut canonical)
            .expect("a decoded packet can be encoded");
        assert_eq!(canonical.len(), packet.encoded_len(version));
        assert!(canonical.len() <= bytes.len());
        let Ok(Decoded::Packet {
            packet: again,
            length,
        }) = decode(&canonical, rules)
        else {
            panic!("{canonical:02X?} from {bytes:02X?}");
        };
        assert_eq!(length, canonical.len());
        assert_eq!(packet, again);
        let mut twice = Vec::new();
        again
            .encode(version, &mut twice)
            .expect("a decoded packet can be encoded");
        assert_eq!(canonical, twice);
    });
});
