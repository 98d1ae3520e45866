//! A cuckoo filter: which hashes were put in, in a little more than the bytes of a fingerprint.
//!
//! Of a hash it keeps a fingerprint of 32 bits, in one of two buckets of four places. The second
//! bucket follows from the first and the fingerprint, and the first from the second in the same way,
//! so that a fingerprint can be moved between its two buckets when another needs its place; in that
//! way almost all places can be filled (Fan, Andersen, Kaminsky, Mitzenmacher, 2014). With the bucket
//! `(h(fingerprint) - bucket) mod n` any number of buckets will do, not only powers of two.
//!
//! A hash that was not put in is found with a chance of 8 fingerprints in 2^32: 2 in 10^9.

/// Fingerprints that were put in; 0 is a free place.
#[derive(Debug)]
pub(super) struct Filter {
    buckets: Vec<[u32; PLACES]>,
    capacity: usize,
    len: usize,
}

/// The search for a free place; its memory serves again.
#[derive(Debug)]
pub(super) struct Search(Vec<Step>);

/// A bucket that was looked at, and how it was come by: it is the other bucket of what is in a place
/// of the bucket before. The first two have none before.
#[derive(Clone, Copy, Debug)]
struct Step {
    bucket: u32,
    before: u16,
    place: u8,
}

/// What a hash becomes: a fingerprint and its two buckets.
type Spot = (u32, [u32; 2]);

/// How many fingerprints a bucket holds.
const PLACES: usize = 4;

/// How many buckets are looked at for a free place: with 95 of 100 places taken, ten on average.
const MOST_STEPS: usize = 500;

/// There is no step before.
const NONE: u16 = u16::MAX;

// === impl Filter ===

impl Filter {
    /// Holds nothing, and takes no memory.
    pub(super) const EMPTY: Self = Self { buckets: Vec::new(), capacity: 0, len: 0 };

    /// Has places for so many.
    pub(super) fn new(capacity: usize) -> Self {
        // At most 95 of 100 places are to be taken. In a small filter chance is less even, and so
        // it has some more.
        let buckets = capacity.div_ceil(19) * 5 + capacity.isqrt() / 4 + 4;
        Self { buckets: vec![[0; PLACES]; buckets], capacity, len: 0 }
    }

    /// How many it is made for.
    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all; its memory serves again.
    pub(super) fn clear(&mut self) {
        self.buckets.fill([0; PLACES]);
        self.len = 0;
    }

    /// Puts a hash in, which is not [there](Self::contains). `false`: there is no place for it, and
    /// nothing was changed.
    pub(super) fn insert(&mut self, hash: u64, search: &mut Search) -> bool {
        let (fingerprint, [one, other]) = self.spot(hash);
        let Some((bucket, place)) = self
            .free(one)
            .or_else(|| self.free(other))
            .or_else(|| self.make_free(one, other, search))
        else {
            return false;
        };
        self.buckets[bucket as usize][place] = fingerprint;
        self.len += 1;
        true
    }

    /// Whether a hash was put in; always true if it was.
    #[inline]
    pub(super) fn contains(&self, hash: u64) -> bool {
        let (fingerprint, [one, other]) = self.spot(hash);
        // Both are looked at, whatever the first says: so memory is waited for once.
        self.holds(one, fingerprint) | self.holds(other, fingerprint)
    }

    /// Looks at where a hash would be, for nothing but to have that at hand soon.
    #[inline]
    pub(super) fn touch(&self, hash: u64) -> u32 {
        let (_, buckets) = self.spot(hash);
        let first = |bucket: u32| self.buckets.get(bucket as usize).map_or(0, |places| places[0]);
        first(buckets[0]) ^ first(buckets[1])
    }

    /// How many were put in.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// How likely a hash is found that was not put in.
    pub(super) fn false_positive_rate(&self) -> f64 {
        // Twice as many fingerprints are looked at as there are in a bucket on average.
        2.0 * self.len as f64 / self.buckets.len().max(1) as f64 / 2f64.powi(32)
    }

