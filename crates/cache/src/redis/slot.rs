//! Which of a cluster's 16 384 slots a key is in.

/// How many there are.
pub(super) const SLOTS: u16 = 16_384;

/// The slot of a key: of what is between the first `{` and the next `}`, unless that is empty, else
/// of the whole.
pub(super) fn slot(key: &[u8]) -> u16 {
    crc16(tag(key)) % SLOTS
}

fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&byte| byte == b'{') else { return key };
    let rest = &key[open + 1..];
    match rest.iter().position(|&byte| byte == b'}') {
        None | Some(0) => key,
        Some(close) => &rest[..close],
    }
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn slots_that_a_server_told() {
        for (key, expected) in [("foo", 12_182), ("bar", 5061), ("{foo}.bar", 12_182), ("", 0)] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
    }

    #[test]
    fn the_tag_is_what_counts() {
        for (key, part) in [
            ("a{b}c", "b"),
            ("a{b}{c}", "b"),
            ("a{b{c}}", "b{c"),
            ("a{}{b}", "a{}{b}"),
            ("a{b", "a{b"),
            ("a}b{c}", "c"),
        ] {
            assert_eq!(tag(key.as_bytes()), part.as_bytes(), "{key}");
        }
    }
}
