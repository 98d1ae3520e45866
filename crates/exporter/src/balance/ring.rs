//! Which endpoint a key belongs to: rendezvous hashing.
//!
//! Every endpoint has a score for every key, and the highest has it. Where an endpoint is left out,
//! its keys go to those with the next score, spread over all of them, and no other key moves. All
//! who know the same names and the same seed agree, in any order and without talking to each other.

/// The endpoints, as what their names hash to.
#[derive(Debug)]
pub(super) struct Ring(Box<[u64]>);

// === impl Ring ===

impl Ring {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>, seed: u64) -> Self {
        Self(names.map(|name| hash(name.as_bytes(), seed)).collect())
    }

    /// The endpoint of this key, among those that are not left out.
    pub(super) fn owner(&self, key: &[u8], is_out: impl Fn(usize) -> bool) -> Option<usize> {
        let key = hash(key, 0);
        let scored = self.0.iter().enumerate().filter(|(index, _)| !is_out(*index));
        // Of two with the same score, which takes the same name twice, the first.
        scored.min_by_key(|(_, endpoint)| !mix(key ^ **endpoint)).map(|(index, _)| index)
    }
}

/// Fixed for ever, for gateways of several versions have to agree: FNV-1a over the bytes, mixed.
fn hash(bytes: &[u8], seed: u64) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ mix(seed);
    mix(bytes
        .iter()
        .fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)))
}

/// The finalizer of splitmix64: every bit of the input changes half of the output.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] = ["a:4317", "b:4317", "c:4317", "d:4317", "e:4317"];

    fn keys() -> impl Iterator<Item = [u8; 16]> {
        let mut random = fastrand::Rng::with_seed(7);
        std::iter::repeat_with(move || random.u128(..).to_be_bytes()).take(20_000)
    }

    #[test]
    fn every_endpoint_has_its_share() {
        let ring = Ring::new(NAMES.into_iter(), 0);
        let mut counts = [0; 5];
        keys().for_each(|key| counts[ring.owner(&key, |_| false).unwrap()] += 1);
        assert!(counts.iter().all(|count| (3700..4300).contains(count)), "{counts:?}");
        // Also where keys differ in little.
        let mut counts = [0; 5];
        for n in 0..20_000_u128 {
            counts[ring.owner(&n.to_be_bytes(), |_| false).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (3700..4300).contains(count)), "{counts:?}");
    }

    #[test]
    fn only_the_keys_of_an_endpoint_that_is_left_out_move_and_to_all_others() {
        let ring = Ring::new(NAMES.into_iter(), 0);
        let mut heirs = [0; 5];
        for key in keys() {
            let owner = ring.owner(&key, |_| false).unwrap();
            let without = ring.owner(&key, |index| index == 2).unwrap();
            if owner == 2 {
                heirs[without] += 1;
            } else {
                assert_eq!(owner, without);
            }
        }
        assert_eq!(heirs[2], 0);
        assert!([0, 1, 3, 4].iter().all(|&heir| (800..1200).contains(&heirs[heir])), "{heirs:?}");
        assert_eq!(ring.owner(b"key", |_| true), None);
    }

    #[test]
    fn the_order_of_endpoints_does_not_matter_and_the_seed_does() {
        let ring = Ring::new(NAMES.into_iter(), 0);
        let reversed = Ring::new(NAMES.into_iter().rev(), 0);
        let seeded = Ring::new(NAMES.into_iter(), 1);
        let mut moved = 0;
        for key in keys() {
            let owner = ring.owner(&key, |_| false).unwrap();
            assert_eq!(owner, 4 - reversed.owner(&key, |_| false).unwrap());
            moved += usize::from(owner != seeded.owner(&key, |_| false).unwrap());
        }
        assert!(moved > 10_000, "{moved}");
    }

    #[test]
    fn what_belongs_where_never_changes() {
        let ring = Ring::new(NAMES.into_iter(), 42);
        let owners: Vec<_> =
            (0..12_u8).map(|key| ring.owner(&[key; 16], |_| false).unwrap()).collect();
        assert_eq!(owners, OWNERS);
    }

    /// Gateways of other versions rely on it.
    const OWNERS: [usize; 12] = [3, 3, 3, 1, 3, 3, 3, 0, 4, 3, 1, 0];
}
