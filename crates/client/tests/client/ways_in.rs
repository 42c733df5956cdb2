//! Ways to a server: Unix sockets, servers that name another one; and options that make no way.

use std::time::Duration;

use martlet_client::{Builder, Client, ErrorKind, Feature, Message, ReasonCode, Session, Version};
use martlet_codec::{ConnAck, Packet, PropertiesBuf, Property};

use crate::server::{Sent, pipe};

//= mqtt5 4.2.0-1 test
//= mqtt311 7.1.2-1 test
#[cfg(unix)]
#[tokio::test]
async fn p1_a_unix_socket_is_a_url_too() {
    crate::both(async |builder, broker| {
        let version = builder.spoken_version();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mqtt.sock");
        let url = format!("unix:{}", path.display());
        let connect = async || {
            let builder = Client::builder(&url).version(version);
            let quick = martlet_client::Reconnect {
                longest: Duration::from_millis(20),
                ..martlet_client::Reconnect::default()
            };
            builder.reconnect(quick).connect().await
        };
        let nobody = connect().await.unwrap_err();
        assert_eq!(nobody.kind(), ErrorKind::Io);
        assert!(nobody.to_string().contains("mqtt.sock"), "{nobody}");

        // Our broker has no such listener; this one leads to it.
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let target = broker.url().trim_start_matches("mqtt://").to_owned();
        let cut = std::sync::Arc::new(tokio::sync::Notify::new());
        let cutting = std::sync::Arc::clone(&cut);
        let leading = tokio::spawn(async move {
            loop {
                let (mut here, _) = listener.accept().await.unwrap();
                let mut there = tokio::net::TcpStream::connect(&target).await.unwrap();
                let copying = tokio::io::copy_bidirectional(&mut here, &mut there);
                tokio::select! {
                    _ = copying => {}
                    () = cutting.notified() => {}
                }
            }
        });
        let client = connect().await.unwrap();
        for round in 0..2 {
            let mut sub = client.subscribe("a").qos(2).await.unwrap();
            client.publish("a", round).qos(2).await.unwrap();
            assert_eq!(sub.recv().await.unwrap().text(), round.to_string());
            let mut state = client.state();
            cut.notify_one();
            state.wait_for(|state| !state.is_connected()).await.unwrap();
            let connected = martlet_client::State::is_connected;
            state.wait_for(connected).await.unwrap();
        }
        client.close(Duration::from_secs(5)).await.unwrap();
        leading.abort();
    })
    .await;
}

#[tokio::test]
async fn p1_a_server_that_names_another_one_is_reported() {
    for reason in [ReasonCode::UseAnotherServer, ReasonCode::ServerMoved] {
        let (transport, mut servers) = pipe(Version::V5);
        let builder = Client::builder("mqtt://x").transport(transport);
        let connecting = tokio::spawn(builder.connect());
        let mut server = servers.recv().await.unwrap();
        assert!(matches!(server.next().await, Some(Sent::Connect { .. })));
        let mut said = PropertiesBuf::new();
        said.push(Property::ServerReference("b.example:1884"));
        server
            .send(&Packet::ConnAck(ConnAck {
                session_present: false,
                reason,
                properties: said.as_properties(),
            }))
            .await;
        let error = connecting.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused(reason));
        assert_eq!(error.server_reference(), Some("b.example:1884"));
        assert!(error.to_string().contains("b.example:1884"), "{error}");
    }
}

/// What becomes of a builder, without anything to connect to.
fn fault(builder: Builder) -> (ErrorKind, String) {
    let error = builder.build().map(|_| ()).unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn must_have_8_options_of_5_0_are_errors_of_the_builder_in_3_1_1() {
    type Change = fn(Builder) -> Builder;
    let options: [Change; 6] = [
        |builder| builder.user_property("name", "value"),
        |builder| builder.request_response_information(),
        |builder| builder.will_delay(Duration::from_secs(5)),
        |builder| builder.will(property()),
        |builder| builder.birth(property()),
        |builder| builder.goodbye(property()),
    ];
    for (at, option) in options.into_iter().enumerate() {
        let builder = || Client::builder("mqtt://x").will(Message::new("will", ""));
        let (kind, _) = fault(option(builder().v311()));
        assert_eq!(kind, ErrorKind::NotSupported(Feature::Mqtt5), "option {at}");
        assert!(option(builder().v5()).build().is_ok(), "option {at}");
    }
}

fn property() -> Message {
    let mut message = Message::new("a", "");
    message.properties_mut().content_type = Some("text/plain".into());
    message
}

//= mqtt311 3.1.3-7 test
//= mqtt311 3.1.2-22 test
//= mqtt5 3.1.2-12 test
//= mqtt311 3.1.2-14 test
//= mqtt5 1.5.4-2 test
//= mqtt311 1.5.3-2 test
//= mqtt5 4.7.0-1 test
//= mqtt311 4.7.1-1 test
#[test]
fn what_no_server_would_take_is_refused_by_the_builder() {
    let long = || "x".repeat(65_536);
    let hour = Duration::from_secs(3_600);
    let persistent = Session::persistent(hour);
    let new = || Client::builder("mqtt://x");
    let will = |message| new().will(message);
    let cases: [(Builder, &str); 11] = [
        (new().session(persistent), "needs a client identifier"),
        (
            new().v311().session(Session::fresh(hour)),
            "needs a client identifier in 3.1.1",
        ),
        (new().v311().password("p"), "without a user name"),
        (new().password(long()), "65,535 bytes"),
        (new().client_id(long()), "65,535 bytes"),
        (new().client_id("a\0b"), "U+0000"),
        (new().user_name("a\0b"), "U+0000"),
        (new().keep_alive(Duration::from_secs(65_536)), "keep alive"),
        (will(Message::new("a", long())), "65,535 bytes"),
        (will(Message::new("a", "").qos(3)), "QoS is 0, 1 or 2"),
        (Client::builder("http://x"), "schemes"),
    ];
    for (builder, what) in cases {
        let (kind, text) = fault(builder);
        assert_eq!(kind, ErrorKind::InvalidOption, "{text}");
        assert!(text.contains(what), "{text}");
    }
    for topic in ["a/+", "a/#", "", "a\0b"] {
        let (kind, text) = fault(will(Message::new(topic, "")));
        assert_eq!(kind, ErrorKind::InvalidTopic, "{text}");
    }
    assert!(new().password("p").build().is_ok(), "5.0 has it");
}
