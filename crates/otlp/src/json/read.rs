//! OTLP/JSON to protobuf, in one pass over the text and without a tree in between.

use std::fmt;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::schema::{self, Field, Kind, Message};
use crate::wire::{self, FIXED32, FIXED64, LEN, VARINT};
use crate::{MAX_DEPTH, Problem, Signal, validate};

/// Why text was not turned into a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is not OTLP/JSON. The message names the line and column.
    #[error("invalid OTLP/JSON: {0}")]
    Invalid(String),
    /// In protobuf it would take more than the limit.
    #[error("the request takes more than {0} bytes in protobuf")]
    TooLarge(usize),
}

/// What is written so far, and how much may be.
struct Sink {
    bytes: Vec<u8>,
    limit: usize,
    /// How many messages are open in the request.
    depth: u32,
}

impl Sink {
    fn check<E: de::Error>(&self) -> Result<(), E> {
        if self.bytes.len() > self.limit { Err(E::custom("too large")) } else { Ok(()) }
    }
}

/// Turns an OTLP/JSON request into the protobuf request that says the same, and counts its items.
///
/// The result takes at most `limit` bytes: a digit and a comma of JSON can be eight bytes of
/// protobuf, so a limit of the text alone would not bound it.
///
/// # Errors
///
/// Where the text is not JSON, a value does not fit its field, an id has the wrong length, an
/// enumeration is given by name, messages nest deeper than [`MAX_DEPTH`](crate::MAX_DEPTH), or the
/// limit is passed.
pub fn to_protobuf(signal: Signal, text: &[u8], limit: usize) -> Result<(Vec<u8>, u64), Error> {
    let mut out = Sink { bytes: Vec::with_capacity((text.len() / 2).min(limit)), limit, depth: 0 };
    let mut json = serde_json::Deserializer::from_slice(text);
    // Its own limit is in brackets, of which a message takes up to four: it would refuse what is
    // valid in protobuf. Messages are counted here, and what is unknown is skipped without recursion.
    json.disable_recursion_limit();
    let seed = MessageSeed { table: schema::request(signal), out: &mut out };
    let read = seed.deserialize(&mut json).and_then(|()| json.end());
    if out.bytes.len() > limit {
        return Err(Error::TooLarge(limit));
    }
    read.map_err(|error| Error::Invalid(shortened(&error)))?;
    let items = validate(signal, &out.bytes)
        .map_err(|invalid| Error::Invalid(invalid.problem.to_string()))?;
    Ok((out.bytes, items))
}

/// What is wrong and where, without more than a line of what the peer sent.
fn shortened(error: &serde_json::Error) -> String {
    const MOST: usize = 200;
    let mut text = error.to_string();
    if text.len() > MOST {
        text.truncate(text.floor_char_boundary(MOST));
        text += &format!("… at line {} column {}", error.line(), error.column());
    }
    text
}

/// Standard or URL-safe alphabet, with or without padding: proto3's JSON mapping takes all four.
fn base64(text: &str) -> Option<Vec<u8>> {
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, CONFIG);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, CONFIG);
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

/// Exactly `len` bytes in hexadecimal, in either case; or nothing at all, which means absent.
fn hex(text: &str, len: usize) -> Option<Vec<u8>> {
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    if !odd.is_empty() || (pairs.len() != len && !pairs.is_empty()) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    pairs.iter().map(|[high, low]| Some((digit(*high)? << 4 | digit(*low)?) as u8)).collect()
}

/// Reads an object and appends its fields to `out`.
struct MessageSeed<'o> {
    table: &'static Message,
    out: &'o mut Sink,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object ({})", self.table.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        while let Some(known) = object.next_key_seed(KeySeed(self.table))? {
            match known {
                Some((number, field)) => {
                    object.next_value_seed(ValueSeed { number, field, out: self.out })?;
                }
                None => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Reads a key and finds its field; keys are short, so no copy of them is kept.
struct KeySeed(&'static Message);

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Option<(u32, &'static Field)>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Option<(u32, &'static Field)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.field_named(key))
    }
}

/// Reads a field's value, or a list of them where it repeats.
struct ValueSeed<'o> {
    number: u32,
    field: &'static Field,
    out: &'o mut Sink,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value for `{}`", self.field.name)
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let Self { number, field, out } = self;
        let one = OneSeed { number, field, out };
        if field.repeated { json.deserialize_seq(ListSeed(one)) } else { one.deserialize(json) }
    }
}

struct ListSeed<'o>(OneSeed<'o>);

impl<'de> Visitor<'de> for ListSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list for `{}`", self.0.field.name)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let OneSeed { number, field, out } = self.0;
        while list.next_element_seed(OneSeed { number, field, out: &mut *out })?.is_some() {
            out.check()?;
        }
        Ok(())
    }
}

/// Reads one value and appends it as a field.
struct OneSeed<'o> {
    number: u32,
    field: &'static Field,
    out: &'o mut Sink,
}

