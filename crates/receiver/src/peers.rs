//! How many connections each peer has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts connections by peer. Holds no more entries than there are connections.
#[derive(Debug)]
pub(crate) struct Peers {
    max: Option<NonZeroUsize>,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection of a peer.
#[derive(Debug)]
pub(crate) struct Counted(Option<(Arc<Peers>, IpAddr)>);

// === impl Peers ===

impl Peers {
    pub(crate) fn new(max: Option<NonZeroUsize>) -> Arc<Self> {
        Arc::new(Self { max, counts: Mutex::default() })
    }

    /// `None` if the peer has as many as it may. One without an address is a process of this
    /// machine that was given access to a file, and not counted.
    pub(crate) fn open(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Counted> {
        let (Some(max), Some(peer)) = (self.max, peer) else { return Some(Counted(None)) };
        let peer = network(peer);
        let mut counts = self.lock();
        let count = counts.entry(peer).or_default();
        if *count >= max.get() {
            return None;
        }
        *count += 1;
        Some(Counted(Some((Arc::clone(self), peer))))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing in there can be half done.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some((peers, peer)) = &self.0 else { return };
        let mut counts = peers.lock();
        if let Some(count) = counts.get_mut(peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(peer);
            }
        }
    }
}

/// One customer of IPv6 has a /64 at least, and could come from another address each time.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(peer) => {
            let [a, b, c, d, ..] = peer.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        peer => peer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_its_share_and_leaves_nothing_behind() {
        let peers = Peers::new(NonZeroUsize::new(2));
        let open = |peer: &str| peers.open(Some(peer.parse().unwrap()));
        let (first, second) = (open("10.0.0.1"), open("::ffff:10.0.0.1"));
        assert!(first.is_some() && second.is_some());
        assert!(open("10.0.0.1").is_none());
        let other = open("10.0.0.2");
        assert!(other.is_some());
        drop(first);
        let again = open("10.0.0.1");
        assert!(again.is_some());
        let six = [open("2001:db8::1"), open("2001:db8::ffff:2"), open("2001:db8::3")];
        assert!(six[2].is_none());
        assert!(open("2001:db8:0:1::1").is_some());
        assert!(peers.open(None).is_some());
        drop((second, other, again, six));
        assert_eq!(peers.lock().len(), 0);
        assert!(Peers::new(None).open("10.0.0.1".parse().ok()).is_some());
    }
}
