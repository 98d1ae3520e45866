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
use crate::golang::Built;
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
        let built = Built::new("otelcol")?;
        let name = match built.version("/tailsamplingprocessor") {
            Some(version) => format!("OpenTelemetry Collector {version}"),
            None => "OpenTelemetry Collector".to_owned(),
        };
        Ok(Self { kind: Kind::Collector, name, program: built.program })
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
