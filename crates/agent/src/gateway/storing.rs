//! Makes what keeps queues on disk.

use std::num::NonZeroU64;

use anyhow::bail;
use teleflow::Storage;
use teleflow::spool::{Config as SpoolConfig, OnFull, Pace, ShellConfig, Sync};

use crate::config::{
    self, Config, Extension, FileStorage, Id, Queue, Sizer, StorageFull, StorageSync,
};

/// Makes the storage of a queue: `None` if it is in memory. Opens nothing.
pub(super) fn storage(config: &Config, queue: Option<&Queue>) -> anyhow::Result<Option<Storage>> {
    let Some(queue) = queue else { return Ok(None) };
    let Some(reference) = &queue.storage else { return Ok(None) };
    let Some(Extension::Storage(storage)) = config.extensions.get(&reference.id) else {
        bail!("sending_queue.storage: extensions.{} does not keep queues", reference.id);
    };
    check_directory(&reference.id, storage)?;
    Ok(Some(bounded(storage, queue)))
}

/// Checks that the directory is there, or may be made.
pub(super) fn check_directory(id: &Id, storage: &FileStorage) -> anyhow::Result<()> {
    if !storage.create_directory && !storage.directory.is_dir() {
        let path = storage.directory.display();
        bail!(
            "extensions.{id}.directory: there is no folder {path}; `create_directory: true` makes it"
        );
    }
    Ok(())
}

fn bounded(storage: &FileStorage, queue: &Queue) -> Storage {
    let size = queue.queue_size.map(NonZeroU64::try_from).and_then(Result::ok);
    let of = |sizer| size.filter(|_| queue.sizer == sizer);
    let max_bytes =
        of(Sizer::Bytes).map_or(storage.max_bytes, |size| storage.max_bytes.min(size.get()));
    let default = Storage::new(&storage.directory);
    Storage {
        spool: SpoolConfig {
            max_bytes,
            // Space is given back a segment at a time: of two, there is one left.
            segment_bytes: storage.segment_bytes.min(max_bytes / 2),
            max_record: usize::try_from(max_bytes / 2)
                .unwrap_or(usize::MAX)
                .min(default.spool.max_record),
            max_age: storage.max_age,
            on_full: match storage.on_full {
                StorageFull::Refuse => OnFull::Refuse,
                StorageFull::DropOldest => OnFull::DropOldest,
            },
            sync: match storage.sync {
                StorageSync::Always => Sync::Always,
                StorageSync::Interval(interval) => Sync::Interval(interval),
                StorageSync::Never => Sync::Never,
            },
            ..default.spool
        },
        shell: ShellConfig {
            max_records: of(Sizer::Requests),
            max_items: of(Sizer::Items),
            ..default.shell
        },
        pace: Pace {
            records: storage.drain.records_per_second,
            bytes: storage.drain.bytes_per_second,
        },
        ..default
    }
}

