//! CONNECT and CONNACK (sections 3.1 and 3.2).

use crate::case::Version::V5;
use crate::case::{Case, Verdict};
use crate::harness::Target;
use crate::wire::Connect;

pub(crate) const CASES: &[Case] = &[Case {
    name: "second_connect_closes",
    version: V5,
    statements: &["3.1.0-2", "3.2.0-2"],
    run: second_connect_closes,
}];

//= mqtt5 3.1.0-2 test
//= mqtt5 3.2.0-2 test
fn second_connect_closes(target: &Target) -> Verdict {
    let id = target.id();
    let (mut client, _) = target.connect(&Connect::v5(&id))?;
    client.send(Connect::v5(&id))?;
    client.expect_closed()
}
