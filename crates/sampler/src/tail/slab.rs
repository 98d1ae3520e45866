//! Values by index.

/// The end of a list, and no index.
pub(super) const NIL: u32 = u32::MAX;

/// Values by index; freed places are filled again, the latest first.
///
/// A place takes no more than its value where that has a niche outside of its first four bytes.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<Place<T>>,
    free: u32,
    len: usize,
}

#[derive(Debug)]
enum Place<T> {
    Used(T),
    /// The next free place.
    Free(u32),
}

/// So many places stay when they are empty: a sampler with little to do is not to allocate for each
/// request.
const FEW: usize = 256;

// === impl Slab ===

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { places: Vec::new(), free: NIL, len: 0 }
    }

    #[inline]
    pub(super) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if self.free == NIL {
            let index = u32::try_from(self.places.len()).ok().filter(|&index| index != NIL);
            if self.places.len() == self.places.capacity() {
                // In steps of a sixteenth: doubling would leave up to half of the memory unused.
                self.places.reserve_exact((self.places.len() / 16).max(64));
            }
            self.places.push(Place::Used(value));
            return index.expect("four thousand million places do not fit into memory");
        }
        let index = self.free;
        let place = &mut self.places[index as usize];
        let Place::Free(next) = *place else { unreachable!("only freed places are in the list") };
        self.free = next;
        *place = Place::Used(value);
        index
    }

    #[inline]
    pub(super) fn remove(&mut self, index: u32) -> T {
        self.len -= 1;
        let place = std::mem::replace(&mut self.places[index as usize], Place::Free(self.free));
        self.free = index;
        let Place::Used(value) = place else { unreachable!("an index is freed once") };
        if self.len == 0 && self.places.len() > FEW {
            // A quiet moment gives the memory of a busy one back.
            *self = Self::new();
        }
        value
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Every index is below this.
    pub(super) const fn end(&self) -> usize {
        self.places.len()
    }

    /// What it would take without room to spare, in bytes.
    pub(super) const fn used_bytes(&self) -> usize {
        self.len * size_of::<Place<T>>()
    }

    /// What it takes, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place<T>>()
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> &T {
        let Place::Used(value) = &self.places[index as usize] else {
            unreachable!("an index is used until it is freed")
        };
        value
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> &mut T {
        let Place::Used(value) = &mut self.places[index as usize] else {
            unreachable!("an index is used until it is freed")
        };
        value
    }

    /// Moves all values together, in their order, and gives the rest of the memory back. Returns each
    /// old index's new one, for those who know the old ones.
    pub(super) fn close_up(&mut self) -> Vec<u32> {
        let mut moved = vec![NIL; self.places.len()];
        let mut to = 0;
        for (from, moved) in moved.iter_mut().enumerate() {
            if let Place::Used(_) = self.places[from] {
                *moved = to as u32;
                self.places.swap(to, from);
                to += 1;
            }
        }
        self.places.truncate(to);
        self.places.shrink_to_fit();
        self.free = NIL;
        moved
    }

    /// All values with their indices.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.places.iter().enumerate().filter_map(|(index, place)| match place {
            Place::Used(value) => Some((index as u32, value)),
            Place::Free(_) => None,
        })
    }

    /// All values.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().filter_map(|place| match place {
            Place::Used(value) => Some(value),
            Place::Free(_) => None,
        })
    }
}
