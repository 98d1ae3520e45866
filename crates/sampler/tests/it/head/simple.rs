use std::time::Instant;

use teleflow_sampler::head::{
    self, Always, Candidate, ClassicRatio, HeadConfigError, Never, Parent, ParentBased, Ratio,
    Sampler,
};
use teleflow_sampler::{Composition, Decision, Intent, Threshold};

use super::{decide, trace};

#[test]
fn s1_the_same_ids_are_kept_wherever_the_same_share_is_asked_for() {
    // The last seven bytes against e666, the threshold of a tenth.
    for (id, kept) in [
        (0x0000_0000_0000_0000_00e6_6600_0000_0000_u128, true),
        (0xffff_ffff_ffff_ffff_ffe6_65ff_ffff_ffff, false),
        (0xffff_ffff_ffff_ffff_ff00_0000_0000_0000, false),
        (0x0123_4567_89ab_cdef_00ff_ffff_ffff_ffff, true),
    ] {
        let candidate = Candidate::of_trace(id.to_be_bytes());
        let decision = decide(&Ratio::new(0.1).unwrap(), Instant::now(), &candidate);
        let tenth = Some("e666".parse().unwrap());
        let expected = if kept { Decision::Keep(tenth) } else { Decision::Drop };
        assert_eq!(decision, expected, "{id:032x}");
    }
}

#[test]
fn s1_a_share_is_kept_within_four_sigma_and_a_smaller_one_keeps_a_subset() {
    let mut rng = fastrand::Rng::with_seed(1);
    let now = Instant::now();
    for (more, less) in [(1.0, 0.5), (0.5, 0.1), (0.1, 0.099), (0.01, 0.001), (0.5, 1e-17)] {
        let [more_sampler, less_sampler] = [more, less].map(|share| Ratio::new(share).unwrap());
        let count = 50_000;
        let (mut of_more, mut of_less) = (0, 0);
        for _ in 0..count {
            let candidate = trace(&mut rng);
            let is_kept = decide(&more_sampler, now, &candidate).is_kept();
            let is_less = decide(&less_sampler, now, &candidate).is_kept();
            assert!(is_kept || !is_less, "{less} keeps what {more} leaves out");
            of_more += u32::from(is_kept);
            of_less += u32::from(is_less);
        }
        for (share, kept) in [(more, of_more), (less, of_less)] {
            let expected = f64::from(count) * share;
            let sigma = (expected * (1.0 - share)).sqrt();
            assert!((f64::from(kept) - expected).abs() <= 4.0 * sigma + 1e-9, "{kept} at {share}");
        }
    }
}

#[test]
fn s1_the_edges_are_all_and_nothing() {
    let now = Instant::now();
    for id in [1, u128::MAX, 0x00ff_ffff_ffff_ffff] {
        let candidate = Candidate::of_trace(id.to_be_bytes());
        assert_eq!(decide(&Always, now, &candidate), Decision::Keep(Some(Threshold::ALL)));
        assert_eq!(decide(&Never, now, &candidate), Decision::Drop);
        let all = Ratio::new(1.0).unwrap();
        assert_eq!(decide(&all, now, &candidate), Decision::Keep(Some(Threshold::ALL)));
    }
    assert!(Ratio::new(0.0).is_err());
    let error = ClassicRatio::new(1.5).unwrap_err();
    assert!(matches!(error, HeadConfigError::Range { value: 1.5, .. }));
    assert_eq!(error.to_string(), "the share is 1.5: it has to be above 0 and at most 1");
    assert!(ClassicRatio::new(f64::NAN).is_err());
}

#[test]
fn s1_the_classic_test_keeps_low_ids_and_gives_no_threshold() {
    let half = ClassicRatio::new(0.5).unwrap();
    for (low, kept) in [
        (0, true),
        (0x7fff_ffff_ffff_ffff_u64, true),
        (0x8000_0000_0000_0000, false),
        (u64::MAX, false),
    ] {
        let candidate = Candidate::of_trace((u128::from(low) | 1 << 100).to_be_bytes());
        let expected = if kept { Decision::Keep(None) } else { Decision::Drop };
        assert_eq!(decide(&half, Instant::now(), &candidate), expected, "{low:x}");
    }
    let all = ClassicRatio::new(1.0).unwrap();
    let last = Candidate::of_trace([0xff; 16]);
    assert_eq!(all.intent(Instant::now(), &last), Intent::Keep);
}

#[test]
fn s1_each_kind_of_parent_has_its_own_sampler() {
    let ratio = |share| Ratio::new(share).unwrap();
    let mut sampler = ParentBased::new(ratio(0.5));
    let parents = [
        Parent::None,
        Parent::Remote { is_sampled: true },
        Parent::Remote { is_sampled: false },
        Parent::Local { is_sampled: true },
        Parent::Local { is_sampled: false },
    ];
    let ask = |sampler: &ParentBased, parent, before: Option<&str>| {
        let before = before.map(|before| before.parse().unwrap());
        let candidate = Candidate { parent, before, ..Candidate::of_trace([0xee; 16]) };
        head::sample(sampler, Composition::Independent, Instant::now(), &candidate)
    };
    let keep = |threshold: &str| Decision::Keep(Some(threshold.parse().unwrap()));

    // The specification's: kept if the parent was, with the parent's threshold.
    let expected = [keep("8"), keep("c"), Decision::Drop, keep("c"), Decision::Drop];
    assert_eq!(parents.map(|parent| ask(&sampler, parent, Some("c"))), expected);
    // Without one, or with one that cannot be true (ee… is below ef), it is unknown.
    let unknown = Decision::Keep(None);
    for before in [None, Some("ef")] {
        let expected = [keep("8"), unknown, Decision::Drop, unknown, Decision::Drop];
        assert_eq!(parents.map(|parent| ask(&sampler, parent, before)), expected);
    }

    sampler.remote_sampled = Box::new(ratio(0.25));
    sampler.remote_not_sampled = Box::new(ratio(0.125));
    sampler.local_sampled = Box::new(Never);
    sampler.local_not_sampled = Box::new(Always);
    let expected = [keep("8"), keep("c"), keep("e"), Decision::Drop, keep("0")];
    assert_eq!(parents.map(|parent| ask(&sampler, parent, None)), expected);
}
