//! Dependencies that stay where they belong.

use crate::workspace::{Dependency, Kind, Package};

/// Dependencies that only the packages in a list may have, except for their tests.
const FENCES: &[Fence] = &[
    Fence {
        around: "YAML",
        crates: &[
            "granit-parser",
            "saphyr",
            "serde-saphyr",
            "serde_yaml",
            "serde_yaml_ng",
            "serde_yml",
        ],
        inside: &[Allowed::always("agent", "owns the config file")],
    },
    Fence {
        around: "HTTP",
        crates: &[
            "axum",
            "h2",
            "http",
            "http-body",
            "http-body-util",
            "hyper",
            "hyper-util",
            "reqwest",
            "tonic",
            "tower-http",
        ],
        inside: &[
            Allowed::always("exporter", "sends OTLP"),
            Allowed::always("receiver", "serves OTLP"),
            Allowed::always("agent", "serves the admin endpoint and the page"),
            Allowed::always("conformance", "plays clients and servers by the frame"),
            Allowed::always("testkit", "has a sink that fails on cue"),
            Allowed::always("benches", "loads the gateways and receives what they export"),
        ],
    },
    Fence {
        around: "TLS",
        crates: &["native-tls", "openssl", "rustls", "tokio-native-tls", "tokio-rustls"],
        inside: &[
            Allowed::with_feature("exporter", "sends OTLP"),
            Allowed::with_feature("receiver", "serves OTLP"),
            Allowed::with_feature("cache", "reaches Redis"),
        ],
    },
    Fence {
        around: "serde and JSON",
        crates: &["serde", "serde_derive", "serde_json"],
        inside: &[
            Allowed::with_feature("otlp", "reads and writes OTLP/JSON"),
            Allowed::always("agent", "owns the config file"),
            Allowed::always("conformance", "reads answers in JSON"),
            Allowed::always("benches", "reports as JSON"),
            Allowed::always("xtask", "reads what cargo and the benchmarks report"),
        ],
    },
    Fence {
        around: "base64",
        crates: &["base64"],
        inside: &[
            Allowed::with_feature("otlp", "reads and writes OTLP/JSON"),
            Allowed::with_feature("exporter", "reads the details of a gRPC status"),
            Allowed::always("receiver", "reads the credentials of a request"),
            Allowed::always("conformance", "reads and writes the details of a gRPC status"),
            Allowed::always("agent", "writes the credentials that exporters send"),
            Allowed::always("benches", "reads the details of a gRPC status"),
        ],
    },
    Fence {
        around: "SQL",
        crates: &["libsqlite3-sys", "rusqlite", "sqlx", "tokio-postgres"],
        inside: &[Allowed::always("store", "keeps telemetry in a database")],
    },
    Fence {
        around: "errors without a type",
        crates: &["anyhow", "eyre"],
        inside: &[
            Allowed::always("agent", "a person reads its errors"),
            Allowed::always("xtask", "a person reads its errors"),
        ],
    },
];

struct Fence {
    around: &'static str,
    crates: &'static [&'static str],
    inside: &'static [Allowed],
}

struct Allowed {
    folder: &'static str,
    /// The dependency must be optional, so that a build without the feature lacks it.
    with_feature: bool,
    reason: &'static str,
}

pub fn check(package: &Package, dependency: &Dependency, report: &mut impl FnMut(String)) {
    if dependency.kind == Kind::Dev {
        return;
    }
    let fences = FENCES.iter().filter(|fence| fence.crates.contains(&dependency.name.as_str()));
    for fence in fences {
        let allowed = fence.inside.iter().find(|allowed| allowed.folder == package.folder());
        match allowed {
            None => {
                let inside: Vec<String> = fence
                    .inside
                    .iter()
                    .map(|allowed| format!("{} ({})", allowed.folder, allowed.reason))
                    .collect();
                report(format!(
                    "depends on `{}`; {} belongs to {}",
                    dependency.name,
                    fence.around,
                    inside.join(", ")
                ));
            }
            Some(allowed) if allowed.with_feature && !dependency.optional => report(format!(
                "depends on `{}` always; {} comes with a feature here",
                dependency.name, fence.around
            )),
            Some(_) => {}
        }
    }
}

// === impl Allowed ===

impl Allowed {
    const fn always(folder: &'static str, reason: &'static str) -> Self {
        Self { folder, with_feature: false, reason }
    }

    const fn with_feature(folder: &'static str, reason: &'static str) -> Self {
        Self { folder, with_feature: true, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::samples::{dependency, package};

    #[track_caller]
    fn check_one(folder: &str, dependency: Dependency, expected: &str) {
        let mut messages = Vec::new();
        check(&package(folder, &[]), &dependency, &mut |message| messages.push(message));
        let message = messages.join("\n");
        assert_eq!(message.is_empty(), expected.is_empty(), "{message}");
        assert!(message.contains(expected), "`{expected}` is not in `{message}`");
    }

    #[test]
    fn fenced_dependencies_stay_inside() {
        check_one("agent", dependency("serde-saphyr"), "");
        check_one("store", dependency("serde-saphyr"), "YAML belongs to agent (owns the config");
        check_one("exporter", dependency("reqwest"), "");
        check_one(
            "batcher",
            dependency("hyper"),
            "HTTP belongs to exporter (sends OTLP), receiver",
        );
        check_one("sampler", dependency("serde"), "serde and JSON belongs to otlp");
        check_one("sampler", dependency("base64"), "base64 belongs to otlp");
        check_one("store", dependency("rusqlite"), "");
        check_one("agent", dependency("rusqlite"), "SQL belongs to store");
        check_one("batcher", dependency("anyhow"), "belongs to agent");
        check_one("batcher", dependency("bytes"), "");
    }

    #[test]
    fn tests_may_use_anything() {
        check_one("batcher", dependency("hyper").dev(), "");
    }

    #[test]
    fn what_comes_with_a_feature_is_optional() {
        check_one("otlp", dependency("serde_json").optional(), "");
        check_one("otlp", dependency("serde_json"), "depends on `serde_json` always");
        check_one("receiver", dependency("rustls"), "TLS comes with a feature");
    }
}
