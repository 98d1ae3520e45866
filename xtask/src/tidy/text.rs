//! What no file of the tree may contain.

use super::Finding;
use super::code::{is_name, mask};

/// Files that lift `unsafe_code`, each with its reason; a name that ends in `/` is a folder.
const UNSAFE: &[(&str, &str)] = &[
    ("benches/src/alloc.rs", "a counting allocator implements an unsafe trait"),
    ("crates/testkit/src/alloc.rs", "a counting allocator implements an unsafe trait"),
    ("crates/concurrency/tests/it/faults.rs", "a waker that panics where it is cloned"),
    ("crates/concurrency/tests/loom.rs", "loom watches the access"),
    ("crates/pool/src/mapped/segment.rs", "a file that is mapped is memory that others may change"),
    ("crates/pool/src/slot.rs", "a lock that is only tried, at half the cost of a mutex"),
    ("crates/pool/src/ring/spsc.rs", "two threads use parts of one buffer"),
    ("crates/pool/src/text.rs", "text that was checked once"),
    ("crates/pool/tests/it/endings.rs", "a waker that panics where it is cloned"),
    ("crates/pool/tests/loom.rs", "loom watches the access"),
];

/// Paths that exist on one machine only. In pieces, as this file is checked as well.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];

/// Hosts of package registries: a client finds its own, and a mirror has another name.
const REGISTRIES: &[&str] = &[
    concat!("crates", ".io"),
    concat!("py", "pi.org"),
    concat!("python", "hosted.org"),
    concat!("proxy.gol", "ang.org"),
    concat!("sum.gol", "ang.org"),
    concat!("npm", "js.org"),
    concat!("repo1.ma", "ven.org"),
    concat!("repo.ma", "ven.apache.org"),
    concat!("deb.deb", "ian.org"),
    concat!("security.deb", "ian.org"),
];

/// Says that the sleep on this line, or on the next one, ends when the awaited thing happens.
const BOUNDED_WAIT: &str = "// bounded wait:";

pub fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    check_space(path, text, &mut findings);
    check_places(path, text, &mut findings);
    if path.ends_with(".rs") {
        check_code(path, text, &mut findings);
    }
    findings
}

/// Bytes for programs, some of which happen to be text.
const DATA: &str = "fuzz/corpus/";

fn check_space(path: &str, text: &str, findings: &mut Vec<Finding>) {
    if path.starts_with(DATA) {
        return;
    }
    let tabs = has_tabs(path);
    for (line, content) in lines(text) {
        if content.ends_with(char::is_whitespace) {
            findings.push(Finding::new(path, line, "trailing whitespace"));
        }
        if !tabs && content.contains('\t') {
            findings.push(Finding::new(path, line, "a tab"));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        findings.push(Finding::new(path, text.lines().count(), "no newline at the end"));
    }
}

/// Whether the language of the file is written with tabs.
fn has_tabs(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    ["go.mod", "go.work", "Makefile"].contains(&name)
        || [".go", ".tsv"].iter().any(|end| name.ends_with(end))
}

fn check_places(path: &str, text: &str, findings: &mut Vec<Finding>) {
    let names_registry = names_registry(path);
    for (line, content) in lines(text) {
        for place in MACHINE_PATHS {
            if content.match_indices(place).any(|(at, _)| starts_path(&content[..at])) {
                let message = format!("`{place}` is a path of one machine");
                findings.push(Finding::new(path, line, message));
            }
        }
        for host in REGISTRIES {
            if !names_registry && content.contains(host) {
                let message = format!("`{host}` is the host of a registry: name the client");
                findings.push(Finding::new(path, line, message));
            }
        }
    }
}

/// Whether a path that follows `before` starts there, and is no part of a longer one.
fn starts_path(before: &str) -> bool {
    let continues = |char: char| char.is_alphanumeric() || "._-*)}]>~".contains(char);
    !before.ends_with(continues)
}

/// Lock files and pins name where each package came from.
fn names_registry(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    ["Cargo.lock", "go.sum"].contains(&name)
        || (name.starts_with("requirements") && name.ends_with(".txt"))
}

fn check_code(path: &str, text: &str, findings: &mut Vec<Finding>) {
    let code = mask(text);
    let is_test = path.split('/').any(|part| part == "tests");
    let may_be_unsafe = UNSAFE
        .iter()
        .any(|(place, _)| path == *place || (place.ends_with('/') && path.starts_with(place)));
    let paused = code.contains("start_paused");

    let mut waits = false;
    for ((line, content), (_, original)) in lines(&code).zip(lines(text)) {
        let mut report = |message: &str| findings.push(Finding::new(path, line, message));

        if has_word(content, "todo!") || has_word(content, "unimplemented!") {
            report("unfinished code");
        }
        if content.contains("#[ignore]") {
            report("an ignored test says why: `#[ignore = \"...\"]`");
        }
        let lifts = ["allow(unsafe_code", "expect(unsafe_code"];
        if !may_be_unsafe && lifts.iter().any(|lift| content.contains(lift)) {
            let allowed: Vec<String> =
                UNSAFE.iter().map(|(place, reason)| format!("{place} ({reason})")).collect();
            report(&format!("only these lift `unsafe_code`: {}", allowed.join(", ")));
        }

        let explained = original.contains(BOUNDED_WAIT);
        if is_test && !(waits || explained) {
            match sleep(content) {
                Some(Sleep::Thread) => report("a test sleeps: use paused or simulated time"),
                Some(Sleep::Task) if !paused => {
                    report("a test sleeps: use paused time (`start_paused`) or wait for the event");
                }
                _ => {}
            }
        }
        // The explanation stands above a line that is too long for it, and may take several lines.
        waits = explained || (waits && original.trim_start().starts_with("//"));
    }
}

enum Sleep {
    /// The clock of the machine, whatever tokio's one does.
    Thread,
    Task,
}

/// Finds a call of a function named `sleep`; a method of that name is someone's own.
fn sleep(code: &str) -> Option<Sleep> {
    code.match_indices("sleep(").find_map(|(at, _)| {
        let before = &code[..at];
        if before.ends_with(|char| is_name(char) || char == '.') || before.ends_with("fn ") {
            return None;
        }
        Some(if before.ends_with("thread::") { Sleep::Thread } else { Sleep::Task })
    })
}

fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| !code[..at].ends_with(is_name))
}

