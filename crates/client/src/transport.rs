//! Ways to a server: an ordered stream of bytes, whatever carries it.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::error::{Error, ErrorKind};

/// An ordered, lossless stream of bytes in both directions: TCP, a Unix socket, TLS or WebSocket on
/// top of one, a serial line, a pipe in a test.
//= mqtt5 4.2.0-1
//= mqtt311 7.1.2-1
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for T {}

/// A connection that is being made.
pub type Opening = Pin<Box<dyn Future<Output = Result<Box<dyn ByteStream>, Error>> + Send>>;

/// Makes connections, one for each attempt: implement it to bring your own. Any
/// `FnMut() -> impl Future<Output = io::Result<impl ByteStream>>` is one, too: see [`transport_fn`].
///
/// The attempt is bounded by [`connect_timeout`](crate::Builder::connect_timeout); the future is
/// dropped when it is over.
pub trait Transport: Send + 'static {
    /// Begins to connect. Errors say what failed: [`Error::transport`].
    fn open(&mut self) -> Opening;
}

/// A transport made of a function.
///
/// ```
/// use martlet_client::transport_fn;
/// let pipe = transport_fn(|| async { Ok(tokio::io::duplex(1_024).0) });
/// # let _ = pipe;
/// ```
pub fn transport_fn<F, R, S>(open: F) -> impl Transport
where
    F: FnMut() -> R + Send + 'static,
    R: Future<Output = io::Result<S>> + Send + 'static,
    S: ByteStream,
{
    FromFn(open)
}

struct FromFn<F>(F);

impl<F, R, S> Transport for FromFn<F>
where
    F: FnMut() -> R + Send + 'static,
    R: Future<Output = io::Result<S>> + Send + 'static,
    S: ByteStream,
{
    fn open(&mut self) -> Opening {
        let opening = (self.0)();
        Box::pin(async move {
            let stream = opening.await?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }
}

impl Error {
    /// An error of a [`Transport`]: `Dns`, `Io`, `Tls` or `Proxy`, and its cause.
    #[must_use]
    pub fn transport(kind: ErrorKind, cause: io::Error) -> Self {
        Self::from_io(kind, cause)
    }
}

impl From<io::Error> for Error {
    fn from(cause: io::Error) -> Self {
        Self::from_io(ErrorKind::Io, cause)
    }
}

/// TCP.
#[derive(Clone)]
pub(crate) struct Tcp {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Transport for Tcp {
    fn open(&mut self) -> Opening {
        let Self { host, port } = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), port)).await;
            let addresses = found.map_err(|cause| {
                let error = Error::from_io(ErrorKind::Dns, cause);
                Error {
                    detail: Some(host.as_str().into()),
                    ..error
                }
            })?;
            let mut failed = None;
            for address in addresses {
                match TcpStream::connect(address).await {
                    Ok(stream) => {
                        stream.set_nodelay(true)?;
                        return Ok(Box::new(TcpLink::new(stream)) as Box<dyn ByteStream>);
                    }
                    Err(cause) => {
                        failed = Some(Error {
                            detail: Some(address.to_string().into()),
                            ..Error::from_io(ErrorKind::Io, cause)
                        });
                    }
                }
            }
            Err(failed.unwrap_or_else(|| Error::with_detail(ErrorKind::Dns, host)))
        })
    }
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A TCP connection that is reset when it is dropped without having been shut down.
///
/// Else the kernel would go on sending what it has taken, for minutes: a CONNECT that we gave up would arrive behind that of the
/// next connection, and take its session over.
#[derive(Debug)]
struct TcpLink {
    stream: TcpStream,
    ended: bool,
}

impl TcpLink {
    const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            ended: false,
        }
    }
}

impl AsyncRead for TcpLink {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TcpLink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ended = true;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for TcpLink {
    fn drop(&mut self) {
        if !self.ended {
            // Should it fail, the connection ends as any other does.
            let _ = self.stream.set_zero_linger();
        }
    }
}

/// A Unix socket.
#[derive(Debug, Clone)]
pub(crate) struct Unix {
    pub(crate) path: PathBuf,
}

impl Transport for Unix {
    #[cfg(unix)]
    fn open(&mut self) -> Opening {
        let path = self.path.clone();
        Box::pin(async move {
            let stream = tokio::net::UnixStream::connect(&path).await;
            let stream = stream.map_err(|cause| Error {
                detail: Some(path.display().to_string().into()),
                ..Error::from_io(ErrorKind::Io, cause)
            })?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }

    #[cfg(not(unix))]
    fn open(&mut self) -> Opening {
        Box::pin(async {
            let detail = "this system has no Unix sockets";
            Err(Error::with_detail(ErrorKind::InvalidOption, detail))
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What a server reads from a connection of ours that ends.
    async fn end(shut_down: bool) -> io::Result<Vec<u8>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (host, port) = ("127.0.0.1".to_owned(), listener.local_addr()?.port());
        let mut ours = Tcp { host, port }.open().await.expect("a listener");
        let mut server = listener.accept().await?.0;
        ours.write_all(b"hello").await?;
        if shut_down {
            ours.shutdown().await?;
        }
        drop(ours);
        let mut read = Vec::new();
        server.read_to_end(&mut read).await?;
        Ok(read)
    }

    #[tokio::test]
    async fn a_connection_that_is_given_up_is_reset_and_one_that_says_goodbye_is_not() {
        assert_eq!(end(true).await.unwrap(), b"hello");
        let reset = end(false).await.unwrap_err();
        assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
    }
}
