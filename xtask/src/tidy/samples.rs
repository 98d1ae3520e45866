//! Packages for tests.

use crate::workspace::{Dependency, Kind, Package};

/// A package in `crates/`, named as it should be.
pub fn package(folder: &str, dependencies: &[Dependency]) -> Package {
    Package {
        name: super::crates::package_name(folder),
        directory: format!("crates/{folder}"),
        dependencies: dependencies.to_vec(),
        ..Package::default()
    }
}

/// A normal dependency by path alone.
pub fn dependency(name: &str) -> Dependency {
    Dependency {
        name: name.to_owned(),
        kind: Kind::Normal,
        requirement: "*".to_owned(),
        optional: false,
    }
}

impl Dependency {
    pub fn dev(mut self) -> Self {
        self.kind = Kind::Dev;
        self
    }

    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    pub fn version(mut self, requirement: &str) -> Self {
        self.requirement = requirement.to_owned();
        self
    }
}
