//! `cors` of a receiver: which pages of other sites browsers may let send.

use std::time::Duration;

use super::super::later;
use super::super::read::{At, Keys};

/// `cors`
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Cors {
    /// Origins; one `*` in each stands for any text. Has to be written, with at least one.
    pub(crate) allowed_origins: Vec<String>,
    /// Headers beside those that OTLP needs; `*` is any. Default none.
    pub(crate) allowed_headers: Vec<String>,
    /// How long a browser may remember the answer. Default `None` (0 in the file): its own time.
    pub(crate) max_age: Option<Duration>,
}

/// Reads `cors`: `None` if it is not written.
pub(super) fn read(keys: &mut Keys<'_>) -> Option<Cors> {
    keys.value("cors").map(|at| {
        at.section(later::CORS, |keys| {
            let origins = keys.require("allowed_origins").map(|at| (at.items(), at));
            if let Some((items, at)) = &origins
                && items.is_empty()
                && at.is_list()
            {
                at.refuse_empty("origin");
            }
            for at in origins.iter().flat_map(|(items, _)| items) {
                // What is no text is refused once, below.
                if at.text_or(|_| ()).is_some_and(|origin| origin.matches('*').count() > 1) {
                    at.refuse("have at most one `*`", None);
                }
            }
            let allowed_origins = origins.map(|(items, _)| texts(&items)).unwrap_or_default();
            let headers = keys.value("allowed_headers");
            let seconds = keys.value("max_age").and_then(|at| at.whole(0..=u32::MAX.into()));
            Cors {
                allowed_origins,
                allowed_headers: headers.map(|at| texts(&at.items())).unwrap_or_default(),
                max_age: seconds.filter(|&seconds| seconds > 0).map(Duration::from_secs),
            }
        })
    })
}

fn texts(items: &[At<'_>]) -> Vec<String> {
    items.iter().filter_map(At::text_that_is_not_empty).map(str::to_owned).collect()
}
