//! Makes what keeps held spans on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use teleflow::pool::mapped::Arena;
use teleflow::sampler::Storage;

use super::storing;
use crate::config::{Config, Extension, Id, TailSampling};

/// The storages of tail samplers by their extension: those that name one share it, and its bound.
#[derive(Debug, Default)]
pub(super) struct Storages(BTreeMap<Id, Arc<Arena>>);

// === impl Storages ===

impl Storages {
    /// The storage that a sampler names: `None` if it holds all in memory. Tries whether files can be
    /// made there.
    pub(super) fn of(
        &mut self,
        config: &Config,
        tail: &TailSampling,
    ) -> anyhow::Result<Option<Arc<dyn Storage>>> {
        let Some(reference) = &tail.tail_storage else { return Ok(None) };
        let id = &reference.id;
        if let Some(arena) = self.0.get(id) {
            return Ok(Some(arena.clone()));
        }
        let (directory, max_bytes) = match config.extensions.get(id) {
            Some(Extension::Storage(storage)) => {
                storing::check_directory(id, storage)?;
                (&storage.directory, storage.max_bytes)
            }
            Some(Extension::TailStorage(storage)) => {
                (&storage.directory, storage.max_bytes.unwrap_or(u64::MAX))
            }
            _ => bail!("tail_storage: extensions.{id} does not keep what samplers hold"),
        };
        let opened = open(directory, max_bytes);
        let opened = opened.with_context(|| {
            format!("extensions.{id}.directory: no files can be made in {}", directory.display())
        })?;
        let arena = Arc::new(opened);
        self.0.insert(id.clone(), Arc::clone(&arena));
        Ok(Some(arena))
    }
}

fn open(directory: &Path, max_bytes: u64) -> std::io::Result<Arena> {
    fs::create_dir_all(directory)?;
    Arena::open(directory, max_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Processor;

    fn config(extensions: &str) -> Config {
        let text = format!(
            "
receivers: {{ otlp: {{ protocols: {{ grpc: }} }} }}
processors:
  tail_sampling: {{ policies: [{{ name: all, type: always_sample }}], tail_storage: disk }}
  tail_sampling/2: {{ policies: [{{ name: all, type: always_sample }}], tail_storage: disk }}
  tail_sampling/3: {{ policies: [{{ name: all, type: always_sample }}] }}
exporters: {{ debug: }}
extensions:
  {extensions}
service:
  extensions: [disk]
  pipelines:
    traces: {{ receivers: [otlp], processors: [tail_sampling], exporters: [debug] }}
    traces/2: {{ receivers: [otlp], processors: [tail_sampling/2], exporters: [debug] }}
    traces/3: {{ receivers: [otlp], processors: [tail_sampling/3], exporters: [debug] }}
"
        );
        let id = extensions.split(':').next().unwrap_or_default();
        Config::parse("f", &text.replace("disk", id), &|_| None).unwrap().0
    }

    /// The storages of the samplers, in the order of the file.
    fn storages(extensions: &str) -> anyhow::Result<Vec<Option<Arc<dyn Storage>>>> {
        let (config, mut storages) = (config(extensions), Storages::default());
        let tails = config.processors.values().filter_map(|processor| match processor {
            Processor::TailSampling(tail) => Some(tail),
            _ => None,
        });
        tails.map(|tail| storages.of(&config, tail)).collect()
    }

    #[test]
    fn those_that_name_the_same_storage_share_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().display();
        for extensions in [
            format!("file_storage: {{ directory: {folder} }}"),
            format!("file_storage/x: {{ directory: {folder}/new, create_directory: true }}"),
            format!("pebble_tail_storage: {{ directory: {folder}/other/new }}"),
            format!("pebble_tail_storage/x: {{ directory: {folder}, max_storage_size_mib: 5 }}"),
        ] {
            let storages = storages(&extensions).unwrap();
            assert!(storages[0].is_some() && storages[0] == storages[1], "{extensions}");
            assert!(storages[2].is_none());
        }
    }

    #[test]
    fn a_storage_is_as_large_as_the_file_says() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().display();
        for (keys, most) in [("", u64::MAX), (", max_storage_size_mib: 5", 5 << 20)] {
            let config = config(&format!("pebble_tail_storage: {{ directory: {folder}{keys} }}"));
            let Some(Processor::TailSampling(tail)) = config.processors.values().next() else {
                panic!("it is a sampler")
            };
            let mut storages = Storages::default();
            storages.of(&config, tail).unwrap();
            let sizes: Vec<_> = storages.0.values().map(|arena| arena.max_bytes()).collect();
            assert_eq!(sizes, [most]);
        }
    }

    #[test]
    fn a_directory_that_does_not_do_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display();
        for (extensions, said) in [
            (
                "file_storage: { directory: /no/where }".to_owned(),
                "extensions.file_storage.directory: there is no folder /no/where; \
                 `create_directory: true` makes it"
                    .to_owned(),
            ),
            (
                format!("pebble_tail_storage: {{ directory: {path} }}"),
                format!("extensions.pebble_tail_storage.directory: no files can be made in {path}"),
            ),
            (
                format!("file_storage: {{ directory: {path}/x, create_directory: true }}"),
                format!("extensions.file_storage.directory: no files can be made in {path}/x"),
            ),
        ] {
            assert_eq!(storages(&extensions).unwrap_err().to_string(), said);
        }
    }
}
