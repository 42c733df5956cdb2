//! `martlet rr`: a request, and its response.

use std::pin::pin;
use std::time::Instant;

use martlet_client::{Client, Filter, IntoTopic as _, Message};

use super::connecting::{connect, ended, explain, not_published, note};
use super::conversions::{encoded, printed, shown};
use super::publish::{dress, or_signal, payload};
use super::subscribe::printer;
use super::{Ending, close};
use crate::exit::{BAD_INPUT, Exit, FAILED, TIMED_OUT};
use crate::outlet::{Outlet, Stopped};
use crate::settings::Settings;
use crate::signals::Signals;

/// Sends a request and prints the response.
pub(super) async fn run(settings: &Settings) -> Result<Ending, Exit> {
    let topic = settings.sending.topic.as_deref().unwrap_or_default();
    let mut request = Message::new(topic, payload(settings)?);
    dress(settings, &mut request)?;
    let mut signals = Signals::new().map_err(Exit::failed)?;
    let client = match or_signal(pin!(connect(settings)), &mut signals).await {
        None => return Ok(Ending::good(0)),
        Some(client) => client?,
    };
    let limited = pin!(async {
        let asking = ask(&client, request, settings);
        match settings.receiving.timeout {
            None => asking.await,
            Some(limit) => {
                let late = || {
                    Exit::new(
                        TIMED_OUT,
                        format!("no response in {} s", limit.as_secs_f64()),
                    )
                };
                tokio::time::timeout(limit, asking)
                    .await
                    .unwrap_or_else(|_| Err(late()))
            }
        }
    });
    let ending = match or_signal(limited, &mut signals).await {
        None => Ok(Ending::good(0)),
        Some(Err(exit)) => Err(exit),
        Some(Ok(response)) => print(&response, settings),
    };
    close(&client, &mut signals).await;
    ending
}

/// Waits for the response. In MQTT 5 it has our correlation data; in 3.1.1 it is what comes to the topic.
async fn ask(client: &Client, mut request: Message, settings: &Settings) -> Result<Message, Exit> {
    let sending = &settings.sending;
    let mut random = [0; 8];
    getrandom::fill(&mut random)
        .map_err(|error| Exit::failed(format!("no randomness: {error}")))?;
    let own = format!("martlet/rr/{:016x}", u64::from_le_bytes(random));
    let topic = sending.response_topic.clone().unwrap_or(own);
    let mut responses = client
        .subscribe(Filter::new(&topic).qos(sending.qos))
        .await
        .map_err(|error| ended(client, settings).unwrap_or_else(|| explain(&error, settings)))?;
    let is_v5 = settings.session.version.is_v5();
    let mut expected = None;
    if is_v5 {
        let properties = request.properties_mut();
        properties.response_topic = Some(topic.as_str().into_topic());
        let data = properties
            .correlation_data
            .get_or_insert_with(|| random.to_vec().into());
        expected = Some(data.clone());
    }
    let start = Instant::now();
    client
        .publish_message(request)
        .await
        .map_err(|error| ended(client, settings).unwrap_or_else(|| not_published(&error)))?;
    while let Some(response) = responses.recv().await {
        let correlation = response.properties().correlation_data.clone();
        // What another client's request brought about is not for us; a service that leaves the data out is forgiven.
        if correlation.is_some() && correlation != expected {
            continue;
        }
        if response.retain {
            note(
                settings,
                "passing over a retained message on the response topic",
            );
            continue;
        }
        if settings.receiving.latency {
            let ms = start.elapsed().as_secs_f64() * 1_000.0;
            note(settings, &format!("response after {ms:.3} ms"));
        }
        return Ok(response);
    }
    let why = "the connection ended before the response came";
    Err(ended(client, settings).unwrap_or_else(|| Exit::new(FAILED, why)))
}

fn print(response: &Message, settings: &Settings) -> Result<Ending, Exit> {
    let mut out = Vec::new();
    let properties = encoded(response.properties());
    let payload = shown(response, &settings.output).map_err(|why| Exit::new(BAD_INPUT, why))?;
    // That a payload is no JSON is no complaint in our dialect.
    let _ = printer(settings).print(&printed(response, &payload, &properties), &mut out);
    let mut outlet = Outlet::open(&settings.output)?;
    match outlet.put(response.topic.as_str(), &out) {
        Ok(()) | Err(Stopped::Gone) => Ok(Ending::good(1)),
        Err(Stopped::Failed(exit)) => Err(exit),
    }
}
