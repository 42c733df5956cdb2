//! `martlet get`: the retained value of a topic, and no longer than it takes.

use std::pin::pin;

use martlet_client::{Client, Filter};

use super::connecting::{connect, ended, explain, note};
use super::conversions::{encoded, printed, shown};
use super::publish::or_signal;
use super::subscribe::{RETAINED_IDLE, not_decoded, printer};
use super::{Ending, close};
use crate::exit::{Exit, TIMED_OUT};
use crate::outlet::{Outlet, Stopped};
use crate::settings::Settings;
use crate::signals::Signals;

/// Prints the retained values of the filters.
pub(super) async fn run(settings: &Settings) -> Result<Ending, Exit> {
    let mut signals = Signals::new().map_err(Exit::failed)?;
    // What is wrong with the place for messages is found before anything is connected.
    let mut outlet = Outlet::open(&settings.output)?;
    let work = pin!(async {
        let client = connect(settings).await?;
        let ending = print(&client, &mut outlet, settings).await;
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

async fn print(client: &Client, outlet: &mut Outlet, settings: &Settings) -> Result<Ending, Exit> {
    let receiving = &settings.receiving;
    let subscriptions = receiving.subscriptions.iter();
    let filters: Vec<Filter> = subscriptions
        .map(|one| Filter::new(&one.filter).qos(one.qos.unwrap_or(settings.sending.qos)))
        .collect();
    let idle = receiving.idle.unwrap_or(RETAINED_IDLE);
    let set = client.retained(filters, idle).await;
    let mut set =
        set.map_err(|error| ended(client, settings).unwrap_or_else(|| explain(&error, settings)))?;
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
    let printer = printer(settings);
    let (mut count, mut unreadable) = (0, 0);
    while let Some(message) = set.next().await {
        let mut out = Vec::new();
        let properties = encoded(message.properties());
        let payload = match shown(&message, &settings.output) {
            Ok(payload) => payload,
            Err(why) => {
                note(settings, &why);
                unreadable += 1;
                continue;
            }
        };
        // That a payload is no JSON is no complaint in our dialect.
        let _ = printer.print(&printed(&message, &payload, &properties), &mut out);
        match outlet.put(message.topic.as_str(), &out) {
            Ok(()) => count += 1,
            Err(Stopped::Gone) => return Ok(Ending::good(count)),
            Err(Stopped::Failed(exit)) => return Ok(Ending::bad(exit, count)),
        }
    }
    if let Some(exit) = ended(client, settings) {
        return Ok(Ending::bad(exit, count));
    }
    if unreadable > 0 {
        return Ok(Ending::bad(not_decoded(unreadable), count));
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
