//! What cargo knows about the workspace, and how it is called.

use std::env;
use std::ffi::OsStr;
use std::path::{self, Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use xshell::{Cmd, Shell, cmd};

/// The members of the workspace and where it builds.
#[derive(Debug)]
pub struct Workspace {
    pub root: PathBuf,
    /// The folder that cargo builds into; honours `CARGO_TARGET_DIR`.
    pub target: PathBuf,
    /// Ordered by folder.
    pub packages: Vec<Package>,
}

#[derive(Clone, Debug, Default)]
pub struct Package {
    pub name: String,
    /// From the root, with `/`: `crates/otlp`.
    pub directory: String,
    pub dependencies: Vec<Dependency>,
    pub features: Vec<String>,
    pub targets: Vec<Target>,
}

#[derive(Clone, Debug)]
pub struct Dependency {
    pub name: String,
    pub kind: Kind,
    /// `*` where the manifest asks for no version.
    pub requirement: String,
    pub optional: bool,
}

/// When a dependency is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Normal,
    Build,
    Dev,
}

#[derive(Clone, Debug)]
pub struct Target {
    pub name: String,
    /// `lib`, `bin`, `bench` and so on.
    pub kind: String,
    pub source: PathBuf,
}

/// Starts a shell in the root of the workspace, from whichever folder the task was called in.
pub fn shell() -> Result<Shell> {
    let sh = Shell::new()?;
    // A relative folder means one beside the caller, also after the change of folder below.
    if let Some(target) = sh.var_os("CARGO_TARGET_DIR") {
        sh.set_var("CARGO_TARGET_DIR", path::absolute(target)?);
    }
    sh.change_dir(root());
    Ok(sh)
}

fn root() -> PathBuf {
    // The variable is right also when the folder was moved after the build; it is missing when
    // the program is started without cargo.
    let own = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    own.parent().map(Path::to_path_buf).unwrap_or(own)
}

/// Prepares a call of the cargo that runs this task.
///
/// `cargo run` describes the xtask package in variables. A nested cargo must not see them: build
/// scripts that watch one would be run again, so that each change between `cargo test` and
/// `cargo xtask test` would build half of the tree.
pub fn cargo<'a, A: AsRef<OsStr>>(
    sh: &'a Shell,
    arguments: impl IntoIterator<Item = A>,
) -> Cmd<'a> {
    let cargo = program(sh);
    let mut cmd = cmd!(sh, "{cargo}").args(arguments).quiet();
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(describes_this_package) {
            cmd = cmd.env_remove(name);
        }
    }
    cmd
}

fn describes_this_package(variable: &str) -> bool {
    const NAMES: &[&str] = &[
        "CARGO_BIN_NAME",
        "CARGO_CRATE_NAME",
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_PRIMARY_PACKAGE",
        "OUT_DIR",
    ];
    variable.starts_with("CARGO_PKG_") || NAMES.contains(&variable)
}

fn program(sh: &Shell) -> PathBuf {
    sh.var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// Prints a call of cargo as one would type it.
pub fn announce(sh: &Shell, cmd: &Cmd<'_>) {
    let program = program(sh).display().to_string();
    println!("$ {}", cmd.to_string().replacen(&program, "cargo", 1));
}

// === impl Workspace ===

impl Workspace {
    /// Asks `cargo metadata`.
    pub fn read(sh: &Shell) -> Result<Self> {
        let text = cargo(sh, ["metadata", "--no-deps", "--format-version", "1"])
            .read()
            .context("cannot read the manifests of the workspace")?;
        Self::parse(&text).context("`cargo metadata` answered in an unknown form")
    }

    fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text)?;
        let root = PathBuf::from(string(&value, "workspace_root")?);
        let target = PathBuf::from(string(&value, "target_directory")?);
        let mut packages = list(&value, "packages")?
            .iter()
            .map(|package| Package::parse(package, &root))
            .collect::<Result<Vec<_>>>()?;
        packages.sort_by(|a, b| a.directory.cmp(&b.directory));
        Ok(Self { root, target, packages })
    }

    /// The packages in `crates/`.
    pub fn crates(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.is_crate())
    }
}

