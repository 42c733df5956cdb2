//! A broker of somebody else, in a process of our own.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use martlet_client::{Client, State, Version};

use crate::suite::{self, Manners};

/// A broker on a free port. It is killed when this value is dropped.
pub(crate) struct Peer {
    process: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Peer {
    /// Starts a program with a configuration file, whose text is made of the port and of a folder for what the broker keeps.
    pub(crate) fn start(program: &Path, configuration: impl Fn(u16, &Path) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Not each of them says which port it has found, so we find one; somebody else could take it meanwhile.
        let port = TcpListener::bind(("127.0.0.1", 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let file = folder.path().join("broker.conf");
        fs::write(&file, configuration(port, folder.path())).unwrap();
        let process = Command::new(program)
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            process,
            url: format!("mqtt://127.0.0.1:{port}"),
            _folder: folder,
        }
    }

    /// Runs the suite, once the broker listens.
    pub(crate) async fn suffer(&self, version: Version, manners: Manners) {
        suffer(&self.url, version, manners).await;
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Runs the suite against a broker that may take a moment to listen.
pub(crate) async fn suffer(url: &str, version: Version, manners: Manners) {
    // `start` tries until there is a connection.
    let ready = Client::builder(url).version(version).start().unwrap();
    let mut state = ready.state();
    let connected = state.wait_for(State::is_connected);
    tokio::time::timeout(Duration::from_secs(20), connected)
        .await
        .unwrap()
        .unwrap();
    let limit = Duration::from_secs(120);
    let running = suite::run(url, version, manners);
    tokio::time::timeout(limit, running).await.unwrap();
}
