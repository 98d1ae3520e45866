//! What receivers and exporters need of extensions: there, able to do it, and running.

use super::super::extensions::Extension;
use super::super::id::Id;
use super::super::processors::Processor;
use super::super::read::{At, did_you_mean};
use super::super::reference::{Need, Reference};
use super::Defined;

/// Checks every extension that a component names, whether the component runs or not.
pub(super) fn check(at: &At<'_>, running: &[Id], defined: Defined<'_>) {
    let check = |reference, need| check_one(at, reference, need, running, defined);
    let find = |reference: &Reference| {
        let extension = defined.extensions.get(&reference.id);
        extension.and_then(|defined| defined.component.as_ref())
    };
    for receiver in defined.receivers.values().filter_map(|defined| defined.component.as_ref()) {
        let super::Receiver::Otlp(otlp) = receiver;
        for (reference, tls) in otlp.authenticators() {
            check(reference, Need::Server);
            let asks = tls.is_some_and(|tls| tls.client_ca.is_some());
            if let (Some(Extension::Certificates(_)), false) = (find(reference), asks) {
                let (path, id) = (&reference.path, &reference.id);
                let message = format!("{path} is `{id}`, but clients show no certificate");
                let hint = "write `client_ca_file` in `tls` of the protocol";
                at.report.error_with_hint(reference.at, message, hint);
            }
        }
    }
    for processor in defined.processors.values().filter_map(|defined| defined.component.as_ref()) {
        if let Processor::TailSampling(tail) = processor
            && let Some(storage) = &tail.tail_storage
        {
            check(storage, Need::TailStorage);
        }
    }
    for exporter in defined.exporters.values().filter_map(|defined| defined.component.as_ref()) {
        if let Some(storage) = exporter.queue().and_then(|queue| queue.storage.as_ref()) {
            check(storage, Need::Storage);
        }
        for (reference, headers) in exporter.credentials() {
            check(reference, Need::Client);
            if let Some(header) = find(reference).and_then(Extension::header)
                && headers.iter().any(|(name, _)| name == header)
            {
                let (path, id) = (&reference.path, &reference.id);
                let message = format!("{path} is `{id}`, which sends the header `{header}`");
                at.report.error_with_hint(reference.at, message, "leave it out of `headers`");
            }
        }
    }
}

fn check_one(
    at: &At<'_>,
    Reference { id, path, at: position }: &Reference,
    need: Need,
    running: &[Id],
    defined: Defined<'_>,
) {
    let refuse = |message, hint| at.report.error_with_hint(*position, message, hint);
    let Some(extension) = defined.extensions.get(id) else {
        let able = defined.extensions.iter().filter(|(_, defined)| {
            defined.component.as_ref().is_some_and(|extension| extension.serves(need))
        });
        let names: Vec<_> = able.map(|(id, _)| id.to_string()).collect();
        let known = match names.len() {
            0 => format!("define one: {}", able_types(need)),
            _ => format!("defined: {}", names.join(", ")),
        };
        let hint = did_you_mean(&id.to_string(), names.iter().map(String::as_str), known);
        return refuse(format!("{path} is `{id}`, which extensions does not define"), hint);
    };
    // One of a type that we do not have was refused where it is defined.
    let Some(extension) = &extension.component else { return };
    if !extension.serves(need) {
        let does_not = match need {
            Need::Server => "does not verify who sends",
            Need::Client => "has no credentials to send with",
            Need::Storage => "does not keep queues",
            Need::TailStorage => "does not keep what samplers hold",
        };
        let hint = format!("write one that does: {}", able_types(need));
        refuse(format!("{path} is `{id}`, which {does_not}"), hint);
    } else if !running.contains(id) {
        let hint = "write it in service.extensions as well".to_owned();
        refuse(format!("{path} is `{id}`, which does not run"), hint);
    }
}

const fn able_types(need: Need) -> &'static str {
    match need {
        Need::Server => {
            "bearertokenauth, apikeyauth, certificateauth, or basicauth with `htpasswd`"
        }
        Need::Client => "bearertokenauth, apikeyauth, or basicauth with `client_auth`",
        Need::Storage => "file_storage",
        Need::TailStorage => "file_storage or pebble_tail_storage",
    }
}
