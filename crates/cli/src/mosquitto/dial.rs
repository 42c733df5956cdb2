//! Finds the broker and opens the socket, with mosquitto's complaints.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use crate::settings::Settings;

/// A socket.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// Opens the socket; the error is the line to print.
pub(super) async fn dial(settings: &Settings) -> Result<Stream, String> {
    if let Some(path) = &settings.broker.unix {
        return unix(path).await;
    }
    let host = settings.host();
    let local = match &settings.broker.bind {
        Some(bind) => Some(lookup(bind, 0).await?),
        None => None,
    };
    let mut last = None;
    for address in lookup(host, settings.port()).await? {
        let local = local.as_ref().and_then(|list| {
            list.iter()
                .find(|local| local.is_ipv4() == address.is_ipv4())
        });
        match open(address, local.copied()).await {
            Ok(stream) => {
                // Small packets go at once, asked for or not: nobody waits for the rest.
                let _ = stream.set_nodelay(true);
                return Ok(Stream::Tcp(stream));
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(
        || LOOKUP.to_owned(),
        |error| format!("Error: {}", reason(&error)),
    ))
}

async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = lookup_host((host, port))
        .await
        .map_err(|_| LOOKUP.to_owned())?;
    Ok(found.collect())
}

async fn open(address: SocketAddr, local: Option<SocketAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    if let Some(local) = local {
        socket.bind(local)?;
    }
    socket.connect(address).await
}

#[cfg(unix)]
async fn unix(path: &Path) -> Result<Stream, String> {
    let stream = UnixStream::connect(path).await;
    stream
        .map(Stream::Unix)
        .map_err(|error| format!("Error: {}", reason(&error)))
}

#[cfg(not(unix))]
async fn unix(_path: &Path) -> Result<Stream, String> {
    Err("Error: This feature is not supported.".to_owned())
}

/// The system's words without the number that Rust adds.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => pin!(stream).poll_read(context, buffer),
            #[cfg(unix)]
            Self::Unix(stream) => pin!(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => pin!(stream).poll_write(context, bytes),
            #[cfg(unix)]
            Self::Unix(stream) => pin!(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => pin!(stream).poll_flush(context),
            #[cfg(unix)]
            Self::Unix(stream) => pin!(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => pin!(stream).poll_shutdown(context),
            #[cfg(unix)]
            Self::Unix(stream) => pin!(stream).poll_shutdown(context),
        }
    }
}

const LOOKUP: &str = "Unable to connect (Lookup error.).";