/// The lines with their numbers. A carriage return stays, to be found as trailing whitespace.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split('\n').enumerate().map(|(index, line)| (index + 1, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks a file that has one finding, which contains `expected`, or none if that is empty.
    #[track_caller]
    fn check_file(path: &str, text: &str, expected: &str) {
        let findings: Vec<String> = check(path, text).iter().map(Finding::to_string).collect();
        match findings.as_slice() {
            [] => assert_eq!(expected, "", "no finding in {text:?}"),
            [finding] if !expected.is_empty() => {
                assert!(finding.contains(expected), "`{expected}` is not in `{finding}`");
            }
            more => panic!("{more:?} in {text:?}"),
        }
    }

    #[test]
    fn lines_end_where_their_text_does() {
        check_file("a.md", "text\n", "");
        check_file("a.md", "one\ntwo \n", "a.md:2: trailing whitespace");
        check_file("a.md", "one\r\ntwo\n", "a.md:1: trailing whitespace");
        check_file("a.md", "one\ntwo", "a.md:2: no newline at the end");
        check_file("fuzz/corpus/json/a", "one \ntwo", "");
        check_file("empty", "", "");
    }

    #[test]
    fn tabs_are_for_the_languages_that_want_them() {
        check_file("a.rs", "fn f() {\n\tg();\n}\n", "a.rs:2: a tab");
        check_file("peers/main.go", "func f() {\n\tg()\n}\n", "");
        check_file("peers/go.mod", "require (\n\tx v1\n)\n", "");
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        for place in MACHINE_PATHS {
            check_file("a.md", &format!("in `{place}x`\n"), "is a path of one machine");
            check_file("a.md", &format!("file://{place}x\n"), "is a path of one machine");
            check_file("a.md", &format!("{place}x\n"), "is a path of one machine");
            check_file("a.md", &format!("in target{place}x\n"), "");
        }
    }

    #[test]
    fn hosts_of_registries_are_found_except_in_pins() {
        for host in REGISTRIES {
            let text = format!("from https://{host}/x\n");
            check_file("docs/a.md", &text, "is the host of a registry");
            for pins in ["Cargo.lock", "benches/peers/x/go.sum", "x/requirements.txt"] {
                check_file(pins, &text, "");
            }
        }
    }

    #[test]
    fn unfinished_code_is_found() {
        check_file("a.rs", "fn f() {\n    todo!()\n}\n", "a.rs:2: unfinished code");
        check_file("a.rs", "fn f() { unimplemented!(\"x\") }\n", "unfinished code");
        check_file("a.rs", "// todo!()\nconst X: &str = \"todo!()\";\n", "");
        check_file("a.rs", "my_todo!();\n", "");
        check_file("a.md", "todo!()\n", "");
    }

    #[test]
    fn an_ignored_test_gives_its_reason() {
        check_file("a.rs", "#[test]\n#[ignore]\nfn f() {}\n", "a.rs:2: an ignored test says why");
        check_file("a.rs", "#[test]\n#[ignore = \"an hour\"]\nfn f() {}\n", "");
    }

    #[test]
    fn unsafe_code_is_lifted_only_where_listed() {
        let text = "#![allow(unsafe_code, reason = \"x\")]\n";
        check_file("crates/otlp/src/lib.rs", text, "only these lift `unsafe_code`: benches/");
        check_file("crates/otlp/src/lib.rs", "#[expect(unsafe_code)]\n", "only these lift");
        check_file("crates/otlp/src/lib.rs", "// #![allow(unsafe_code)]\n", "");
        check_file("benches/src/alloc.rs", text, "");
    }

    #[test]
    fn tests_do_not_sleep() {
        const TEST: &str = "crates/x/tests/it/main.rs";
        let task = "fn f() {\n    tokio::time::sleep(second).await;\n}\n";
        let thread = "fn f() {\n    std::thread::sleep(second);\n}\n";
        let paused = "#[tokio::test(start_paused = true)]\n";

        check_file(TEST, task, "main.rs:2: a test sleeps");
        check_file(TEST, thread, "main.rs:2: a test sleeps");
        check_file(TEST, "fn f() { sleep(second).await }\n", "a test sleeps");
        check_file("crates/x/src/task.rs", task, "");
        check_file(TEST, "fn f() { clock.sleep(second) }\nfn sleep() {}\n", "");

        check_file(TEST, &format!("{paused}{task}"), "");
        check_file(TEST, &format!("{paused}{thread}"), "a test sleeps");
    }

    #[test]
    fn a_sleep_may_be_explained() {
        const TEST: &str = "tests/it.rs";
        check_file(TEST, "sleep(x).await; // bounded wait: the file appears\n", "");
        check_file(TEST, "// bounded wait: the file\n// appears\nsleep(x).await;\n", "");
        check_file(TEST, "// bounded wait: the file\nf();\nsleep(x).await;\n", "it.rs:3: a test");
    }
}
