//! Keys and values as bytes, for the second level.

use bytes::Bytes;

/// Turns keys and values into bytes and back.
///
/// The bytes leave the process: whatever must not be read by others is hashed (a key) or sealed (a
/// value) here. A format that changes takes a new key or a new version byte, as programs of either
/// age read what the other wrote.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use teleflow_cache::{Codec, Undecodable};
///
/// struct Numbers;
///
/// impl Codec<String, u64> for Numbers {
///     fn key(&self, key: &String, out: &mut Vec<u8>) {
///         out.extend_from_slice(key.as_bytes());
///     }
///     fn encode(&self, value: &u64, out: &mut Vec<u8>) {
///         out.extend_from_slice(&value.to_be_bytes());
///     }
///     fn decode(&self, bytes: Bytes) -> Result<u64, Undecodable> {
///         let bytes = bytes.as_ref().try_into().map_err(|_| Undecodable)?;
///         Ok(u64::from_be_bytes(bytes))
///     }
/// }
/// ```
pub trait Codec<K, V>: Send + Sync {
    /// Appends the key's bytes: the same for equal keys, different for others.
    fn key(&self, key: &K, out: &mut Vec<u8>);

    /// Appends the value's bytes.
    fn encode(&self, value: &V, out: &mut Vec<u8>);

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// The bytes are no value: they count as a miss, and the next load replaces them. This must not
    /// panic, whatever the bytes are.
    fn decode(&self, bytes: Bytes) -> Result<V, Undecodable>;
}

/// The second level holds bytes that are no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no value")]
pub struct Undecodable;

/// Keys and values that are bytes or text already, as they are.
///
/// ```
/// use bytes::Bytes;
/// use teleflow_cache::{Codec, Raw, Undecodable};
///
/// let decoded = |bytes| Codec::<&str, String>::decode(&Raw, bytes);
/// assert_eq!(decoded(Bytes::from("text")), Ok("text".to_owned()));
/// assert_eq!(decoded(Bytes::from_static(b"\xff")), Err(Undecodable));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

/// Stands where there is no second level.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCodec;

// === impl Raw ===

impl<K: AsRef<[u8]>> Codec<K, Bytes> for Raw {
    fn key(&self, key: &K, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_ref());
    }

    fn encode(&self, value: &Bytes, out: &mut Vec<u8>) {
        out.extend_from_slice(value);
    }

    fn decode(&self, bytes: Bytes) -> Result<Bytes, Undecodable> {
        Ok(bytes)
    }
}

impl<K: AsRef<[u8]>> Codec<K, String> for Raw {
    fn key(&self, key: &K, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_ref());
    }

    fn encode(&self, value: &String, out: &mut Vec<u8>) {
        out.extend_from_slice(value.as_bytes());
    }

    fn decode(&self, bytes: Bytes) -> Result<String, Undecodable> {
        String::from_utf8(bytes.into()).map_err(|_| Undecodable)
    }
}

// === impl NoCodec ===

impl<K, V> Codec<K, V> for NoCodec {
    fn key(&self, _: &K, _: &mut Vec<u8>) {}

    fn encode(&self, _: &V, _: &mut Vec<u8>) {}

    fn decode(&self, _: Bytes) -> Result<V, Undecodable> {
        Err(Undecodable)
    }
}
