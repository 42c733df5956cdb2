//! One peer's MQTT protocol state, shared by broker and client.
