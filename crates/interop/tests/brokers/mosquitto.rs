//! Debian's mosquitto, in 3.1.1 and 5.0.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use martlet_client::{Client, Version};
use martlet_interop::tools;

use crate::suite;

/// A mosquitto of our own, on a free port. It is killed when this value is dropped.
struct Mosquitto {
    process: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Mosquitto {
    fn start() -> Option<Self> {
        let program = tools::mosquitto_broker()?;
        let folder = tempfile::tempdir().unwrap();
        // It does not say which port it has found, so we find one; somebody else could take it meanwhile.
        let port = TcpListener::bind(("127.0.0.1", 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let configuration = folder.path().join("mosquitto.conf");
        let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\n");
        fs::write(&configuration, text).unwrap();
        let process = Command::new(program)
            .arg("-c")
            .arg(&configuration)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self {
            process,
            url: format!("mqtt://127.0.0.1:{port}"),
            _folder: folder,
        })
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

async fn against_mosquitto(version: Version) {
    let target = std::env::var("MARTLET_CLIENT_TARGET").ok();
    let own = if target.is_none() {
        Mosquitto::start()
    } else {
        None
    };
    let url = match (&target, &own) {
        (Some(target), _) => format!("mqtt://{target}"),
        (None, Some(own)) => own.url.clone(),
        (None, None) => return,
    };
    // It may take a moment to listen: `start` tries until it does.
    let ready = Client::builder(&url).version(version).start().unwrap();
    let mut state = ready.state();
    let connected = state.wait_for(martlet_client::State::is_connected);
    tokio::time::timeout(Duration::from_secs(20), connected)
        .await
        .unwrap()
        .unwrap();
    let limit = Duration::from_secs(120);
    tokio::time::timeout(limit, suite::run(&url, version))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_client_works_with_mosquitto_in_3_1_1() {
    against_mosquitto(Version::V311).await;
}

#[tokio::test]
async fn the_client_works_with_mosquitto_in_5_0() {
    // A target may not speak it: say so by MARTLET_CLIENT_VERSION=3.1.1.
    if std::env::var("MARTLET_CLIENT_VERSION").as_deref() != Ok("3.1.1") {
        against_mosquitto(Version::V5).await;
    }
}
