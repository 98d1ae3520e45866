//! What receivers, processors, exporters and extensions have in common: a section of ids.

use std::collections::BTreeMap;

use super::id::Id;
use super::later::Later;
use super::node::Key;
use super::read::{At, unknown};
use super::report::Position;

/// A section's components, by id.
pub(super) type Components<T> = BTreeMap<Id, Defined<T>>;

/// A component and where it is defined.
#[derive(Debug)]
pub(super) struct Defined<T> {
    pub(super) at: Position,
    /// `None` for a type that we do not have, which was reported where it is defined and need not
    /// be again where it is used.
    pub(super) component: Option<T>,
}

/// The component types of a section, each with what reads its configuration.
pub(super) type Kinds<T> = [(&'static str, fn(&At<'_>) -> T)];

/// Reads a section.
pub(super) fn read<T>(section: &At<'_>, kinds: &Kinds<T>, later: Later) -> Components<T> {
    let mut components = Components::new();
    for (key, at) in section.entries() {
        let id = match Id::parse(&key.name) {
            Ok(id) => id,
            Err(must) => {
                let message = format!("an id in {} must {must}", section.path());
                section.report.error(key.at, message);
                continue;
            }
        };
        let component = kinds.iter().find(|(kind, _)| *kind == id.kind).map(|(_, read)| read(&at));
        if component.is_none() {
            let known: Vec<_> = kinds.iter().map(|(kind, _)| *kind).collect();
            let kind = Key { name: id.kind.clone(), at: key.at };
            let place = format!("in {}", section.path());
            unknown(section.report, &kind, "component", &place, &known, later);
        }
        components.insert(id, Defined { at: key.at, component });
    }
    components
}

/// Drops the places, once nothing needs them any more.
pub(super) fn into_values<T>(components: Components<T>) -> BTreeMap<Id, T> {
    components
        .into_iter()
        .filter_map(|(id, defined)| defined.component.map(|component| (id, component)))
        .collect()
}
