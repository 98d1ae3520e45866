//! `extensions.bearertokenauth` and `extensions.apikeyauth`

use std::path::PathBuf;

use super::super::exporters::header_problem;
use super::super::later::{self, Later};
use super::super::read::{At, Keys};
use super::super::secret::Secret;

/// Whoever has one of these tokens may send; or the token to send with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TokenAuth {
    /// The header that holds it, in lower case. Default `authorization`; for keys, `x-api-key`.
    pub(crate) header: String,
    /// What stands before the token and a space. Default `Bearer`; empty, and always for keys: the
    /// token stands alone.
    pub(crate) scheme: String,
    pub(crate) tokens: Tokens,
}

/// Where tokens are from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Tokens {
    /// At least one. The first is the one to send with.
    Written(Vec<Secret>),
    /// A file with one a line.
    File(PathBuf),
}

/// The keys of one of the two extensions.
struct Names {
    one: &'static str,
    several: &'static str,
    later: Later,
}

const BEARER: Names = Names { one: "token", several: "tokens", later: later::NONE };

const KEYS: Names = Names { one: "key", several: "keys", later: later::NONE };

/// Reads `bearertokenauth`.
pub(super) fn read_bearer(at: &At<'_>) -> TokenAuth {
    read(at, &BEARER, "authorization", |keys| {
        let scheme = keys.value("scheme").and_then(|at| at.text().map(|text| (at, text)));
        let Some((at, text)) = scheme else { return "Bearer".to_owned() };
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            at.refuse("be one word", None);
        }
        text.to_owned()
    })
}

/// Reads `apikeyauth`, which the Collector does not have.
pub(super) fn read_keys(at: &At<'_>) -> TokenAuth {
    read(at, &KEYS, "x-api-key", |_| String::new())
}

fn read(
    at: &At<'_>,
    names: &Names,
    header: &str,
    scheme: impl FnOnce(&mut Keys<'_>) -> String,
) -> TokenAuth {
    at.section(names.later, |keys| TokenAuth {
        header: keys
            .value("header")
            .and_then(|at| read_header(&at))
            .unwrap_or_else(|| header.to_owned()),
        scheme: scheme(keys),
        tokens: read_tokens(at, keys, names),
    })
}

fn read_header(at: &At<'_>) -> Option<String> {
    let name = at.text_that_is_not_empty()?.to_ascii_lowercase();
    match header_problem(&name) {
        None => Some(name),
        Some(problem) => {
            at.report.error(at.value_at(), format!("{} `{name}` {problem}", at.path()));
            None
        }
    }
}

/// Reads the tokens, which no message repeats.
fn read_tokens(at: &At<'_>, keys: &mut Keys<'_>, names: &Names) -> Tokens {
    let written = [names.one, names.several, "filename"].map(|name| (name, keys.value(name)));
    let mut there = written.iter().filter_map(|(name, at)| at.as_ref().map(|at| (name, at)));
    if let (Some((first, _)), Some((_, second))) = (there.next(), there.next()) {
        let message = format!("{} is written, and `{first}` as well", second.path());
        at.report.error_with_hint(second.name_at(), message, "leave one of them out");
    }
    let [(_, one), (_, several), (_, file)] = written;
    if let Some(at) = file {
        return Tokens::File(at.text_that_is_not_empty().unwrap_or_default().into());
    }
    if one.is_none() && several.is_none() {
        at.missing(names.one);
    }
    let several = several.map(|at| {
        if !at.is_list() {
            at.refuse_secret("be a list");
            return Vec::new();
        }
        let items = at.items();
        if items.is_empty() {
            at.refuse_empty(names.one);
        }
        items
    });
    let all = one.into_iter().chain(several.into_iter().flatten());
    Tokens::Written(all.filter_map(|at| read_token(&at)).collect())
}

fn read_token(at: &At<'_>) -> Option<Secret> {
    let text = at.secret_text()?;
    if is_token(text) {
        return Some(Secret::new(text.to_owned()));
    }
    let message = format!("{} must be one word of ASCII text", at.path());
    at.report.error(at.value_at(), message);
    None
}

/// Whether this can stand in a header as a token.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}
