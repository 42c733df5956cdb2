//! Home Assistant finds devices by itself if they describe themselves in retained messages
//! ("MQTT discovery"). This module writes those.
//!
//! ```no_run
//! use martlet_client::Client;
//! use martlet_client::home_assistant::{Device, Sensor};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let device = Device::new("linky-1234", "Electricity meter")
//!     .manufacturer("Enedis")
//!     .availability("meter/status")
//!     .sensor(Sensor::new("power", "Power").state("meter/power").unit("W").class("power"))
//!     .sensor(Sensor::new("total", "Energy").state("meter/total").unit("Wh").class("energy").total_increasing());
//!
//! // "online" and "offline" are what Home Assistant expects unless told otherwise.
//! let client = Client::builder("mqtt://homeassistant.local")
//!     .status("meter/status", "online", "offline")
//!     .start()?;
//! // Now, and whenever Home Assistant has started again.
//! tokio::spawn(device.announce(client.clone()));
//! # Ok(())
//! # }
//! ```

use std::fmt::Write as _;

use crate::error::{Error, PublishError};
use crate::handle::Client;
use crate::message::Message;
use crate::request::of_publish;

/// A device and its sensors.
#[derive(Debug, Clone)]
pub struct Device {
    id: String,
    name: String,
    manufacturer: Option<String>,
    model: Option<String>,
    availability: Option<String>,
    prefix: String,
    sensors: Vec<Sensor>,
}

impl Device {
    /// A device with an identifier that no other has, and a name for people.
    #[must_use]
    pub fn new(id: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            manufacturer: None,
            model: None,
            availability: None,
            prefix: "homeassistant".into(),
            sensors: Vec::new(),
        }
    }

    /// Who has made it.
    #[must_use]
    pub fn manufacturer(mut self, name: impl Into<String>) -> Self {
        self.manufacturer = Some(name.into());
        self
    }

    /// What it is called by who has made it.
    #[must_use]
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = Some(name.into());
        self
    }

    /// The topic that says `online` or `offline`: that of [`Builder::status`](crate::Builder::status).
    #[must_use]
    pub fn availability(mut self, topic: impl Into<String>) -> Self {
        self.availability = Some(topic.into());
        self
    }

    /// The first level of Home Assistant's topics, if it is not `homeassistant`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// One more sensor.
    #[must_use]
    pub fn sensor(mut self, sensor: Sensor) -> Self {
        self.sensors.push(sensor);
        self
    }

    /// The messages that describe the device: one per sensor, retained, QoS 1.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.sensors
            .iter()
            .map(|sensor| self.describe(sensor))
            .collect()
    }

    /// Publishes the description.
    pub async fn publish(&self, client: &Client) -> Result<(), PublishError> {
        for message in self.messages() {
            client.publish_message(message).await?;
        }
        Ok(())
    }

    /// Publishes the description now and whenever Home Assistant says that it has started. Runs until the client is
    /// closed.
    ///
    /// # Cancellation
    /// Nothing more is announced.
    pub async fn announce(self, client: Client) -> Result<(), Error> {
        let status = format!("{}/status", self.prefix);
        let mut status = client.subscribe(status).qos(1).await?;
        // The status may be retained: then the first message is no start, but does no harm.
        self.publish(&client).await.map_err(of_publish)?;
        while let Some(message) = status.recv().await {
            if message.payload == "online" {
                self.publish(&client).await.map_err(of_publish)?;
            }
        }
        Ok(())
    }

    fn describe(&self, sensor: &Sensor) -> Message {
        let object = format!("{}_{}", self.id, sensor.id);
        let mut json = Json::default();
        json.text("name", &sensor.name)
            .text("unique_id", &object)
            .text("state_topic", &sensor.state)
            .optional("unit_of_measurement", sensor.unit.as_ref())
            .optional("device_class", sensor.class.as_ref())
            .optional("state_class", sensor.state_class.as_ref())
            .optional("value_template", sensor.template.as_ref())
            .optional("availability_topic", self.availability.as_ref());
        let mut device = Json::default();
        device
            .raw("identifiers", &format!("[{}]", quoted(&self.id)))
            .text("name", &self.name)
            .optional("manufacturer", self.manufacturer.as_ref())
            .optional("model", self.model.as_ref());
        json.raw("device", &device.done());
        let topic = format!(
            "{}/sensor/{}/{}/config",
            self.prefix,
            level(&self.id),
            level(&sensor.id)
        );
        Message::new(topic, json.done()).retain().qos(1)
    }
}

