//! The rules of consistent probability sampling, each as a table; numbered as in the list of the
//! protocol's rules that the conformance suite follows.

use teleflow_sampler::{Composition, Decision, Intent, Randomness, Threshold, TraceState};

fn th(text: &str) -> Threshold {
    text.parse().unwrap()
}

fn rv(text: &str) -> Randomness {
    text.parse().unwrap()
}

fn probability(probability: f64) -> Threshold {
    Threshold::from_probability(probability).unwrap()
}

#[test]
fn rule_68_randomness_is_rv_or_the_last_seven_bytes_of_the_trace_id() {
    let id = 0xffff_ffff_ffff_ffff_ff12_3456_789a_bcde_u128.to_be_bytes();
    let of_id = rv("123456789abcde");
    for (state, expected) in [
        ("", of_id),
        ("ot=rv:00000000000001", rv("00000000000001")),
        ("a=b,ot=th:0;rv:ffffffffffffff,c=d", rv("ffffffffffffff")),
        // Not exactly 14 lower-case digits.
        ("ot=rv:0000000000001", of_id),
        ("ot=rv:000000000000001", of_id),
        ("ot=rv:0000000000000A", of_id),
        ("ot=rv:0000000000000g", of_id),
        ("ot=rv:", of_id),
        // Somebody else's.
        ("to=rv:00000000000001", of_id),
        ("x@ot=rv:00000000000001", of_id),
    ] {
        let randomness =
            TraceState::parse(state).randomness().unwrap_or_else(|| Randomness::from_trace_id(id));
        assert_eq!(randomness, expected, "{state}");
    }
}

#[test]
fn rule_69_a_threshold_is_read_padded_and_written_without_zeros_at_the_end() {
    for (read, bits, written) in [
        ("0", 0, "0"),
        ("00000000000000", 0, "0"),
        ("8", 0x80_0000_0000_0000, "8"),
        ("80", 0x80_0000_0000_0000, "8"),
        ("08", 0x08_0000_0000_0000, "08"),
        ("e666", 0xe6_6600_0000_0000, "e666"),
        ("00000000000001", 1, "00000000000001"),
        ("ffffffffffffff", 0xff_ffff_ffff_ffff, "ffffffffffffff"),
        ("0000000000001", 0x10, "0000000000001"),
    ] {
        assert_eq!(th(read).bits(), bits, "{read}");
        assert_eq!(th(read).to_string(), written, "{read}");
        assert_eq!(Threshold::from_bits(bits), Some(th(read)));
    }
    for not in ["", "E666", "g", "0x8", "-1", "8 ", "000000000000000", "é"] {
        assert!(not.parse::<Threshold>().is_err(), "{not}");
    }
    assert_eq!(Threshold::from_bits(1 << 56), None);
}

#[test]
fn rule_70_kept_is_what_has_at_least_the_threshold_and_stands_for_as_many() {
    for (threshold, randomness, kept) in [
        ("0", "00000000000000", true),
        ("8", "7fffffffffffff", false),
        ("8", "80000000000000", true),
        ("00000000000001", "00000000000000", false),
        ("ffffffffffffff", "fffffffffffffe", false),
        ("ffffffffffffff", "ffffffffffffff", true),
    ] {
        assert_eq!(th(threshold).keeps(rv(randomness)), kept, "{threshold} {randomness}");
    }
    for (threshold, probability, count) in [
        ("0", 1.0, 1.0),
        ("8", 0.5, 2.0),
        ("c", 0.25, 4.0),
        ("aab", 0.333_251_953_125, 3.000_732_600_732_600_7),
        ("ffffffffffffff", (-56f64).exp2(), 56f64.exp2()),
    ] {
        assert_eq!(th(threshold).probability(), probability);
        assert_eq!(th(threshold).adjusted_count(), count);
    }
    for not in [0.0, -0.5, (-58f64).exp2(), 1.000_001, 2.0, f64::NAN, f64::INFINITY] {
        assert!(Threshold::from_probability(not).is_err(), "{not}");
    }
    assert_eq!(probability(1.0), Threshold::ALL);
    assert_eq!(probability((-56f64).exp2()), th("ffffffffffffff"));
}

