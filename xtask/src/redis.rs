//! A Redis server for the tests of `teleflow-cache`, where the machine has none.
//!
//! On Debian and its kin the distribution's packages are unpacked under the target folder: nothing
//! is installed, and no rights are needed where the package lists are there.

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::workspace::Workspace;

const PROGRAM: &str = "redis-server";

/// The server and the libraries that a machine without it may lack.
const PACKAGES: &[&str] =
    &[PROGRAM, "redis-tools", "libjemalloc2", "liblzf1", "liblua5.1-0", "lua-bitop", "lua-cjson"];

/// Where the server is.
#[derive(Debug)]
pub enum Redis {
    /// On the path, or nowhere: the tests find that out themselves.
    OnPath,
    /// In this folder.
    In(PathBuf),
}

/// Finds the server, or unpacks it.
pub fn prepare(sh: &Shell, workspace: &Workspace) -> Result<Redis> {
    if works(sh, Path::new(PROGRAM)) {
        return Ok(Redis::OnPath);
    }
    let place = workspace.target.join("redis");
    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
    // Two runs in one tree must not unpack at once.
    let lock = File::create(place.join("lock"))?;
    lock.lock()?;
    let bin = place.join("bin");
    let program = bin.join(PROGRAM);
    if !works(sh, &program) {
        println!("unpacking {PROGRAM} of the distribution in {}", place.display());
        if let Err(error) = unpack(sh, &place, &program)
            && !works(sh, &program)
        {
            eprintln!(
                "note: the tests against Redis will be skipped: there is no {PROGRAM}, and its \
                 packages cannot be unpacked: {error:#}"
            );
            return Ok(Redis::OnPath);
        }
    }
    Ok(Redis::In(bin))
}

fn works(sh: &Shell, program: &Path) -> bool {
    cmd!(sh, "{program} --version").quiet().ignore_stdout().ignore_stderr().run().is_ok()
}

fn unpack(sh: &Shell, place: &Path, program: &Path) -> Result<()> {
    let packages = place.join("packages");
    fs::create_dir_all(&packages)?;
    let _in_packages = sh.push_dir(&packages);
    let download = || cmd!(sh, "apt-get --quiet download {PACKAGES...}").quiet().ignore_stderr();
    if download().ignore_stdout().run().is_err() {
        // The lists may be missing, as they are in most containers.
        cmd!(sh, "apt-get --quiet update").quiet().ignore_stdout().run()?;
        download().ignore_stdout().run()?;
    }
    let root = place.join("root");
    for package in sh.read_dir(&packages)? {
        cmd!(sh, "dpkg-deb --extract {package} {root}").quiet().run()?;
    }
    let libraries = sh
        .read_dir(root.join("usr/lib"))?
        .into_iter()
        .find(|path| path.join("libjemalloc.so.2").exists())
        .context("the packages hold no libjemalloc.so.2")?;
    let server = root.join("usr/bin").join(PROGRAM);
    let script = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{}' exec '{}' \"$@\"\n",
        libraries.display(),
        server.display()
    );
    if let Some(bin) = program.parent() {
        fs::create_dir_all(bin)?;
    }
    fs::write(program, script)?;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

// === impl Redis ===

impl Redis {
    /// Lets the tests of `command` find the server.
    pub fn describe(&self, command: &mut Command) -> Result<()> {
        if let Self::In(bin) = self {
            let before = env::var_os("PATH").unwrap_or_default();
            let all = env::split_paths(&before).chain([bin.clone()]);
            command.env("PATH", env::join_paths(all)?);
        }
        Ok(())
    }
}
