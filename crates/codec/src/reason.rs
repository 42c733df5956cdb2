//! Reason codes: one table of code, name and the packets that may carry it.

use crate::types::places::{
    AUTH, AUTH_BY_CLIENT, AUTH_BY_SERVER, CONNACK, DISCONNECT, DISCONNECT_BY_CLIENT,
    DISCONNECT_BY_SERVER, PUBACK, PUBACK_BY_SERVER, PUBCOMP, PUBREC, PUBREC_BY_SERVER, PUBREL,
    SUBACK, UNSUBACK, by,
};
use crate::types::{PacketType, Sender};
use core::fmt;

macro_rules! reason_codes {
    ($($code:literal $Variant:ident, $name:literal, in $($place:ident)|+;)+) => {
        /// Why something was done or refused, as one byte.
        ///
        /// `Success` also stands for "normal disconnection" (DISCONNECT) and "granted QoS 0"
        /// (SUBACK): they share code 0.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $(
                #[doc = concat!(stringify!($code), ": ", $name, ".")]
                $Variant = $code,
            )+
        }

        impl ReasonCode {
            /// Every reason code, in the order of the codes.
            pub const ALL: &'static [Self] = &[$(Self::$Variant),+];

            /// The code's name in lower case, as the specification words it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$Variant => $name,)+ }
            }

            /// The code for a byte of the wire.
            pub(crate) const fn from_u8(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$Variant),)+
                    _ => None,
                }
            }

            const fn places(self) -> u32 {
                match self { $(Self::$Variant => $($place)|+,)+ }
            }
        }
    };
}

impl ReasonCode {
    /// The byte on the wire.
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// Whether the code reports a failure (0x80 and above).
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.as_u8() >= 0x80
    }

    /// Whether this sender may put this code into this packet.
    #[must_use]
    pub const fn allowed_in(self, packet: PacketType, sender: Sender) -> bool {
        self.places() & by(packet, sender) != 0
    }
}

impl TryFrom<u8> for ReasonCode {
    /// The byte that is no reason code.
    type Error = u8;

    fn try_from(code: u8) -> Result<Self, u8> {
        Self::from_u8(code).ok_or(code)
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X})", self.name(), self.as_u8())
    }
}

//= mqtt5 3.2.2-8
//= mqtt5 3.4.2-1
//= mqtt5 3.5.2-1
//= mqtt5 3.6.2-1
//= mqtt5 3.7.2-1
//= mqtt5 3.9.3-2
//= mqtt5 3.11.3-2
//= mqtt5 3.14.2-1
//= mqtt5 3.15.2-1
// Two places where the specification contradicts itself are read generously: 0x8C in DISCONNECT
// (its general table allows it) and 0x9B in a client's DISCONNECT (its text on Maximum QoS has the
// client send it).
reason_codes! {
    0x00 Success, "success",
        in CONNACK | PUBACK | PUBREC | PUBREL | PUBCOMP | SUBACK | UNSUBACK | AUTH_BY_SERVER | DISCONNECT;
    0x01 GrantedQoS1, "granted QoS 1", in SUBACK;
    0x02 GrantedQoS2, "granted QoS 2", in SUBACK;
    0x04 DisconnectWithWillMessage, "disconnect with will message", in DISCONNECT_BY_CLIENT;
    0x10 NoMatchingSubscribers, "no matching subscribers", in PUBACK_BY_SERVER | PUBREC_BY_SERVER;
    0x11 NoSubscriptionExisted, "no subscription existed", in UNSUBACK;
    0x18 ContinueAuthentication, "continue authentication", in AUTH;
    0x19 ReAuthenticate, "re-authenticate", in AUTH_BY_CLIENT;
    0x80 UnspecifiedError, "unspecified error", in CONNACK | PUBACK | PUBREC | SUBACK | UNSUBACK | DISCONNECT;
    0x81 MalformedPacket, "malformed packet", in CONNACK | DISCONNECT;
    0x82 ProtocolError, "protocol error", in CONNACK | DISCONNECT;
    0x83 ImplementationSpecificError, "implementation specific error",
        in CONNACK | PUBACK | PUBREC | SUBACK | UNSUBACK | DISCONNECT;
    0x84 UnsupportedProtocolVersion, "unsupported protocol version", in CONNACK;
    0x85 ClientIdentifierNotValid, "client identifier not valid", in CONNACK;
    0x86 BadUserNameOrPassword, "bad user name or password", in CONNACK;
    0x87 NotAuthorized, "not authorized", in CONNACK | PUBACK | PUBREC | SUBACK | UNSUBACK | DISCONNECT_BY_SERVER;
    0x88 ServerUnavailable, "server unavailable", in CONNACK;
    0x89 ServerBusy, "server busy", in CONNACK | DISCONNECT_BY_SERVER;
    0x8A Banned, "banned", in CONNACK;
    0x8B ServerShuttingDown, "server shutting down", in DISCONNECT_BY_SERVER;
    0x8C BadAuthenticationMethod, "bad authentication method", in CONNACK | DISCONNECT;
    0x8D KeepAliveTimeout, "keep alive timeout", in DISCONNECT_BY_SERVER;
    0x8E SessionTakenOver, "session taken over", in DISCONNECT_BY_SERVER;
    0x8F TopicFilterInvalid, "topic filter invalid", in SUBACK | UNSUBACK | DISCONNECT_BY_SERVER;
    0x90 TopicNameInvalid, "topic name invalid", in CONNACK | PUBACK | PUBREC | DISCONNECT;
    0x91 PacketIdentifierInUse, "packet identifier in use", in PUBACK | PUBREC | SUBACK | UNSUBACK;
    0x92 PacketIdentifierNotFound, "packet identifier not found", in PUBREL | PUBCOMP;
    0x93 ReceiveMaximumExceeded, "receive maximum exceeded", in DISCONNECT;
    0x94 TopicAliasInvalid, "topic alias invalid", in DISCONNECT;
    0x95 PacketTooLarge, "packet too large", in CONNACK | DISCONNECT;
    0x96 MessageRateTooHigh, "message rate too high", in DISCONNECT;
    0x97 QuotaExceeded, "quota exceeded", in CONNACK | PUBACK | PUBREC | SUBACK | DISCONNECT;
    0x98 AdministrativeAction, "administrative action", in DISCONNECT;
    0x99 PayloadFormatInvalid, "payload format invalid", in CONNACK | PUBACK | PUBREC | DISCONNECT;
    0x9A RetainNotSupported, "retain not supported", in CONNACK | DISCONNECT_BY_SERVER;
    0x9B QoSNotSupported, "QoS not supported", in CONNACK | DISCONNECT;
    0x9C UseAnotherServer, "use another server", in CONNACK | DISCONNECT_BY_SERVER;
    0x9D ServerMoved, "server moved", in CONNACK | DISCONNECT_BY_SERVER;
    0x9E SharedSubscriptionsNotSupported, "shared subscriptions not supported", in SUBACK | DISCONNECT_BY_SERVER;
    0x9F ConnectionRateExceeded, "connection rate exceeded", in CONNACK | DISCONNECT_BY_SERVER;
    0xA0 MaximumConnectTime, "maximum connect time", in DISCONNECT_BY_SERVER;
    0xA1 SubscriptionIdentifiersNotSupported, "subscription identifiers not supported", in SUBACK | DISCONNECT_BY_SERVER;
    0xA2 WildcardSubscriptionsNotSupported, "wildcard subscriptions not supported", in SUBACK | DISCONNECT_BY_SERVER;
}
