//! Sockets to listen on, and what comes out of them.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use tokio::net::{self, TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

use crate::BindError;

/// What an endpoint begins with that is a path and no address.
const UNIX: &str = "unix:";

/// A connection as the operating system has it.
#[cfg(unix)]
pub(crate) type Raw = tokio_util::either::Either<TcpStream, UnixStream>;
/// A connection as the operating system has it.
#[cfg(not(unix))]
pub(crate) type Raw = TcpStream;

/// A connection that HTTP is spoken on. The state of TLS is large, and most have none.
#[cfg(feature = "tls")]
pub(crate) type Stream = tokio_util::either::Either<Raw, Box<tokio_rustls::server::TlsStream<Raw>>>;
/// A connection that HTTP is spoken on.
#[cfg(not(feature = "tls"))]
pub(crate) type Stream = Raw;

/// A socket that listens.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(unix::Socket),
}

// === impl Listener ===

impl Listener {
    /// Listens on `host:port` or `unix:path`.
    pub(crate) async fn bind(protocol: &'static str, endpoint: &str) -> Result<Self, BindError> {
        match endpoint.strip_prefix(UNIX) {
            None => bind_tcp(protocol, endpoint).await.map(Self::Tcp),
            #[cfg(unix)]
            Some(path) => unix::Socket::bind(Path::new(path))
                .await
                .map(Self::Unix)
                .map_err(|source| BindError::Socket { protocol, path: path.into(), source }),
            #[cfg(not(unix))]
            Some(path) => Err(BindError::Socket {
                protocol,
                path: path.into(),
                source: io::ErrorKind::Unsupported.into(),
            }),
        }
    }

    /// Takes the next connection, and says where it comes from if that has an address.
    pub(crate) async fn accept(&self) -> io::Result<(Raw, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Answers are small and must not wait to be merged. A socket that cannot do it is
                // gone.
                _ = stream.set_nodelay(true);
                #[cfg(unix)]
                let stream = Raw::Left(stream);
                Ok((stream, Some(peer)))
            }
            #[cfg(unix)]
            Self::Unix(socket) => {
                let (stream, _) = socket.listener.accept().await?;
                Ok((Raw::Right(stream), None))
            }
        }
    }

    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            Self::Unix(_) => None,
        }
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            #[cfg(unix)]
            Self::Unix(socket) => Some(&socket.path),
        }
    }
}

async fn bind_tcp(protocol: &'static str, endpoint: &str) -> Result<TcpListener, BindError> {
    let resolve = |source| BindError::Resolve { protocol, endpoint: endpoint.to_owned(), source };
    let mut addresses = Vec::from_iter(net::lookup_host(endpoint).await.map_err(resolve)?);
    // `localhost` is both, and clients that were told 127.0.0.1 are the more common ones.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let mut failed = None;
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(source) => failed = Some(BindError::Listen { protocol, address, source }),
        }
    }
    Err(failed.unwrap_or_else(|| {
        resolve(io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
    }))
}

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    use std::path::PathBuf;

    use super::*;

    /// A listener that takes its file away when it is dropped.
    #[derive(Debug)]
    pub(crate) struct Socket {
        pub(super) listener: UnixListener,
        pub(super) path: PathBuf,
        /// Device and inode: the file may be another one's by then.
        file: Option<(u64, u64)>,
    }

    impl Socket {
        /// Takes the place of a socket that nobody listens on any more, as a process leaves it that
        /// was killed; never of another file.
        pub(super) async fn bind(path: &Path) -> io::Result<Self> {
            let is_dead = match fs::symlink_metadata(path) {
                Ok(file) if file.file_type().is_socket() => {
                    let answer = UnixStream::connect(path).await;
                    answer.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
                }
                _ => false,
            };
            if is_dead {
                fs::remove_file(path)?;
            }
            let listener = UnixListener::bind(path)?;
            Ok(Self { listener, path: path.to_owned(), file: identity(path) })
        }
    }

    impl Drop for Socket {
        fn drop(&mut self) {
            if self.file.is_some() && identity(&self.path) == self.file {
                // What cannot be removed is found dead by the next one.
                _ = fs::remove_file(&self.path);
            }
        }
    }

    fn identity(path: &Path) -> Option<(u64, u64)> {
        fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
    }
}