#[test]
fn rule_71_equalizing_raises_to_its_own_threshold_and_never_lowers() {
    use Decision::{Drop, Keep};
    for (own, before, randomness, expected) in [
        ("8", None, "80000000000000", Keep(Some(th("8")))),
        ("8", None, "7fffffffffffff", Drop),
        ("8", Some("0"), "80000000000000", Keep(Some(th("8")))),
        ("8", Some("8"), "80000000000000", Keep(Some(th("8")))),
        // What was sampled more than this asks for leaves as it came.
        ("8", Some("c"), "c0000000000000", Keep(Some(th("c")))),
        ("c", Some("8"), "80000000000000", Drop),
        ("c", Some("8"), "c0000000000000", Keep(Some(th("c")))),
        ("0", Some("ffffffffffffff"), "ffffffffffffff", Keep(Some(th("ffffffffffffff")))),
    ] {
        let decision =
            Composition::Equalizing.decide(Intent::Sample(th(own)), before.map(th), rv(randomness));
        assert_eq!(decision, expected, "{own} after {before:?} for {randomness}");
    }
}

#[test]
fn rule_71_proportional_multiplies_probabilities_and_never_lowers() {
    use Decision::{Drop, Keep};
    for (own, before, randomness, expected) in [
        (0.5, None, "80000000000000", Keep(Some(th("8")))),
        (0.5, Some("8"), "bfffffffffffff", Drop),
        (0.5, Some("8"), "c0000000000000", Keep(Some(th("c")))),
        (0.1, Some("e666"), "ffffffffffffff", Keep(Some(th("fd709")))),
        // A share of one changes nothing, however many digits there are.
        (1.0, Some("12345678901234"), "fffffffffffff0", Keep(Some(th("12345678901234")))),
        // Below 2^-56 nothing is kept.
        (0.25, Some("ffffffffffffff"), "ffffffffffffff", Drop),
    ] {
        let own = Intent::Sample(probability(own));
        let decision = Composition::Proportional.decide(own, before.map(th), rv(randomness));
        assert_eq!(decision, expected, "{own:?} after {before:?} for {randomness}");
    }
    // Of the exact share, and not of its threshold of four digits.
    assert_eq!(Threshold::proportional(th("e666"), 0.1), Some(th("fd70a")));
    assert_eq!(Threshold::proportional(th("e666"), 0.0), None);
    let mut rng = fastrand::Rng::with_seed(71);
    for _ in 0..20_000 {
        let before = Threshold::from_bits(rng.u64(..1 << 56) >> rng.u32(..56)).unwrap();
        let own = rng.f64();
        if let Some(after) = Threshold::proportional(before, own) {
            assert!(after >= before, "{own} lowers {before} to {after}");
            let product = own * before.probability();
            assert!((after.probability() / product - 1.0).abs() < 0.001, "{own} after {before}");
        }
    }
}

#[test]
fn rule_72_a_threshold_that_the_trace_contradicts_is_removed() {
    // By its threshold, randomness 7f… would have been left out.
    let (before, low) = (Some(th("8")), rv("7fffffffffffff"));
    for composition in [Composition::Equalizing, Composition::Proportional] {
        let decide = |own| composition.decide(Intent::Sample(th(own)), before, low);
        assert_eq!(decide("4"), Decision::Keep(None), "{composition:?}");
        assert_eq!(decide("8"), Decision::Drop, "{composition:?}");
        // So it is where nobody knows how likely it was to be kept.
        let high = rv("ffffffffffffff");
        assert_eq!(composition.decide(Intent::Keep, before, high), Decision::Keep(None));
        assert_eq!(composition.decide(Intent::Drop, before, high), Decision::Drop);
    }
    // Randomness stays, and so does everything else.
    for (state, without) in [
        ("ot=th:8", ""),
        ("ot=th:8;rv:0123456789abcd", "ot=rv:0123456789abcd"),
        ("a=b,ot=rv:0123456789abcd;th:8;x:y,c=d", "ot=x:y;rv:0123456789abcd,a=b,c=d"),
        ("a=b,ot=th:8,c=d", "a=b,c=d"),
        ("a=b,ot=th:nonsense,c=d", "a=b,c=d"),
        ("a=b,ot=rv:0123456789abcd,c=d", "a=b,ot=rv:0123456789abcd,c=d"),
        ("a=b,c=d", "a=b,c=d"),
    ] {
        assert_eq!(TraceState::parse(state).with_threshold(None).unwrap(), without, "{state}");
    }
}

