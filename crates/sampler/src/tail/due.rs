//! When traces are due: lists of traces, each in the order of their deadlines.
//!
//! All traces of a list wait equally long, so a new one goes to the end. A trace whose root came goes
//! over to a list of those that wait less; where the configuration changes there are more lists, until
//! the old ones are empty.

use super::slab::NIL;
use super::stats::Trigger;

/// Traces that wait equally long.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    /// How long, in nanoseconds.
    pub(super) wait: u64,
    /// Why they are decided when their time has come.
    pub(super) trigger: Trigger,
    pub(super) oldest: u32,
    pub(super) youngest: u32,
    /// The latest deadline since it was empty.
    pub(super) last: u64,
}

/// The most lists. One more wait shares the list in which it makes least of a difference.
const MOST: usize = 16;

/// The lists.
#[derive(Debug, Default)]
pub(super) struct Lists(Vec<List>);

// === impl List ===

impl List {
    /// When a trace would be due here that is to be due then: the order holds also where the clock
    /// goes back, and where waits share a list.
    pub(super) fn next_deadline(&self, deadline: u64) -> u64 {
        if self.oldest == NIL { deadline } else { deadline.max(self.last) }
    }
}

// === impl Lists ===

impl Lists {
    /// The list of this wait, made where there is none.
    pub(super) fn of(&mut self, wait: u64, trigger: Trigger, deadline: u64) -> u8 {
        let is = |list: &List| list.wait == wait && list.trigger == trigger;
        if let Some(index) = self.0.iter().position(is) {
            return index as u8;
        }
        let new = List { wait, trigger, oldest: NIL, youngest: NIL, last: 0 };
        // One that nothing is in serves again.
        if let Some(index) = self.0.iter().position(|list| list.oldest == NIL) {
            self.0[index] = new;
            return index as u8;
        }
        if self.0.len() < MOST {
            self.0.push(new);
            return self.0.len() as u8 - 1;
        }
        let lists = self.0.iter().enumerate();
        let nearest = lists.min_by_key(|(_, list)| list.next_deadline(deadline));
        nearest.map_or(0, |(index, _)| index as u8)
    }

    pub(super) fn get(&self, list: u8) -> &List {
        &self.0[usize::from(list)]
    }

    pub(super) fn get_mut(&mut self, list: u8) -> &mut List {
        &mut self.0[usize::from(list)]
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut List> {
        self.0.iter_mut()
    }

    /// The oldest of each list.
    pub(super) fn oldest(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|list| list.oldest).filter(|&oldest| oldest != NIL)
    }
}
