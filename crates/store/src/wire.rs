//! The few protobuf fields that `teleflow-otlp` has no view for.

/// A scope's name and version.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Scope<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Value<'a> {
    Len(&'a [u8]),
    Fixed32(u32),
    Other,
}

// === impl Scope ===

impl<'a> Scope<'a> {
    /// Reads an `InstrumentationScope` message.
    pub(crate) fn read(message: &'a [u8]) -> Self {
        let mut scope = Self::default();
        for (number, value) in Fields(message) {
            match (number, value) {
                (1, Value::Len(text)) => scope.name = str::from_utf8(text).unwrap_or_default(),
                (2, Value::Len(text)) => scope.version = str::from_utf8(text).unwrap_or_default(),
                _ => {}
            }
        }
        scope
    }
}

/// The W3C flags of a `LogRecord` message.
pub(crate) fn log_flags(message: &[u8]) -> u32 {
    Fields(message)
        .filter_map(|field| match field {
            (8, Value::Fixed32(flags)) => Some(flags),
            _ => None,
        })
        .last()
        .unwrap_or_default()
}

/// The fields of a validated message. Ends early where it is not one, and at a group, which OTLP
/// does not have.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => {
                self.varint()?;
                Value::Other
            }
            1 => {
                self.take(8)?;
                Value::Other
            }
            2 => {
                let len = self.varint()?;
                Value::Len(self.take(usize::try_from(len).ok()?)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
    use opentelemetry_proto::tonic::logs::v1::LogRecord;
    use prost::Message as _;
    use teleflow_testkit::telemetry::Telemetry;

    use super::*;

    #[test]
    fn scopes_and_flags_read_as_prost_reads_them() {
        let mut telemetry = Telemetry::new(7);
        for resource in (0..50).flat_map(|_| telemetry.logs(5).resource_logs) {
            for group in resource.scope_logs {
                let scope: InstrumentationScope = group.scope.unwrap_or_default();
                let bytes = scope.encode_to_vec();
                let read = Scope::read(&bytes);
                assert_eq!((read.name, read.version), (&*scope.name, &*scope.version));
                for record in group.log_records {
                    let record: LogRecord = record;
                    assert_eq!(log_flags(&record.encode_to_vec()), record.flags);
                }
            }
        }
    }

    #[test]
    fn any_bytes_end_without_a_panic() {
        for seed in 0..1000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let bytes: Vec<u8> = (0..rng.usize(..40)).map(|_| rng.u8(..)).collect();
            assert!(Fields(&bytes).count() <= bytes.len());
        }
    }
}
