//! Values as texts, for keys.

use std::fmt::{self, Write};

use teleflow_otlp::value::AnyValue;

/// A text that takes no more than it may, and remembers that it would have.
#[derive(Debug, Default)]
pub(super) struct Bounded {
    text: String,
    is_cut: bool,
}

/// The most bytes of a text.
pub(super) const MAX_BYTES: usize = 256;

/// The beginning of a text, at most so many bytes.
pub(super) fn beginning(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

// === impl Bounded ===

impl Bounded {
    /// Becomes the text of a value, as the Collector writes it but for bytes, which are written in
    /// hexadecimal digits, and texts within lists and maps, which are written as Rust does. Whole
    /// numbers and others are told apart only by their digits.
    pub(super) fn set(&mut self, value: &AnyValue<'_>) {
        self.text.clear();
        self.is_cut = false;
        // What does not fit is cut, and no more of it is read.
        let _ = self.write(value, false);
    }

    pub(super) fn text(&mut self) -> &mut String {
        &mut self.text
    }

    pub(super) const fn is_cut(&self) -> bool {
        self.is_cut
    }

    fn write(&mut self, value: &AnyValue<'_>, is_within: bool) -> fmt::Result {
        match value {
            AnyValue::Empty => Ok(()),
            AnyValue::String(text) if is_within => write!(self, "{text:?}"),
            AnyValue::String(text) => self.write_str(text),
            AnyValue::Bool(value) => write!(self, "{value}"),
            AnyValue::Int(value) => write!(self, "{value}"),
            AnyValue::Double(value) => {
                let has_short_form = *value == 0.0 || (1e-6..1e21).contains(&value.abs());
                if has_short_form { write!(self, "{value}") } else { write!(self, "{value:e}") }
            }
            AnyValue::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(self, "{byte:02x}")),
            AnyValue::Array(values) => {
                self.write_char('[')?;
                for (index, value) in values.clone().enumerate() {
                    self.write_str(if index == 0 { "" } else { "," })?;
                    self.write(&value, true)?;
                }
                self.write_char(']')
            }
            AnyValue::Map(values) => {
                self.write_char('{')?;
                for (index, (key, value)) in values.clone().enumerate() {
                    self.write_str(if index == 0 { "" } else { "," })?;
                    write!(self, "{key:?}:")?;
                    self.write(&value, true)?;
                }
                self.write_char('}')
            }
        }
    }
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = beginning(text, MAX_BYTES - self.text.len());
        self.text.push_str(fits);
        if fits.len() < text.len() {
            self.is_cut = true;
            return Err(fmt::Error);
        }
        Ok(())
    }
}
