//! Ids by which a component names one of another section.

use super::id::Id;
use super::read::At;
use super::report::Position;

/// What a component needs of an extension.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Need {
    /// Says who may send.
    Server,
    /// Gives credentials to send with.
    Client,
    /// Keeps what waits.
    Storage,
    /// Keeps what tail samplers hold.
    TailStorage,
}

/// The id of an extension, and where a component names it.
///
/// Receivers and exporters are read before extensions, and what runs is known last of all: that the
/// extension is there, can do what is asked of it and runs is checked with the service.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) id: Id,
    /// The key that names it, for messages.
    pub(super) path: String,
    pub(super) at: Position,
}

// === impl Reference ===

impl Reference {
    /// Reads an id.
    pub(super) fn read(at: &At<'_>) -> Option<Self> {
        let text = at.text_that_is_not_empty()?;
        match Id::parse(text) {
            Ok(id) => Some(Self { id, path: at.path().to_owned(), at: at.value_at() }),
            Err(must) => {
                at.refuse(must, None);
                None
            }
        }
    }
}

impl PartialEq for Reference {
    /// Compares ids, not places.
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Reference {}
