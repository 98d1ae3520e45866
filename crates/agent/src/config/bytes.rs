//! Sizes in bytes: a number, or a number with a unit.

/// What may follow the number.
const UNITS: [(&str, u64); 8] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// Reads `512MiB`, `1 GiB`, `1000000`; or says what is wrong and what to write.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let (number, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    if number.is_empty() {
        return Err("write a whole number of bytes, or one with a unit: `64MiB`".to_owned());
    }
    let factor = match unit.trim_start_matches(' ') {
        "" => 1,
        unit => UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|&(_, factor)| factor)
            .ok_or("known units: B, KiB, MiB, GiB, TiB, KB, MB, GB")?,
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    bytes.ok_or_else(|| "the size is beyond all bounds".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_with_or_without_a_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("1B", 1),
            ("256MiB", 268_435_456),
            ("1 GiB", 1_073_741_824),
            ("2KB", 2_000),
            ("3MB", 3_000_000),
            ("4GB", 4_000_000_000),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_write() {
        for text in ["1gb", "1M", "1.5GiB", "1GiB ", "1 G iB", "1\u{e9}", "1-"] {
            let units = "known units: B, KiB, MiB, GiB, TiB, KB, MB, GB";
            assert_eq!(parse(text), Err(units.to_owned()), "{text}");
        }
        for text in ["", "GiB", "-1", "much", " 1"] {
            let number = "write a whole number of bytes, or one with a unit: `64MiB`";
            assert_eq!(parse(text), Err(number.to_owned()), "{text}");
        }
        for text in ["99999999999999999999", "99999999999GiB"] {
            assert_eq!(parse(text), Err("the size is beyond all bounds".to_owned()), "{text}");
        }
    }
}
