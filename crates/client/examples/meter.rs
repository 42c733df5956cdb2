//! Reads an electricity meter and publishes its values, with Home Assistant discovery.
//!
//! The meter speaks the "historic" TIC format of French meters: frames between STX and ETX, in them lines of
//! label, value and checksum. Give a serial device (set to 1200 baud, 7E1, by `stty`), a file or nothing (a simulated meter):
//!
//! ```console
//! $ cargo run -p martlet-client --example meter -- mqtt://user:password@homeassistant.local /dev/ttyS0
//! ```

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use martlet_client::home_assistant::{Device, Sensor};
use martlet_client::{Client, OnFull, Outbox};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments
        .next()
        .unwrap_or_else(|| "mqtt://localhost".into());
    let source = arguments.next();
    // Readings of an hour ago are of no use: of each value only the newest waits for the broker.
    let outbox = Outbox::memory()
        .max_bytes(64 << 10)
        .on_full(OnFull::DropOldest);
    let client = Client::builder(url)
        .client_id("meter")
        .keep_alive(Duration::from_secs(30))
        .status("meter/status", "online", "offline")
        .outbox(outbox)
        .start()?;
    tokio::spawn(device().announce(client.clone()));
    let count = match source {
        Some(path) => publish_frames(&client, Serial::open(path)).await?,
        None => publish_frames(&client, simulated_meter()).await?,
    };
    eprintln!("the meter is silent after {count} frames");
    client.close(Duration::from_secs(5)).await?;
    Ok(())
}

/// What Home Assistant is told.
fn device() -> Device {
    let mut device = Device::new("meter", "Electricity meter").availability("meter/status");
    for (label, name, unit, class) in VALUES {
        let id = label.to_ascii_lowercase();
        let sensor = Sensor::new(&id, name)
            .state(format!("meter/{id}"))
            .unit(unit)
            .class(class);
        device = device.sensor(if class == "energy" {
            sensor.total_increasing()
        } else {
            sensor.measurement()
        });
    }
    device
}

/// The labels that are published: with name, unit and kind.
const VALUES: [(&str, &str, &str, &str); 3] = [
    ("BASE", "Energy", "Wh", "energy"),
    ("PAPP", "Apparent power", "VA", "apparent_power"),
    ("IINST", "Current", "A", "current"),
];

/// Publishes each value of each frame until the source ends: how many frames there were.
async fn publish_frames(client: &Client, mut source: impl AsyncRead + Unpin) -> io::Result<u32> {
    let mut frames = Frames::default();
    let mut bytes = [0; 256];
    let mut count = 0;
    loop {
        let length = source.read(&mut bytes).await?;
        if length == 0 {
            return Ok(count);
        }
        for byte in bytes.iter().take(length) {
            let Some(frame) = frames.push(*byte) else {
                continue;
            };
            count += 1;
            for (label, value) in parse(&frame) {
                let id = label.to_ascii_lowercase();
                let publish = client.publish(format!("meter/{id}"), value).qos(1).retain();
                // The meter does not wait, so neither do we: what happens is counted in `stats()`.
                if let Err(error) = publish.try_enqueue() {
                    eprintln!("{error}");
                }
            }
        }
    }
}

/// Cuts the stream of bytes into frames.
#[derive(Default)]
struct Frames(Option<Vec<u8>>);

impl Frames {
    const STX: u8 = 2;
    const ETX: u8 = 3;
    const LENGTH_MAX: usize = 2_048;

    fn push(&mut self, byte: u8) -> Option<Vec<u8>> {
        match (byte, &mut self.0) {
            (Self::STX, frame) => *frame = Some(Vec::new()),
            (Self::ETX, frame) => return frame.take(),
            (byte, Some(frame)) if frame.len() < Self::LENGTH_MAX => frame.push(byte),
            (_, frame) => *frame = None,
        }
        None
    }
}

