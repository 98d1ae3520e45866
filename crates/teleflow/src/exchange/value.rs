//! What stands in the store about a trace.
//!
//! The key is the lane's name, a colon and the trace id in 32 hexadecimal digits. The value is the
//! version of what follows (1), what is said (0: left out, 1: a vote, 2: kept), and of the latter two
//! whether the threshold is known (0 or 1), its 56 bits in 8 bytes (little endian), and the names of
//! policy and part, each with its length before it in a byte: 0 where there is none.

use bytes::Bytes;
use teleflow_cache::Claim;
use teleflow_sampler::{Proposal, Reason, Shared, Threshold};

const VERSION: u8 = 1;
const DROPPED: u8 = 0;
const VOTED: u8 = 1;
const KEPT: u8 = 2;

pub(super) fn claim(lane: &str, proposal: &Proposal) -> Claim {
    let Proposal { id, shared, replaces } = proposal;
    let key = format!("{lane}:{:032x}", u128::from_be_bytes(*id));
    Claim { key: key.into(), value: encode(shared), replaces: *replaces }
}

fn encode(shared: &Shared) -> Bytes {
    let (tag, reason) = match shared {
        Shared::Dropped => return Bytes::from_static(&[VERSION, DROPPED]),
        Shared::Voted(reason) => (VOTED, reason),
        Shared::Kept(reason) => (KEPT, reason),
    };
    let Reason { threshold, policy, part } = reason;
    let mut out = vec![VERSION, tag, u8::from(threshold.is_some())];
    out.extend_from_slice(&threshold.map_or(0, Threshold::bits).to_le_bytes());
    for name in [policy, part] {
        // One that is longer is not told.
        let name = name.as_deref().unwrap_or_default();
        let len = u8::try_from(name.len()).unwrap_or(0);
        out.push(len);
        out.extend_from_slice(&name.as_bytes()[..usize::from(len)]);
    }
    out.into()
}

/// `None` where it makes no sense.
pub(super) fn decode(value: &[u8]) -> Option<Shared> {
    let (&VERSION, rest) = value.split_first()? else { return None };
    let (tag, rest) = rest.split_first()?;
    match *tag {
        DROPPED => rest.is_empty().then_some(Shared::Dropped),
        VOTED => reason(rest).map(Shared::Voted),
        KEPT => reason(rest).map(Shared::Kept),
        _ => None,
    }
}

fn reason(value: &[u8]) -> Option<Reason> {
    let (is_known, rest) = value.split_first()?;
    let (bits, rest) = rest.split_first_chunk()?;
    let threshold = match *is_known {
        0 => None,
        1 => Some(Threshold::from_bits(u64::from_le_bytes(*bits))?),
        _ => return None,
    };
    let (policy, rest) = name(rest)?;
    let (part, rest) = name(rest)?;
    rest.is_empty().then_some(Reason { threshold, policy, part })
}

fn name(value: &[u8]) -> Option<(Option<String>, &[u8])> {
    let (&len, rest) = value.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(len))?;
    let name = str::from_utf8(name).ok()?;
    Some(((!name.is_empty()).then(|| name.to_owned()), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(threshold: Option<&str>, policy: Option<&str>, part: Option<&str>) -> Reason {
        Reason {
            threshold: threshold.map(|text| text.parse().unwrap()),
            policy: policy.map(str::to_owned),
            part: part.map(str::to_owned),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let all = [
            Shared::Dropped,
            Shared::Voted(Reason::default()),
            Shared::Voted(reason(Some("e666"), Some("some"), None)),
            Shared::Kept(reason(Some("0"), Some("limits"), Some("errors"))),
            Shared::Kept(reason(None, None, None)),
        ];
        for shared in all {
            let bytes = encode(&shared);
            assert_eq!(decode(&bytes).as_ref(), Some(&shared));
            for len in 0..bytes.len() {
                assert_eq!(decode(&bytes[..len]), None, "{shared:?} cut to {len}");
            }
            assert_eq!(decode(&[&bytes[..], &[0]].concat()), None);
        }
        let long = Shared::Kept(reason(Some("8"), Some(&"x".repeat(256)), Some("part")));
        let Some(Shared::Kept(read)) = decode(&encode(&long)) else { panic!("it is kept") };
        assert_eq!(read, reason(Some("8"), None, Some("part")));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        let mut rng = fastrand::Rng::with_seed(3);
        let full = encode(&Shared::Kept(reason(Some("e666"), Some("policy"), Some("part"))));
        for _ in 0..20_000 {
            let mut bytes = full.to_vec();
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            _ = decode(&bytes);
        }
        for wrong in [&[2, 0][..], &[1, 3], &[1, 2, 2], &[1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]] {
            assert_eq!(decode(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn keys_tell_lanes_and_traces_apart() {
        let proposal = |id| Proposal { id, shared: Shared::Dropped, replaces: false };
        let claim = claim("traces/a", &proposal([0xab; 16]));
        assert_eq!(claim.key, "traces/a:abababababababababababababababab");
        assert_eq!(claim.value, &[1, 0][..]);
    }
}
