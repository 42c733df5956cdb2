//! What a client does that has nothing to do: next to nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use martlet_client::{Client, Driver, Version, transport_fn};
use martlet_codec::Packet;

use crate::server::{Sent, pipe};

const HOUR: Duration = Duration::from_secs(3_600);

/// Counts how often the driver is run.
struct Counted {
    driver: Driver,
    count: Arc<AtomicU64>,
}

impl Future for Counted {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.count.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.driver).poll(cx)
    }
}

fn run(driver: Driver) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    tokio::spawn(Counted {
        driver,
        count: Arc::clone(&count),
    });
    count
}

/// The clock is stopped and jumps, so this hour is over at once, and what is counted is all that was done.
#[tokio::test(start_paused = true)]
async fn must_have_4_a_server_that_is_down_costs_next_to_nothing() {
    let nobody = transport_fn(|| async {
        Err::<tokio::io::DuplexStream, _>(std::io::ErrorKind::ConnectionRefused.into())
    });
    let builder = Client::builder("mqtt://x").transport(nobody);
    let (client, driver) = builder.build().unwrap();
    let count = run(driver);
    let nothing = std::future::pending::<()>();
    tokio::time::timeout(HOUR, nothing).await.unwrap_err();
    let (attempts, polls) = (client.stats().attempts, count.load(Ordering::Relaxed));
    // Waits are spread between nothing and a minute: half a minute each.
    assert!((80..200).contains(&attempts), "{attempts}");
    assert!(polls <= 3 * attempts + 3, "{polls} for {attempts} attempts");
}

#[tokio::test(start_paused = true)]
async fn must_have_14_an_idle_client_wakes_to_ping_and_for_nothing_else() {
    for version in [Version::V311, Version::V5] {
        let (transport, mut servers) = pipe(version);
        let builder = Client::builder("mqtt://x")
            .version(version)
            .keep_alive(Duration::from_secs(60))
            .transport(transport);
        let (client, driver) = builder.build().unwrap();
        let count = run(driver);
        let mut server = servers.recv().await.unwrap();
        server.accept(false).await;
        let end = tokio::time::Instant::now() + HOUR;
        let mut pings = 0;
        while let Ok(sent) = tokio::time::timeout_at(end, server.next()).await {
            assert_eq!(sent, Some(Sent::Ping));
            pings += 1;
            server.send(&Packet::PingResp).await;
        }
        let polls = count.load(Ordering::Relaxed);
        assert!((59..=75).contains(&pings), "{pings}");
        assert!(polls <= 4 * pings + 10, "{polls} for {pings} pings");
        drop(client);
    }
}
