//! THE property table: the only place where a property's id, type, packets, repetition and
//! forwarding are written down.
//!
//! `property_table!(name)` hands the rows to the macro `name`. `property` makes the enums, the
//! parser, the writer and the checks from it, `properties` the getters, the tests their generators
//! and their comparison with the specification.
//!
//! A row reads: id, variant with its value, its [kind](crate::property::kind) on the wire (with the
//! legal range), getter, name; `in` the places where it may stand; `many` the places where it may
//! stand more than once (else `NOWHERE`); `forward` whether a server hands its bytes on unchanged
//! with a PUBLISH. The expiry interval is handed on too, but counted down, so its bytes are not.

macro_rules! property_table {
    ($then:ident) => {
        $then! {
            0x01 PayloadFormatIndicator(value: u8): Bit, payload_format_indicator, "payload format indicator",
                in PUBLISH | WILL, many NOWHERE, forward true;
            0x02 MessageExpiryInterval(value: u32): Long, message_expiry_interval, "message expiry interval",
                in PUBLISH | WILL, many NOWHERE, forward false;
            0x03 ContentType(value: &'a str): Text, content_type, "content type",
                in PUBLISH | WILL, many NOWHERE, forward true;
            0x08 ResponseTopic(value: &'a str): Topic, response_topic, "response topic",
                in PUBLISH | WILL, many NOWHERE, forward true;
            0x09 CorrelationData(value: &'a [u8]): Binary, correlation_data, "correlation data",
                in PUBLISH | WILL, many NOWHERE, forward true;
            0x0B SubscriptionIdentifier(value: u32): VariableNotZero, subscription_identifier, "subscription identifier",
                in SUBSCRIBE | PUBLISH_BY_SERVER, many PUBLISH_BY_SERVER, forward false;
            0x11 SessionExpiryInterval(value: u32): Long, session_expiry_interval, "session expiry interval",
                in CONNECT | CONNACK | DISCONNECT_BY_CLIENT, many NOWHERE, forward false;
            0x12 AssignedClientIdentifier(value: &'a str): Text, assigned_client_identifier, "assigned client identifier",
                in CONNACK, many NOWHERE, forward false;
            0x13 ServerKeepAlive(value: u16): Short, server_keep_alive, "server keep alive",
                in CONNACK, many NOWHERE, forward false;
            0x15 AuthenticationMethod(value: &'a str): Text, authentication_method, "authentication method",
                in CONNECT | CONNACK | AUTH, many NOWHERE, forward false;
            0x16 AuthenticationData(value: &'a [u8]): Binary, authentication_data, "authentication data",
                in CONNECT | CONNACK | AUTH, many NOWHERE, forward false;
            0x17 RequestProblemInformation(value: u8): Bit, request_problem_information, "request problem information",
                in CONNECT, many NOWHERE, forward false;
            0x18 WillDelayInterval(value: u32): Long, will_delay_interval, "will delay interval",
                in WILL, many NOWHERE, forward false;
            0x19 RequestResponseInformation(value: u8): Bit, request_response_information, "request response information",
                in CONNECT, many NOWHERE, forward false;
            0x1A ResponseInformation(value: &'a str): Text, response_information, "response information",
                in CONNACK, many NOWHERE, forward false;
            0x1C ServerReference(value: &'a str): Text, server_reference, "server reference",
                in CONNACK | DISCONNECT_BY_SERVER, many NOWHERE, forward false;
            0x1F ReasonString(value: &'a str): Text, reason_string, "reason string",
                in CONNACK | ACKS | DISCONNECT | AUTH, many NOWHERE, forward false;
            0x21 ReceiveMaximum(value: u16): ShortNotZero, receive_maximum, "receive maximum",
                in CONNECT | CONNACK, many NOWHERE, forward false;
            0x22 TopicAliasMaximum(value: u16): Short, topic_alias_maximum, "topic alias maximum",
                in CONNECT | CONNACK, many NOWHERE, forward false;
            //= mqtt5 3.3.2-8
            0x23 TopicAlias(value: u16): ShortNotZero, topic_alias, "topic alias",
                in PUBLISH, many NOWHERE, forward false;
            0x24 MaximumQoS(value: u8): Bit, maximum_qos, "maximum QoS",
                in CONNACK, many NOWHERE, forward false;
            0x25 RetainAvailable(value: u8): Bit, retain_available, "retain available",
                in CONNACK, many NOWHERE, forward false;
            0x26 UserProperty(name: &'a str, value: &'a str): Pair, user_property, "user property",
                in PACKETS | WILL, many PACKETS | WILL, forward true;
            0x27 MaximumPacketSize(value: u32): LongNotZero, maximum_packet_size, "maximum packet size",
                in CONNECT | CONNACK, many NOWHERE, forward false;
            0x28 WildcardSubscriptionAvailable(value: u8): Bit, wildcard_subscription_available, "wildcard subscription available",
                in CONNACK, many NOWHERE, forward false;
            0x29 SubscriptionIdentifierAvailable(value: u8): Bit, subscription_identifier_available, "subscription identifier available",
                in CONNACK, many NOWHERE, forward false;
            0x2A SharedSubscriptionAvailable(value: u8): Bit, shared_subscription_available, "shared subscription available",
                in CONNACK, many NOWHERE, forward false;
        }
    };
}

pub(crate) use property_table;
