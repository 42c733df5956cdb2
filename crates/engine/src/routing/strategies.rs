//! What property tests of routing draw.

use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;

prop_compose! {
    /// A topic, and a filter that is made from it, so that it matches often.
    pub(super) fn topic_and_filter()(
        topic in "[$/ab]{1,8}",
        choices in prop::collection::vec(0_u8..4, 8),
        cut in prop::option::of(0_usize..8),
    ) -> (String, String) {
        let mut levels: Vec<&str> = topic.split('/').collect();
        for (level, choice) in levels.iter_mut().zip(&choices) {
            if *choice == 0 {
                *level = "+";
            }
        }
        if let Some(cut) = cut.filter(|cut| *cut <= levels.len()) {
            levels.truncate(cut);
            levels.push("#");
        }
        let filter = levels.join("/");
        (topic, filter)
    }
}
