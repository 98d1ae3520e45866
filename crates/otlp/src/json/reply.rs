//! The reply to an `Export` call, from JSON.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::{ExportResponse, Signal};

/// How an object of a reply is read: the reply itself, and what is partial about it.
struct Reply<'r>(&'r mut ExportResponse, Level);

#[derive(Clone, Copy)]
enum Level {
    Reply,
    Partial(Signal),
}

/// A count: a number, or one in a string. What is none, or negative, counts as 0.
struct Count<'r>(&'r mut u64);

/// A text, or `null`.
struct Said<'r>(&'r mut String);

// === impl ExportResponse ===

impl ExportResponse {
    /// Reads a reply in JSON, or `None` where the text is not one. Unknown keys are passed over; a
    /// negative count reads as 0.
    ///
    /// ```
    /// use teleflow_otlp::{ExportResponse, Signal};
    ///
    /// let reply = ExportResponse { rejected: 2, message: "too old".into() };
    /// let json = reply.to_json(Signal::Logs);
    /// assert_eq!(ExportResponse::from_json(Signal::Logs, json.as_bytes()), Some(reply));
    /// ```
    pub fn from_json(signal: Signal, text: &[u8]) -> Option<Self> {
        let mut reply = Self::default();
        let mut json = serde_json::Deserializer::from_slice(text);
        json.deserialize_map(Level::Reply.of(&mut reply, signal)).ok()?;
        json.end().ok()?;
        Some(reply)
    }
}

impl Level {
    fn of(self, reply: &mut ExportResponse, signal: Signal) -> OfSignal<'_> {
        OfSignal { reply: Reply(reply, self), signal }
    }
}

struct OfSignal<'r> {
    reply: Reply<'r>,
    signal: Signal,
}

impl<'de> Visitor<'de> for OfSignal<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reply to an export")
    }

    /// `null` is as good as nothing.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let Self { reply: Reply(reply, level), signal } = self;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match (level, &*key) {
                (Level::Reply, "partialSuccess") => {
                    map.next_value_seed(Level::Partial(signal).of(reply, signal))?;
                }
                (Level::Partial(signal), key) if key == signal.rejected_key() => {
                    map.next_value_seed(Count(&mut reply.rejected))?;
                }
                (Level::Partial(_), "errorMessage") => {
                    map.next_value_seed(Said(&mut reply.message))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for OfSignal<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> DeserializeSeed<'de> for Count<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl Visitor<'_> for Count<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, count: u64) -> Result<(), E> {
        *self.0 = count;
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        // One that is not negative comes as a `u64`.
        *self.0 = 0;
        Ok(())
    }

    fn visit_str<E>(self, count: &str) -> Result<(), E> {
        *self.0 = count.parse().unwrap_or(0);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Said<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl Visitor<'_> for Said<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, message: &str) -> Result<(), E> {
        message.clone_into(self.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(u64, String)> {
        let reply = ExportResponse::from_json(Signal::Traces, text.as_bytes())?;
        Some((reply.rejected, reply.message))
    }

    #[test]
    fn counts_come_as_numbers_or_strings_and_unknown_keys_are_passed_over() {
        for (text, rejected, message) in [
            ("{}", 0, ""),
            ("{\"partialSuccess\":null}", 0, ""),
            ("{\"partialSuccess\":{\"rejectedSpans\":3,\"errorMessage\":\"old\"}}", 3, "old"),
            ("{\"partialSuccess\":{\"rejectedSpans\":\"3\",\"new\":[{}]},\"more\":1}", 3, ""),
            ("{\"partialSuccess\":{\"rejectedSpans\":-3,\"errorMessage\":null}}", 0, ""),
            ("{\"partialSuccess\":{\"rejectedLogRecords\":3}}", 0, ""),
        ] {
            assert_eq!(read(text), Some((rejected, message.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_is_no_reply_is_told_from_full_success() {
        for text in ["", "[]", "\"x\"", "<html>", "{", "{} x", "{\"partialSuccess\":7}"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
