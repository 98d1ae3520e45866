//! Durations in Go's notation, as the Collector reads them.

use std::time::Duration;

/// The units, longest first where one is the beginning of another, in nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Go's longest duration: 2^63 - 1 nanoseconds, some 292 years.
const MAX_NANOS: u128 = i64::MAX as u128;

/// Reads `200ms`, `1.5s`, `1m30s`, `0`; or says what is wrong and what to write.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    if text.starts_with('-') {
        return Err("a duration cannot be negative".to_owned());
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err("write a number and a unit: `5s`".to_owned());
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split(after, |c| !c.is_ascii_digit() && c != '.');
        let nanos_per_unit = unit_nanos(number, unit)?;
        nanos = number_times(number, nanos_per_unit)
            .and_then(|part| nanos.checked_add(part))
            .filter(|&total| total <= MAX_NANOS)
            .ok_or("a duration ends at 2562047h (292 years)")?;
        rest = after;
    }
    let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
    let below_second = u32::try_from(nanos % 1_000_000_000).unwrap_or(0);
    Ok(Duration::new(seconds, below_second))
}

fn unit_nanos(number: &str, unit: &str) -> Result<u64, String> {
    if !number.contains(|c: char| c.is_ascii_digit()) || number.matches('.').count() > 1 {
        return Err("write a number and a unit: `5s`".to_owned());
    }
    if unit.is_empty() {
        return Err(format!("write the unit: `{number}s`, `{number}ms`"));
    }
    match UNITS.iter().find(|(name, _)| *name == unit) {
        Some(&(_, nanos)) => Ok(nanos),
        None => Err("known units: ns, us, ms, s, m, h".to_owned()),
    }
}

/// Multiplies exactly, dropping what is below a nanosecond; `None` is beyond all bounds.
fn number_times(number: &str, unit: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Sixteen digits after the point reach below the nanosecond for every unit.
    let fraction = &fraction[..fraction.len().min(16)];
    let scale = fraction.bytes().fold(1_u128, |scale, _| scale * 10);
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    Some(u128::from(whole) * u128::from(unit) + fraction * u128::from(unit) / scale)
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_notation_is_read_exactly() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("+5s", 5_000_000_000),
            ("200ms", 200_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
            ("10us", 10_000),
            ("10\u{b5}s", 10_000),
            ("10\u{3bc}s", 10_000),
            ("1.000000001s", 1_000_000_001),
            ("0.1234567899s", 123_456_789),
            ("1s1s", 2_000_000_000),
            ("0.3333333333333333333h", 1_199_999_999_999),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn the_longest_duration_is_that_of_go() {
        assert_eq!(parse("9223372036854775807ns"), Ok(Duration::from_nanos(i64::MAX as u64)));
        let beyond = Err("a duration ends at 2562047h (292 years)".to_owned());
        assert_eq!(parse("9223372036854775808ns"), beyond);
        assert_eq!(parse("99999999999999999999h"), beyond);
        assert_eq!(parse("18446744073709551615.9999999999999999999h"), beyond);
    }

    #[track_caller]
    fn check_refused(text: &str, hint: &str) {
        assert_eq!(parse(text), Err(hint.to_owned()), "{text}");
    }

    #[test]
    fn a_refusal_says_what_to_write() {
        check_refused("5", "write the unit: `5s`, `5ms`");
        check_refused("1m30", "write the unit: `30s`, `30ms`");
        check_refused("-1s", "a duration cannot be negative");
        for text in ["1d", "5 s", "5S", "5sec", "1s ", "3\u{e9}"] {
            check_refused(text, "known units: ns, us, ms, s, m, h");
        }
        for text in ["", "+", "s", ".s", "1.2.3s", " 1s", "ms5", "..", "soon"] {
            check_refused(text, "write a number and a unit: `5s`");
        }
    }
}
