//! "Did you mean": the known name closest to one that is not known.

/// Longer names are not worth comparing.
const MAX_LENGTH: usize = 64;

/// The known name that `written` most likely stands for, if any is close.
pub(super) fn closest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let length = written.chars().count();
    if length > MAX_LENGTH {
        return None;
    }
    // A third of the letters may be wrong; of two letters one.
    let tolerance = (length / 3).clamp(1, 3);
    known
        .into_iter()
        .filter(|name| !name.is_empty() && name.len() <= MAX_LENGTH)
        .map(|name| (distance(&written.to_lowercase(), &name.to_lowercase()), name))
        .filter(|&(distance, name)| distance <= tolerance && distance < name.len())
        .min()
        .map(|(_, name)| name)
}

/// How many letters to insert, delete, replace, or swap with the next one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before_last[j - 2] + 1);
            }
            row.push(least);
        }
        before_last = last;
        last = row;
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = ["timeout", "send_batch_size", "send_batch_max_size", "tls", "OK"];

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        assert_eq!(closest("timeoutt", KNOWN), Some("timeout"));
        assert_eq!(closest("tiemout", KNOWN), Some("timeout"));
        assert_eq!(closest("send-batch-size", KNOWN), Some("send_batch_size"));
        assert_eq!(closest("TLS", KNOWN), Some("tls"));
        assert_eq!(closest("ok", KNOWN), Some("OK"));
    }

    #[test]
    fn what_is_far_from_all_known_names_stands_for_none() {
        assert_eq!(closest("headers", KNOWN), None);
        assert_eq!(closest("", KNOWN), None);
        assert_eq!(closest(&"timeout".repeat(20), KNOWN), None);
        assert_eq!(closest("x", ["y", ""]), None);
    }
}
