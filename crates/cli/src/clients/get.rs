//! `martlet get`: the retained value of a topic, and no longer than it takes.

use std::pin::pin;

use martlet_client::{Client, Filter};

use super::connecting::{connect, explain};
use super::conversions::{encoded, printed};
use super::publish::or_signal;
use super::subscribe::{RETAINED_IDLE, printer};
use super::{Ending, close};
use crate::exit::{Exit, TIMED_OUT};
use crate::screen::Screen;
use crate::settings::Settings;
use crate::signals::Signals;

/// Prints the retained values of the filters.
pub(super) async fn run(settings: &Settings) -> Result<Ending, Exit> {
    let mut signals = Signals::new().map_err(Exit::failed)?;
    let work = pin!(async {
        let client = connect(settings).await?;
        let ending = print(&client, settings).await;
        Ok::<_, Exit>((client, ending))
    });
    let limited = pin!(async {
        match settings.receiving.timeout {
            Some(limit) => tokio::time::timeout(limit, work).await.ok(),
            None => Some(work.await),
        }
    });
    match or_signal(limited, &mut signals).await {
        None => Ok(Ending::good(0)),
        Some(None) => Err(Exit::new(TIMED_OUT, "the time was over")),
        Some(Some(Err(exit))) => Err(exit),
        Some(Some(Ok((client, ending)))) => {
            close(&client, &mut signals).await;
            ending
        }
    }
}

async fn print(client: &Client, settings: &Settings) -> Result<Ending, Exit> {
    let receiving = &settings.receiving;
    let subscriptions = receiving.subscriptions.iter();
    let filters: Vec<Filter> = subscriptions
        .map(|one| Filter::new(&one.filter).qos(one.qos.unwrap_or(settings.sending.qos)))
        .collect();
    let idle = receiving.idle.unwrap_or(RETAINED_IDLE);
    let set = client.retained(filters, idle).await;
    let mut set = set.map_err(|error| explain(&error, settings))?;
    let granted = set.subscription().granted();
    for (one, granted) in receiving.subscriptions.iter().zip(&granted) {
        if let Err(reason) = granted {
            let text = format!(
                "the broker does not let us read {}: {}",
                one.filter,
                reason.name()
            );
            return Err(Exit::new(reason.as_u8(), text));
        }
    }
    let mut printer = printer(settings);
    let mut screen = Screen::new().map_err(Exit::failed)?;
    let mut count = 0;
    while let Some(message) = set.next().await {
        let mut out = Vec::new();
        let properties = encoded(message.properties());
        // That a payload is no JSON is no complaint in our dialect.
        let _ = printer.print(&printed(&message, &properties), &mut out);
        count += 1;
        if screen.show(&out).is_err() {
            break;
        }
    }
    if count > 0 {
        return Ok(Ending::good(count));
    }
    let names: Vec<&str> = receiving
        .subscriptions
        .iter()
        .map(|one| one.filter.as_str())
        .collect();
    Err(Exit::new(
        TIMED_OUT,
        format!("no retained value for {}", names.join(", ")),
    ))
}
