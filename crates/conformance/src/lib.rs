//! A black-box MQTT conformance suite for any broker.
