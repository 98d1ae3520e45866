//! Bytes in mapped files.

use std::collections::VecDeque;
use std::fs;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use teleflow_pool::mapped::{Arena, Error};

const MIB: u64 = 1024 * 1024;

#[test]
fn p9_what_was_copied_is_there_as_long_as_its_slices_and_its_room_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let arena = Arena::open(folder.path(), 8 * MIB).unwrap();
    let mut writer = arena.writer();
    assert_eq!((arena.used_bytes(), arena.max_bytes()), (0, 8 * MIB), "nothing is made ahead");
    let first = writer.copy(b"first").unwrap();
    let second = writer.copy(b"second").unwrap();
    assert_eq!(writer.copy(b"").unwrap(), "");
    assert_eq!((arena.used_bytes(), writer.used_bytes()), (MIB, MIB));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "files have no name");

    drop(writer);
    let part = second.slice(1..3);
    drop((first, second));
    assert_eq!((part, arena.used_bytes()), (Bytes::from("ec"), MIB), "a slice keeps its file");
    assert_eq!(arena.used_bytes(), 0);
}

#[test]
fn p9_an_arena_without_room_says_so_and_has_it_again_later() {
    let folder = tempfile::tempdir().unwrap();
    let arena = Arena::open(folder.path(), 3 * MIB).unwrap();
    let mut writer = arena.writer();
    let kilobytes = vec![7; 64 * 1024];
    let mut held = VecDeque::new();
    let full = loop {
        match writer.copy(&kilobytes) {
            Ok(bytes) => held.push_back(bytes),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, Error::Full), "{full}");
    assert_eq!(held.len(), 48, "all room is used");
    assert_eq!(arena.used_bytes(), 3 * MIB);
    held.drain(..15);
    assert!(writer.copy(&kilobytes).is_err(), "room is given back by the file");
    held.pop_front();
    held.push_back(writer.copy(&kilobytes).unwrap());
    assert!(held.iter().all(|bytes| *bytes == kilobytes));
}

#[test]
fn p9_what_is_large_has_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let arena = Arena::open(folder.path(), 8 * MIB).unwrap();
    let mut writer = arena.writer();
    let small = writer.copy(b"small").unwrap();
    let large = writer.copy(&vec![1; 5 << 20]).unwrap();
    assert_eq!(arena.used_bytes(), 6 * MIB);
    assert!(matches!(writer.copy(&vec![1; 5 << 20]), Err(Error::Full)));
    let more = writer.copy(b"the file that was begun goes on").unwrap();
    drop(large);
    assert_eq!(arena.used_bytes(), MIB);
    drop((small, more, writer));
    assert_eq!(arena.used_bytes(), 0);
}

#[test]
fn p9_a_folder_that_cannot_be_written_to_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Arena::open(folder.path().join("no such folder"), MIB).is_err());
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(Arena::open(&file, MIB).is_err());
}

#[test]
fn p9_writers_share_the_room_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let arena = Arc::new(Arena::open(folder.path(), 16 * MIB).unwrap());
    let threads: Vec<_> = (0..4u8)
        .map(|thread| {
            let arena = Arc::clone(&arena);
            thread::spawn(move || {
                let mut writer = arena.writer();
                let mut held = VecDeque::new();
                for round in 0..2000u32 {
                    let bytes = vec![thread ^ round as u8; 1 + (round as usize * 37) % 9000];
                    // What is full for now is so because others hold much.
                    if let Ok(copy) = writer.copy(&bytes) {
                        held.push_back((copy, bytes));
                    }
                    if held.len() > 200 {
                        let (copy, bytes) = held.pop_front().unwrap();
                        assert_eq!(copy, bytes);
                    }
                }
                assert!(held.iter().all(|(copy, bytes)| copy == bytes));
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(arena.used_bytes(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Against bytes in memory: in any order of copying and dropping.
    #[test]
    fn p9_copies_are_what_was_copied(steps in vec((0usize..300_000, any::<u8>(), 0usize..40), 1..80)) {
        let folder = tempfile::tempdir().unwrap();
        let arena = Arena::open(folder.path(), 6 * MIB).unwrap();
        let mut writer = arena.writer();
        let mut held: Vec<(Bytes, Vec<u8>)> = Vec::new();
        for (len, fill, gone) in steps {
            let bytes: Vec<u8> = (0..len).map(|at| fill.wrapping_add(at as u8)).collect();
            match writer.copy(&bytes) {
                Ok(copy) => held.push((copy, bytes)),
                Err(error) => prop_assert!(matches!(error, Error::Full)),
            }
            if gone < held.len() {
                held.swap_remove(gone);
            }
            let needed: u64 = held.iter().map(|(copy, _)| copy.len() as u64).sum();
            prop_assert!(needed <= arena.used_bytes() && arena.used_bytes() <= 6 * MIB);
            prop_assert!(held.iter().all(|(copy, bytes)| copy == bytes));
        }
        drop((held, writer));
        prop_assert_eq!(arena.used_bytes(), 0);
    }
}
