//! Whatever the file holds, reading it ends: with a config or with errors, never with a panic.

use std::fs;

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::*;
use super::{FULL, no_env};

/// Pieces that mean something, so that more than the first line of defence is reached.
const PIECES: [&str; 40] = [
    "\n",
    "\n  ",
    "\n    ",
    " ",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "&a ",
    "*a",
    "<<: ",
    "#",
    "'",
    "\"",
    "|",
    ">",
    "!!int ",
    "!x ",
    "---",
    "%",
    "?",
    "~",
    "null",
    "true",
    "0",
    "-1",
    "1e400",
    ".nan",
    "5s",
    "1GiB",
    "${env:A}",
    "${env:B:-x}",
    "${",
    "$$",
    "http://",
    "\u{e9}",
    "\t",
];

/// Reads it, and looks at what came out as the program would.
fn read(text: &str) {
    let env = |name: &str| (name == "A").then(|| "[1, {".to_owned());
    match Config::parse("f", text, &env) {
        Ok((config, warnings)) => drop(format!("{config:?} {warnings:?}")),
        Err(errors) => {
            assert!(!errors.errors.is_empty());
            let lines = text.chars().filter(|c| matches!(c, '\n' | '\r')).count() + 2;
            for ConfigError { position, message, .. } in &errors.errors {
                let Some(Position { line, column }) = *position else { continue };
                assert!((1..=lines).contains(&line) && column >= 1, "{line}:{column} {message}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_are_read_to_the_end(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_pieces_are_read_to_the_end(pieces in prop::collection::vec(0..PIECES.len(), 0..80)) {
        read(&pieces.iter().map(|&piece| PIECES[piece]).collect::<String>());
    }

    #[test]
    fn a_damaged_file_is_read_to_the_end(
        edits in prop::collection::vec((any::<Index>(), 0..12_usize, 0..PIECES.len()), 1..8),
    ) {
        let mut text: Vec<char> = FULL.chars().collect();
        for (at, removed, piece) in edits {
            let at = at.index(text.len());
            let end = (at + removed).min(text.len());
            text.splice(at..end, PIECES[piece].chars());
        }
        read(&text.into_iter().collect::<String>());
    }

    #[test]
    fn a_file_with_other_values_is_read_to_the_end(
        edits in prop::collection::vec((any::<Index>(), 0..PIECES.len()), 1..6),
    ) {
        let mut lines: Vec<String> = FULL.lines().map(str::to_owned).collect();
        for (at, piece) in edits {
            let line = at.get_mut(&mut lines);
            if let Some((key, _)) = line.split_once(':') {
                *line = format!("{key}: {}", PIECES[piece]);
            }
        }
        read(&lines.join("\n"));
    }
}

#[test]
fn a_file_that_is_cut_off_is_read_to_the_end() {
    for (end, _) in FULL.char_indices().step_by(7) {
        read(&FULL[..end]);
    }
}

#[test]
fn a_large_file_of_one_sign_is_refused_in_good_time() {
    for sign in
        ["[", "{", "- ", "? ", "a: ", "*", "&a ", "'", "\"", "|\n", "!", "%", "a", "\n", "${"]
    {
        read(&sign.repeat(400_000 / sign.len()));
    }
}

#[test]
fn a_file_is_loaded_by_its_path_and_named_by_it() {
    let directory = std::env::temp_dir().join(format!("teleflow-config-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let load = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        fs::write(&path, bytes).unwrap();
        Config::load(&path, &no_env)
            .map(|(config, _)| config)
            .map_err(|errors| errors.to_string().replace(&format!("{}/", directory.display()), ""))
    };
    assert_eq!(load("good.yaml", DEFAULT_GATEWAY.as_bytes()), Ok(Config::default_gateway()));
    let refused = |name, bytes: &[u8]| load(name, bytes).unwrap_err();
    assert_eq!(
        refused("odd.yaml", b"a: 1\nb: \xc3\xa9\xff"),
        "odd.yaml:2:5: this is not UTF-8 text"
    );
    let mut large = "\u{e9}".repeat(1024 * 1024).into_bytes();
    assert_eq!(refused("large.yaml", &large), "large.yaml: is larger than 1048576 bytes");
    large.insert(0, b'a');
    assert_eq!(refused("large.yaml", &large), "large.yaml: is larger than 1048576 bytes");
    assert!(refused("empty.yaml", b"").starts_with("empty.yaml:1:1: missing key `receivers`"));
    fs::remove_dir_all(&directory).unwrap();
    let missing = Config::load(&directory.join("none.yaml"), &no_env).unwrap_err().to_string();
    assert!(missing.contains("none.yaml: cannot be read: "), "{missing}");
}
