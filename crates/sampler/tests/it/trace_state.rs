//! Trace states against a model, and any text.

use std::collections::HashSet;

use teleflow_sampler::{Randomness, Threshold, TraceState};

/// The entries, in order, without those of `ot`, and the members of the first `ot`.
fn model(text: &str) -> (Vec<&str>, Vec<(&str, &str)>) {
    let entries: Vec<&str> =
        text.split(',').map(|e| e.trim_matches([' ', '\t'])).filter(|e| !e.is_empty()).collect();
    let ot = entries.iter().find_map(|entry| entry.strip_prefix("ot=")).unwrap_or("");
    let mut seen = HashSet::new();
    let members =
        ot.split(';').filter_map(|member| member.split_once(':')).filter(|(key, value)| {
            let mut letters = key.chars();
            letters.next().is_some_and(|first| first.is_ascii_lowercase())
                && letters.all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
                && value.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
                && seen.insert(key.to_string())
        });
    let members = if ot.len() > 256 { Vec::new() } else { members.collect() };
    (entries.into_iter().filter(|entry| !entry.starts_with("ot=")).collect(), members)
}

/// Text of the pieces that trace states are made of.
fn text(rng: &mut fastrand::Rng) -> String {
    const PIECES: &[&str] = &[
        "ot=",
        ",",
        ";",
        ":",
        "=",
        "th:",
        "rv:",
        "8",
        "e666",
        "0123456789abcd",
        "a",
        "Z",
        " ",
        "\t",
        "x:1",
        "vendor=value",
        "ot=th:8",
        "ot=x:1;th:8;k2:v",
        "ot=rv:ffffffffffffff;th:c",
        "é",
        "@",
    ];
    (0..rng.usize(..20)).map(|_| PIECES[rng.usize(..PIECES.len())]).collect()
}

#[test]
fn what_is_written_reads_as_meant_and_loses_nothing_of_others() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut kept_members = 0;
    for _ in 0..30_000 {
        let text = text(&mut rng);
        let state = TraceState::parse(&text);
        assert_eq!(state.as_str(), text);
        let (others, members) = model(&text);
        let find = |name| members.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        assert_eq!(state.threshold(), find("th").and_then(|value| value.parse().ok()), "{text}");
        assert_eq!(state.randomness(), find("rv").and_then(|value| value.parse().ok()), "{text}");

        let new = rng.bool().then(|| Threshold::from_bits(rng.u64(..1 << 56)).unwrap());
        let own = rng.bool().then(|| Randomness::from_hash(rng.u64(..)));
        let written = match own {
            Some(own) => state.with_randomness(new, own),
            None => state.with_threshold(new),
        };
        let Ok(written) = written else { panic!("{text} has room") };
        let after = TraceState::parse(&written);
        assert_eq!(after.threshold(), new, "{text} -> {written}");
        assert_eq!(after.randomness(), own.or_else(|| state.randomness()), "{text} -> {written}");
        if written != text {
            let (same, now) = model(&written);
            assert_eq!(same, others, "{text} -> {written}");
            let ours = |(key, _): &(&str, &str)| *key == "th" || *key == "rv";
            let rest = |members: Vec<(&str, &str)>| -> Vec<_> {
                let rest = members.into_iter().filter(|member| !ours(member));
                rest.map(|(key, value)| format!("{key}:{value}")).collect()
            };
            let (before, now) = (rest(members), rest(now));
            assert_eq!(before, now, "{text} -> {written}");
            kept_members += now.len();
            assert!(written.split(',').skip(1).all(|entry| !entry.starts_with("ot=")), "{written}");
        }
        // Written once more it is the same.
        assert_eq!(after.with_threshold(new).unwrap(), written);
    }
    assert!(kept_members > 100, "the test has to meet members of others");
}

#[test]
fn a_huge_trace_state_costs_what_its_length_does() {
    let text = format!("{}ot=th:8", "a=b,".repeat(200_000));
    let state = TraceState::parse(&text);
    assert_eq!(state.threshold(), Some("8".parse().unwrap()));
    let written = state.with_threshold(Some("c".parse().unwrap())).unwrap();
    assert_eq!(written.split(',').count(), 32);
    // Of a flood of members in `ot` nothing is read.
    let flood = format!("ot={}th:8", "x:1;".repeat(200_000));
    assert_eq!(TraceState::parse(&flood).threshold(), None);
}
