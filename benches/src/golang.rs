//! Rivals that are written in Go: built from their folder below `peers`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::report::target_directory;

/// A program that was built from a folder below `peers`.
#[derive(Debug)]
pub struct Built {
    /// Where it is.
    pub program: PathBuf,
    /// What its `go.mod` requires.
    pub modules: String,
}

// === impl Built ===

impl Built {
    /// Builds `peers/NAME` into the target folder, unless its sources and the toolchain are as they
    /// were: building takes minutes.
    ///
    /// # Errors
    ///
    /// There is no Go toolchain, or it does not build.
    pub fn new(name: &str) -> io::Result<Self> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name);
        let version = Command::new("go").arg("version").output();
        let Ok(version) = version else { return Err(io::Error::other("no Go toolchain")) };
        let modules = fs::read_to_string(sources.join("go.mod"))?;
        let mut stamp = String::from_utf8_lossy(&version.stdout).into_owned() + &modules;
        let mut files: Vec<PathBuf> = fs::read_dir(&sources)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.sort();
        let is_source = |file: &PathBuf| {
            file.extension().is_some_and(|end| end == "go") || file.ends_with("go.sum")
        };
        for file in files.iter().filter(|file| is_source(file)) {
            stamp.push_str(&fs::read_to_string(file)?);
        }

        let directory = target_directory().join("peers");
        fs::create_dir_all(&directory)?;
        let (program, stamped) = (directory.join(name), directory.join(format!("{name}.stamp")));
        let fresh = program.is_file() && fs::read_to_string(&stamped).is_ok_and(|old| old == stamp);
        if !fresh {
            let mut build = Command::new("go");
            build.env("CGO_ENABLED", "0").args(["build", "-trimpath", "-ldflags=-s -w", "-o"]);
            let status = build.arg(&program).arg(".").current_dir(&sources).status()?;
            if !status.success() {
                return Err(io::Error::other(format!("go: {status}")));
            }
            fs::write(&stamped, &stamp)?;
        }
        Ok(Self { program, modules })
    }

    /// The version of the module whose path ends so.
    pub fn version(&self, path_end: &str) -> Option<&str> {
        module_version(&self.modules, path_end)
    }
}

/// The version that a go.mod requires of the module whose path ends so.
fn module_version<'a>(text: &'a str, path_end: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (path, version) = line.trim().split_once(' ')?;
        path.ends_with(path_end).then(|| version.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_module_is_read() {
        let text = "require (\n\texample.com/a/other v1.0.0\n\texample.com/a/wanted v0.2.0\n)\n";
        assert_eq!(module_version(text, "/wanted"), Some("v0.2.0"));
        assert_eq!(module_version(text, "/missing"), None);
    }
}
