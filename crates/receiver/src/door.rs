//! A listener, what is spoken there, and what a connection has to show.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
#[cfg(feature = "tls")]
use std::sync::Arc;

use crate::auth::Peer;
use crate::listen::{Listener, Raw, Stream};
#[cfg(feature = "tls")]
use crate::tls::Certificates;
use crate::tls::TlsConfig;
#[cfg(not(feature = "tls"))]
use crate::tls::TlsError;
use crate::{Access, BindError};

/// Where connections come in.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) listener: Listener,
    pub(crate) entry: Entry,
}

/// What every connection goes through that has come in.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) speaks: Speaks,
    #[cfg(feature = "tls")]
    pub(crate) certificates: Option<Arc<Certificates>>,
}

/// Which protocols a listener takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Speaks {
    Grpc,
    Http,
    Both,
}

// === impl Speaks ===

impl Speaks {
    const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "OTLP/gRPC",
            Self::Http => "OTLP/HTTP",
            Self::Both => "OTLP/gRPC and OTLP/HTTP",
        }
    }

    /// What clients choose from in the handshake.
    #[cfg(feature = "tls")]
    const fn protocols(self) -> &'static [&'static [u8]] {
        match self {
            Self::Grpc => &[b"h2"],
            Self::Http | Self::Both => &[b"h2", b"http/1.1"],
        }
    }
}

// === impl Door ===

impl Door {
    pub(crate) async fn open(
        endpoint: &str,
        speaks: Speaks,
        access: &Access,
    ) -> Result<Self, BindError> {
        #[cfg(feature = "tls")]
        let certificates = match access.tls.clone() {
            Some(tls) => Some(load(tls, speaks).await?),
            None => None,
        };
        #[cfg(not(feature = "tls"))]
        if let Some(TlsConfig { .. }) = &access.tls {
            return Err(BindError::Tls { protocol: speaks.name(), source: TlsError::NotBuilt });
        }
        Ok(Self {
            listener: Listener::bind(speaks.name(), endpoint).await?,
            entry: Entry {
                speaks,
                #[cfg(feature = "tls")]
                certificates,
            },
        })
    }

    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.local_addr()
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        self.listener.path()
    }
}

// === impl Entry ===

impl Entry {
    /// Makes a connection one that HTTP can be spoken on, and notes whom it proves to come from.
    #[cfg(feature = "tls")]
    pub(crate) async fn shake_hands(&self, stream: Raw, peer: &mut Peer) -> io::Result<Stream> {
        let Some(certificates) = &self.certificates else { return Ok(Stream::Left(stream)) };
        let (stream, certificate) = certificates.accept(stream).await?;
        peer.certificate = certificate;
        Ok(Stream::Right(Box::new(stream)))
    }

    /// Makes a connection one that HTTP can be spoken on.
    #[cfg(not(feature = "tls"))]
    pub(crate) async fn shake_hands(&self, stream: Raw, _: &mut Peer) -> io::Result<Stream> {
        Ok(stream)
    }
}

#[cfg(feature = "tls")]
async fn load(tls: TlsConfig, speaks: Speaks) -> Result<Arc<Certificates>, BindError> {
    Certificates::load(tls, speaks.protocols())
        .await
        .map_err(|source| BindError::Tls { protocol: speaks.name(), source })
}