/// One value of a device.
#[derive(Debug, Clone)]
pub struct Sensor {
    id: String,
    name: String,
    state: String,
    unit: Option<String>,
    class: Option<String>,
    state_class: Option<String>,
    template: Option<String>,
}

impl Sensor {
    /// A sensor with an identifier that no other of its device has, and a name for people. Its value is
    /// expected on the topic `id` until [`state`](Self::state) says where.
    #[must_use]
    pub fn new(id: impl Into<String>, name: impl Into<String>) -> Self {
        let id = id.into();
        Self {
            state: id.clone(),
            id,
            name: name.into(),
            unit: None,
            class: None,
            state_class: None,
            template: None,
        }
    }

    /// The topic of its value.
    #[must_use]
    pub fn state(mut self, topic: impl Into<String>) -> Self {
        self.state = topic.into();
        self
    }

    /// The unit, as `W`.
    #[must_use]
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = Some(unit.into());
        self
    }

    /// What it measures, as `power`, `energy` or `temperature`: Home Assistant's device classes.
    #[must_use]
    pub fn class(mut self, class: impl Into<String>) -> Self {
        self.class = Some(class.into());
        self
    }

    /// A value that is measured again and again.
    #[must_use]
    pub fn measurement(mut self) -> Self {
        self.state_class = Some("measurement".into());
        self
    }

    /// A meter reading, which only grows.
    #[must_use]
    pub fn total_increasing(mut self) -> Self {
        self.state_class = Some("total_increasing".into());
        self
    }

    /// How the value is found in the payload, as `{{ value_json.power }}`.
    #[must_use]
    pub fn template(mut self, template: impl Into<String>) -> Self {
        self.template = Some(template.into());
        self
    }
}

/// An object that is being written.
#[derive(Default)]
struct Json(String);

impl Json {
    fn raw(&mut self, name: &str, value: &str) -> &mut Self {
        let comma = if self.0.is_empty() { "" } else { "," };
        let _ = write!(self.0, "{comma}{}:{value}", quoted(name));
        self
    }

    fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.raw(name, &quoted(value))
    }

    fn optional(&mut self, name: &str, value: Option<&String>) -> &mut Self {
        if let Some(value) = value {
            self.text(name, value);
        }
        self
    }

    fn done(&self) -> String {
        format!("{{{}}}", self.0)
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            control if u32::from(control) < 0x20 => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// An identifier as a level of a topic: Home Assistant takes letters, digits, `_` and `-`.
fn level(id: &str) -> String {
    let allowed = |one: char| one.is_ascii_alphanumeric() || matches!(one, '_' | '-');
    id.chars()
        .map(|one| if allowed(one) { one } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensor_describes_itself_in_valid_json() {
        let device = Device::new("meter 1", "The \"meter\"")
            .availability("m/status")
            .sensor(
                Sensor::new("power", "Power")
                    .state("m/power")
                    .unit("W")
                    .measurement(),
            );
        let messages = device.messages();
        assert_eq!(messages.len(), 1);
        assert_eq!(
            messages[0].topic,
            "homeassistant/sensor/meter_1/power/config"
        );
        assert!(messages[0].retain);
        assert_eq!(
            messages[0].text(),
            "{\"name\":\"Power\",\"unique_id\":\"meter 1_power\",\"state_topic\":\"m/power\",\
             \"unit_of_measurement\":\"W\",\"state_class\":\"measurement\",\
             \"availability_topic\":\"m/status\",\"device\":{\"identifiers\":[\"meter 1\"],\
             \"name\":\"The \\\"meter\\\"\"}}"
        );
        assert_eq!(quoted("a\nb"), "\"a\\u000ab\"");
    }
}
