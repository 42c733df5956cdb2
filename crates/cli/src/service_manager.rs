//! What systemd, or another service manager that understands `sd_notify`, hears of the broker: that its state is restored and its
//! listeners are open, how far it is until then, and that it stops.
//!
//! Whoever started the broker waits for that (`Type=notify` in `packaging/martlet.service`), so what is ordered behind it
//! finds it open. Where the environment has no `NOTIFY_SOCKET`, nothing is sent.

#[cfg(unix)]
use std::time::Duration;

/// What there is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News<'a> {
    /// The state is being restored.
    Restoring {
        /// The part of it.
        doing: &'a str,
        percent: u8,
    },
    /// Clients can connect.
    Open,
    /// It was told to stop.
    Stopping,
}

/// Says so. That nobody listens is worth a line in the log, not an end: the broker serves its clients all the same.
#[cfg(unix)]
pub(crate) fn tell(news: News<'_>) {
    use sd_notify::{NotifyState, notify};

    let sent = match news {
        News::Restoring { doing, percent } => notify(&[
            NotifyState::Status(&format!("restoring, {doing}: {percent} %")),
            NotifyState::ExtendTimeoutUsec(u32::try_from(PATIENCE.as_micros()).unwrap_or(u32::MAX)),
        ]),
        News::Open => notify(&[NotifyState::Ready, NotifyState::Status("serving clients")]),
        News::Stopping => notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]),
    };
    if let Err(why) = sent {
        tracing::warn!(
            "the service manager was not told ({news:?}): {why}; \
             NOTIFY_SOCKET, where it is set, has to be a socket that systemd or the like reads"
        );
    }
}

/// There are none that the broker knows.
#[cfg(not(unix))]
pub(crate) fn tell(_news: News<'_>) {}

/// How long a service manager waits at least for the next step of a recovery before it calls the start failed: reading a large
/// log from an SD card takes its time.
#[cfg(unix)]
const PATIENCE: Duration = Duration::from_secs(120);
