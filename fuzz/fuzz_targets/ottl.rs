//! Any text as a condition, on any bytes as a span: it is read or refused with a place, and is true,
//! false or an error, each time the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use teleflow_sampler::SpanView;
use teleflow_sampler::ottl::Condition;

fuzz_target!(|bytes: &[u8]| {
    // Parted by a byte that no text has, and that protobuf does not begin with.
    let mut parts = bytes.splitn(4, |byte| *byte == 0xff);
    let Ok(text) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    let [resource, scope, message] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let span = SpanView { resource, scope, message };
    for read in [Condition::span, Condition::event] {
        let condition = match read(text) {
            Ok(condition) => condition,
            Err(error) => {
                let end = text.chars().count() + 1;
                assert!((1..=end).contains(&(error.column() as usize)), "{error}");
                continue;
            }
        };
        assert_eq!(condition.as_str(), text);
        let events = std::iter::once(None).chain(span.events().map(Some).take(3));
        for event in events {
            let first = condition.eval(&span, event.as_ref());
            assert_eq!(condition.eval(&span, event.as_ref()), first);
            if let Err(error) = first {
                assert!(error.to_string().len() < 200);
            }
        }
    }
});