// === impl Package ===

impl Package {
    fn parse(value: &Value, root: &Path) -> Result<Self> {
        let manifest = Path::new(string(value, "manifest_path")?);
        let directory = manifest.parent().unwrap_or(manifest);
        let directory = directory.strip_prefix(root).unwrap_or(directory);
        let features = value.get("features").and_then(Value::as_object).context("no `features`")?;
        Ok(Self {
            name: string(value, "name")?.to_owned(),
            directory: directory.display().to_string().replace('\\', "/"),
            dependencies: list(value, "dependencies")?
                .iter()
                .map(Dependency::parse)
                .collect::<Result<_>>()?,
            features: features.keys().cloned().collect(),
            targets: list(value, "targets")?.iter().map(Target::parse).collect::<Result<_>>()?,
        })
    }

    /// The last part of the directory, by which the tables of `tidy` name a package.
    pub fn folder(&self) -> &str {
        self.directory.rsplit('/').next().unwrap_or(&self.directory)
    }

    pub fn is_crate(&self) -> bool {
        self.directory.starts_with("crates/")
    }
}

// === impl Dependency ===

impl Dependency {
    fn parse(value: &Value) -> Result<Self> {
        Ok(Self {
            name: string(value, "name")?.to_owned(),
            kind: match value.get("kind").and_then(Value::as_str) {
                Some("dev") => Kind::Dev,
                Some("build") => Kind::Build,
                _ => Kind::Normal,
            },
            requirement: string(value, "req")?.to_owned(),
            optional: value.get("optional").and_then(Value::as_bool).unwrap_or_default(),
        })
    }
}

// === impl Target ===

impl Target {
    fn parse(value: &Value) -> Result<Self> {
        Ok(Self {
            name: string(value, "name")?.to_owned(),
            kind: list(value, "kind")?
                .first()
                .and_then(Value::as_str)
                .context("a target of no kind")?
                .to_owned(),
            source: PathBuf::from(string(value, "src_path")?),
        })
    }
}

fn string<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value.get(key).and_then(Value::as_str).with_context(|| format!("no `{key}`"))
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value.get(key).and_then(Value::as_array).with_context(|| format!("no `{key}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_becomes_packages() {
        let text = r#"{
            "workspace_root": "/ws", "target_directory": "/elsewhere", "packages": [{
                "name": "teleflow-otlp", "manifest_path": "/ws/crates/otlp/Cargo.toml",
                "features": { "default": ["json"], "json": [] },
                "dependencies": [
                    { "name": "bytes", "kind": null, "req": "^1", "optional": false },
                    { "name": "teleflow-testkit", "kind": "dev", "req": "*", "optional": false }
                ],
                "targets": [
                    { "name": "teleflow_otlp", "kind": ["lib"], "src_path": "/ws/crates/otlp/src/lib.rs" }
                ]
            }]
        }"#;
        let workspace = Workspace::parse(text).unwrap();
        assert_eq!(workspace.target, Path::new("/elsewhere"));
        let package = workspace.crates().next().unwrap();
        assert_eq!((package.directory.as_str(), package.folder()), ("crates/otlp", "otlp"));
        assert_eq!(package.features, ["default", "json"]);
        assert_eq!(package.dependencies[0].kind, Kind::Normal);
        assert_eq!(package.dependencies[1].kind, Kind::Dev);
        assert_eq!(package.targets[0].kind, "lib");
    }

    #[test]
    fn a_missing_key_is_named() {
        let error = Workspace::parse(r#"{ "workspace_root": "/ws" }"#).unwrap_err();
        assert_eq!(error.to_string(), "no `target_directory`");
    }
}
