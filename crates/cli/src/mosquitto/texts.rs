//! What mosquitto's library says: scripts look for these texts.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "only some reasons have capitals of their own"
)]

use martlet_codec::ReasonCode;

/// The codes of its errors, which are also exit codes.
pub(super) const PROTOCOL: u8 = 2;
pub(super) const NO_CONNECTION: u8 = 4;
pub(super) const REFUSED: u8 = 5;
pub(super) const LOST: u8 = 7;
pub(super) const NOT_SUPPORTED: u8 = 10;
pub(super) const ERRNO: u8 = 14;
pub(super) const TIMED_OUT: u8 = 27;

/// The text of an error.
pub(super) const fn error(code: u8) -> &'static str {
    match code {
        PROTOCOL => "A network protocol error occurred when communicating with the broker.",
        NO_CONNECTION => "The client is not currently connected.",
        REFUSED => "The connection was refused.",
        LOST => "The connection was lost.",
        NOT_SUPPORTED => "This feature is not supported.",
        // It prints what errno says, and errno says nothing at that point.
        ERRNO => "Success",
        _ => "Unknown error.",
    }
}

/// The return code of a CONNACK of MQTT 3.
pub(super) const fn connack(code: u8) -> &'static str {
    match code {
        0 => "Connection Accepted.",
        1 => "Connection Refused: unacceptable protocol version.",
        2 => "Connection Refused: identifier rejected.",
        3 => "Connection Refused: broker unavailable.",
        4 => "Connection Refused: bad user name or password.",
        5 => "Connection Refused: not authorised.",
        _ => "Connection Refused: unknown reason.",
    }
}

/// A reason code of MQTT 5.
pub(super) fn reason(code: u8) -> String {
    let Ok(reason) = ReasonCode::try_from(code) else {
        return "Unknown reason".to_owned();
    };
    let name = reason.name();
    // The specification's words, most of them with more capitals than ours.
    match reason {
        ReasonCode::MalformedPacket => "Malformed Packet".to_owned(),
        ReasonCode::ProtocolError => "Protocol Error".to_owned(),
        ReasonCode::UnsupportedProtocolVersion => "Unsupported Protocol Version".to_owned(),
        ReasonCode::ClientIdentifierNotValid => "Client Identifier not valid".to_owned(),
        ReasonCode::BadUserNameOrPassword => "Bad User Name or Password".to_owned(),
        ReasonCode::KeepAliveTimeout => "Keep Alive timeout".to_owned(),
        ReasonCode::TopicFilterInvalid => "Topic Filter invalid".to_owned(),
        ReasonCode::TopicNameInvalid => "Topic Name invalid".to_owned(),
        ReasonCode::PacketIdentifierInUse => "Packet Identifier in use".to_owned(),
        ReasonCode::PacketIdentifierNotFound => "Packet Identifier not found".to_owned(),
        ReasonCode::ReceiveMaximumExceeded => "Receive Maximum exceeded".to_owned(),
        ReasonCode::TopicAliasInvalid => "Topic Alias invalid".to_owned(),
        ReasonCode::SharedSubscriptionsNotSupported => {
            "Shared Subscriptions not supported".to_owned()
        }
        ReasonCode::WildcardSubscriptionsNotSupported => {
            "Wildcard Subscriptions not supported".to_owned()
        }
        _ => {
            let mut letters = name.chars();
            letters.next().map_or_else(String::new, |first| {
                first.to_uppercase().chain(letters).collect()
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{error, reason};

    #[test]
    fn reasons_have_the_capitals_that_mosquitto_gives_them() {
        for (code, text) in [
            (0x87, "Not authorized"),
            (0x84, "Unsupported Protocol Version"),
            (0x9b, "QoS not supported"),
            (0x97, "Quota exceeded"),
            (0x10, "No matching subscribers"),
            (5, "Unknown reason"),
        ] {
            assert_eq!(reason(code), text);
        }
        assert_eq!(error(7), "The connection was lost.");
    }
}
