//! UTF-8 checking, with a short cut for the short ASCII strings that telemetry is made of.

const HIGH_BITS: u128 = u128::from_le_bytes([0x80; 16]);

/// Whether `bytes` are UTF-8.
#[inline]
pub(crate) fn is_valid(bytes: &[u8]) -> bool {
    is_ascii(bytes) || simdutf8::basic::from_utf8(bytes).is_ok()
}

/// A word at a time, the last one read again where the length is no multiple: keys and names are a
/// dozen bytes, for which a vectorised check costs more to start than this does to end.
#[inline]
pub(crate) fn is_ascii(bytes: &[u8]) -> bool {
    if bytes.len() > 128 {
        return bytes.is_ascii();
    }
    if let Some(last) = bytes.last_chunk::<16>() {
        let (words, _) = bytes.as_chunks::<16>();
        let word = |word: &[u8; 16]| u128::from_le_bytes(*word);
        return words.iter().fold(word(last), |bits, next| bits | word(next)) & HIGH_BITS == 0;
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        let bits = u64::from_le_bytes(*first) | u64::from_le_bytes(*last);
        return bits & HIGH_BITS as u64 == 0;
    }
    bytes.iter().fold(0, |bits, byte| bits | byte) < 0x80
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_agrees_with_the_standard_library(bytes: Vec<u8>) {
            prop_assert_eq!(is_valid(&bytes), std::str::from_utf8(&bytes).is_ok());
        }

        #[test]
        fn text_of_any_kind_is_valid(text: String) {
            prop_assert!(is_valid(text.as_bytes()));
        }
    }

    #[test]
    fn one_bad_byte_is_found_wherever_it_is() {
        for len in 1..200 {
            for bad in 0..len {
                let mut bytes = vec![b'a'; len];
                bytes[bad] = 0xff;
                assert!(!is_valid(&bytes), "byte {bad} of {len}");
            }
        }
    }
}
