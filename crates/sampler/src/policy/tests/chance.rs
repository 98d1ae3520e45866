//! A share of all traces.

use super::*;

#[test]
fn a_share_is_kept_within_four_sigma_and_a_smaller_one_is_part_of_it() {
    let mut rng = fastrand::Rng::with_seed(3);
    for salt in ["", "salt"] {
        let mut ten = set(vec![Policy::percent(10.0, salt)]);
        let mut thirty = set(vec![Policy::percent(30.0, salt)]);
        let template = plain(ID, 1);
        let (now, count) = (Instant::now(), 50_000);
        let mut kept = 0;
        for _ in 0..count {
            let mut trace = template.trace();
            trace.id = rng.u128(..).to_be_bytes();
            let few = ten.decide(now, &trace).is_kept;
            kept += u32::from(few);
            assert!(!few || thirty.decide(now, &trace).is_kept);
        }
        let expected = f64::from(count) * 0.1;
        let sigma = (expected * 0.9).sqrt();
        assert!((f64::from(kept) - expected).abs() < 4.0 * sigma, "{kept} of {count}");
    }
}

#[test]
fn samplers_in_a_row_choose_independently_by_their_salts() {
    let mut rng = fastrand::Rng::with_seed(4);
    let (mut first, mut second) =
        (set(vec![salted(0.5, "first")]), set(vec![salted(0.5, "second")]));
    let template = plain(ID, 1);
    let (now, count) = (Instant::now(), 50_000);
    let mut both = 0;
    for _ in 0..count {
        let mut trace = template.trace();
        trace.id = rng.u128(..).to_be_bytes();
        both += u32::from(first.decide(now, &trace).is_kept && second.decide(now, &trace).is_kept);
    }
    let expected = f64::from(count) * 0.25;
    let sigma = (expected * 0.75).sqrt();
    assert!((f64::from(both) - expected).abs() < 4.0 * sigma, "{both} of {count}");
}

#[test]
fn ids_that_differ_at_the_end_only_are_told_apart_by_a_salt() {
    let mut set = set(vec![salted(0.5, "salt")]);
    let template = plain(ID, 1);
    let kept = (0..10_000u128).filter(|n| {
        let mut trace = template.trace();
        trace.id = (1 << 100 | n).to_be_bytes();
        set.decide(Instant::now(), &trace).is_kept
    });
    let kept = kept.count();
    assert!((4_800..5_200).contains(&kept), "{kept}");
}

#[test]
fn the_edges_of_a_share_are_all_and_nothing() {
    for salt in ["", "salt"] {
        for id in [[0; 16], [255; 16]] {
            let mut all = set(vec![Policy::percent(100.0, salt)]);
            let mut more = set(vec![Policy::percent(1000.0, salt)]);
            let trace = plain(id, 1);
            let mut none = set(vec![Policy::percent(0.0, salt)]);
            let mut not_a_number = set(vec![Policy::percent(f64::NAN, salt)]);
            assert!(decide(&mut all, &trace).is_kept && decide(&mut more, &trace).is_kept);
            assert!(!decide(&mut none, &trace).is_kept);
            assert!(!decide(&mut not_a_number, &trace).is_kept);
        }
    }
}