/// How long what fails is tried again: without end where what waits is on disk, whose bounds end it.
pub(super) fn patient(
    retry: Option<&config::Retry>,
    queue: Option<&Queue>,
) -> Option<config::Retry> {
    let is_stored = queue.is_some_and(|queue| queue.storage.is_some());
    let retry = *retry?;
    Some(if is_stored { config::Retry { max_elapsed_time: None, ..retry } } else { retry })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;

    fn of(extension: &str, queue: &str) -> anyhow::Result<Option<Storage>> {
        let text = format!(
            "
receivers: {{ otlp: {{ protocols: {{ grpc: }} }} }}
exporters: {{ otlp: {{ endpoint: 'http://c:1', sending_queue: {{ {queue} }} }} }}
extensions: {{ file_storage: {{ {extension} }} }}
service:
  extensions: [file_storage]
  pipelines: {{ logs: {{ receivers: [otlp], exporters: [otlp] }} }}
"
        );
        let config = Config::parse("f", &text, &|_| None).unwrap().0;
        let queue = config.exporters.values().find_map(config::Exporter::queue);
        storage(&config, queue)
    }

    #[test]
    fn a_storage_is_as_the_file_says_and_a_queue_bounds_it_further() {
        let said = "directory: src, max_bytes: 64MiB, segment_bytes: 4MiB, max_age: 1h, \
                    on_full: drop_oldest, sync: 5s, drain: { records_per_second: 7, bytes_per_second: 8 }";
        let storage = of(said, "storage: file_storage, queue_size: 9").unwrap().unwrap();
        assert_eq!(storage.folder.to_str(), Some("src"));
        let SpoolConfig { max_bytes, segment_bytes, max_record, max_age, on_full, sync, .. } =
            storage.spool;
        assert_eq!((max_bytes, segment_bytes, max_record), (64 << 20, 4 << 20, 32 << 20));
        assert_eq!(max_age, Some(Duration::from_secs(3600)));
        assert_eq!((on_full, sync), (OnFull::DropOldest, Sync::Interval(Duration::from_secs(5))));
        assert_eq!(
            (storage.pace.records, storage.pace.bytes),
            (NonZeroU32::new(7), NonZeroU32::new(8))
        );
        let shell = storage.shell;
        assert_eq!((shell.max_records, shell.max_items), (NonZeroU64::new(9), None));

        let items = of("directory: src", "storage: file_storage, sizer: items, queue_size: 9");
        let items = items.unwrap().unwrap();
        assert_eq!((items.shell.max_records, items.shell.max_items), (None, NonZeroU64::new(9)));
        assert_eq!(items.spool, Storage::new("src").spool);

        let bytes =
            of("directory: src", "storage: file_storage, sizer: bytes, queue_size: 33554432");
        let bytes = bytes.unwrap().unwrap();
        assert_eq!((bytes.spool.max_bytes, bytes.spool.segment_bytes), (32 << 20, 16 << 20));
        assert_eq!(bytes.shell, ShellConfig::default());
    }

    #[test]
    fn whatever_the_file_may_say_a_spool_can_work_with() {
        for keys in
            ["", ", max_bytes: 32MiB", ", max_bytes: 1TiB, segment_bytes: 512GiB", ", max_age: 1ms"]
        {
            let storage = of(&format!("directory: src{keys}"), "storage: file_storage");
            assert_eq!(storage.unwrap().unwrap().spool.check(), Ok(()), "{keys}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_made_only_where_the_file_says_so() {
        let queue = "storage: file_storage";
        let error = of("directory: /no/where", queue).unwrap_err().to_string();
        let said = "extensions.file_storage.directory: there is no folder /no/where; `create_directory: true` makes it";
        assert_eq!(error, said);
        assert!(of("directory: /no/where, create_directory: true", queue).unwrap().is_some());
        assert_eq!(of("directory: /no/where", "queue_size: 5").unwrap(), None);
    }

    #[test]
    fn what_is_on_disk_is_tried_without_end() {
        let retry = config::Retry::default();
        assert_eq!(patient(Some(&retry), None), Some(retry));
        let queue = |keys: &str| {
            let text = format!(
                "receivers: {{ otlp: {{ protocols: {{ grpc: }} }} }}\n\
                 exporters: {{ otlp: {{ endpoint: 'http://c:1', sending_queue: {{ {keys} }} }} }}\n\
                 extensions: {{ file_storage: {{ directory: d }} }}\n\
                 service: {{ extensions: [file_storage], pipelines: {{ logs: {{ receivers: [otlp], exporters: [otlp] }} }} }}\n"
            );
            let config = Config::parse("f", &text, &|_| None).unwrap().0;
            config.exporters.values().find_map(config::Exporter::queue).cloned()
        };
        let limit = |keys| patient(Some(&retry), queue(keys).as_ref()).unwrap().max_elapsed_time;
        assert_eq!((limit(""), limit("storage: file_storage")), (retry.max_elapsed_time, None));
        assert_eq!(patient(None, queue("storage: file_storage").as_ref()), None);
    }
}