/// The values that we know of a frame, numbers without leading zeros. Lines whose checksum is wrong are left out.
fn parse(frame: &[u8]) -> BTreeMap<&'static str, u64> {
    let mut values = BTreeMap::new();
    for line in frame.split(|byte| matches!(byte, b'\n' | b'\r')) {
        // "LABEL VALUE C": the checksum may be a space itself.
        let Some((checksum, content)) = line.split_last() else {
            continue;
        };
        let content = content.strip_suffix(b" ").unwrap_or(content);
        let sum = content.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        if u32::from(*checksum) != (sum & 0x3F) + 0x20 {
            continue;
        }
        let text = String::from_utf8_lossy(content);
        let Some((label, value)) = text.split_once(' ') else {
            continue;
        };
        let known = VALUES.iter().find(|(known, ..)| *known == label);
        if let (Some((label, ..)), Ok(value)) = (known, value.parse()) {
            values.insert(*label, value);
        }
    }
    values
}

/// A serial device or a file. Reading one blocks, so a thread does it.
struct Serial;

impl Serial {
    fn open(path: String) -> impl AsyncRead + Unpin {
        let (sender, mut receiver) = mpsc::channel::<Vec<u8>>(16);
        std::thread::spawn(move || {
            let copy = || -> io::Result<()> {
                let mut file = std::fs::File::open(&path)?;
                let mut bytes = [0; 256];
                loop {
                    let length = io::Read::read(&mut file, &mut bytes)?;
                    let part = bytes.get(..length).unwrap_or_default().to_vec();
                    if length == 0 || sender.blocking_send(part).is_err() {
                        return Ok(());
                    }
                }
            };
            if let Err(error) = copy() {
                eprintln!("{path}: {error}");
            }
        });
        let (mut ours, theirs) = tokio::io::duplex(4_096);
        tokio::spawn(async move {
            while let Some(bytes) = receiver.recv().await {
                if ours.write_all(&bytes).await.is_err() {
                    break;
                }
            }
        });
        theirs
    }
}

/// A meter that sends a frame each second, for ten seconds.
fn simulated_meter() -> impl AsyncRead + Unpin {
    let (mut meter, line) = tokio::io::duplex(4_096);
    tokio::spawn(async move {
        for second in 0..10_u32 {
            let mut frame = vec![Frames::STX];
            for (label, value) in [
                ("ADCO", "012345678901".to_owned()),
                ("BASE", format!("{:09}", 1_234_567 + second)),
                ("IINST", format!("{:03}", 2 + second % 3)),
                ("PAPP", format!("{:05}", 480 + 10 * second)),
            ] {
                frame.extend(line_of(label, &value));
            }
            frame.push(Frames::ETX);
            if meter.write_all(&frame).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    line
}

/// A line as the meter sends it.
fn line_of(label: &str, value: &str) -> Vec<u8> {
    let content = format!("{label} {value}");
    let sum = content.bytes().map(u32::from).sum::<u32>();
    let mut line = format!("\n{content} ").into_bytes();
    line.extend(u8::try_from((sum & 0x3F) + 0x20));
    line.push(b'\r');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_become_retained_values_that_home_assistant_finds() {
        let broker = martlet_client::test::Broker::start().await.unwrap();
        let client = Client::builder(broker.url()).connect().await.unwrap();
        device().publish(&client).await.unwrap();
        let mut bytes = b"noise\x02".to_vec();
        bytes.extend(line_of("BASE", "001234567"));
        bytes.extend(line_of("PAPP", "00480"));
        bytes.extend(b"\nPAPP 99999 x\r\x03");
        assert_eq!(publish_frames(&client, &bytes[..]).await.unwrap(), 1);
        client.flush(Duration::from_secs(5)).await.unwrap();
        let idle = Duration::from_secs(60);
        let set = client
            .retained(["meter/#", "homeassistant/#"], idle)
            .await
            .unwrap();
        let values: BTreeMap<String, String> = set
            .collect()
            .await
            .into_iter()
            .map(|message| (message.topic.to_string(), message.text().into_owned()))
            .collect();
        assert_eq!(values["meter/base"], "1234567");
        assert_eq!(values["meter/papp"], "480");
        assert!(values["homeassistant/sensor/meter/papp/config"].contains("meter/papp"));
        assert_eq!(values.len(), 5);
    }
}