impl<'de> DeserializeSeed<'de> for OneSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let Kind::Message(table) = self.field.kind else { return json.deserialize_any(self) };
        let Self { number, out, .. } = self;
        wire::put_key(&mut out.bytes, number, LEN);
        let start = out.bytes.len();
        if out.depth == MAX_DEPTH {
            return Err(de::Error::custom(Problem::TooDeep));
        }
        out.depth += 1;
        MessageSeed { table, out: &mut *out }.deserialize(json)?;
        out.depth -= 1;
        // The length goes in front of what it counts, which moves to make room.
        let mut len = Vec::with_capacity(10);
        wire::put_varint(&mut len, (out.bytes.len() - start) as u64);
        out.bytes.splice(start..start, len);
        out.check()
    }
}

impl OneSeed<'_> {
    fn varint(self, value: u64) {
        wire::put_key(&mut self.out.bytes, self.number, VARINT);
        wire::put_varint(&mut self.out.bytes, value);
    }

    fn fixed64(self, value: u64) {
        wire::put_key(&mut self.out.bytes, self.number, FIXED64);
        self.out.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn fixed32(self, value: u32) {
        wire::put_key(&mut self.out.bytes, self.number, FIXED32);
        self.out.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A whole number, given as one, as a float without a fraction, or as text.
    fn integer<E: de::Error>(self, value: i128) -> Result<(), E> {
        let out_of_range =
            || E::custom(format_args!("{value} is out of range for `{}`", self.field.name));
        match self.field.kind {
            Kind::Int32 | Kind::Enum => {
                let value = i32::try_from(value).map_err(|_| out_of_range())?;
                self.varint(i64::from(value) as u64);
            }
            Kind::Sint32 => {
                let value = i32::try_from(value).map_err(|_| out_of_range())?;
                self.varint(u64::from((value << 1 ^ value >> 31) as u32));
            }
            Kind::Uint32 => {
                let value = u32::try_from(value).map_err(|_| out_of_range())?;
                self.varint(u64::from(value));
            }
            Kind::Int64 => {
                let value = i64::try_from(value).map_err(|_| out_of_range())?;
                self.varint(value as u64);
            }
            Kind::Uint64 => {
                let value = u64::try_from(value).map_err(|_| out_of_range())?;
                self.varint(value);
            }
            Kind::Fixed32 => {
                let value = u32::try_from(value).map_err(|_| out_of_range())?;
                self.fixed32(value);
            }
            Kind::Fixed64 => {
                let value = u64::try_from(value).map_err(|_| out_of_range())?;
                self.fixed64(value);
            }
            Kind::Sfixed64 => {
                let value = i64::try_from(value).map_err(|_| out_of_range())?;
                self.fixed64(value as u64);
            }
            Kind::Double => self.fixed64((value as f64).to_bits()),
            _ => return Err(E::invalid_type(de::Unexpected::Other("number"), &self)),
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for OneSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.field.kind {
            Kind::Bool => "true or false",
            Kind::Enum => "the number of an enumeration, never its name,",
            Kind::String => "a string",
            Kind::Bytes => "base64",
            Kind::Id(16) => "32 hexadecimal digits",
            Kind::Id(_) => "16 hexadecimal digits",
            Kind::Double => "a number",
            _ => "a whole number",
        };
        write!(f, "{what} for `{}`", self.field.name)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        match self.field.kind {
            Kind::Bool => self.varint(u64::from(value)),
            _ => return Err(E::invalid_type(de::Unexpected::Bool(value), &self)),
        }
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.integer(i128::from(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.integer(i128::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        match self.field.kind {
            Kind::Double => self.fixed64(value.to_bits()),
            // `1.0` and `1e3` are whole numbers to JSON.
            _ if value.fract() == 0.0 && value.abs() < 2e19 => return self.integer(value as i128),
            _ => return Err(E::invalid_value(de::Unexpected::Float(value), &self)),
        }
        Ok(())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        let invalid = || E::invalid_value(de::Unexpected::Str(value), &self);
        match self.field.kind {
            Kind::String => wire::put_len(&mut self.out.bytes, self.number, value.as_bytes()),
            Kind::Bytes => {
                let bytes = base64(value).ok_or_else(invalid)?;
                wire::put_len(&mut self.out.bytes, self.number, &bytes);
            }
            Kind::Id(len) => {
                let bytes = hex(value, usize::from(len)).ok_or_else(invalid)?;
                wire::put_len(&mut self.out.bytes, self.number, &bytes);
            }
            Kind::Double => {
                let number = match value {
                    "NaN" => f64::NAN,
                    "Infinity" => f64::INFINITY,
                    "-Infinity" => f64::NEG_INFINITY,
                    _ => value.parse().ok().filter(|n: &f64| n.is_finite()).ok_or_else(invalid)?,
                };
                self.fixed64(number.to_bits());
            }
            Kind::Bool | Kind::Enum => return Err(invalid()),
            _ => {
                let number = value.parse().map_err(|_| invalid())?;
                return self.integer(number);
            }
        }
        Ok(())
    }
}
