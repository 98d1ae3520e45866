//! UTF-8 checking, with a short cut for the short ASCII strings that telemetry is made of.

const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Whether `bytes` are UTF-8.
#[inline]
pub(crate) fn is_valid(bytes: &[u8]) -> bool {
    is_ascii(bytes) || simdutf8::basic::from_utf8(bytes).is_ok()
}

/// Eight bytes at a time, the last eight read again where the length is no multiple: keys and names
/// are a dozen bytes, for which a vectorised check costs more to start than this does to end.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().fold(0, |bits, byte| bits | byte) < 0x80;
    };
    if bytes.len() > 64 {
        return bytes.is_ascii();
    }
    let (words, _) = bytes.as_chunks::<8>();
    let bits =
        words.iter().fold(u64::from_le_bytes(*last), |bits, word| bits | u64::from_le_bytes(*word));
    bits & HIGH_BITS == 0
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
        for len in 1..100 {
            for bad in 0..len {
                let mut bytes = vec![b'a'; len];
                bytes[bad] = 0xff;
                assert!(!is_valid(&bytes), "byte {bad} of {len}");
            }
        }
    }
}
