//! Hashes of what senders choose, under a key that they do not know.

use std::fmt;
use std::hash::Hasher as _;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

/// A keyed hash.
///
/// The hash of an id is a product of its halves, each mixed with a secret of its own. foldhash's
/// `FixedState` would mix one half with a constant that anybody can look up: whatever the seed, all
/// ids that have it there would meet in one hash.
#[derive(Clone)]
pub(crate) struct Keyed {
    seed: u64,
    shared: SharedSeed,
}

/// What a hash is for. Of one secret each makes hashes that have nothing to do with the others'.
///
/// The numbers are arbitrary: digits of the square roots of 2, 3 and 5.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum Purpose {
    /// The place in a table, and in the memory of decisions.
    Table = 0x6a09_e667_f3bc_c908,
    /// The choice of a shard.
    Route = 0x3b67_ae85_84ca_a73b,
    /// The keys of head samplers, and the randomness of what has none.
    Head = 0x3c6e_f372_fe94_f82b,
}

// === impl Keyed ===

impl Keyed {
    pub(crate) const fn new(secret: u64, purpose: Purpose) -> Self {
        let purpose = purpose as u64;
        let shared = SharedSeed::from_u64(secret ^ purpose);
        Self { seed: secret.rotate_left(32) ^ purpose, shared }
    }

    /// The hash of a trace id.
    #[inline]
    pub(crate) fn id(&self, id: &[u8; 16]) -> u64 {
        let mut hasher = self.hasher();
        hasher.write_u128(u128::from_le_bytes(*id));
        hasher.finish()
    }

    /// The hash of any bytes.
    #[inline]
    pub(crate) fn bytes(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.hasher();
        hasher.write(bytes);
        hasher.finish()
    }

    /// The hash of two texts. No byte of a text is the one between them.
    pub(crate) fn texts(&self, first: &str, second: &str) -> u64 {
        let mut hasher = self.hasher();
        hasher.write(first.as_bytes());
        hasher.write_u8(0xff);
        hasher.write(second.as_bytes());
        hasher.finish()
    }

    #[inline]
    const fn hasher(&self) -> FoldHasher<'_> {
        FoldHasher::with_seed(self.seed, &self.shared)
    }
}

impl fmt::Debug for Keyed {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_half_of_an_id_makes_the_other_half_go_unseen() {
        // The constants of foldhash: the hexadecimal digits of pi.
        let constants = [
            0x243f_6a88_85a3_08d3_u64,
            0x1319_8a2e_0370_7344,
            0xa409_3822_299f_31d0,
            0x082e_fa98_ec4e_6c89,
            0x4528_21e6_38d0_1377,
            0xbe54_66cf_34e9_0c6c,
            0xc0ac_29b7_c97c_50dd,
            0x3f84_d5b5_b547_0917,
            0x9216_d5d9_8979_fb1b,
            0xd131_0ba6_98df_b5ac,
            0x2ffd_72db_d01a_dfb7,
            0xb8e1_afed_6a26_7e96,
            0,
            u64::MAX,
        ];
        let keyed = Keyed::new(7, Purpose::Table);
        for half in constants {
            for is_high in [false, true] {
                let hashes = (1..=1000_u64).map(|other| {
                    let (high, low) = if is_high { (half, other) } else { (other, half) };
                    keyed.id(&(u128::from(high) << 64 | u128::from(low)).to_le_bytes())
                });
                assert_eq!(hashes.collect::<HashSet<_>>().len(), 1000, "{half:x}");
            }
        }
    }

    #[test]
    fn the_traces_of_a_shard_are_spread_over_its_table() {
        for secret in [0, 1, u64::MAX] {
            let (route, table) =
                (Keyed::new(secret, Purpose::Route), Keyed::new(secret, Purpose::Table));
            let of_shard = (0..640_000_u128)
                .map(u128::to_be_bytes)
                .filter(|id| route.id(id) >> 61 == 3)
                .map(|id| table.id(&id));
            let mut counts = [[0_i32; 16]; 3];
            for hash in of_shard {
                // What a table looks at first and last, and what a fingerprint ends with.
                for (counts, bits) in counts.iter_mut().zip([hash, hash >> 60, hash >> 28]) {
                    counts[bits as usize % 16] += 1;
                }
            }
            // 5000 each, with a standard deviation of 71.
            let mut counts = counts.iter().flatten();
            assert!(counts.all(|count| (count - 5000).abs() < 5 * 71), "{secret:x}: {counts:?}");
        }
    }

    #[test]
    fn two_texts_are_not_taken_for_two_others() {
        let keyed = Keyed::new(7, Purpose::Head);
        let pairs = [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc"), ("c", "ab")];
        let hashes: HashSet<_> =
            pairs.iter().map(|(first, second)| keyed.texts(first, second)).collect();
        assert_eq!(hashes.len(), pairs.len());
        assert_ne!(Keyed::new(8, Purpose::Head).texts("a", "b"), keyed.texts("a", "b"));
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Keyed::new(0x1234_5678, Purpose::Table)), "Keyed { .. }");
    }
}
