//! What an outbox in a file is told.

use std::time::Duration;

use martlet_codec::ReasonCode;

use super::rig::{Rig, both};
use crate::error::ErrorKind;
use crate::message::Message;
use crate::options::OnSessionLost;

#[test]
fn messages_are_stored_when_admitted_and_done_with_when_they_are() {
    both(|mut config| {
        config.stores = true;
        config.birth = Some(Message::new("status", "on").qos(1));
        let mut rig = Rig::online(config);
        rig.puback(1);
        rig.send(Message::new("a", "0"));
        for n in 1..=3 {
            rig.send(Message::new("a", n).qos(if n == 2 { 2 } else { 1 }));
        }
        assert_eq!(
            rig.stored,
            ["put 1", "put 2", "put 3"],
            "neither QoS 0 nor birth"
        );
        rig.puback(4);
        rig.puback(2);
        rig.pubrec(3, ReasonCode::Success);
        assert_eq!(
            rig.stored[3..],
            ["done 3", "done 1"],
            "PUBREC is not the end"
        );
        rig.pubcomp(3);
        assert_eq!(rig.stored[5..], ["done 2"]);
        // What is not delivered at the end stays for the next process.
        rig.send(Message::new("a", "4").qos(1));
        rig.machine.close_now();
        rig.settle();
        assert_eq!(rig.stored[6..], ["put 4"]);
    });
}

#[test]
fn what_was_restored_goes_first_and_expires_in_its_time() {
    both(|mut config| {
        config.stores = true;
        let mut rig = Rig::new(config);
        let message = |n: u32| Message::new("a", n).qos(1);
        rig.machine.restore(rig.now, 7, message(7), None);
        let soon = Some(Duration::from_secs(1));
        rig.machine.restore(rig.now, 8, message(8), soon);
        rig.machine.start(rig.now, None);
        rig.send(message(9));
        rig.advance(Duration::from_secs(2));
        rig.accept(false);
        let sent = rig.sent();
        assert_eq!(sent[1..], ["PUBLISH q1 #1 a=7", "PUBLISH q1 #2 a=9"]);
        assert_eq!(rig.stored, ["put 9", "done 8"]);
    });
}

#[test]
fn what_is_in_the_file_survives_a_lost_session_at_qos_2_too() {
    both(|mut config| {
        config.stores = true;
        config.lost_qos1 = OnSessionLost::Fail;
        config.lost_qos2 = OnSessionLost::Fail;
        let mut rig = Rig::new(config);
        let restored = Message::new("a", "restored").qos(2);
        rig.machine.restore(rig.now, 7, restored, None);
        rig.machine.start(rig.now, None);
        rig.accept(false);
        let admitted = rig.send(Message::new("a", "admitted").qos(2));
        assert_eq!(rig.sent().len(), 3);
        rig.reconnect(false);
        assert_eq!(
            rig.sent()[1..],
            ["PUBLISH q2 #3 a=restored", "PUBLISH q2 #4 a=admitted"]
        );
        assert_eq!(rig.fate(admitted), "pending");
        assert_eq!(rig.stored, ["put 8"], "neither is done with");
    });
}

#[test]
fn a_disk_that_is_behind_holds_admission_back_and_one_that_fails_ends_it() {
    both(|mut config| {
        config.stores = true;
        let mut rig = Rig::online(config);
        rig.machine.set_storage_busy(true);
        let refused = rig.try_send(Message::new("a", "1").qos(1)).unwrap_err();
        assert_eq!(refused, (ErrorKind::QueueFull, true));
        rig.send(Message::new("a", "0"));
        rig.machine.set_storage_busy(false);
        rig.settle();
        assert_eq!(rig.rooms, 1);
        rig.machine.on_storage_failed();
        rig.machine.set_storage_busy(false);
        let refused = rig.try_send(Message::new("a", "1").qos(1)).unwrap_err();
        assert_eq!(refused, (ErrorKind::Storage, false));
    });
}
