//! How the levels are asked, and what is kept in which.

use std::borrow::Borrow;
use std::hash::Hash;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::writes::{Claim, Turn};
use super::{ABSENT, Cache, LOADED, Loader};
use crate::codec::Codec;
use crate::first::Weighed;
use crate::flight::{LoadError, Marks};
use crate::second::{SecondLevel, Stored};

/// Which level had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    First,
    Second,
    Loader,
}

/// What a load brings beside its value.
struct Fetched<K, V> {
    source: Source,
    /// Whether the second level lacks it.
    to_write: bool,
    /// For the first level, if it is to have it.
    weighed: Option<Weighed<K, Option<V>>>,
}

/// What became of a value that was fetched.
pub(super) struct Kept<'a, K: Eq + Hash> {
    pub(super) source: Source,
    /// The right to write it to the second level, where that lacks it.
    pub(super) claim: Option<Claim<'a, K>>,
}

pub(super) type Found<V, E> = Result<(Option<V>, Source), LoadError<E>>;

// === impl Cache ===

impl<K, V, L, S, C> Cache<K, V, L, S, C>
where
    K: Clone + Eq + Hash + Send + Sync,
    V: Clone + Send + Sync,
    L: Loader<K, V>,
    S: SecondLevel,
    C: Codec<K, V>,
{
    /// Fetches a key that the first level lacks, once for all who ask. Who fetched it learns what
    /// became of it.
    pub(super) async fn fill<'a>(
        &'a self,
        now: Instant,
        key: &'a K,
        ask_second: bool,
    ) -> Result<(Option<V>, Option<Kept<'a, K>>), LoadError<L::Error>> {
        let fetch = || self.fetch(now, key, ask_second);
        let store = |Fetched { source, to_write, weighed }: Fetched<K, V>| {
            let claim = to_write.then(|| self.writes.loaded(key));
            (Kept { source, claim }, weighed.map(|weighed| self.first.put(weighed)))
        };
        let (value, stored) = self.flight.run_then(key, fetch, store).await?;
        // What made place in the first level is dropped here.
        Ok((value, stored.map(|(kept, _displaced)| kept)))
    }

    async fn fetch(
        &self,
        now: Instant,
        key: &K,
        ask_second: bool,
    ) -> Result<(Option<V>, Fetched<K, V>), L::Error> {
        // Between the miss and the lead, another's load may have ended.
        if let Some(value) = self.first.peek_at(now, key) {
            return Ok((value, Fetched { source: Source::First, to_write: false, weighed: None }));
        }
        if ask_second && self.second.is_present() {
            let values = self.second.get_many(now, &[self.key(key)]).await;
            if let Some((value, ttl)) =
                values.into_iter().flatten().flatten().find_map(|stored| self.read(stored))
            {
                let value = Some(value);
                let weighed = self.weighed(now, key, &value, ttl);
                return Ok((value, Fetched { source: Source::Second, to_write: false, weighed }));
            }
        }
        let value = self.loader.load(key).await?;
        self.counters.add(LOADED, 1);
        let ttl = if value.is_some() {
            self.first.ttl()
        } else {
            self.counters.add(ABSENT, 1);
            self.config.negative_ttl
        };
        let weighed = self.weighed(now, key, &value, ttl);
        let to_write = value.is_some() && self.second.is_present();
        Ok((value, Fetched { source: Source::Loader, to_write, weighed }))
    }

    pub(super) async fn find_many(
        &self,
        now: Instant,
        keys: &[K],
        look: impl Fn(&K) -> Option<Option<V>>,
    ) -> Vec<Found<V, L::Error>> {
        // Before the look: what is put in after it is newer than what the second level has.
        let marks = self.second.is_present().then(|| self.flight.marks());
        let mut found: Vec<Option<Found<V, L::Error>>> =
            keys.iter().map(|key| look(key).map(|value| Ok((value, Source::First)))).collect();
        if let Some(marks) = marks {
            let missing: Vec<usize> = missing(&found);
            for batch in missing.chunks(self.config.batch) {
                self.find_in_second(now, keys, batch, &marks, &mut found).await;
            }
        }

        let missing = missing(&found);
        let fills = missing
            .into_iter()
            .map(|index| async move { (index, self.fill(now, &keys[index], false).await) });
        let mut fills = stream::iter(fills).buffer_unordered(self.config.load_concurrency);
        let mut loaded = Vec::new();
        while let Some((index, filled)) = fills.next().await {
            found[index] = Some(filled.map(|(value, kept)| {
                let source = kept.as_ref().map_or(Source::Loader, |kept| kept.source);
                if let (Some(value), Some(claim)) = (&value, kept.and_then(|kept| kept.claim)) {
                    loaded.push((claim, value.clone()));
                }
                (value, source)
            }));
        }
        for batch in loaded.chunks(self.config.batch) {
            self.write(now, batch).await;
        }
        found.into_iter().map(|found| found.expect("what was missing has been filled")).collect()
    }

    /// Asks the second level for the keys with these indices, in one request.
    async fn find_in_second(
        &self,
        now: Instant,
        keys: &[K],
        indices: &[usize],
        marks: &Marks,
        found: &mut [Option<Found<V, L::Error>>],
    ) {
        let asked: Vec<Bytes> = indices.iter().map(|&index| self.key(&keys[index])).collect();
        let Some(values) = self.second.get_many(now, &asked).await else { return };
        for (&index, stored) in indices.iter().zip(values) {
            let Some((value, ttl)) = stored.and_then(|stored| self.read(stored)) else { continue };
            let value = Some(value);
            if let Some(weighed) = self.weighed(now, &keys[index], &value, ttl) {
                // Not when someone has removed or replaced it since.
                let put = || self.first.put(weighed);
                drop(self.flight.store_since(&keys[index], marks, put));
            }
            found[index] = Some(Ok((value, Source::Second)));
        }
    }

    /// Writes to the second level: what nobody has replaced or removed since it was claimed.
    ///
    /// What someone else is writing at the moment comes afterwards, one by one: nobody waits for a
    /// key while it keeps another one from being written.
    pub(super) async fn write<T: Borrow<V>>(&self, now: Instant, entries: &[(Claim<'_, K>, T)]) {
        let mut busy = Vec::new();
        {
            let (mut turns, mut batch) = (Vec::new(), Vec::new());
            for (claim, value) in entries {
                match claim.try_turn() {
                    Turn::Mine(turn) => {
                        turns.push(turn);
                        batch.push(self.entry(claim.key(), value.borrow()));
                    }
                    Turn::Busy => busy.push((claim, value)),
                    Turn::Passed => {}
                }
            }
            if !batch.is_empty() {
                self.second.set_many(now, &batch, self.config.second_ttl).await;
            }
        }
        for (claim, value) in busy {
            let _turn = claim.turn().await;
            if claim.is_latest() {
                let entry = self.entry(claim.key(), value.borrow());
                self.second.set_many(now, &[entry], self.config.second_ttl).await;
            }
        }
    }

    fn weighed(
        &self,
        now: Instant,
        key: &K,
        value: &Option<V>,
        ttl: Duration,
    ) -> Option<Weighed<K, Option<V>>> {
        // Too large to keep is found out there, counted, and served all the same.
        (!ttl.is_zero()).then(|| self.first.weighed(now, key.clone(), value.clone(), ttl))
    }

    /// A value, and how long the first level may keep it.
    fn read(&self, stored: Stored) -> Option<(V, Duration)> {
        let ttl = stored.remaining.unwrap_or(Duration::MAX).min(self.first.ttl());
        match self.codec.decode(stored.value) {
            Ok(value) => Some((value, ttl)),
            Err(_) => {
                self.second.count_undecodable();
                None
            }
        }
    }

    fn entry(&self, key: &K, value: &V) -> (Bytes, Bytes) {
        let mut bytes = Vec::new();
        self.codec.encode(value, &mut bytes);
        (self.key(key), Bytes::from(bytes))
    }

    pub(super) fn key(&self, key: &K) -> Bytes {
        let mut bytes = Vec::new();
        self.codec.key(key, &mut bytes);
        Bytes::from(bytes)
    }
}

fn missing<T>(found: &[Option<T>]) -> Vec<usize> {
    (0..found.len()).filter(|&index| found[index].is_none()).collect()
}