#[test]
fn rule_73_ot_has_256_characters_and_unique_keys_and_leaves_other_entries_alone() {
    let set = |state: &str, text: &str| {
        TraceState::parse(state).with_threshold(Some(th(text))).map(|state| state.into_owned())
    };
    for (state, threshold, expected) in [
        ("", "8", "ot=th:8"),
        ("a=b", "8", "ot=th:8,a=b"),
        // Changed, it goes to the front; unchanged, it stays where it is, and all the rest with it.
        ("z=1,ot=th:8,a=b", "c", "ot=th:c,z=1,a=b"),
        ("z=1, ot=th:8 ,,a=b", "8", "z=1, ot=th:8 ,,a=b"),
        ("ot=th:80", "8", "ot=th:80"),
        // Keys are unique, the first counts.
        ("ot=th:8;th:c;x:1;x:2", "8", "ot=x:1;th:8"),
        ("ot=th:8,a=b,ot=th:c", "8", "ot=th:8,a=b"),
        // What breaks the rules inside of `ot` goes; outside it is not ours.
        ("ot=th:8;!:1;X:1;9:1;p:ok;q:a b;r", "c", "ot=p:ok;th:c"),
        ("not an entry,A=\u{e9},=,a=b", "8", "ot=th:8,not an entry,A=\u{e9},=,a=b"),
        ("a@ot=th:8,ott=th:8", "c", "ot=th:c,a@ot=th:8,ott=th:8"),
        (" \t, ,", "8", "ot=th:8"),
    ] {
        assert_eq!(set(state, threshold).unwrap(), expected, "{state}");
    }

    let long = |len: usize| format!("ot=x:{}", "y".repeat(len - 2));
    // 256 characters, 5 of which are `;th:8`.
    assert_eq!(set(&long(251), "8").unwrap(), format!("{};th:8", long(251)));
    assert!(set(&long(252), "8").is_err());
    assert_eq!(TraceState::parse(&long(252)).with_threshold(None).unwrap(), long(252));
    // More than there may be says nothing, and goes with the next change.
    let too_long = format!("{};th:8,a=b", long(254));
    assert_eq!(TraceState::parse(&too_long).threshold(), None);
    assert_eq!(set(&too_long, "c").unwrap(), "ot=th:c,a=b");

    // 32 entries at most: `ot` takes the place of the last.
    let full: Vec<_> = (0..32).map(|n| format!("k{n}=v")).collect();
    let expected = format!("ot=th:8,{}", full[..31].join(","));
    assert_eq!(set(&full.join(","), "8").unwrap(), expected);
    let with_own = format!("{},ot=th:c", full[..31].join(","));
    assert_eq!(set(&with_own, "8").unwrap(), expected);
}

#[test]
fn rule_74_four_digits_of_precision_unless_told_otherwise() {
    for (count, three, four, five) in [
        (1, "0", "0", "0"),
        (2, "8", "8", "8"),
        (3, "aab", "aaab", "aaaab"),
        (4, "c", "c", "c"),
        (5, "ccd", "cccd", "ccccd"),
        (8, "e", "e", "e"),
        (10, "e66", "e666", "e6666"),
        (16, "f", "f", "f"),
        (100, "fd71", "fd70a", "fd70a4"),
        (1000, "ffbe7", "ffbe77", "ffbe76d"),
        (10_000, "fff972", "fff9724", "fff97247"),
        (100_000, "ffff584", "ffff583a", "ffff583a5"),
        (1_000_000, "ffffef4", "ffffef39", "ffffef391"),
    ] {
        let one_in = 1.0 / f64::from(count);
        assert_eq!(probability(one_in).to_string(), four, "1/{count}");
        for (digits, expected) in [(3, three), (4, four), (5, five)] {
            let threshold = Threshold::with_precision(one_in, digits).unwrap();
            assert_eq!(threshold.to_string(), expected, "1/{count}, {digits} digits");
        }
    }
}

#[test]
fn rule_74_rounding_stays_within_half_a_digit_and_the_range() {
    let mut rng = fastrand::Rng::with_seed(74);
    for _ in 0..50_000 {
        let exact = rng.f64() * f64::from(rng.i32(-55..=0)).exp2();
        let digits = rng.u8(1..=14);
        let Ok(threshold) = Threshold::with_precision(exact, digits) else {
            assert!(exact < (-56f64).exp2(), "{exact}");
            continue;
        };
        let error = (threshold.probability() - exact).abs();
        // Half a digit of what is rejected, behind all that are `f`, and half of 2^-56.
        let kept = (exact * 56f64.exp2()).round() / 56f64.exp2();
        let digits = f64::from(digits) + (-kept.log2() / 4.0).floor();
        let half = (-4.0 * digits - 1.0).exp2() + (-57f64).exp2();
        assert!(error <= half, "{exact} in {digits} digits: {threshold}");
    }
}
