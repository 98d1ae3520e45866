//! The reply to an `Export` call: the same shape for every signal.

use crate::span::text;
use crate::wire::{self, Value};

/// What a server says of a request that it took, in whole or in part.
///
/// The default is full success without a word: the reply that leaves `partial_success` unset.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ExportResponse {
    /// How many items the server refused. They must not be sent again.
    pub rejected: u64,
    /// Why; or, where nothing was refused, a warning.
    pub message: String,
}

// === impl ExportResponse ===

impl ExportResponse {
    /// Whether everything was taken without a warning.
    pub fn is_full_success(&self) -> bool {
        self.rejected == 0 && self.message.is_empty()
    }

    /// Encodes it as protobuf; full success is no bytes at all.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.is_full_success() {
            let mut partial = Vec::new();
            wire::put_uint(&mut partial, 1, self.rejected);
            wire::put_str(&mut partial, 2, &self.message);
            wire::put_len(&mut out, 1, &partial);
        }
        out
    }

    /// Reads a reply, or `None` where the bytes are not one. A negative count reads as 0.
    pub fn decode(message: &[u8]) -> Option<Self> {
        let mut reply = Self::default();
        let mut read = 0;
        for field in wire::fields(message) {
            read = field.end;
            let (1, Value::Len(partial)) = (field.number, field.value) else { continue };
            for field in wire::fields(partial) {
                match (field.number, field.value) {
                    (1, Value::Varint(count)) => {
                        reply.rejected = u64::try_from(count as i64).unwrap_or(0);
                    }
                    (2, Value::Len(message)) => reply.message = text(message).to_owned(),
                    _ => {}
                }
            }
        }
        (read == message.len()).then_some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_comes_back_as_it_went() {
        let partial = ExportResponse { rejected: 3, message: "three were too old".into() };
        assert_eq!(ExportResponse::decode(&partial.encode()), Some(partial));
        assert_eq!(ExportResponse::default().encode(), b"");
        assert_eq!(ExportResponse::decode(b""), Some(ExportResponse::default()));
    }

    #[test]
    fn what_is_no_reply_is_told_from_full_success() {
        assert_eq!(ExportResponse::decode(b"<html>bad gateway</html>"), None);
    }
}
