//! Settling in Redis: `SET`, with `NX` where nothing may be replaced, and `GET`, in one pipeline.
//!
//! No other client's command comes between the two that would change what they say: whoever writes
//! first, all read the same afterwards, until somebody replaces it.

use std::time::Duration;

use bytes::Bytes;
use redis::{Pipeline, Value};

use super::{Redis, millis};
use crate::second::SecondLevelError;
use crate::settle::{Claim, Settle};

impl Settle for Redis {
    async fn settle_many(
        &self,
        claims: &[Claim],
        ttl: Duration,
    ) -> Result<Vec<Option<Bytes>>, SecondLevelError> {
        let keys: Vec<Vec<u8>> = claims.iter().map(|claim| self.key(&claim.key)).collect();
        let ttl = millis(ttl);
        let command = |index: usize, pipeline: &mut Pipeline| {
            let (key, claim) = (&keys[index], &claims[index]);
            let set = pipeline.cmd("SET").arg(key).arg(claim.value.as_ref()).arg("PX").arg(ttl);
            if !claim.replaces {
                set.arg("NX");
            }
            pipeline.cmd("GET").arg(key);
        };
        let answers = self.run::<2>(&keys, command).await?;
        answers.into_iter().map(|answer| answer.map_or(Ok(None), settled)).collect()
    }
}

/// What is there, as `SET` and `GET` told it.
fn settled(answer: [Value; 2]) -> Result<Option<Bytes>, SecondLevelError> {
    match answer {
        [Value::Okay | Value::Nil, Value::BulkString(value)] => Ok(Some(value.into())),
        // Its time ended between the two, or the server had to forget it.
        [Value::Okay | Value::Nil, Value::Nil] => Ok(None),
        _ => Err(SecondLevelError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_what_the_second_command_says() {
        let value = || Value::BulkString(b"v".to_vec());
        let v = Bytes::from_static(b"v");
        assert_eq!(settled([Value::Okay, value()]), Ok(Some(v.clone())));
        assert_eq!(settled([Value::Nil, value()]), Ok(Some(v)));
        assert_eq!(settled([Value::Nil, Value::Nil]), Ok(None));
        assert_eq!(settled([Value::Int(1), value()]), Err(SecondLevelError::Malformed));
        assert_eq!(settled([Value::Okay, Value::Int(1)]), Err(SecondLevelError::Malformed));
    }
}