    pub(super) const fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<[u32; PLACES]>()
    }

    #[inline]
    fn spot(&self, hash: u64) -> Spot {
        let fingerprint = (hash as u32).max(1);
        let bucket = self.scale((hash >> 32) as u32);
        (fingerprint, [bucket, self.other(fingerprint, bucket)])
    }

    /// The other bucket of a fingerprint; may be the same.
    #[inline]
    fn other(&self, fingerprint: u32, bucket: u32) -> u32 {
        let sum = self.scale(fingerprint);
        let back = if sum < bucket { self.buckets.len() as u32 } else { 0 };
        sum.wrapping_add(back).wrapping_sub(bucket)
    }

    /// From 32 bits to the number of a bucket: no division, and no power of two.
    #[inline]
    fn scale(&self, bits: u32) -> u32 {
        ((u64::from(bits) * self.buckets.len() as u64) >> 32) as u32
    }

    #[inline]
    fn holds(&self, bucket: u32, fingerprint: u32) -> bool {
        let places = self.buckets.get(bucket as usize);
        places.is_some_and(|places| {
            places.iter().fold(false, |found, it| found | (*it == fingerprint))
        })
    }

    fn free(&self, bucket: u32) -> Option<(u32, usize)> {
        let place = self.buckets.get(bucket as usize)?.iter().position(|it| *it == 0)?;
        Some((bucket, place))
    }

    /// Makes a place free in one of two full buckets: the shortest row of moves that ends in a free
    /// place is looked for, breadth first, and then made, from its end on. The shortest does not lead
    /// through a bucket twice, where a move could undo another.
    fn make_free(&mut self, one: u32, other: u32, search: &mut Search) -> Option<(u32, usize)> {
        search.0.clear();
        for bucket in [one, other] {
            if (bucket as usize) < self.buckets.len() {
                search.0.push(Step { bucket, before: NONE, place: 0 });
            }
        }
        let mut at = 0;
        while let Some(&Step { bucket, .. }) = search.0.get(at) {
            for (place, &fingerprint) in self.buckets[bucket as usize].iter().enumerate() {
                let next = self.other(fingerprint, bucket);
                if let Some(free) = self.free(next) {
                    return Some(self.make_moves(search, at, place, free));
                }
                if search.0.len() < MOST_STEPS {
                    let (before, place) = (at as u16, place as u8);
                    search.0.push(Step { bucket: next, before, place });
                }
            }
            at += 1;
        }
        None
    }

    /// Moves what is in a place of the bucket of step `at` into a free one, and so on up to the
    /// first bucket; returns what is free in the end.
    fn make_moves(
        &mut self,
        search: &Search,
        mut at: usize,
        mut place: usize,
        mut free: (u32, usize),
    ) -> (u32, usize) {
        loop {
            let step = search.0[at];
            let moved = self.buckets[step.bucket as usize][place];
            self.buckets[free.0 as usize][free.1] = moved;
            free = (step.bucket, place);
            if step.before == NONE {
                return free;
            }
            (at, place) = (usize::from(step.before), usize::from(step.place));
        }
    }
}

// === impl Search ===

impl Search {
    pub(super) const EMPTY: Self = Self(Vec::new());

    pub(super) const fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<Step>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_filled_to_the_last_place_loses_nothing_by_moving() {
        let mut rng = fastrand::Rng::with_seed(1);
        for round in 0..150 {
            let mut filter = Filter::new(rng.usize(1..60));
            let (mut search, mut there) = (Search::EMPTY, Vec::new());
            let mut refused = 0;
            while refused < 10 {
                let hash = rng.u64(..);
                if filter.contains(hash) {
                    continue;
                }
                let before = filter.buckets.clone();
                if filter.insert(hash, &mut search) {
                    there.push(hash);
                } else {
                    refused += 1;
                    assert_eq!(filter.buckets, before);
                }
                assert!(there.iter().all(|hash| filter.contains(*hash)), "in round {round}");
            }
            assert_eq!(filter.len(), there.len());
            let places = filter.buckets.len() * PLACES;
            assert!(there.len() * 10 > places * 8, "{} of {places} places", there.len());
        }
    }

    #[test]
    fn the_other_bucket_of_the_other_bucket_is_the_first() {
        for buckets in [1, 2, 3, 5, 64, 1000, 65_537] {
            let filter = Filter { buckets: vec![[0; PLACES]; buckets], ..Filter::EMPTY };
            let mut rng = fastrand::Rng::with_seed(1);
            for _ in 0..1000 {
                let (fingerprint, [one, other]) = filter.spot(rng.u64(..));
                assert!((one as usize) < buckets && (other as usize) < buckets);
                assert_eq!(filter.other(fingerprint, other), one);
            }
        }
    }
}
