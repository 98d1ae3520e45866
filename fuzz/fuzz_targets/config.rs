//! Any text as a config file: it is read or refused, with a place for every error.

#![no_main]

#[allow(dead_code, unused_imports, reason = "the program uses all of it")]
#[path = "../../crates/agent/src"]
mod agent {
    pub(crate) mod config;
}

use agent::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(errors) = Config::parse("f", text, &|_| Some("1".to_owned())) {
        let text = errors.to_string();
        assert!(text.lines().all(|line| line.starts_with("f:")), "{text}");
    }
});
